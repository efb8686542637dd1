"""The log of a run: lines for people, ``log.jsonl`` for plots."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.json_files import parse_json, to_json
from seq2seq.training.checkpoints import write_text
from seq2seq.training.learning_curve import LOG_FILE

if TYPE_CHECKING:
    from seq2seq.training.trackers import Trackers


def say(text: str, main: bool = True) -> None:
    """A line on standard error with the time; nothing in the helper processes of a distributed run.

    For what happens before the first step: reading, vocabularies, tokenising.
    """
    if main:
        print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


class RunLog:
    """Writes each record to log.jsonl and shows it: a progress bar on a terminal, plain lines
    elsewhere and with ``quiet``; nothing at all in the helper processes of a distributed run."""

    def __init__(self, folder: Path, *, total: int, quiet: bool, main: bool) -> None:
        self._main, self._bar = main, None
        self._trackers: Trackers | None = None
        self._path = folder / LOG_FILE
        if not main:
            return
        if not quiet and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit="step", dynamic_ncols=True)

    def track(self, trackers: Trackers) -> None:
        """Give the records to trackers, too."""
        self._trackers = trackers

    def record(self, values: dict[str, Any]) -> None:
        """One record, with at least ``step``: to the file, the trackers and the screen."""
        if not self._main:
            return
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(to_json(values, ascii_only=True) + "\n")
        if self._trackers:
            self._trackers.record(values)
        if self._bar is not None and "loss" in values:
            speed = next((key for key in values if key.endswith("_per_second")), None)
            what = "" if speed is None else speed.removesuffix("_per_second")
            told = "" if speed is None else f", {values[speed]:.0f} {what}/s"
            self._bar.set_postfix_str(f"loss {values['loss']:.3f}{told}")
        else:
            self.say("  ".join(f"{k} {_short(v)}" for k, v in values.items()))

    def begin(self) -> None:
        """A new run: records of an attempt that never came to a checkpoint are dropped."""
        if self._main:
            self._path.unlink(missing_ok=True)

    def resume(self, step: int, validated: int) -> None:
        """Go on after ``step``, the last validation having been that of step ``validated``: later
        records are dropped, as they will be written again."""
        if self._main:
            _drop_after(self._path, step, validated)
        self.advance(step)

    def advance(self, step: int) -> None:
        if self._bar is not None:
            self._bar.update(step - self._bar.n)

    def say(self, text: str) -> None:
        """A line on standard error, above the progress bar."""
        if not self._main:
            return
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            say(text)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._trackers:
            self._trackers.close()


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _drop_after(path: Path, step: int, validated: int) -> None:
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = parse_json(line)
            if record["step"] <= (validated if "validation_loss" in record else step):
                kept.append(line + "\n")
        except (ValueError, KeyError):
            pass  # a line cut short when the process was killed
    write_text(path, "".join(kept))
