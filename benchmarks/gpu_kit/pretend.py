"""A card that is not there: for filling Triton's cache, and for trying every line of the kit.

The process believes that it has one sm_90 GPU. Triton compiles for it what the process would launch
and launches nothing; with GPU_KIT_COMPILE=0 it does not even compile. Tensors lie in the machine's
memory and say that they are on ``cuda``; matrix products are zeros and clocks stand still. Results
mean nothing; errors, as ratios of two norms, are 0, so that what follows a check runs, too.
Kernels and their specialisation are those of the real card, since the real calls are made: sizes,
strides, alignments (both allocators align to 16 bytes at least), dtypes and options are the same.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch._dynamo  # it must see torch as it is

CAPABILITY = (9, 0)
CARD = SimpleNamespace(
    name="pretended card (sm_90)",
    major=9,
    minor=0,
    multi_processor_count=132,
    shared_memory_per_block_optin=227 * 1024,
    shared_memory_per_multiprocessor=228 * 1024,
    total_memory=80 << 30,
    L2_cache_size=50 << 20,
    warp_size=32,
    max_threads_per_multi_processor=2048,
    regs_per_multiprocessor=65536,
)
FACTORIES = (
    "empty zeros ones full tensor as_tensor arange rand randn randint randperm linspace eye "
    "empty_like zeros_like ones_like full_like rand_like randn_like empty_strided scalar_tensor"
).split()
UNWRITTEN = ("empty", "empty_like")
METHODS = "to new_empty new_zeros new_ones new_full new_tensor".split()

_kept: list[Any] = []  # overrides of products, which last as long as this list does


def pretend() -> None:
    """Changes this process for good; a second call changes nothing."""
    if _kept:
        return
    warnings.filterwarnings("ignore", "(?s).*only once for all operators", UserWarning)
    _cuda()
    _tensors()
    _products()
    _libraries()
    _triton()


def _here(device: Any) -> Any:
    """A device named cuda is this machine's memory."""
    if isinstance(device, (str, torch.device)):
        return "cpu" if str(device).startswith("cuda") else device
    return "cpu" if type(device) is int else device


def _redirected(function: Any) -> Any:
    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        if "device" in options:
            options["device"] = _here(options["device"])
        return function(*arguments, **options)

    return call


class _AnyGenerator(type):
    plain = torch.Generator

    def __call__(cls, device: Any = "cpu") -> torch.Generator:
        return _AnyGenerator.plain(_here(device))

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, _AnyGenerator.plain)


class _Generator(metaclass=_AnyGenerator):
    """torch.Generator for any device; still a class, since annotations name it."""


def _tensors() -> None:
    for name in FACTORIES:  # what a kernel leaves unwritten is 0, or training would end at a NaN
        made = getattr(torch, name.replace("empty", "zeros")) if name in UNWRITTEN else None
        setattr(torch, name, _redirected(made or getattr(torch, name)))
    for name in METHODS:
        method = _redirected(getattr(torch.Tensor, name.replace("empty", "zeros")))

        def moved(tensor: Any, *arguments: Any, method: Any = method, **options: Any) -> Any:
            devices = (str, torch.device)
            arguments = tuple(_here(a) if isinstance(a, devices) else a for a in arguments)
            return method(tensor, *arguments, **options)

        setattr(torch.Tensor, name, moved)
    torch.Generator = _Generator
    torch.Tensor.cuda = lambda tensor, *arguments, **options: tensor
    torch.Tensor.pin_memory = lambda tensor, *arguments: tensor
    torch.nn.Module.cuda = lambda module, *arguments: module
    turns = itertools.cycle((0.0, 1.0))  # (found - truth).norm() / truth.norm()
    torch.Tensor.norm = lambda tensor, *arguments, **options: torch.tensor(next(turns))
    cuda = torch.device("cuda", 0)
    torch.Tensor.device = property(lambda tensor: cuda)
    torch.Tensor.is_cuda = property(lambda tensor: True)
    torch.Tensor.is_cpu = property(lambda tensor: False)


class Event:
    def __init__(self, *arguments: Any, **options: Any) -> None:
        pass

    def record(self, *arguments: Any) -> None:
        pass

    wait = synchronize = record

    def query(self) -> bool:
        return True

    def elapsed_time(self, other: Event) -> float:
        return 1.0


class Stream(Event):
    cuda_stream = 0
    wait_stream = wait_event = Event.record

    def is_capturing(self) -> bool:
        return False

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *arguments: Any) -> None:
        pass


class Graph(Event):
    replay = reset = capture_begin = capture_end = Event.record
    pool = staticmethod(lambda: (0, 0))


