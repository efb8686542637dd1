"""A model that cannot be saved leaves nothing behind."""

from __future__ import annotations

import pytest

from seq2seq.errors import RunError, UsageError
from seq2seq.saved.directory import replace_files


def refuse(staging):
    (staging / "config.json").write_text("{}")
    raise UsageError("not this one")


def test_no_empty_folder_stays(tmp_path):
    with pytest.raises(UsageError):
        replace_files(tmp_path / "a" / "b" / "model", refuse, ())
    assert not list(tmp_path.iterdir())
    kept = tmp_path / "there"
    kept.mkdir()
    with pytest.raises(UsageError):
        replace_files(kept, refuse, ())
    assert kept.is_dir() and not list(kept.iterdir())  # it was there before


def test_a_name_that_no_folder_can_have(tmp_path):
    with pytest.raises(RunError, match="cannot be written"):
        replace_files(tmp_path / "a" / ("long" * 100), refuse, ())
    assert not list(tmp_path.iterdir())


def test_what_was_written_stays(tmp_path):
    replace_files(tmp_path / "a" / "model", lambda folder: (folder / "x").write_text("1"), ())
    assert (tmp_path / "a" / "model" / "x").read_text() == "1"
