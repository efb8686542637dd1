"""Launches of Triton kernels by keyword, and what does not change over a loop of them found once.

Triton's own dispatch looks at every argument of every launch: 20 to 30 microseconds of Python for
a kernel of 40 parameters. ``Kernel`` looks once for each set of pointers and remembers the compiled
kernel by everything that Triton specialises on: device, dtype and alignment of each pointer, type
of each number (and its divisibility, where the kernel asks), constants, options, Triton's debug
switches. A launch then goes through ``CompiledKernel``, as in Triton's tutorials, so that launch
hooks (Proton) run. Kernels with pre-run hooks, Triton's pipeline hook and the interpreter
always take Triton's own way.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from triton.compiler import CompiledKernel
from triton.runtime.jit import JITFunction

Grid = tuple[int, ...]
Number = int | float
_MOST = 512  # compiled kernels that one Kernel remembers; Triton keeps its own


def on_device(device: torch.device) -> AbstractContextManager[None]:
    """Triton launches on the current device, which need not be the tensors'."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


class Pointers:
    """A named bundle of tensors, looked at once.

    named: a NamedTuple of tensors by the kernel's parameter names, None for what is absent.
    present: stands for what is absent; a pointer must point somewhere, and the kernel's flags keep
    it from being followed.
    """

    def __init__(self, named: Any, present: Tensor) -> None:
        tensors = [present if tensor is None else tensor for tensor in named]
        self.names: tuple[str, ...] = named._fields
        self.tensors = tensors
        self.addresses = [tensor.data_ptr() for tensor in tensors]
        together = 0
        for address in self.addresses:
            together |= address
        aligned: Any = True
        if together % 16:
            aligned = tuple([address % 16 == 0 for address in self.addresses])
        self.key = tuple([tensor.dtype for tensor in tensors]), aligned


class Fixed:
    """``tl.constexpr`` arguments and Triton's options (num_warps, ...), hashed once: who keeps it
    for the next call of the same problem spares that call the hashing."""

    def __init__(self, constants: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self.constants, self.options = constants, options
        self.key = tuple(constants.items()), tuple(options.items())
        self._hash = hash(self.key)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Fixed) and self.key == other.key)


class _Compiled(NamedTuple):
    kernel: Any  # CompiledKernel
    arguments: list[Any]  # in the kernel's order, with the constants in their places


class Kernel:
    """A ``@triton.jit`` function whose pointers are the fields of a NamedTuple.

    Raises TypeError where the function has no parameter of a field's name.
    """

    def __init__(self, function: Any, pointers: type[NamedTuple]) -> None:
        names = list(function.arg_names)
        unknown = [name for name in pointers._fields if name not in names]
        if unknown:
            raise TypeError(
                f"{pointers.__name__}: {function.__name__} has no parameter {', '.join(unknown)}"
            )
        self.function = function
        self.places = {name: place for place, name in enumerate(names)}
        self.of_pointers = [self.places[name] for name in pointers._fields]
        self.compiled: dict[Any, _Compiled] = {}
        self.direct = isinstance(function, JITFunction)
        self.specialised: frozenset[str] = frozenset()  # numbers whose value is looked at
        if self.direct:
            self.specialised = frozenset(
                p.name
                for p in function.params
                if not (p.is_constexpr or p.do_not_specialize or p.name in pointers._fields)
            )

    def bind(
        self,
        pointers: Pointers,
        numbers: Mapping[str, Number],
        fixed: Fixed,
    ) -> Launch:
        """The kernel with all that the launches of a loop share; ``numbers``: those that stay."""
        return Launch(self, pointers, numbers, fixed)


class Launch:
    """Call it with a grid and the numbers that ``bind`` did not get, on the tensors' device."""

    def __init__(
        self,
        kernel: Kernel,
        pointers: Pointers,
        numbers: Mapping[str, Number],
        fixed: Fixed,
    ) -> None:
        self._kernel, self._pointers, self._numbers, self._fixed = kernel, pointers, numbers, fixed
        self._runs: dict[Grid, Any] = {}
        self._arguments: list[Any] = []
        self._compiled: _Compiled | None = None
        self._key: tuple[Any, ...] | None = None
        knobs = triton.knobs
        if (
            not kernel.direct
            or kernel.function.pre_run_hooks
            or knobs.runtime.add_stages_inspection_hook is not None
        ):
            return
        driver = triton.runtime.driver.active
        device = driver.get_current_device()
        self._stream = driver.get_current_stream(device)
        self._key = (
            device,
            pointers.key,
            tuple([_kind(kernel, name, number) for name, number in numbers.items()]),
            fixed,
            knobs.runtime.debug,
            knobs.compilation.instrumentation_mode,
            getattr(knobs.compilation, "fpsan_homomorphic_casts", None),  # Triton 3.9
        )
        self._take(kernel.compiled.get(self._key))

    def __call__(self, grid: Grid, **numbers: int) -> None:
        """``numbers``: integers that the kernel does not specialise on."""
        if self._compiled is None or any(map(_wide, numbers.values())):
            self._by_triton(grid, numbers)
            return
        run = self._runs.get(grid)
        if run is None:
            run = self._runs[grid] = self._compiled.kernel[(*grid, 1, 1)[:3]]
        arguments, places = self._arguments, self._kernel.places
        for name, number in numbers.items():
            arguments[places[name]] = number
        run(*arguments, stream=self._stream)

    def _take(self, compiled: _Compiled | None) -> None:
        if compiled is None:
            return
        self._compiled = compiled
        arguments = compiled.arguments.copy()
        for place, address in zip(self._kernel.of_pointers, self._pointers.addresses, strict=True):
            arguments[place] = address
        for name, number in self._numbers.items():
            arguments[self._kernel.places[name]] = number
        self._arguments = arguments

    def _by_triton(self, grid: Grid, numbers: dict[str, int]) -> None:
        kernel = self._kernel
        looked_at = kernel.specialised.intersection(numbers)
        if looked_at:
            raise TypeError(
                f"{kernel.function.__name__} specialises on {', '.join(sorted(looked_at))}: "
                "expected among the numbers of bind"
            )
        named = dict(zip(self._pointers.names, self._pointers.tensors, strict=True))
        compiled = kernel.function[grid](
            **named, **self._numbers, **numbers, **self._fixed.constants, **self._fixed.options
        )
        known = self._key is not None and isinstance(compiled, CompiledKernel)
        if not known or any(map(_wide, numbers.values())):
            return
        arguments: list[Any] = [None] * len(kernel.places)
        for name, value in self._fixed.constants.items():
            arguments[kernel.places[name]] = value
        if len(kernel.compiled) >= _MOST:
            kernel.compiled.clear()
        kernel.compiled[self._key] = _Compiled(compiled, arguments)
        self._take(kernel.compiled[self._key])


def _kind(kernel: Kernel, name: str, number: Number) -> tuple[Any, ...]:
    """The properties that Triton specialises on, of a number that is not a constant."""
    if not isinstance(number, int):
        return (type(number),)
    if name not in kernel.specialised:
        return type(number), _wide(number)
    return type(number), _wide(number), number == 1, number % 16 == 0


def _wide(number: int) -> bool:
    """Whether it needs more than 32 bits."""
    return not -0x80000000 <= number <= 0x7FFFFFFF
