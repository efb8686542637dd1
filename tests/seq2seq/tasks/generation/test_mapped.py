"""A text larger than memory: the same ids, windows and numbers as of one that fits."""

from __future__ import annotations

import gzip
import random

import numpy as np
import pytest
import torch

from seq2seq import UsageError
from seq2seq.config import config_from_dict
from seq2seq.tasks.generation import reading, text
from seq2seq.tasks.generation.config import TextConfig, UnitsConfig
from seq2seq.tasks.generation.mapped import LargeText, map_text, split_large
from seq2seq.tasks.generation.text import encode_text, large_files, load_text, paths_of, split_text
from seq2seq.tasks.generation.windows import Windows
from seq2seq.text.vocabulary import train_units
from seq2seq.training.loop import train
from tests.seq2seq.running import assert_same_run
from tests.seq2seq.tasks.generation.test_training import settings

ODD = "\ufeffA line.\r\nTwo  words\n\n \t\n\nÄöü 日本🙂, \x0c \u2028 end\n\r\n\n\n"
ODD += "last\u00a0one without its end"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Two files, read in pieces of 64 bytes and encoded in batches of 50 characters."""
    chance = random.Random(1)
    words = ["the", "cat", "sat", "Ünder", "日本", "🙂"]
    lines = [" ".join(chance.choices(words, k=chance.randint(0, 9))) for _ in range(200)]
    (tmp_path / "a.txt").write_bytes(ODD.encode())
    (tmp_path / "b.txt").write_bytes(("\n".join(lines) + "\n").encode())
    (tmp_path / "c.txt").write_bytes(b"")
    monkeypatch.setattr(reading, "CHUNK", 64)
    monkeypatch.setattr("seq2seq.tasks.generation.mapped._AT_ONCE", 50)
    return tmp_path


def both(files, kind, units, part, workers, monkeypatch):
    """The text in memory and as files, each as ids; ``part``: share and streams of validation."""
    monkeypatch.setattr("seq2seq.tasks.generation.mapped.cores", lambda: workers)
    raw = units.kind == "bytes"
    config = TextConfig(train=str(files / "*.txt"), documents=kind)
    small = [load_text(config, "train", raw)]
    paths = tuple(paths_of(config.train, "train"))
    large = [LargeText(paths, kind, raw, "it", files / "cache")]
    if part:
        small, large = list(split_text(small[0], *part)), list(split_large(large[0], *part))
    learned = [train_units((d for d in t[0].documents()), units) for t in (small, large)]
    assert learned[0].files() == learned[1].files()
    documents = kind != "none"
    first = [encode_text(one, learned[0], documents) for one in small]
    second = [map_text(one, learned[0], documents) for one in large]
    return zip(first, second, strict=True)


@pytest.mark.parametrize("kind", ["none", "file", "line", "blank_line"])
@pytest.mark.parametrize("units", ["characters", "bytes", "words", "subwords"])
@pytest.mark.parametrize("part", [None, (0.1, 1), (0.2, 3)])
def test_ids_are_those_of_the_text_in_memory(files, kind, units, part, monkeypatch):
    if part == (0.2, 3) and kind != "none":
        return  # refused, see below
    workers = 2 if units == "words" else 1
    options = UnitsConfig(kind=units, vocab_size=292)
    for small, large in both(files, kind, options, part, workers, monkeypatch):
        assert len(small.pieces) == len(large.pieces)
        for one, other in zip(small.pieces, large.pieces, strict=True):
            assert np.array_equal(one, other)
        assert (large.characters, large.words) == (small.characters, small.words)
        assert (large.documents, large.tokens) == (small.documents, small.tokens)
        assert large.whole.dtype.itemsize <= 2
        windows = [Windows(corpus, 4, 20, 1) for corpus in (small, large)]
        for a, b in zip(*(one.epoch(1, skip=1) for one in windows), strict=True):
            assert torch.equal(a.inputs, b.inputs) and torch.equal(a.targets, b.targets)
            assert (a.resets is None) == (b.resets is None)
            assert a.resets is None or torch.equal(a.resets, b.resets)


def test_a_long_line_is_cut_between_characters(files, monkeypatch):
    monkeypatch.setattr(reading, "_LONGEST_LINE", 100)
    line = "aé日🙂" * 300
    (files / "long").write_text(line)
    found = list(reading.chunks(files / "long", raw=False))
    assert len(found) > 5 and "".join(found) == line
    (files / "long.gz").write_bytes(gzip.compress(line.encode()))
    assert list(reading.chunks(files / "long.gz", raw=False)) == found


def test_mistakes_are_those_of_a_text_in_memory(files):
    good = "a line\n" * 50
    for content in (good.encode() + b"\xff\n", good.encode("utf-16"), b"\xef\xbb\xbfa\n\xff"):
        (files / "bad").write_bytes(content)
        told = []
        for read in (lambda p: text.read(p, False), lambda p: list(reading.chunks(p, False))):
            with pytest.raises(UsageError) as error:
                read(files / "bad")
            told.append(str(error.value))
        assert told[0] == told[1]
    several = LargeText((files / "b.txt",), "line", False, "it", files / "cache", ("train", 0.1, 3))
    with pytest.raises(UsageError, match=r"'data.validation_streams' is 3"):
        list(several.documents())
    (files / "blank").write_text(" \n" * 100)
    with pytest.raises(UsageError, match="it holds no text"):
        list(LargeText((files / "blank",), "none", False, "it", files / "cache").documents())


def test_only_large_files_are_mapped(files, monkeypatch):
    config = TextConfig(train=str(files / "*.txt"))
    assert large_files(config, "train") is None
    monkeypatch.setattr(text, "LARGE", 100)
    assert [path.name for path in large_files(config, "train")] == ["a.txt", "b.txt", "c.txt"]


def test_a_run_is_the_same_and_resumes(tmp_path, monkeypatch):
    """Bit for bit; encoded once."""
    path = tmp_path / "sums.txt"
    path.write_text("".join(f"{a} and {b} make {a + b}\n" for a in range(30) for b in range(30)))
    outputs = [tmp_path / "small", tmp_path / "large"]
    for output, limit in zip(outputs, (1 << 26, 100), strict=True):
        monkeypatch.setattr(text, "LARGE", limit)
        values = settings(path, output, max_steps=14, validate_every=7)
        values["data"] |= {"documents": "line", "cache_dir": str(tmp_path / "cache")}
        train(config_from_dict(values), quiet=True)
    assert_same_run(*outputs)
    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()}
    assert sorted(p.suffix for p in files) == [".ids", ".ids", ".json", ".json"]
    values["training"]["max_steps"] = 20
    train(config_from_dict(values), quiet=True, resume=True)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()} == files
