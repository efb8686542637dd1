"""Pictures are written, and what matplotlib complains of is said in a sentence."""

from __future__ import annotations

import warnings

import pytest

pytest.importorskip("matplotlib")

from seq2seq.plotting import new_figure, save_figure


def test_letters_that_the_font_lacks(tmp_path, caplog):
    figure = new_figure()
    figure.subplots().set_title("\u6f22\u5b57")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = save_figure(figure, tmp_path / "a.png")
    assert path.stat().st_size > 0
    told = [record.getMessage() for record in caplog.records]
    assert told == [f"{path}: the font lacks some of the letters; boxes stand for them"]


def test_too_much_for_one_picture(tmp_path, caplog):
    figure = new_figure()
    for axes in figure.subplots(8, 8).flat:
        axes.set_title("a long title")
    figure.set_size_inches(1, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = save_figure(figure, tmp_path / "a.png")
    assert "too much for one picture" in caplog.text and str(path) in caplog.text
