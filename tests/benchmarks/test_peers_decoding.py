"""The figures of benchmarks/peers_decoding.py."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

from benchmarks import peers, peers_decoding

PEER = """
import sys
def main():
    command, text, output, beam = sys.argv
    assert text.endswith(".pieces.en"), text
    lines = open(text).read().splitlines()
    print("a line of the peer's own")
    sum(i * i for i in range(2_000_000))
    open(output, "w").write("".join(f"{line} {beam}\\n" for line in lines))
"""


def contender(folder: Path) -> peers.Contender:
    def translate(model: Path, text: Path, output: Path, beam: int) -> list[str]:
        return [sys.executable, "-m", "the_peer", str(text), str(output), str(beam)]

    environment = {"PYTHONPATH": str(folder)}
    return peers.Contender("peer", "peer", lambda *_: [], translate, environment, pieces=True)


def test_a_process_that_stays_translates_and_tells_its_time(tmp_path, monkeypatch):
    (tmp_path / "the_peer.py").write_text(PEER)
    (tmp_path / "short.pieces.en").write_text("x\n")
    (tmp_path / "test.pieces.en").write_text("a b\nc\n")
    monkeypatch.setitem(peers_decoding._MODULES, "peer", "the_peer")
    worker = peers_decoding.Worker(contender(tmp_path), tmp_path, threads=1)
    options = argparse.Namespace(rounds=3, test=2)
    found = peers_decoding.timed([worker], tmp_path, 4, options)["peer"]
    worker.close()
    assert (tmp_path / "test.out").read_text() == "a b 4\nc 4\n"
    assert found["subwords"] == 7 and len(found["seconds"]) == 3  # with the ends of two sentences
    assert found["memory_mib"] > 0 and min(found["seconds"]) > 0
    assert found["subwords_per_second"] == pytest.approx(7 / sorted(found["seconds"])[1], rel=0.01)


def test_a_process_that_ends_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "the_peer.py").write_text("def main():\n    raise SystemExit(3)\n")
    monkeypatch.setitem(peers_decoding._MODULES, "peer", "the_peer")
    worker = peers_decoding.Worker(contender(tmp_path), tmp_path, threads=1)
    with pytest.raises(SystemExit, match="peer ended: run"):
        worker.translate(tmp_path / "a", tmp_path / "b", 1)
    worker.close()
