"""Several processes: what one has, all get; what one could do alone, all share.

Values travel as JSON: floats arrive exactly, and nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from seq2seq.errors import RunError, ToldElsewhere

Item = TypeVar("Item")


def gathered(accelerator: Accelerator, value: Any) -> list[Any]:
    """The ``value`` of every process (what JSON can hold), in their order; the same list in all."""
    if accelerator.num_processes == 1:
        return [value]
    device = accelerator.device
    text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8).to(device)
    sizes = accelerator.gather(torch.tensor([len(text)], device=device)).tolist()
    room = torch.zeros(1, max(sizes), dtype=torch.uint8, device=device)
    room[0, : len(text)] = text
    rows = accelerator.gather(room).cpu().numpy()  # (processes, longest)
    return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def of_main(accelerator: Accelerator, value: Any) -> Any:
    """What the main process has."""
    return gathered(accelerator, value if accelerator.is_main_process else None)[0]


def shared_map(
    accelerator: Accelerator, function: Callable[[Sequence[Item]], Sequence[Any]], items: list[Item]
) -> list[Any]:
    """``function(items)``, a result for each item, computed by all processes, each for some of the
    items; every process gets all results, in the order of the items. Called in all processes.

    Results are what JSON can hold. With one process this is the call of the function.
    """
    world, rank = accelerator.num_processes, accelerator.process_index
    if world == 1:
        return list(function(items))
    own = items[rank::world]
    parts = gathered(accelerator, list(function(own)) if own else [])
    return [parts[n % world][n // world] for n in range(len(items))]


def keep_buffers_apart(module: nn.Module) -> None:
    """Have a step leave the buffers of each process alone: the loop averages the statistics of
    batch norm itself. Set after DistributedDataParallel was made, whose argument for it is on its
    way out (from PyTorch 2.13 on it warns); so the buffers, alike anyway, are sent around once."""
    if isinstance(module, nn.parallel.DistributedDataParallel):
        module.broadcast_buffers = False


def own_seed(seed: int, rank: int, step: int = 0) -> int:
    """The seed of one process's generator: processes draw different dropout masks."""
    return int(np.random.SeedSequence([seed, rank, step]).generate_state(1, np.uint64)[0] >> 1)


@torch.no_grad()
def average_statistics(accelerator: Accelerator, model: nn.Module) -> None:
    """Give all processes the mean of the statistics (batch norm's) that each gathered."""
    saved = model.state_dict().keys()
    found = [b for name, b in model.named_buffers() if name in saved and b.is_floating_point()]
    if accelerator.num_processes > 1 and found:
        flat = torch.cat([buffer.flatten().float() for buffer in found])
        mean = accelerator.reduce(flat, "mean")
        for buffer, part in zip(found, mean.split([b.numel() for b in found]), strict=True):
            buffer.copy_(part.view_as(buffer))


@contextlib.contextmanager
def losing_none(accelerator: Accelerator) -> Iterator[None]:
    """Where another process ends, the ones that wait for it end with an error, which is told once.

    Raises RunError in the main process, ToldElsewhere in the others.
    """
    try:
        yield
    except RuntimeError as error:
        kinds = (torch.distributed.DistError,) if torch.distributed.is_available() else ()
        lost = isinstance(error, kinds) or "gloo" in str(error) or "onnection closed" in str(error)
        if accelerator.num_processes == 1 or not lost:
            raise
        kind = RunError if accelerator.is_main_process else ToldElsewhere
        reason = str(error).splitlines()[0]
        raise kind(
            f"the other processes of this run cannot be reached any more ({reason})"
        ) from None
