import sys

import numpy
import pytest

from seq2seq.errors import RunError, UsageError
from seq2seq.tasks.translation import plots
from seq2seq.tasks.translation.plots import plot_attention

pytest.importorskip("matplotlib")
PNG = b"\x89PNG\r\n\x1a\n"
SOURCE = ["▁A", "▁dog", "▁run", "s", "▁for", "▁$", "5"]
TARGET = ["▁Ein", "▁Hund", "▁renn", "t", "▁für", "▁5", "▁$", "</>"]


@pytest.fixture
def figures(monkeypatch):
    """The figures that were drawn, so that their content can be looked at."""
    drawn = []
    make = plots.new_figure
    monkeypatch.setattr(plots, "new_figure", lambda: drawn.append(make()) or drawn[-1])
    return drawn


def weights(rows, columns):
    table = numpy.random.default_rng(0).random((rows, columns))
    return table / table.sum(1, keepdims=True)


def test_attention_picture(tmp_path, figures):
    table = weights(len(TARGET), len(SOURCE))
    path = plot_attention(
        table, SOURCE, TARGET, tmp_path / "new" / "attention.png", words=False, title="Heat"
    )
    assert path.read_bytes().startswith(PNG)
    axes = figures[0].axes[0]
    assert numpy.allclose(axes.images[0].get_array(), table)
    columns = [text.get_text() for text in axes.get_xticklabels()]
    assert columns == ["A", "dog", "run", "·s", "for", "$", "·5"]
    assert figures[0].get_suptitle() == "Heat"


def test_the_pieces_of_a_word_are_joined(tmp_path, figures):
    table = weights(len(TARGET) + 1, len(SOURCE))
    plot_attention(table, SOURCE, TARGET, tmp_path / "attention.svg")
    axes = figures[0].axes[0]
    columns = [text.get_text() for text in axes.get_xticklabels()]
    rows = [text.get_text() for text in axes.get_yticklabels()]
    assert columns == ["A", "dog", "runs", "for", "$5"]
    assert rows == ["Ein", "Hund", "rennt", "für", "5", "$</>", "</s>"]
    drawn = axes.images[0].get_array()
    assert numpy.allclose(drawn.sum(1), 1)
    # "rennt" is two pieces: the mean of their rows; "runs" is two: the sum of their columns
    assert numpy.isclose(drawn[2, 2], table[2:4, 2:4].sum() / 2)


def test_attention_has_a_row_for_the_end(tmp_path, figures):
    table = weights(len(TARGET) + 1, len(SOURCE))
    plot_attention(table, SOURCE, TARGET, tmp_path / "a.png", words=False)
    rows = [text.get_text() for text in figures[0].axes[0].get_yticklabels()]
    assert len(rows) == len(TARGET) + 1
    assert rows[0] == "Ein" and rows[-1] == "</s>"


def test_attention_of_a_long_sentence_stays_a_picture(tmp_path, figures):
    pieces = [f"▁{i}" for i in range(400)]
    plot_attention(weights(400, 400), pieces, pieces, tmp_path / "a.png")
    assert max(figures[0].get_size_inches()) < 20
    assert len(figures[0].axes[0].get_yticklabels()) <= 120


def test_dollar_signs_are_text_not_formulas(tmp_path):
    pieces = ["▁$\\frac{$", "▁$"]
    plot_attention(weights(2, 2), pieces, pieces, tmp_path / "a.png")


def test_attention_that_does_not_fit_its_labels(tmp_path):
    with pytest.raises(UsageError, match=r"shape \(3, 7\); expected \(8 or 9 target pieces, 7"):
        plot_attention(weights(3, 7), SOURCE, TARGET, tmp_path / "a.png")
    with pytest.raises(UsageError, match="none of them 0"):
        plot_attention(numpy.zeros((0, 0)), [], [], tmp_path / "a.png")


def test_matplotlib_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"need matplotlib.*recurrent-seq2seq\[plots\]"):
        plot_attention(weights(1, 1), ["▁a"], ["▁b"], tmp_path / "a.png")


def test_picture_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        plot_attention(weights(1, 1), ["▁a"], ["▁b"], tmp_path / "file" / "a.png")
