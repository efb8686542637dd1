"""Reading text, cutting it into documents and splits, and into windows."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch

from seq2seq.errors import UsageError
from seq2seq.tasks.generation.config import TextConfig, UnitsConfig
from seq2seq.tasks.generation.text import (
    Corpus,
    Text,
    as_documents,
    count_words,
    encode_text,
    load_text,
    split_text,
)
from seq2seq.tasks.generation.windows import Windows
from seq2seq.text.vocabulary import END, train_units


def load(path, raw=False, **options):
    return load_text(TextConfig(train=str(path), **options), "train", raw).pieces


def test_a_file_gzipped_or_not_with_any_line_end(tmp_path):
    text = "Größe\n\nzwei\n"
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert load(tmp_path / "a.txt") == [[text]]
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(text.encode()))
    assert load(tmp_path / "a.txt.gz") == [[text]]
    assert load(tmp_path / "a.txt", raw=True)[0][0].startswith(b"\xef\xbb\xbfGr")


def test_several_files_by_a_pattern_in_order(tmp_path):
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.txt").write_text(name * 3 + "\n")
    assert load(tmp_path / "*.txt") == [["aaa\nbbb\nccc\n"]]
    assert load(tmp_path / "*.txt", documents="file") == [["aaa\n", "bbb\n", "ccc\n"]]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("none", ["a\nb\n\n \nc\n"]),
        ("line", ["a", "b", " ", "c"]),
        ("blank_line", ["a\nb", "c\n"]),
    ],
)
def test_documents(kind, expected):
    text = "a\nb\n\n \nc\n"
    assert as_documents([text], kind, "it").pieces == [expected]
    raw = as_documents([text.encode()], kind, "it").pieces
    assert raw == [[document.encode() for document in expected]]


def test_lines_end_at_line_ends_alone():
    text = "a\x0cb\u2028c\x85d\ne\n"
    assert as_documents([text], "line", "it").pieces == [["a\x0cb\u2028c\x85d", "e"]]
    raw = as_documents([b"a\x0cb\r\ne\r\n"], "line", "it").pieces
    assert raw == [[b"a\x0cb", b"e"]]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"   \n"])
def test_an_empty_file_is_an_error(tmp_path, content):
    (tmp_path / "empty.txt").write_bytes(content)
    with pytest.raises(UsageError, match=r"'data.train': .*empty.txt holds no text"):
        load(tmp_path / "empty.txt")


def test_invalid_utf8_names_the_byte(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes(b"eins\nzwei \xe9t\xe9\n")
    with pytest.raises(
        UsageError, match=r"latin.txt: not UTF-8 text \(byte offset 10, line 2: 0xe9"
    ):
        load(path)
    assert load(path, raw=True) == [[path.read_bytes()]]


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        load(tmp_path / "none.txt")
    with pytest.raises(UsageError, match="is a folder"):
        load(tmp_path)
    (tmp_path / "x.gz").write_bytes(b"no gzip")
    with pytest.raises(UsageError, match="not a whole gzip file"):
        load(tmp_path / "x.gz")
    with pytest.raises(UsageError, match=r"'data.validation' is not set"):
        load_text(TextConfig(train="x"), "validation", False)


def test_the_last_tenth_is_for_validation():
    text = "".join(map(str, range(500)))
    train, validation = split_text(Text([[text]]), 0.1, 1)
    assert train.pieces[0][0] + validation.pieces[0][0] == text
    assert len(train.pieces[0][0]) == int(len(text) * 0.9)


def test_or_the_end_of_each_of_several_streams():
    text = "".join(chr(97 + n % 26) for n in range(1003))
    train, validation = split_text(Text([[text]]), 0.05, 10)
    assert len(train.pieces) == len(validation.pieces) == 10
    whole = "".join(t[0] + v[0] for t, v in zip(train.pieces, validation.pieces, strict=True))
    assert whole == text
    assert [len(v[0]) for v in validation.pieces[:9]] == [5] * 9


def test_whole_documents_are_for_validation():
    documents = [letter * 10 for letter in "abcdefghij"]
    train, validation = split_text(Text([documents]), 0.2, 1)
    assert validation.pieces == [documents[8:]]
    assert train.pieces == [documents[:8]]
    with pytest.raises(UsageError, match="validation_streams"):
        split_text(Text([documents]), 0.2, 5)


def test_a_text_too_short_to_split():
    with pytest.raises(UsageError, match="too short"):
        split_text(Text([["a"]]), 0.1, 1)
    with pytest.raises(UsageError, match="too short"):
        split_text(Text([["abcdefgh"]]), 0.05, 50)


def test_documents_are_parted_by_end():
    units = train_units(["abc"], UnitsConfig())
    corpus = encode_text(Text([["ab", "c"]]), units, documents=True)
    assert corpus.pieces[0].tolist() == [END, 2, 3, END, 4, END]
    # each end is predicted and counts: as a character, and as a line's end does among the words
    assert (corpus.characters, corpus.words) == (3 + 2, 2 + 2)
    words = train_units(["a king\n"], UnitsConfig(kind="words"))
    assert encode_text(Text([["a king\n"]]), words, False).words == 2  # "a" is never predicted
    corpus = encode_text(Text([["ab\nc d\n"]]), train_units(["abcd \n"], UnitsConfig()), False)
    assert (corpus.characters, corpus.words) == (6, 5)  # the first is never predicted


def test_characters_of_bytes_are_those_of_utf8():
    units = train_units([], UnitsConfig(kind="bytes"))
    corpus = encode_text(Text([["aé日🙂".encode()]]), units, False)
    assert corpus.tokens == 10 and corpus.characters == 3


# ------------------------------------------------------------------------------------ windows


def corpus_of(*pieces, documents=False):
    pieces = [np.array(piece, np.int32) for piece in pieces]
    return Corpus(pieces, documents, sum(map(len, pieces)), 1)


def test_windows_follow_one_another_in_every_stream():
    corpus = corpus_of(range(2, 1003))
    windows = Windows(corpus, batch_size=4, bptt=16, seed=1)
    for epoch in range(3):
        found = list(windows.epoch(epoch))
        assert len(found) == windows.len_epoch(epoch)
        inputs = torch.cat([window.inputs for window in found], 1)
        targets = torch.cat([window.targets for window in found], 1)
        assert torch.equal(inputs, torch.arange(2, 1002).view(4, 250))
        assert torch.equal(targets, inputs + 1)
        assert [window.number for window in found] == list(range(len(found)))
        assert all(window.inputs.shape[1] == 16 for window in found[1:-1])
        assert all(window.resets is None for window in found)
    assert len({tuple(windows.cuts(epoch)) for epoch in range(10)}) > 3


def test_skipping_gives_the_rest_of_the_same_epoch():
    for variable in (False, True):
        windows = Windows(corpus_of(range(2, 1003)), 4, 16, seed=1, variable=variable)
        every = list(windows.epoch(5))
        rest = list(windows.epoch(5, skip=7))
        assert [w.number for w in rest] == [w.number for w in every[7:]]
        assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(rest, every[7:], strict=True))


def test_windows_of_varying_length():
    windows = Windows(corpus_of(range(2, 20003)), 4, 70, seed=1, variable=True)
    steps = np.diff(windows.cuts(0))[1:-1]
    assert steps.min() >= 5 and len(set(steps.tolist())) > 10
    assert 60 < steps.mean() < 72


def test_the_state_is_reset_where_documents_and_pieces_begin():
    corpus = corpus_of([END, 5, 6, END, 7, 8, 9, END], [END, 4, 4, 4], documents=True)
    windows = Windows(corpus, batch_size=1, bptt=20, seed=1)
    for window in windows.epoch(0):
        starts = window.inputs == END
        if window.resets is not None:
            assert torch.equal(window.resets, starts)
        else:  # but at the first step of the epoch, where it is empty as it is
            assert not starts[:, 1:].any()
    plain = Windows(corpus_of([5, 6, 7], [8, 9, 9]), 1, 20, seed=3)
    (window,) = [w for w in plain.epoch(0) if w.resets is not None]
    assert window.inputs[window.resets].tolist()[-1] == 8


def test_processes_share_the_streams():
    corpus = corpus_of(range(2, 1003))
    whole = list(Windows(corpus, 4, 16, seed=1).epoch(2))
    parts = [list(Windows(corpus, 4, 16, 1, rank=r, world=2).epoch(2)) for r in (0, 1)]
    for window, one, two in zip(whole, *parts, strict=True):
        assert torch.equal(window.inputs, torch.cat([one.inputs, two.inputs]))
    with pytest.raises(UsageError, match="multiple"):
        Windows(corpus, 3, 16, 1, rank=0, world=2)


def test_a_text_shorter_than_one_window_is_one_stream():
    windows = Windows(corpus_of(range(2, 42)), batch_size=64, bptt=128, seed=1)
    assert windows.streams == 1
    assert sum(window.target_count for window in windows.epoch(0)) == 39
    with pytest.raises(UsageError, match="at least 2"):
        Windows(corpus_of([5]), 64, 128, seed=1)


def test_words_of_a_long_text_are_counted_as_those_of_a_short_one():
    every = "".join(map(chr, range(128)))
    text = (every + " a  b\n" + every[::-1]) * 400
    for long in (text, text.encode(), "x" + text + "x", text + "é"):
        ends = long.count("\n" if isinstance(long, str) else b"\n")
        assert len(long) > 1 << 16 and count_words(long) == len(long.split()) + ends
