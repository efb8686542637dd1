import json
import math
import sys

import numpy
import pytest

from seq2seq import plots
from seq2seq.errors import RunError, UsageError
from seq2seq.plots import plot_attention, plot_learning_curve, read_log

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


def write_log(path, entries):
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def test_attention_picture(tmp_path, figures):
    table = weights(len(TARGET), len(SOURCE))
    path = plot_attention(table, SOURCE, TARGET, tmp_path / "new" / "attention.png")
    assert path.read_bytes().startswith(PNG)
    axes = figures[0].axes[0]
    assert numpy.allclose(axes.images[0].get_array(), table)
    columns = [text.get_text() for text in axes.get_xticklabels()]
    assert columns == ["A", "dog", "run", "·s", "for", "$", "·5"]


def test_attention_has_a_row_for_the_end(tmp_path, figures):
    plot_attention(weights(len(TARGET) + 1, len(SOURCE)), SOURCE, TARGET, tmp_path / "a.png")
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


def test_no_log_and_no_loss(tmp_path):
    with pytest.raises(UsageError, match=r"log\.jsonl: cannot be read"):
        plot_learning_curve(tmp_path, tmp_path / "curve.png")
    write_log(tmp_path / "log.jsonl", [{"step": 1, "tokens_per_second": 9.0}])
    with pytest.raises(RunError, match="no loss in the log yet"):
        plot_learning_curve(tmp_path, tmp_path / "curve.png")


def test_smoothing_follows_a_straight_line_exactly():
    line = [3.0 - 0.5 * i for i in range(200)]
    assert plots._smoothed(line) == pytest.approx(line)


def test_matplotlib_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"need matplotlib.*recurrent-seq2seq\[plots\]"):
        plot_attention(weights(1, 1), ["▁a"], ["▁b"], tmp_path / "a.png")


def test_picture_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        plot_attention(weights(1, 1), ["▁a"], ["▁b"], tmp_path / "file" / "a.png")
