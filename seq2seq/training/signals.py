"""Ctrl-C and SIGTERM while a run trains."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def asking_to_stop(ask: Callable[[], None]) -> Iterator[None]:
    """Inside the block the first Ctrl-C or SIGTERM calls ``ask``, which lets the step at hand end;
    a second one stops at once."""

    def first(number: int, _: Any) -> None:
        ask()
        for name, handler in previous.items():
            signal.signal(name, handler)

    try:
        previous = {name: signal.signal(name, first) for name in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals are not ours to handle
        yield
        return
    try:
        yield
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)
