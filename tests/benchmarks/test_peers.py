"""The figures of benchmarks/peers.py."""

from __future__ import annotations

import gzip
import sys

import pytest

from benchmarks import peers


def test_a_figure_is_the_long_run_less_the_short_one():
    short, long = peers.Run(2.0, 100, 3.0), peers.Run(6.0, 300, 9.0)
    slow = peers.Run(20.0, 900, 30.0)
    found = peers.summary([(short, long), (short, slow), (short, long)], targets=800)
    assert found == {
        "subwords_per_second": 200.0,
        "seconds": 4.0,
        "subwords": 800,
        "memory_mib": 300,
    }
    with pytest.raises(SystemExit, match="raise --steps"):
        peers.summary([(long, short)], targets=800)


def test_the_clock_counts_what_a_command_started(tmp_path):
    work = "sum(i * i for i in range(3_000_000))"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{work}'])"
    one = peers.Contender("x", "x", None, None, {}, pieces=False)
    idle = peers.timed([sys.executable, "-c", "pass"], one, tmp_path, 1)
    found = peers.timed([sys.executable, "-c", code], one, tmp_path, 1)
    assert found.cpu > idle.cpu
    with pytest.raises(SystemExit, match="no such thing"):
        peers.timed([sys.executable, "-c", "raise ValueError('no such thing')"], one, tmp_path, 1)


def test_all_read_the_same_subwords(tmp_path):
    data, work = tmp_path / "data", tmp_path / "work"
    data.mkdir()
    words = [f"{a}{b}{c}" for a in "bdfgklmn" for b in "aeiou" for c in "prstvwxz"]
    lines = "\n".join(" ".join(words[i : i + 5]) for i in range(len(words) - 5)) + "\n"
    for name in ("train", "val", "test_2016_flickr"):
        for language in ("en", "de"):
            (data / f"{name}.{language}.gz").write_bytes(gzip.compress(lines.encode()))
    peers.prepare(data, work, test=20, size=600)
    joined = (work / "test.pieces.de").read_text().splitlines()
    assert len(joined) == 20 and len((work / "short.en").read_text().splitlines()) == 2
    assert joined[0].replace(" ", "").replace("▁", " ").strip() == lines.splitlines()[0]
    known = {line.split("\t")[0] for line in (work / "vocabulary.onmt").read_text().splitlines()}
    assert known == set((work / "vocabulary.joey").read_text().splitlines()) - set(peers.SPECIALS)
    assert set(" ".join(joined).split()) <= known
    counted = peers.count_pieces(work, work / "test.de", in_pieces=False)
    assert counted == peers.count_pieces(work, work / "test.pieces.de", in_pieces=True)
