"""Overlays and contact sheets: what is drawn where, and errors."""

import numpy as np
import pytest
import torch
from PIL import Image

from seq2seq.errors import RunError, UsageError
from seq2seq.tasks.captioning import plots as caption_plots
from seq2seq.tasks.captioning.plots import attention_overlay, contact_sheet

pytest.importorskip("matplotlib")

GREY = torch.full((3, 24, 24), 100, dtype=torch.uint8)


@pytest.fixture
def figures(monkeypatch):
    drawn = []
    make = caption_plots.new_figure
    monkeypatch.setattr(caption_plots, "new_figure", lambda: drawn.append(make()) or drawn[-1])
    return drawn


def images_of(figure):
    """Title and pixels of each image."""
    return [(axes.get_title(), axes.images[0].get_array()) for axes in figure.axes if axes.images]


@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 16)])
def test_colour_is_where_the_weight_is(tmp_path, figures, shape):
    weights = torch.zeros(2, 4, 4)
    weights[0, 0, 3] = 0.9
    weights[1, 2, 1] = 0.1  # faint, but all there is
    path = attention_overlay(GREY, ["red", "dog"], weights.view(shape), tmp_path / "a.png")
    assert Image.open(path).format == "PNG"
    found = images_of(figures[0])
    assert [title for title, _ in found] == ["", "red", "dog"]
    size = caption_plots._PIXELS
    for (_, pixels), (row, column) in zip(found[1:], [(0, 3), (2, 1)], strict=True):
        heat = pixels.astype(int)[..., 0] - pixels[..., 2]  # grey has none
        assert heat.max() > 100 and heat.min() == 0
        y, x = np.argwhere(heat == heat.max()).mean(0) * 4 / size
        assert row <= y <= row + 1 and column <= x <= column + 1


def test_the_end_may_have_weights_too(tmp_path, figures):
    attention_overlay(GREY, ["a", "$b$"], torch.full((3, 9), 1 / 9), tmp_path / "a.png")
    assert [title for title, _ in images_of(figures[0])] == ["", "a", "$b$", "</s>"]


def test_grid_that_is_no_square(tmp_path, figures):
    weights = torch.zeros(1, 8)
    weights[0, 7] = 1
    attention_overlay(GREY, ["a"], weights, tmp_path / "a.png", grid=(2, 4))
    heat = images_of(figures[0])[1][1].astype(int)
    assert (heat[-1, -1] != heat[0, 0]).any() and (heat[-1, 0] == heat[0, 0]).all()
    with pytest.raises(UsageError, match="8 places is no grid of 2 x 2"):
        attention_overlay(GREY, ["a"], weights, tmp_path / "b.png")


def test_many_words_take_several_rows(tmp_path, figures):
    attention_overlay(GREY, ["word"] * 20, torch.rand(20, 16), tmp_path / "a.png")
    assert len(images_of(figures[0])) == 21
    assert len({round(axes.get_position().y0, 2) for axes in figures[0].axes if axes.images}) == 4


def test_a_sentinel_may_take_all_the_weight(tmp_path):
    attention_overlay(GREY, ["a"], torch.zeros(1, 16), tmp_path / "a.png")


def test_images_of_all_kinds(tmp_path, figures):
    Image.new("RGB", (30, 10), "red").save(tmp_path / "red.png")
    opened = Image.new("L", (5, 5), 200)
    path = tmp_path / "out" / "sheet.png"
    captions = ["A red one that takes more than one line of text", "two\nlines", "$x$"]
    contact_sheet([tmp_path / "red.png", opened, GREY], captions, path, columns=2)
    colours = [pixels[0, 0].tolist() for _, pixels in images_of(figures[0])]
    assert colours == [[255, 0, 0], [200] * 3, [100] * 3]
    texts = [text.get_text() for text in figures[0].texts]
    assert texts[0].count("\n") == 1 and texts[1:] == ["two\nlines", "$x$"]
    assert path.exists()


def test_images_of_a_sheet_are_of_one_size_and_apart_from_text(tmp_path, figures):
    contact_sheet([GREY] * 7, ["short", *["long words " * 9] * 6], tmp_path / "a.png", columns=3)
    figure = figures[0]
    figure.set_dpi(150)  # as it was drawn
    boxes = [axes.get_position() for axes in figure.axes]
    assert len({(round(box.width, 4), round(box.height, 4)) for box in boxes}) == 1
    for text in figure.texts:
        found = text.get_window_extent().transformed(figure.transFigure.inverted())
        assert found.y0 > 0
        assert not any(found.overlaps(box) for box in boxes)


def test_misuse(tmp_path):
    with pytest.raises(UsageError, match="attention has shape"):
        attention_overlay(GREY, ["a", "b"], torch.rand(4, 16), tmp_path / "a.png")
    with pytest.raises(UsageError, match="attention has shape"):
        attention_overlay(GREY, [], torch.rand(1, 16), tmp_path / "a.png")
    with pytest.raises(UsageError, match="1 images and 2 captions"):
        contact_sheet([GREY], ["a", "b"], tmp_path / "a.png")
    with pytest.raises(UsageError, match="at least one"):
        contact_sheet([], [], tmp_path / "a.png")
    with pytest.raises(UsageError, match="expected \\(3, P, P\\)"):
        contact_sheet([GREY.float()], ["a"], tmp_path / "a.png")
    with pytest.raises(UsageError, match=r"none\.png"):
        contact_sheet([tmp_path / "none.png"], ["a"], tmp_path / "a.png")
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written"):
        contact_sheet([GREY], ["a"], tmp_path / "file" / "a.png")
