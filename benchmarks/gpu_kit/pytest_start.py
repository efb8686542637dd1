"""A pytest plugin that starts each process of a test run as ``start`` starts the others.

A process in which a failure has left the card unusable ends as soon as the failure is reported:
xdist reports that it "crashed" and puts another in its place. Without xdist the run ends there.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

from benchmarks.gpu_kit.start import prepare

prepare()

LOST = 71  # exit status of a process that cannot use the card any more
_unusable: list[str] = []  # why, once that is so


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    from benchmarks.gpu_kit.parts.card import why_unusable

    report = yield
    if report.failed and not _unusable:
        why = why_unusable()
        if why:
            _unusable.append(why)
            report.user_properties.append(("card", f"unusable after it: {why}"))
            if not hasattr(item.config, "workerinput"):
                item.session.shouldstop = f"the card is unusable: {why}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    result = yield  # all reports of the test are sent
    if _unusable and hasattr(item.config, "workerinput"):
        os._exit(LOST)
    return result
