"""flair in a process of its own, under a Python that has it: rounds of work, timed there."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path


class FlairProcess:
    """Starts ``flair_peer.py`` with a model and sentences; a context manager that ends it."""

    def __init__(self, python: str, given: Mapping[str, object]) -> None:
        """``given``: what ``flair_peer`` reads; its "task" is tag or classify."""
        command = [python, str(Path(__file__).with_name("flair_peer.py"))]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.version = json.loads(self._ask(json.dumps(given)))["flair"]

    def __enter__(self) -> FlairProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def seconds(self) -> float:
        """CPU time of one round."""
        return float(self._ask("round"))

    def _ask(self, line: str) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"flair ended with status {self.process.wait()}")
        return answer
