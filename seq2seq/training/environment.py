"""What the environment decides of a run: processes and devices. The configuration alone
decides what its numbers follow from."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from datetime import timedelta

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

from kernels.backend import asked_backend
from seq2seq.config import RunConfig
from seq2seq.environment import process_rank
from seq2seq.errors import UsageError
from seq2seq.precision import device_named
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
_SHARDING = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism configuration",
}
# each launcher that starts several processes tells them how many they are
_COUNTS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
_PATIENCE = timedelta(hours=12)  # of processes that wait while the main one prepares or validates
_NOTHING = ("", "0", "no", "false", "none")


def make_accelerator(config: RunConfig, find_unused: bool) -> Accelerator:
    """accelerate as the configuration asks; what the environment says of precision, accumulation,
    clipping and compilation is set aside, with a warning where it says something else.

    Variables of processes and devices keep their say. Raises UsageError where they ask for what
    would not happen: several processes that are one, or sharded weights.
    """
    options = config.training
    _refuse_what_would_not_happen()
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        # accelerate keeps the device and precision of an earlier run in this process
        AcceleratorState._reset_state(reset_partial_state=True)
    precision = mixed_precision(options.precision, options.device)
    agreed = {
        "ACCELERATE_MIXED_PRECISION": precision,
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": str(options.accumulation),
        "ACCELERATE_GRADIENT_CLIPPING": str(options.clip_norm),
    }
    with _set_aside(agreed), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="OMP_NUM_THREADS")  # each process would say it
        accelerator = Accelerator(
            # on a machine without a GPU accelerate makes one process of several unless it is told
            cpu=device_named(options.device).type == "cpu",
            mixed_precision=precision,
            log_with=tracker_names(options) or None,
            project_dir=config.output,
            kwargs_handlers=[
                DistributedDataParallelKwargs(find_unused_parameters=find_unused),
                InitProcessGroupKwargs(timeout=_PATIENCE),
            ],
        )
    if accelerator.num_processes != int(os.environ.get("WORLD_SIZE", 1)):
        raise UsageError(
            f"WORLD_SIZE is {os.environ.get('WORLD_SIZE')}, and accelerate finds "
            f"{accelerator.num_processes} process; set training.device to what all of them use"
        )
    return accelerator


def _refuse_what_would_not_happen() -> None:
    """Raises UsageError for several processes that would be one, and for sharding."""
    launched = "ACCELERATE_USE_CPU" in os.environ and "MASTER_ADDR" in os.environ
    if launched and not any(name in os.environ for name in _COUNTS):
        # so it is without a GPU, or with --cpu: it sets MASTER_ADDR, and starts a single process
        raise UsageError(
            "accelerate launch was asked for several processes and started one, as it does where "
            "it finds no GPU or is given --cpu; start them with: torchrun --nproc-per-node 2 -m "
            "seq2seq train CONFIG.yaml (or accelerate launch --multi_gpu --num_processes 2, which "
            "works on CPUs, too). If one process is meant, unset MASTER_ADDR"
        )
    for name, what in _SHARDING.items():
        if os.environ.get(name, "").lower() not in _NOTHING:
            raise UsageError(
                f"{name}={os.environ[name]}: {what} splits the weights of one model over "
                "processes, and checkpoints here hold them whole; leave it out: every process "
                "then has all weights and its own batches"
            )


def settings_of(accelerator: Accelerator, config: RunConfig) -> dict[str, str]:
    """What a run's numbers follow from beside its data, as it was decided here."""
    return {
        "number of processes": str(accelerator.num_processes),
        "device": accelerator.device.type,
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
        if asks and process_rank() == 0:
            say(f"warning: {name}={value} is not followed; {_decided_by(name)} decides")
    try:
        yield
    finally:
        os.environ.update(held)


def _decided_by(name: str) -> str | None:
    return next((key for start, key in _DECIDED.items() if name.startswith(start)), None)
