"""The learning curve: what is drawn, and how a log is read."""

import json
import math

import pytest

from seq2seq.errors import RunError, UsageError
from seq2seq.training import learning_curve
from seq2seq.training.learning_curve import plot_learning_curve, read_log

pytest.importorskip("matplotlib")
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def figures(monkeypatch):
    """The figures that were drawn, so that their content can be looked at."""
    drawn = []
    make = learning_curve.new_figure
    monkeypatch.setattr(learning_curve, "new_figure", lambda: drawn.append(make()) or drawn[-1])
    return drawn


def write_log(path, entries):
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def test_learning_curve_picture(tmp_path, figures):
    entries = [
        {"step": s, "epoch": s // 500, "loss": 2 + 5 * math.exp(-s / 300), "learning_rate": 1e-3}
        for s in range(10, 1000, 10)
    ]
    scored = [(s, s / 50 if s < 800 else 10) for s in range(100, 1000, 100)]
    entries += [{"step": s, "validation_loss": 2.5, "bleu": bleu} for s, bleu in scored]
    write_log(tmp_path / "log.jsonl", entries)
    path = plot_learning_curve(tmp_path, tmp_path / "curve.png")
    assert path.read_bytes().startswith(PNG)
    loss, bleu, rate = figures[0].axes
    assert len(loss.lines) == 3  # training, smoothed, validation
    assert "best 14.0 at 700" in [text.get_text() for text in bleu.texts]
    assert rate.get_ylabel() == "learning\nrate"


@pytest.mark.parametrize(
    ("figure", "values", "said"),
    [
        ({"bits_per_character": 0}, [3.0, 1.5, 2.0], ["best 1.500 at 20"]),
        ({"bleu4": 0, "cider_d": 1}, [0.2, 0.9, 0.4], ["best 0.9 at 20", "best 1.900 at 20"]),
    ],
    ids=["generation", "captioning"],
)
def test_each_task_shows_its_own_figures(tmp_path, figures, figure, values, said):
    entries = [
        {"step": 10 * n, "loss": 9.0 / n, "loss_words": 1.0 / n}
        | {name: value + shift for name, shift in figure.items()}
        for n, value in enumerate(values, start=1)
    ]
    write_log(tmp_path / "log.jsonl", entries)
    plot_learning_curve(tmp_path, tmp_path / "curve.png")
    _, parts, *panels = figures[0].axes
    assert [text.get_text() for axes in panels for text in axes.texts] == said
    assert [text.get_text() for text in parts.get_legend().get_texts()] == ["words"]
    assert figures[0].get_suptitle() == tmp_path.name


def test_steps_that_trained_one_part_alone_are_drawn_apart(tmp_path, figures):
    entries = [{"step": n, "loss": 1.0 / n, "loss_words": 1.0 / n} for n in (1, 2, 3)]
    entries += [{"step": n, "loss": 5.0 / n, "loss_words": 0.5 / n} for n in (4, 5)]
    write_log(tmp_path / "log.jsonl", entries)
    plot_learning_curve(tmp_path, tmp_path / "curve.png")
    loss, parts = figures[0].axes
    lines = [{line.get_label(): list(line.get_xdata()) for line in a.lines} for a in (loss, parts)]
    assert lines[0]["training"] == [4, 5]
    assert lines[1] == {"words": [1, 2, 3, 4, 5]}


@pytest.mark.parametrize(("ending", "begins"), [("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_pictures_of_other_kinds(tmp_path, ending, begins):
    write_log(tmp_path / "log.jsonl", [{"step": 50, "loss": 7.5}])
    path = plot_learning_curve(tmp_path, tmp_path / f"curve.{ending}")
    assert path.read_bytes().startswith(begins)
    with pytest.raises(UsageError, match=r"ends in one of: \.png, \.svg, \.pdf"):
        plot_learning_curve(tmp_path, tmp_path / "curve.jpg")


def test_learning_curve_of_a_run_not_yet_validated(tmp_path, figures):
    write_log(tmp_path / "log.jsonl", [{"step": 50, "loss": 7.5}])
    plot_learning_curve(tmp_path, tmp_path / "curve.png")
    assert len(figures[0].axes) == 1


def test_the_later_line_of_a_step_counts_after_a_resume(tmp_path):
    steps = [(1, 9.0), (2, 8.0), (3, 7.0), (2, 6.0), (3, 5.0)]
    write_log(tmp_path / "log.jsonl", [{"step": s, "loss": loss} for s, loss in steps])
    assert read_log(tmp_path)["loss"] == ([1, 2, 3], [9.0, 6.0, 5.0])


def test_a_last_line_cut_by_a_kill_is_left_out(tmp_path):
    write_log(tmp_path / "log.jsonl", [{"step": 1, "loss": 9.0}])
    with open(tmp_path / "log.jsonl", "a") as log:
        log.write('{"step": 2, "lo')
    assert read_log(tmp_path)["loss"] == ([1], [9.0])


def test_a_damaged_line_is_named(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 9}\nnonsense\n{"step": 3}\n')
    with pytest.raises(RunError, match=r"log\.jsonl, line 2: not a JSON object"):
        read_log(tmp_path)
    (tmp_path / "log.jsonl").write_text("no log at all")  # nor the beginning of one
    with pytest.raises(RunError, match=r"log\.jsonl, line 1: not a JSON object"):
        read_log(tmp_path)


def test_no_log_and_no_loss(tmp_path):
    with pytest.raises(UsageError, match=r"log\.jsonl: cannot be read"):
        plot_learning_curve(tmp_path, tmp_path / "curve.png")
    write_log(tmp_path / "log.jsonl", [{"step": 1, "tokens_per_second": 9.0}])
    with pytest.raises(RunError, match="no loss in the log yet"):
        plot_learning_curve(tmp_path, tmp_path / "curve.png")


def test_a_run_that_has_logged_nothing(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    for name in (tmp_path, tmp_path / "log.jsonl"):
        with pytest.raises(RunError, match=r"logged nothing yet.*'training\.log_every'"):
            plot_learning_curve(name, tmp_path / "curve.png")
    with pytest.raises(UsageError, match=r"other\.jsonl: cannot be read"):
        plot_learning_curve(tmp_path / "other.jsonl", tmp_path / "curve.png")
    (tmp_path / "model.safetensors").touch()  # a saved model, no run
    with pytest.raises(UsageError, match=r"log\.jsonl: cannot be read"):
        plot_learning_curve(tmp_path, tmp_path / "curve.png")


def test_smoothing_follows_a_straight_line_exactly():
    line = [3.0 - 0.5 * i for i in range(200)]
    assert learning_curve._smoothed(line) == pytest.approx(line)


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (b"\xff\xfe\x00\x01", UsageError, r"log\.jsonl: cannot be read \(no UTF-8 text\)"),
        (b'{"step": Infinity, "loss": 1}\n', RunError, "line 1: 'step' is infinite"),
        (b'{"step": NaN, "loss": 1}\n', RunError, "line 1: 'step' is infinite or no number"),
        (b'{"step": 1' + b"0" * 400 + b"}\n", RunError, "line 1: 'step' is infinite"),
        (b'{"step": 1, "loss": 1' + b"0" * 400 + b"}\n", RunError, "line 1: 'loss' is infinite"),
        (b'{"step": 1, "loss": 1e308}\n{"step": 2, "loss": -1e308}\n', RunError, r"is 1e\+308"),
    ],
)
def test_numbers_that_cannot_be_drawn(tmp_path, content, error, said):
    (tmp_path / "log.jsonl").write_bytes(content)
    with pytest.raises(error, match=said):
        plot_learning_curve(tmp_path, tmp_path / "curve.png")


def test_figures_that_there_were_not_are_left_out(tmp_path):
    text = '{"step": 1, "loss": NaN}\n{"step": 2, "loss": null}\n{"step": 3, "loss": 1e99}\n'
    (tmp_path / "log.jsonl").write_text(text)
    assert read_log(tmp_path)["loss"] == ([3], [1e99])
    plot_learning_curve(tmp_path, tmp_path / "curve.png")
