"""The GPU tests, many at a time: ``gpu_tests JUNIT.xml PATH...`` (or the names of single tests).

A failure is reported as soon as it is known, so that nothing is lost where a later test hangs. A
process stuck in a wait for the card hears no signal: past its time a thread ends it, and xdist puts
another in its place. Shortly before the part's own limit the tests are stopped and counted.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time
from collections import Counter
from types import FrameType

import pytest

from benchmarks.gpu_kit.records import say

PROCESSES = 12
SECONDS = 20  # of one test
BEFORE_THE_END = 10.0  # seconds of the part that are left for totals, at most a third of it
EXIT = 3.0  # seconds that xdist waits for its processes at the end, in place of 10
MOST_NAMES = 40  # failed tests that the tables name; the log has all
GIVEN_UP = "card"  # a property of a report: its process cannot use the card any more


def options(xml: str, tests: list[str]) -> list[str]:
    """What pytest is called with; plug-ins that are not installed are left out."""
    found = ["-v", "--tb=short", "-rfE", "-m", "gpu", "-k", "not inductor", f"--junitxml={xml}"]
    found += ["-p", "no:cacheprovider"]
    if sys.flags.optimize:  # a trial without asserts, which pytest would put back
        found += ["--assert=plain"]
    if importlib.util.find_spec("pytest_timeout") is not None:
        patience = float(os.environ.get("GPU_KIT_PATIENCE", "1"))
        found += ["--timeout", f"{SECONDS * patience:g}", "--timeout-method", "thread"]
    if importlib.util.find_spec("xdist") is not None:  # also for one test, which may hang
        single = all("::" in test for test in tests)
        processes = min(PROCESSES, os.cpu_count() or 1, len(tests) if single else PROCESSES)
        found += ["-n", str(processes), "--dist", "worksteal"]
    return found + tests


class Outcomes:
    """A pytest plug-in that reports each failure at once, and how many tests ended how."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(("passed", "failed", "error", "skipped"), 0)
        self.seen: set[str] = set()  # tests that have a result
        self.bad: Counter[str] = Counter()  # failures by test
        self.collected = 0
        self.told = False  # totals are written

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: object, ids: list[str]) -> None:
        self.collected = len(ids)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.collected = max(self.collected, len(session.items))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.counts["failed" if report.when in ("call", "???") else "error"] += 1
            self._failed(report)
        elif report.skipped:
            self.counts["skipped"] += 1
        elif report.when == "call":
            self.counts["passed"] += 1
        if report.failed or report.skipped or report.when == "call":
            self.seen.add(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.counts["error"] += 1
            self._failed(report)

    def _failed(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        self.bad[report.nodeid] += 1
        card = dict(getattr(report, "user_properties", ())).get(GIVEN_UP)
        row = {"name": report.nodeid, "why": reason(str(report.longrepr))}
        if card is not None:
            row[GIVEN_UP] = card
        print(flush=True)  # pytest's own line has not ended
        if len(self.bad) <= MOST_NAMES:
            say("failed tests", **row)
        else:
            print(row, flush=True)

    def stop(self, number: int, frame: FrameType | None) -> None:
        """The part's time is over: totals first, since the end of pytest may take its time."""
        self.tell("the time is over")
        if importlib.util.find_spec("xdist") is not None:
            from xdist.workermanage import NodeManager

            NodeManager.EXIT_TIMEOUT = EXIT  # some may hang
        raise KeyboardInterrupt

    def pytest_terminal_summary(self) -> None:
        self.tell()

    def tell(self, stopped: str = "") -> None:
        """Writes the totals, once."""
        if self.told:
            return
        self.told = True
        why = [f"{len(self.bad)} test(s) failed"] if self.bad else []
        missing = self.collected - len(self.seen)
        if stopped or missing > 0:
            why.append(f"{missing} of {self.collected} test(s) without a result")
            why += [stopped] if stopped else []
        print(flush=True)
        say("tests", name="pytest", **self.counts, **({"problem": ", ".join(why)} if why else {}))


def reason(text: str) -> str:
    """The first line that pytest marks as the error's, or the first one of all."""
    lines = text.strip().splitlines() or [""]
    marked = (line[1:] for line in lines if line.startswith("E "))
    return next(marked, lines[0]).strip()[:80]


def stop_in_time(outcomes: Outcomes) -> None:
    """Sets the clock by which the runner will end this part."""
    end = os.environ.get("GPU_KIT_END")
    if end is not None:
        left = float(end) - time.monotonic()
        signal.signal(signal.SIGALRM, outcomes.stop)
        signal.setitimer(signal.ITIMER_REAL, max(1.0, left - min(BEFORE_THE_END, left / 3)))


def main(xml: str, tests: list[str]) -> int:
    # Read by pytest here and in the processes it starts.
    os.environ["PYTEST_PLUGINS"] = "benchmarks.gpu_kit.pytest_start"
    outcomes = Outcomes()
    stop_in_time(outcomes)
    try:
        return int(pytest.main(options(xml, tests), plugins=[outcomes]))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], sys.argv[2:]))
