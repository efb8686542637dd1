"""Where the steps of ragged sequences lie when padding is left out.

Sequences are ordered by falling length; step t then concerns the first ``sizes[t]`` of them,
so that a loop over steps works on prefixes and never computes padding (the layout of
``torch.nn.utils.rnn.PackedSequence``). N = sum of the lengths.

Lengths on the CPU cost one copy to the device and no synchronisation; while a CUDA graph is
captured, not even the copy. Lengths on the device are read back, which a graph cannot do:
``masked_lengths.py`` takes their place there.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kernels.common.capture import capturing, filled

ALIGNMENT = 16  # bytes, of what Triton takes for an aligned pointer


class Packing(NamedTuple):
    """Index tensors are int64 and lie on the device of the inputs, but for ``starts`` and
    ``steps_of``, which are int32."""

    batch: int  # B
    steps: int  # T
    sizes: list[int]  # per step, how many sequences are that long
    rows: list[Tensor | None]  # per direction, (N,): the row of each packed step in (B*T, ...);
    #                            None: step after step, every sequence at each
    order: Tensor | None  # (B,) the sequences by falling length; None: as they are
    last: Tensor | None  # (B,) where the final state of each sequence lies in (B + N, H); None:
    #                      in the last B rows
    previous: Tensor | None  # (N,) where the state before each packed step lies in (B + N, H);
    #                          None: in the first N rows
    full: bool  # no padding at all
    starts: Tensor | None = None  # (T'+1,) where each step begins in the N rows; None: at t*B
    steps_of: Tensor | None = None  # (B,) the lengths by falling length; None: all are T


def pack(
    batch: int, steps: int, lengths: Tensor | None, reverse: tuple[bool, ...], device: torch.device
) -> Packing:
    """Lay out (B, T) with ``lengths`` (B,) for directions that run in reverse or not.

    States lie in one buffer of B + N rows: the B initial ones, then those after each step.

    Raises RuntimeError for lengths on the device while a CUDA graph is captured.
    """
    if lengths is None or batch == 0:
        return _pack_equal(batch, steps, reverse, device)
    if not capturing(device):
        return _pack(batch, steps, lengths.to("cpu", torch.int64), reverse, device)
    if lengths.device.type != "cpu":
        raise RuntimeError(
            f"lengths: found on {lengths.device} while a CUDA graph is captured, which cannot "
            "wait for their values; give them on the CPU"
        )
    return _pack_in_capture(batch, steps, lengths.tolist(), reverse, device)


def take(packing: Packing, direction: int, batched: Tensor) -> Tensor:
    """(B, T, ...) -> (N, ...) in the order of the loop; may be a view of ``batched``."""
    rows = packing.rows[direction]
    if rows is None:
        return batched.transpose(0, 1).flatten(0, 1)
    if time_major(batched):
        return batched.transpose(0, 1).flatten(0, 1).index_select(0, _by_time(packing, rows))
    return batched.flatten(0, 1).index_select(0, rows)


def put(packing: Packing, direction: int, packed: Tensor, batched: Tensor) -> None:
    """(N, ...) into (B, T, ...), where padding is left as it is."""
    rows = packing.rows[direction]
    if rows is None:
        batched.transpose(0, 1).copy_(packed.view(packing.steps, packing.batch, *packed.shape[1:]))
        return
    if time_major(batched):
        batched, rows = batched.transpose(0, 1), _by_time(packing, rows)
    batched.view(-1, *batched.shape[2:]).index_copy_(0, rows, packed)


def time_major(batched: Tensor) -> bool:
    """Whether (B, T, ...) lies in memory step by step, as the transpose of (T, B, ...) does."""
    return batched.size(0) > 1 and batched.size(1) > 1 and batched.stride(0) < batched.stride(1)


def empty_like_inputs(inputs: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """(B, T, width) in the order in which the inputs (B, T, I) lie in memory: who reads outputs as
    they came in, (T, B, ...), reads them without a copy, and may call ``view`` on them."""
    batch, steps, _ = inputs.shape
    if time_major(inputs):
        return inputs.new_empty((steps, batch, width), dtype=dtype).transpose(0, 1)
    return inputs.new_empty((batch, steps, width), dtype=dtype)


def _by_time(packing: Packing, rows: Tensor) -> Tensor:
    """Rows of (B*T, ...) -> those of (T*B, ...)."""
    return rows % packing.steps * packing.batch + rows // packing.steps


def final(packing: Packing, dtype: torch.dtype, states: Tensor) -> Tensor:
    """States (D, B+N, H) -> (D, B, H) the last of each sequence, in memory of their own."""
    if packing.last is None:
        return copy_in(dtype, states.narrow(1, states.size(1) - packing.batch, packing.batch))
    return states.index_select(1, packing.last).to(dtype)


def copy_in(dtype: torch.dtype, tensor: Tensor) -> Tensor:
    """A contiguous copy."""
    return tensor.to(dtype, copy=True, memory_format=torch.contiguous_format)


def _pack(
    batch: int, steps: int, lengths: Tensor, reverse: tuple[bool, ...], device: torch.device
) -> Packing:
    """Index tensors are made on the CPU, as one, and copied once."""
    falling, order = lengths.sort(descending=True, stable=True)  # (B,)
    longest = int(falling[0])
    time = torch.arange(longest)[:, None]  # (T', 1)
    active = time < falling  # (T', B)
    sizes = active.sum(1)  # (T',)
    ends = sizes.cumsum(0)
    starts = batch + ends - sizes  # first row of each step in (B + N, ...)
    parts = []
    for backward in reverse:
        at = falling - 1 - time if backward else time.expand(longest, batch)  # (T', B)
        parts.append((order * steps + at)[active])
    states = starts[:, None] + torch.arange(batch)  # (T', B) row of the state after a step
    initial = torch.arange(batch)[None]  # (1, B)
    states = torch.cat([initial, states])  # (T'+1, B)
    last = torch.empty(batch, dtype=torch.int64)
    last[order] = states.gather(0, falling[None])[0]
    begins = torch.cat([ends.new_zeros(1), ends]).to(torch.int32)  # (T'+1,)
    parts += [order, last, states[:-1][active], begins, falling.to(torch.int32)]
    *rows, order, last, previous, begins, steps_of = _copied(parts, device)
    return Packing(
        batch,
        steps,
        sizes.tolist(),
        [*rows],
        order,
        last,
        previous,
        full=bool(longest == steps and falling[-1] == steps),
        starts=begins,
        steps_of=steps_of,
    )


def _copied(parts: list[Tensor], device: torch.device) -> list[Tensor]:
    """``parts``, (n,) each, on ``device``, by one copy.

    Each begins at a multiple of 16 bytes, whatever the lengths: Triton compiles a kernel once more
    for a pointer that does not.
    """
    padded = []
    for part in parts:
        missing = -part.numel() % (ALIGNMENT // part.element_size())
        if missing:
            part = torch.nn.functional.pad(part, (0, missing))
        padded.append(part.view(torch.int64))
    together = torch.cat(padded)
    if device.type == "cuda":  # from pinned memory, so that nobody waits
        together = together.pin_memory().to(device, non_blocking=True)
    pieces = together.split([part.numel() for part in padded])
    both = zip(pieces, parts, strict=True)
    return [piece.view(part.dtype)[: part.numel()] for piece, part in both]


def _pack_in_capture(
    batch: int, steps: int, lengths: list[int], reverse: tuple[bool, ...], device: torch.device
) -> Packing:
    """The same, by kernels on the device: only sizes and the lengths themselves come from here."""
    by_length = sorted(range(batch), key=lambda n: -lengths[n])  # stable
    longest = lengths[by_length[0]]
    sizes = [sum(length > t for length in lengths) for t in range(longest)]
    order, falling = filled([*by_length, *(lengths[n] for n in by_length)], device).split(
        batch
    )  # (B,) each
    time = torch.arange(longest, device=device)
    ends = (time[:, None] < falling).sum(1).cumsum(0)  # (T',)
    starts = torch.cat([ends.new_zeros(1), ends])  # (T'+1,)
    packed = torch.arange(sum(sizes), device=device)  # (N,)
    step = torch.searchsorted(ends, packed, right=True)
    sequence = packed - starts.index_select(0, step)
    rows = []
    for backward in reverse:
        at = falling.index_select(0, sequence) - 1 - step if backward else step
        rows.append(order.index_select(0, sequence) * steps + at)
    # Row of the states before a step, whose initial ones come first.
    before = torch.cat([starts.new_zeros(1), starts[:-1] + batch])  # (T'+1,)
    final_rows = before.index_select(0, falling) + torch.arange(batch, device=device)
    return Packing(
        batch,
        steps,
        sizes,
        rows,
        order,
        torch.empty_like(order).index_copy_(0, order, final_rows),
        before.index_select(0, step) + sequence,
        full=min(lengths) == steps,
        starts=starts.to(torch.int32),
        steps_of=falling.to(torch.int32),
    )


def _pack_equal(batch: int, steps: int, reverse: tuple[bool, ...], device: torch.device) -> Packing:
    rows: list[Tensor | None] = [None] * len(reverse)
    if any(reverse):
        at = torch.arange(batch * steps, device=device).view(batch, steps).t()  # (T, B)
        rows = [at.flip(0).reshape(-1) if backward else None for backward in reverse]
    return Packing(batch, steps, [batch] * steps, rows, None, None, None, full=True)
