"""The GPU tests, many at a time: ``gpu_tests JUNIT.xml PATH...`` (or the names of single tests)."""

from __future__ import annotations

import importlib.util
import os
import sys

from benchmarks.gpu_kit.records import say

PROCESSES = 12
SECONDS = 60  # of one test
MOST_NAMES = 40  # failed tests that the tables name; the log has all


def options(xml: str, tests: list[str]) -> list[str]:
    """What pytest is called with; plug-ins that are not installed are left out."""
    found = ["-v", "--tb=short", "-rfE", "-m", "gpu", "-k", "not inductor", f"--junitxml={xml}"]
    found += ["-p", "no:cacheprovider"]
    if sys.flags.optimize:  # a trial without asserts, which pytest would put back
        found += ["--assert=plain"]
    if importlib.util.find_spec("pytest_timeout") is not None:
        found += ["--timeout", str(SECONDS)]
    processes = min(PROCESSES, (os.cpu_count() or 1))
    if importlib.util.find_spec("xdist") is not None and processes > 1 and len(tests) != 1:
        found += ["-n", str(processes)]
    return found + tests


class Totals:
    """A pytest plug-in that reports how many tests ended how."""

    def pytest_terminal_summary(self, terminalreporter: object) -> None:
        stats = terminalreporter.stats
        bad = [*stats.get("failed", []), *stats.get("error", [])]
        for report in bad[:MOST_NAMES]:
            lines = str(report.longrepr).strip().splitlines()
            why = next((line[1:] for line in reversed(lines) if line.startswith("E ")), "")
            say("failed tests", name=report.nodeid, why=why.strip()[:80])
        names = ("passed", "failed", "error", "skipped")
        counts = {name: len(stats.get(name, [])) for name in names}
        problem = {"problem": f"{len(bad)} test(s) failed"} if bad else {}
        say("tests", name="pytest", **counts, **problem)


def main(xml: str, tests: list[str]) -> int:
    import pytest

    # Read by pytest here and in the processes it starts.
    os.environ["PYTEST_PLUGINS"] = "benchmarks.gpu_kit.pytest_start"
    return int(pytest.main(options(xml, tests), plugins=[Totals()]))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], sys.argv[2:]))
