"""What ``test_launching.py`` runs in a process of its own, where kernels are compiled and not
interpreted, with a driver that launches nothing: ``python -m tests.kernels.launches``."""

from typing import NamedTuple

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor
from triton import knobs

import kernels
from kernels.bench.no_op_driver import no_op_driver
from kernels.common import launching
from kernels.common.launching import Fixed, Kernel, Pointers
from kernels.recurrence import recurrence
from kernels.recurrence.schedule import use_schedule
from kernels.recurrence.triton_backend import loops


@triton.jit(do_not_specialize=["step", "rate"])
def add_kernel(x, y, step, rate, size, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(y + at, tl.load(x + at, mask=at < size, other=0.0) * rate + step, mask=at < size)


class AddPointers(NamedTuple):
    y: Tensor  # the order of the kernel's parameters does not matter
    x: Tensor | None


ADD = Kernel(add_kernel, AddPointers)
launched: list[tuple] = []  # the launchers' arguments
by_triton: list[dict] = []  # the keywords of calls that took Triton's own way


class Watched:
    """The kernel, which says when it is called."""

    def __init__(self, kernel):
        self.kernel = kernel

    def __getattr__(self, name):
        return getattr(self.kernel, name)

    def __getitem__(self, grid):
        def call(**arguments):
            by_triton.append(arguments)
            return self.kernel[grid](**arguments)

        return call


def add(x, y, step=0, rate=0.5, size=8, block=16, warps=1, grid=(2,)):
    """-> the kernel's arguments in the launch, and whether Triton's dispatch made it."""
    before = len(by_triton)
    launch = ADD.bind(
        Pointers(AddPointers(y=y, x=x), y),
        {"rate": rate, "size": size},
        Fixed({"BLOCK": block}, {"num_warps": warps}),
    )
    launch(grid, step=step)
    given = [a.data_ptr() if isinstance(a, Tensor) else a for a in launched[-1][9:]]
    assert launched[-1][:3] == (*grid, 1, 1)[:3]
    return given, len(by_triton) > before


def test_the_second_launch_is_direct_and_the_same():
    x, y = torch.ones(8), torch.ones(8)
    first, by = add(x, y, step=3)
    assert by and first == [x.data_ptr(), y.data_ptr(), 3, 0.5, 8, 16]
    functions = [entry[5] for entry in launched]
    for grid in ((2,), (3, 4), (1, 2, 3)):
        assert add(x, y, step=3, grid=grid) == (first, False)
    other = torch.ones(8)
    assert add(x, other, step=-7) == ([x.data_ptr(), other.data_ptr(), -7, 0.5, 8, 16], False)
    assert {id(entry[5]) for entry in launched} == {id(functions[0])}  # of one compiled kernel


def test_one_launch_serves_a_loop():
    x, y = torch.ones(8), torch.ones(8)
    numbers, fixed = {"rate": 0.5, "size": 8}, Fixed({"BLOCK": 16}, {"num_warps": 1})
    launch = ADD.bind(Pointers(AddPointers(y=y, x=x), y), numbers, fixed)
    for step in range(5):
        launch((1,), step=step)
    assert len(by_triton) == 1
    assert [entry[9:][2] for entry in launched] == [0, 1, 2, 3, 4]


def test_whatever_specialises_a_kernel_tells_launches_apart():
    x, y = torch.ones(8), torch.ones(8)
    shifted = torch.ones(9)[1:]  # not at a multiple of 16 bytes
    cases = [
        {"x": x, "y": y},
        {"x": shifted, "y": y},
        {"x": x, "y": shifted},
        {"x": x.half(), "y": y},
        {"x": x, "y": y.double()},
        {"x": x, "y": y, "block": 32},
        {"x": x, "y": y, "warps": 2},
        {"x": x, "y": y, "size": 16},  # a multiple of 16
        {"x": x, "y": y, "size": 1},
        {"x": x, "y": y, "rate": 1},  # no float
    ]
    for case in cases:
        assert add(**case)[1], case  # Triton looks at it, and compiles
    kernels_compiled = [len(cache[0]) for cache in add_kernel.device_caches.values()]
    assert kernels_compiled == [len(cases)] and len(ADD.compiled) == len(cases)
    for case in cases:
        assert not add(**case)[1], case
    # These share the kernel of the first.
    for case in ({"size": 7}, {"rate": 0.25}, {"step": 16}, {"step": 1}):
        assert not add(x=x, y=y, **case)[1], case
    assert [len(cache[0]) for cache in add_kernel.device_caches.values()] == kernels_compiled


def test_wide_numbers_go_to_triton():
    x, y = torch.ones(8), torch.ones(8)
    add(x, y)
    for _ in range(2):
        assert add(x, y, step=1 << 31)[1]
    assert not add(x, y, step=(1 << 31) - 1)[1]


def test_what_is_absent_points_to_what_is_there():
    y = torch.ones(8)
    for _ in range(2):
        given, _ = add(None, y)
        assert given[:2] == [y.data_ptr(), y.data_ptr()]


def test_hooks_are_honoured():
    x, y = torch.ones(8), torch.ones(8)
    add(x, y)
    seen: list = []
    knobs.runtime.launch_enter_hook.add(seen.append)  # the driver does not call it
    assert not add(x, y)[1]
    *_, metadata, enter, leave = launched[-1][:9]
    assert metadata.get()["name"] == "add_kernel"
    assert enter is knobs.runtime.launch_enter_hook and leave is knobs.runtime.launch_exit_hook
    ran = []
    add_kernel.add_pre_run_hook(lambda *a, **k: ran.append(1))
    assert add(x, y)[1] and ran == [1]
    add_kernel.pre_run_hooks.clear()
    assert not add(x, y)[1]
    knobs.runtime.launch_enter_hook.remove(seen.append)
    knobs.runtime.debug = True  # compiles with its assertions
    assert add(x, y)[1]


def test_the_memory_of_kernels_is_bounded(monkeypatch):
    monkeypatch.setattr(launching, "_MOST", 2)
    x, y = torch.ones(8), torch.ones(8)
    for block in (16, 32, 64):
        add(x, y, block=block)
    assert len(ADD.compiled) == 1
    assert add(x, y, block=16)[1] and not add(x, y, block=64)[1]


def test_misuse_says_so():
    class Wrong(NamedTuple):
        z: Tensor

    with pytest.raises(TypeError, match="Wrong: add_kernel has no parameter z"):
        Kernel(add_kernel, Wrong)
    y = torch.ones(8)
    launch = ADD.bind(
        Pointers(AddPointers(y=y, x=y), y), {"rate": 0.5, "step": 0}, Fixed({"BLOCK": 16}, {})
    )
    with pytest.raises(TypeError, match="add_kernel specialises on size: expected among"):
        launch((1,), size=8)


def test_a_recurrence_launches_what_it_launched_at_first():
    """Forward and backward pass: a later call is direct, with the same numbers and
    constants, and pointers to its own tensors."""
    for kernel in (loops.FORWARD, loops.BACKWARD):
        kernel.function = Watched(kernel.function)
    for schedule in ("step", "persistent"):
        calls = []
        for _ in range(2):
            launched.clear(), by_triton.clear()
            leaves = [torch.randn(*s, requires_grad=True) for s in ((2, 3, 8), (128, 8), (128, 32))]
            with kernels.use_backend("triton"), use_schedule(schedule):
                recurrence(*leaves)[0].sum().backward()
            calls.append((len(by_triton), [list(entry) for entry in launched]))
        (first, one), (second, other) = calls
        assert first and not second and len(one) == len(other) == (7 if schedule == "step" else 2)
        for a, b in zip(one, other, strict=True):
            assert a[:3] == b[:3] and len(a) == len(b)  # grids
            for x, y in zip(a[9:], b[9:], strict=True):
                x = x.data_ptr() if isinstance(x, Tensor) else x
                assert x == y or min(x, y) > 1 << 20, (x, y)  # addresses, or the same


def main() -> None:
    """Runs every check, each with nothing compiled in memory."""
    for name, check in list(globals().items()):
        if name.startswith("test_"):
            launched.clear(), by_triton.clear()
            ADD.compiled.clear(), add_kernel.device_caches.clear()
            ADD.function = Watched(add_kernel)
            with (
                no_op_driver(lambda *arguments: launched.append(arguments)),
                knobs.runtime.scope(),
                pytest.MonkeyPatch.context() as monkeypatch,
            ):
                check(*[monkeypatch] * check.__code__.co_argcount)
            print(name)


if __name__ == "__main__":
    main()
