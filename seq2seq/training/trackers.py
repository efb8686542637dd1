"""Trackers (TensorBoard, W&B, MLflow, ...) of a run, by accelerate: what log.jsonl gets, they get.

A tracker that cannot start is an error before the first step. One that fails later is left out with
a warning: its service may be down while the run is fine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import GeneralTracker, TensorBoardTracker, get_available_trackers

from seq2seq.config import RunConfig, config_to_dict
from seq2seq.config.training import TrainingConfig
from seq2seq.errors import RunError, UsageError
from seq2seq.training.log import say

TENSORBOARD = "tensorboard"  # the tracker, and its folder in that of the run


def tracker_names(options: TrainingConfig) -> list[str]:
    """The trackers that a configuration asks for. Raises UsageError for one whose package is not
    installed."""
    asked = [*([TENSORBOARD] if options.tensorboard else []), *options.trackers]
    names = list(dict.fromkeys(asked))
    installed = [str(name) for name in get_available_trackers()]
    for name in names:
        if name not in installed:
            extra = "recurrent-seq2seq[tensorboard]" if name == TENSORBOARD else name
            key = "tensorboard" if name not in options.trackers else f"trackers: [{name}]"
            raise UsageError(
                f"training.{key} needs the package {name}, which is not installed (or accelerate "
                f"is too old for it); install it: pip install '{extra}'"
            )
    return names


class Trackers:
    """The trackers of ``accelerator``, whose ``log_with`` names them; nothing in the helper
    processes of a distributed run."""

    def __init__(self, accelerator: Accelerator, config: RunConfig, folder: Path) -> None:
        self._open: list[GeneralTracker] = []
        if not accelerator.log_with:
            return
        names = ", ".join(map(str, accelerator.log_with))
        # TensorBoard's folder is named for the tool, the projects of the others for this one
        accelerator.log_with = [
            TensorBoardTracker(TENSORBOARD, str(folder)) if str(name) == TENSORBOARD else name
            for name in accelerator.log_with
        ]
        try:
            accelerator.init_trackers("seq2seq")
        except Exception as error:  # whatever a service's own package raises
            raise RunError(
                f"training.trackers ({names}): cannot be started ({_reason(error)}); log in there "
                "or mend its settings, or leave it out"
            ) from None
        if not accelerator.is_main_process:
            return
        self._open = list(accelerator.trackers)
        values = dict(_flat(config_to_dict(config)))
        for tracker in self._open[:]:
            # TensorBoard's would be a second run beside the curves
            if tracker.name != TENSORBOARD:
                self._attempt(tracker, "store_init_configuration", values)

    def record(self, values: dict[str, Any]) -> None:
        """The numbers of one record of the log, with at least ``step``."""
        numbers = {
            name: value
            for name, value in values.items()
            if isinstance(value, (int, float)) and name != "step"
        }
        for tracker in self._open[:]:
            self._attempt(tracker, "log", numbers, step=values["step"])

    def close(self) -> None:
        for tracker in self._open[:]:
            self._attempt(tracker, "finish")
        self._open = []

    def _attempt(self, tracker: GeneralTracker, method: str, *values: Any, **named: Any) -> None:
        """Call a method of a tracker; one that fails is not called again."""
        try:
            getattr(tracker, method)(*values, **named)
        except Exception as error:  # whatever a service's own package raises
            self._open.remove(tracker)
            say(
                f"warning: the tracker {tracker.name} failed ({_reason(error)}) and gets nothing "
                "more; the run goes on, and log.jsonl holds everything"
            )


def _reason(error: Exception) -> str:
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _flat(values: dict[str, Any], prefix: str = "") -> Any:
    """(dotted key, plain value) of a configuration: trackers take no lists and no sections."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            plain = value is None or isinstance(value, (bool, int, float, str))
            yield prefix + key, value if plain else str(value)
