"""Pictures of sentences with their spans."""

from __future__ import annotations

import logging
import warnings

import pytest

from seq2seq import UsageError
from seq2seq.tasks.tagging.plots import plot_spans
from seq2seq.tasks.tagging.tagged import Labels, make_tagged
from seq2seq.text.splitting import split_spaces

pytest.importorskip("matplotlib")


def tagged(text, labels):
    columns = {"ner": Labels(labels.split(), None), "pos": Labels(["N"] * len(text.split()), None)}
    return make_tagged(text, split_spaces(text), columns, {"ner"}, None)


def test_words_types_and_lines(tmp_path):
    one = tagged("Phil $imm$ took four at Lord's", "B-PER I-PER O O O B-LOC")
    long = tagged("word " * 40, "O " * 40)
    path = plot_spans([one, long], tmp_path / "a.svg")
    text = path.read_text()
    assert text.count("<svg") == 1
    assert "<!-- Phil $imm$ -->" in text and "<!-- PER -->" in text and "<!-- LOC -->" in text
    heights = [plot_spans([x], tmp_path / "b.png").stat().st_size for x in (one, long)]
    assert heights[1] > heights[0]


@pytest.mark.parametrize("text", ["वह दिल्ली गया", "他 去 北京"])
def test_letters_that_the_font_lacks_are_told_once(tmp_path, caplog, text):
    with warnings.catch_warnings(record=True) as told, caplog.at_level(logging.WARNING):
        warnings.simplefilter("always")
        plot_spans([tagged(text, "O O B-LOC")], tmp_path / "a.png")
    assert not [one for one in told if "missing from font" in str(one.message)]
    assert [one.message for one in caplog.records] == [
        f"{tmp_path / 'a.png'}: the font lacks some of the letters; boxes stand for them"
    ]


def test_plain_labels_and_mistakes(tmp_path):
    one = tagged("a b", "O B-X")
    text = plot_spans([one], tmp_path / "a.svg", column="pos").read_text()
    assert text.count("<!-- N -->") == 2 and "<!-- X -->" not in text
    with pytest.raises(UsageError, match="no labels 'chunk'; there are ner, pos"):
        plot_spans([one], tmp_path / "a.svg", column="chunk")
    with pytest.raises(UsageError, match="no sentence with words"):
        plot_spans([tagged("", "")], tmp_path / "a.svg")