def _cuda() -> None:
    nothing, zero = (lambda *arguments, **options: None), (lambda *arguments, **options: 0)
    stream, own = Stream(), torch.cuda
    own.is_available = own.is_initialized = own.is_bf16_supported = lambda *arguments: True
    own.device_count = torch.accelerator.device_count = lambda: 1
    torch.accelerator.is_available = lambda: True
    torch.accelerator.current_accelerator = lambda *arguments, **options: torch.device("cuda")
    torch.accelerator.current_device_index = lambda: 0
    torch.accelerator.current_stream = lambda *arguments: stream
    torch.accelerator.synchronize = torch.accelerator.set_stream = nothing
    own.get_device_capability = lambda *arguments: CAPABILITY
    own.get_device_properties = lambda *arguments: CARD
    own.get_device_name = lambda *arguments: CARD.name
    own.is_current_stream_capturing = lambda: False
    own.get_rng_state = lambda *arguments: torch.get_rng_state()
    own.get_rng_state_all = lambda: []
    own.mem_get_info = lambda *arguments: (79 << 30, 80 << 30)
    own.memory_stats = lambda *arguments: {}
    own.current_stream = own.default_stream = lambda *arguments: stream
    own.device = own.stream = own.graph = lambda *arguments, **options: contextlib.nullcontext()
    own.Event, own.Stream, own.CUDAGraph = Event, Stream, Graph
    for name in "synchronize set_device init _lazy_init empty_cache _sleep reset_peak_memory_stats \
manual_seed manual_seed_all set_rng_state_all set_rng_state ipc_collect".split():
        setattr(own, name, nothing)
    for name in "current_device memory_allocated max_memory_allocated memory_reserved \
max_memory_reserved".split():
        setattr(own, name, zero)


def _products() -> None:
    """Zeros in place of matrix products, whoever asks for them."""
    library = torch.library.Library("aten", "IMPL")

    def two(a: Any, b: Any, *rest: Any) -> Any:
        return a.new_zeros(a.size(0), b.size(1), dtype=a.dtype)

    def batched(a: Any, b: Any, *rest: Any) -> Any:
        return a.new_zeros(a.size(0), a.size(1), b.size(2), dtype=a.dtype)

    made = {
        "mm": two,
        "bmm": batched,
        "mv": lambda a, v: a.new_zeros(a.size(0)),
        "addmm": lambda c, a, b, **scales: two(a, b),
        "baddbmm": lambda c, a, b, **scales: batched(a, b),
    }
    for name, function in made.items():
        library.impl(name, function, "CPU")
    for name in ("mm.out", "bmm.out", "addmm.out", "baddbmm.out"):
        library.impl(name, lambda *arguments, out, **scales: out.zero_(), "CPU")
    for name in ("addmm_", "baddbmm_"):
        library.impl(name, lambda c, *arguments, **scales: c, "CPU")
    _kept.append(library)


def _libraries() -> None:
    """cuDNN's layers: outputs of the right shape, with a gradient for everything."""

    def layer(module: Any, inputs: Any, state: Any = None) -> Any:
        directions = 1 + module.bidirectional
        if isinstance(inputs, torch.nn.utils.rnn.PackedSequence):
            data = _touched(inputs.data, module)[:, None].expand(
                -1, directions * module.hidden_size
            )
            return inputs._replace(data=data * 1), None
        first = _touched(inputs, module)
        return first[..., None].expand(*first.shape, directions * module.hidden_size) * 1, None

    for kind in (torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN):
        kind.forward = layer
    torch.compile = lambda function=None, **options: function or (lambda inner: inner)
    torch.backends.cudnn.version = lambda: 0


def _touched(inputs: Any, module: Any) -> Any:
    return inputs[..., 0] + sum(parameter.flatten()[0] for parameter in module.parameters())


def _triton() -> None:
    """A driver of an sm_90 card that loads and launches nothing; counts hits and compilations."""
    from triton import knobs
    from triton.runtime import driver

    from kernels.bench.no_op_driver import NoOpDriver

    driver.set_active(NoOpDriver(lambda *arguments, **options: None))
    if os.environ.get("GPU_KIT_COMPILE", "1") == "0":
        _compile_nothing()
    else:
        _count(knobs)


def _compile_nothing() -> None:
    """A kernel that does nothing in the place of each that would be compiled: a dry run."""
    from triton import compiler

    class Kernel(SimpleNamespace):
        def __getitem__(self, grid: Any) -> Any:
            return self.run

    def compiled(source: Any, target: Any = None, options: Any = None, **others: Any) -> Kernel:
        return Kernel(
            src=source,
            name=source.name,
            metadata=SimpleNamespace(**{"shared": 0, "num_warps": 4, **(options or {})}),
            function=1,
            packed_metadata=(4, 1, 0),
            launch_metadata=lambda *arguments: None,
            run=lambda *arguments, **named: None,
            n_regs=0,
            n_spills=0,
        )

    compiler.compile = compiled


def _count(knobs: Any) -> None:
    """Adds a line for each kernel to the file that GPU_KIT_COMPILED names."""
    path = os.environ.get("GPU_KIT_COMPILED")
    if path is None:
        return

    def seen(*, src: Any, metadata: Any, times: Any, cache_hit: bool, **others: Any) -> None:
        spent = times.ir_initialization + sum(t for _, t in times.lowering_stages)
        found = {"kernel": src.name, "hit": cache_hit, "seconds": round(spent / 1e6, 2)}
        # At once, in one write: the process may be killed, and others add to the file.
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(found | {"hash": metadata["hash"]}) + "\n")

    knobs.compilation.listener = seen
