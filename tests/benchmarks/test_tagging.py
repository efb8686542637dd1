"""The benchmark of tagging at a fraction of its size: both contenders give the same labels."""

from __future__ import annotations

from benchmarks import tagging


def test_both_contenders_are_measured():
    results = tagging.measure(rounds=1, sentences=12)
    assert len(results) == 4 and all(value > 0 for value in results.values())
    assert tagging.made_up(5) == tagging.made_up(5)
