"""What the demos of all tasks share: their option, and the exit statuses of the commands."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from seq2seq.errors import RunError, UsageError


def main(task: str, description: str, output: str, run: Callable[[Path], object]) -> None:
    """Run a demo whose only option is the folder that it writes into, by default ``output``."""
    parser = argparse.ArgumentParser(prog=f"seq2seq demo {task}", description=description)
    parser.add_argument("--output", type=Path, default=Path(output))
    arguments = parser.parse_args()
    with exit_statuses():
        run(arguments.output)


@contextlib.contextmanager
def exit_statuses() -> Iterator[None]:
    """Errors become a sentence and exit status 2 (misuse) or 1, Ctrl-C becomes 130."""
    try:
        yield
    except (UsageError, RunError) as error:
        print(f"demo: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
