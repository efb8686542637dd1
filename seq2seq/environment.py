"""What the environment must offer before anything runs, and this process's place among several."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from seq2seq.errors import UsageError

_OURS = "attention_decoder"  # stands in this project's kernels/__init__.py and in no other's


def process_rank() -> int:
    """The number of this process among those that train together; 0 where it is alone."""
    world, rank = os.environ.get("WORLD_SIZE", "1"), os.environ.get("RANK", "0")
    return int(rank) if world.isdigit() and int(world) > 1 and rank.isdigit() else 0


def has_met_others() -> bool:
    """Whether this process of several is connected with the others."""
    distributed = sys.modules.get("torch.distributed")
    return distributed is not None and distributed.is_initialized()


def check_kernels() -> None:
    """Raises UsageError where the import name ``kernels`` is that of another package.

    Hugging Face's ``kernels`` (which ``transformers[kernels]`` installs) has the same name, and
    whichever is installed last overwrites the other. Nothing is imported to find out.
    """
    spec = importlib.util.find_spec("kernels")
    if spec is None or spec.origin is None:
        raise UsageError(
            "the package 'kernels' that belongs to seq2seq is not installed; install it again: "
            "pip install --force-reinstall --no-deps recurrent-seq2seq"
        )
    if _OURS in Path(spec.origin).read_text(encoding="utf-8", errors="replace"):
        return
    raise UsageError(
        f"the import name 'kernels' belongs to another package ({spec.origin}; Hugging Face has "
        "one of that name), and both cannot be installed together: pip uninstall kernels, then "
        "pip install --force-reinstall --no-deps recurrent-seq2seq; or use an environment of its "
        "own for each"
    )
