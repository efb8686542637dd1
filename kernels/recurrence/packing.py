"""Where the steps of ragged sequences lie when padding is left out.

Sequences are ordered by falling length; step t then concerns the first ``sizes[t]`` of them,
so that a loop over steps works on prefixes and never computes padding (the layout of
``torch.nn.utils.rnn.PackedSequence``). N = sum of the lengths.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Packing:
    sizes: list[int]  # per step, how many sequences are that long
    rows: list[Tensor]  # per direction, (N,): the row of each packed step in (B*T, ...)
    order: Tensor | None  # (B,) the sequences by falling length; None: as they are
    last: Tensor  # (B,) where the final state of each sequence lies in (B + N, H)
    previous: Tensor | None  # (N,) where the state before each packed step lies in (B + N, H);
    #                          None: in the first N rows
    full: bool  # no padding at all
    falling: Tensor | None  # (B,) the lengths by falling length, on the CPU; None: all are T


def pack(
    batch: int, steps: int, lengths: Tensor | None, reverse: tuple[bool, ...], device: torch.device
) -> Packing:
    """Lay out (B, T) with ``lengths`` (B,) for directions that run in reverse or not.

    States lie in one buffer of B + N rows: the B initial ones, then those after each step.
    """
    if lengths is None or batch == 0:
        return _pack_equal(batch, steps, reverse, device)
    lengths = lengths.to("cpu", torch.int64)
    falling, order = lengths.sort(descending=True, stable=True)  # (B,)
    longest = int(falling[0])
    time = torch.arange(longest)[:, None]  # (T', 1)
    active = time < falling  # (T', B)
    sizes = active.sum(1)  # (T',)
    starts = batch + sizes.cumsum(0) - sizes  # first row of each step in (B + N, ...)
    rows = []
    for backward in reverse:
        at = falling - 1 - time if backward else time.expand(longest, batch)  # (T', B)
        rows.append((order * steps + at)[active].to(device))
    states = starts[:, None] + torch.arange(batch)  # (T', B) row of the state after a step
    initial = torch.arange(batch)[None]  # (1, B)
    states = torch.cat([initial, states])  # (T'+1, B)
    last = torch.empty(batch, dtype=torch.int64)
    last[order] = states.gather(0, falling[None])[0]
    previous = states[:-1][active]
    return Packing(
        sizes.tolist(),
        rows,
        order.to(device),
        last.to(device),
        previous.to(device),
        full=bool(longest == steps and falling[-1] == steps),
        falling=falling,
    )


def _pack_equal(batch: int, steps: int, reverse: tuple[bool, ...], device: torch.device) -> Packing:
    at = torch.arange(batch * steps, device=device).view(batch, steps).t()  # (T, B)
    rows = [(at.flip(0) if backward else at).reshape(-1) for backward in reverse]
    last = torch.arange(batch * steps, batch * (steps + 1), device=device)
    return Packing([batch] * steps, rows, None, last, None, full=True, falling=None)
