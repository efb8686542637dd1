"""What the environment decides of a run: processes, devices, sharding. The configuration alone
decides what its numbers follow from."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs

from kernels.backend import asked_backend
from seq2seq.config import RunConfig
from seq2seq.training.log import say
from seq2seq.training.optimizers import mixed_precision
from seq2seq.training.trackers import tracker_names

# Variables by which accelerate (and ``accelerate launch``, which sets them from a file in the home
# folder) would change results, and the key of the configuration that decides in their place.
_DECIDED = {
    "ACCELERATE_MIXED_PRECISION": "training.precision",
    "ACCELERATE_DOWNCAST_BF16": "training.precision",
    "ACCELERATE_FP8_": "training.precision",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "training.accumulation",
    "ACCELERATE_GRADIENT_CLIPPING": "training.clip_norm",
    "ACCELERATE_DYNAMO_": "the program: models are not compiled",
}
_NOTHING = ("", "0", "no", "false", "none")


def make_accelerator(config: RunConfig, find_unused: bool) -> Accelerator:
    """accelerate as the configuration asks; what the environment says of precision, accumulation,
    clipping and compilation is set aside, with a warning where it says something else.

    Variables of processes, devices and sharding (FSDP) keep their say.
    """
    options = config.training
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        # accelerate keeps the device and precision of an earlier run in this process
        AcceleratorState._reset_state(reset_partial_state=True)
    precision = mixed_precision(options.precision, options.device)
    agreed = {
        "ACCELERATE_MIXED_PRECISION": precision,
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": str(options.accumulation),
        "ACCELERATE_GRADIENT_CLIPPING": str(options.clip_norm),
    }
    with _set_aside(agreed):
        return Accelerator(
            cpu=options.device == "cpu",
            mixed_precision=precision,
            log_with=tracker_names(options) or None,
            project_dir=config.output,
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=find_unused)],
        )


def settings_of(accelerator: Accelerator, config: RunConfig) -> dict[str, str]:
    """What a run's numbers follow from beside its data, as it was decided here."""
    return {
        "precision": accelerator.mixed_precision.replace("no", "fp32"),
        "accumulation": str(config.training.accumulation),
        "backend": asked_backend(),
    }


@contextlib.contextmanager
def _set_aside(agreed: dict[str, str]) -> Iterator[None]:
    """Without the variables of ``_DECIDED`` in the environment."""
    held = {
        name: os.environ.pop(name) for name in list(os.environ) if _decided_by(name) is not None
    }
    for name, value in held.items():
        # 1 is what ``accelerate launch`` sets by itself
        usual = ("1",) if name == "ACCELERATE_GRADIENT_ACCUMULATION_STEPS" else _NOTHING
        asks = value.lower() not in (*usual, agreed.get(name, "")) and not name.endswith("_MODE")
        if asks and os.environ.get("RANK", "0") == "0":
            say(f"warning: {name}={value} is not followed; {_decided_by(name)} decides")
    try:
        yield
    finally:
        os.environ.update(held)


def _decided_by(name: str) -> str | None:
    return next((key for start, key in _DECIDED.items() if name.startswith(start)), None)
