"""Loops of launches replayed as CUDA graphs. Opt-in (KERNELS_GRAPHS=1): no GPU has run this yet.

A launch costs Python some microseconds, a node of a graph costs none. But a graph remembers
addresses, and each call brings tensors of its own. So a loop that comes for the second time, with
the same kernels, shapes and stream, is captured on buffers that stay; every call copies into
them, replays, and copies out what the loop wrote. Tensors that overlap do so in the buffers, too.

Nothing is captured while another graph is, or where a barrier is being debugged. Graphs and their
buffers are bounded; the one not used for the longest time goes first.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from kernels.common.capture import capturing
from kernels.common.settings import debug_spins, graphs_wanted

Bundle = TypeVar("Bundle", bound=NamedTuple)
MOST = 16  # graphs
MOST_BYTES = 1 << 30  # of their buffers, all together
_SEEN = 256  # loops that came once
_ALIGNMENT = 16  # what Triton specialises on


class _Place(NamedTuple):
    """Where a tensor lies, whichever memory its region has."""

    region: int
    offset: int  # bytes from the region's beginning
    dtype: torch.dtype
    shape: torch.Size
    strides: tuple[int, ...]


class _Region(NamedTuple):
    """Memory that one tensor takes, or several that overlap."""

    start: int  # address
    size: int  # bytes
    first: Tensor  # begins where the region does


class _Graph:
    """A captured loop and its buffers."""

    def __init__(
        self,
        named: Bundle,
        regions: list[_Region],
        places: list[_Place | None],
        written: frozenset[str],
        loop: Callable[[Bundle], None],
    ) -> None:
        device = regions[0].first.device
        with torch.inference_mode(False):
            self._buffers = [_buffer(region, device) for region in regions]
            tensors = [None if p is None else _view(self._buffers[p.region], p) for p in places]
        own = named._make(tensors)
        changed = {
            p.region for n, p in zip(named._fields, places, strict=True) if n in written and p
        }
        self._changed = sorted(changed)
        self._replay = capture(lambda: loop(own), device)

    def __call__(self, regions: list[_Region]) -> None:
        for buffer, region in zip(self._buffers, regions, strict=True):
            buffer.copy_(_bytes(region))
        self._replay()
        for number in self._changed:
            _bytes(regions[number]).copy_(self._buffers[number])


_lock = threading.RLock()  # a call's copies and its replay must not mix with another's
_graphs: OrderedDict[Hashable, tuple[int, torch.device, _Graph]] = OrderedDict()  # with its bytes
_seen: OrderedDict[Hashable, None] = OrderedDict()


def replay(
    key: Hashable, named: Bundle, written: frozenset[str], loop: Callable[[Bundle], None]
) -> None:
    """``loop(named)``, from a graph where graphs are wanted and the loop came before.

    key: everything besides the tensors that the loop's launches depend on. named: a NamedTuple of
    all tensors that the loop reads or writes, None for absent ones. written: the fields whose
    tensors it writes. The loop allocates nothing and returns nothing.
    """
    device = next(tensor.device for tensor in named if tensor is not None)
    if not graphs_wanted() or not on_gpu(device) or capturing(device) or debug_spins():
        loop(named)
        return
    regions, places = _map(named)
    stream = torch.cuda.current_stream(device).cuda_stream
    layout = tuple([(region.start % _ALIGNMENT, region.size) for region in regions])
    full_key = (key, device, stream, layout, tuple(places))
    size = sum(region.size for region in regions)
    if not regions or size > MOST_BYTES:
        loop(named)
        return
    with _lock:
        if full_key in _graphs:
            _graphs.move_to_end(full_key)
        elif full_key not in _seen:  # compiles, too, which no capture may
            _seen[full_key] = None
            if len(_seen) > _SEEN:
                _seen.popitem(last=False)
            loop(named)
            return
        else:
            del _seen[full_key]
            _make_room(size)
            _graphs[full_key] = size, device, _Graph(named, regions, places, written, loop)
        _graphs[full_key][2](regions)


def clear() -> None:
    """Frees all graphs and their buffers."""
    with _lock:
        while _graphs:
            _drop_oldest()
        _seen.clear()


def on_gpu(device: torch.device) -> bool:
    return device.type == "cuda"


def capture(run: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """``run`` as a graph -> what replays it on the current stream. Other threads may go on using
    the GPU; nothing of ``run`` is executed here."""
    graph = torch.cuda.CUDAGraph()
    stream = torch.cuda.Stream(device)
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        run()
    return graph.replay


def _make_room(size: int) -> None:
    while _graphs and (
        len(_graphs) >= MOST or size + sum(used for used, *_ in _graphs.values()) > MOST_BYTES
    ):
        _drop_oldest()


def _drop_oldest() -> None:
    """The graph may still run, on a stream that is not the current one."""
    torch.cuda.synchronize(next(iter(_graphs.values()))[1])
    _graphs.popitem(last=False)


def _map(named: Bundle) -> tuple[list[_Region], list[_Place | None]]:
    """The memory behind the tensors, and where each lies in it."""
    spans = []
    for number, tensor in enumerate(named):
        if tensor is not None and tensor.numel():
            last = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
            start = tensor.data_ptr()
            spans.append((start, start + (last + 1) * tensor.element_size(), number))
    by_address: list[_Region] = []
    found: dict[int, tuple[int, int]] = {}  # of each tensor, the region and its offset there
    for start, end, number in sorted(spans):
        if by_address and start < by_address[-1].start + by_address[-1].size:
            latest = by_address[-1]
            by_address[-1] = latest._replace(size=max(latest.size, end - latest.start))
        else:
            by_address.append(_Region(start, end - start, named[number]))
        found[number] = len(by_address) - 1, start - by_address[-1].start
    # Addresses change from call to call, the order of the fields does not.
    order = list(dict.fromkeys(found[number][0] for number in sorted(found)))
    places: list[_Place | None] = [None] * len(named)
    for number, (region, offset) in found.items():
        tensor = named[number]
        places[number] = _Place(
            order.index(region), offset, tensor.dtype, tensor.shape, tensor.stride()
        )
    return [by_address[n] for n in order], places


def _buffer(region: _Region, device: torch.device) -> Tensor:
    """Bytes for a region, aligned as it is."""
    shift = region.start % _ALIGNMENT
    return torch.empty(region.size + shift, dtype=torch.uint8, device=device)[shift:]


def _bytes(region: _Region) -> Tensor:
    """The memory itself, as (size,) bytes."""
    first = region.first
    offset = first.storage_offset() * first.element_size()
    view = torch.empty(0, dtype=torch.uint8, device=first.device)
    return view.set_(first.untyped_storage(), offset, (region.size,), (1,))


def _view(buffer: Tensor, place: _Place) -> Tensor:
    """What lies at a place of a region, in a buffer for it."""
    view = torch.empty(0, dtype=place.dtype, device=buffer.device)
    offset = (buffer.storage_offset() + place.offset) // view.element_size()
    return view.set_(buffer.untyped_storage(), offset, place.shape, place.strides)
