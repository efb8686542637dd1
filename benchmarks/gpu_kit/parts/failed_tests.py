"""The tests that failed in an earlier run, once more: ``failed_tests LOG JUNIT.xml``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from benchmarks.gpu_kit.parts import gpu_tests
from benchmarks.gpu_kit.records import say

# pytest writes "FAILED tests/x.py::name - why", and "tests/x.py::name FAILED [ 5%]" in one process.
_OUTCOME = re.compile(
    r"(?:FAILED|ERROR) (tests/\S+\.py::\S+)|(tests/\S+\.py::\S+) (?:FAILED|ERROR)"
)


def failed(log: str) -> list[str]:
    """Names of the tests that failed, each once, in the order of the log."""
    return list(dict.fromkeys(a or b for a, b in _OUTCOME.findall(log)))


def main(earlier: Path, xml: str) -> int:
    if not earlier.exists():
        say("tests", name="failed before", problem=f"{earlier} is not there: run 'first' before")
        return 0
    names = failed(earlier.read_text(encoding="utf-8", errors="replace"))
    say("tests", name="failed before", count=len(names))
    return gpu_tests.main(xml, names) if names else 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), sys.argv[2]))
