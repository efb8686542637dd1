"""Recurrences with lengths while a CUDA graph is captured.

No graph is captured here: ``capturing`` says yes. Numbers come from the CPU; that nothing waits for
the device, and nothing is copied to it, is seen on meta tensors, whose values nobody can read.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import kernels.backend
import kernels.common.capture
import kernels.common.launching
from kernels import recurrence, use_backend
from kernels.common import lengths as lengths_module
from kernels.recurrence import masked_lengths, operation, packing
from kernels.recurrence.packing import pack
from tests.kernels.recurrences import assert_close, bound, call, make, options_of, run

LENGTHS = [4, 0, 3, 1, 4]
CPU = torch.device("cpu")


class NoWaiting(TorchDispatchMode):
    """Fails where a value is read from the device, or a tensor goes from one device to another."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func.namespace == "kernels":  # what the operator does, not its fake
            with self:
                return func._op_dk(torch._C.DispatchKey.CompositeExplicitAutograd, *args, **kwargs)
        name = func.__name__.split(".")[0]
        assert name not in ("_local_scalar_dense", "nonzero", "masked_select", "equal"), name
        tensors = [t for t in (*args, *kwargs.values()) if isinstance(t, torch.Tensor) and t.dim()]
        devices = {t.device.type for t in tensors}
        if name == "_to_copy" and kwargs.get("device") is not None:
            devices.add(kwargs["device"].type)
        assert len(devices) < 2, f"{name} across {devices}"
        if name == "index":  # by a mask: as many results as it has ones
            assert all(i is None or i.dtype != torch.bool for i in args[1])
        return func(*args, **kwargs)


@pytest.fixture
def capture(monkeypatch):
    for module in (packing, operation, lengths_module):
        monkeypatch.setattr(module, "capturing", lambda device: True)


def test_outside_a_capture_the_cpu_captures_nothing():
    assert not kernels.common.capture.capturing(CPU)


@pytest.mark.parametrize("lengths", [LENGTHS, [0, 0, 0], [4, 4], [1], [2, 3, 3, 1]])
@pytest.mark.parametrize("reverse", [(False,), (True,), (False, True)])
def test_lengths_on_the_cpu_are_packed_by_kernels_alone(lengths, reverse, monkeypatch):
    given = torch.tensor(lengths)
    expected = pack(len(lengths), 4, given, reverse, CPU)
    monkeypatch.setattr(packing, "capturing", lambda device: True)
    found = pack(len(lengths), 4, given, reverse, CPU)
    with NoWaiting():
        pack(len(lengths), 4, given, reverse, torch.device("meta"))
    assert (found.sizes, found.full) == (expected.sizes, expected.full)
    for name in ("order", "last", "previous", "starts", "steps_of"):
        one, other = getattr(found, name), getattr(expected, name)
        assert torch.equal(one, other) and one.dtype == other.dtype, name
    assert all(torch.equal(a, b) for a, b in zip(found.rows, expected.rows, strict=True))


@pytest.mark.parametrize("captured", [False, True])
def test_what_kernels_read_begins_at_a_multiple_of_16_bytes(captured, monkeypatch):
    """Triton compiles a kernel once more for each pointer that is now aligned and now is not."""
    monkeypatch.setattr(packing, "capturing", lambda device: captured)
    generator = torch.Generator().manual_seed(0)
    for batch in (1, 2, 3, 5, 8, 35):
        for steps in range(1, 12):
            given = torch.randint(steps + 1, (batch,), generator=generator)
            found = pack(batch, steps, given, (False, True), CPU)
            tensors = [found.order, found.last, found.previous, found.starts, found.steps_of]
            for tensor in (*tensors, *found.rows):
                assert tensor.data_ptr() % 16 == 0, given.tolist()
                assert tensor.is_contiguous()


def test_lengths_on_the_gpu_cannot_be_packed(capture):
    lengths = torch.tensor(LENGTHS, device="meta")
    with pytest.raises(RuntimeError, match=r"captured, which cannot wait.*give them on the CPU"):
        pack(5, 4, lengths, (False,), torch.device("meta"))


@pytest.mark.parametrize("where", ["cpu", "meta"])
@pytest.mark.parametrize("directions", [0, 2])
@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_nothing_waits_for_the_device(capture, monkeypatch, backend, directions, where):
    """Forward and backward pass; the kernels themselves are not launched."""
    bind = lambda *bound: lambda grid, **numbers: None  # noqa: E731
    monkeypatch.setattr(kernels.common.launching.Kernel, "bind", bind)
    monkeypatch.setattr(kernels.backend, "_why_no_triton", lambda *_: None)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)  # has no "meta"
    made = make("lstm", 5, 4, 3, 20, directions=directions)
    options = options_of("lstm", 5, 4, 20, directions)
    made = {k: v.to("meta", torch.float32).requires_grad_() for k, v in made.items()}
    options = {k: v.to("meta") if isinstance(v, torch.Tensor) else v for k, v in options.items()}
    lengths = torch.tensor(LENGTHS, device=where)
    with use_backend(backend), NoWaiting():
        outputs, hidden, cell = call(made, lengths=lengths, **options)
        total = outputs.sum() + hidden.sum() + cell.sum()
        torch.autograd.grad(total, list(made.values()))


def masked(monkeypatch):
    """The operators take lengths on the CPU for such on the GPU."""
    monkeypatch.setattr(operation, "_on_cpu", lambda lengths: False)


@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh"])
@pytest.mark.parametrize("directions", [0, 2])
@pytest.mark.parametrize("everything", [False, True])
def test_lengths_on_the_gpu_are_masked(capture, monkeypatch, backend, kind, directions, everything):
    """Also with recurrent dropout, zoneout masks and resets; nothing waits for the device."""
    masked(monkeypatch)
    arguments = make(kind, 5, 4, 3, 20, directions=directions)
    options = {"kind": kind, "lengths": torch.tensor(LENGTHS)}
    if everything:
        options |= options_of(kind, 5, 4, 20, directions)
    truth = run("reference", arguments, **options)
    found = run(backend, arguments, torch.float32, **options)
    assert_close(found, truth, bound(torch.float32, 4))


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_a_projected_lstm_is_masked_in_both_of_its_sizes(capture, monkeypatch, backend):
    masked(monkeypatch)
    arguments = make("lstm", 5, 4, 3, 6, directions=2, projected=2)
    options = options_of("lstm", 5, 4, 6, 2, 2) | {"lengths": torch.tensor(LENGTHS)}
    truth = run("reference", arguments, **options)
    found = run(backend, arguments, torch.float32, **options)
    assert_close(found, truth, 3 * bound(torch.float32, 4))


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_what_stands_in_the_padding_does_not_matter(capture, monkeypatch, backend, recompute):
    masked(monkeypatch)
    made = {k: v.float() for k, v in make("lstm", 5, 4, 3, 20, norm=True).items()}
    lengths = torch.tensor(LENGTHS)
    padded = masked_lengths.padding(lengths, 4)
    results = []
    for filling in (0.0, float("nan")):
        leaves = {k: v.clone().requires_grad_() for k, v in made.items()}
        inputs = leaves["inputs"].masked_fill(padded[:, :, None], filling)
        own = {k: v for k, v in leaves.items() if k != "inputs" and "gain" not in k}
        own = {k: v for k, v in own.items() if "shift" not in k}
        with use_backend(backend):
            outputs, hidden, cell = recurrence(inputs, **own, lengths=lengths, recompute=recompute)
        total = outputs.square().sum() + hidden.sum() + cell.sum()
        grads = torch.autograd.grad(total, [leaves["inputs"], *own.values()])
        results.append([outputs, hidden, cell, *grads])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert results[0][0][padded].eq(0).all()


def test_expected_zoneout_says_what_to_do(capture, monkeypatch):
    masked(monkeypatch)
    made = {k: v.float() for k, v in make("lstm", 5, 4, 3, 20).items()}
    with (
        use_backend("torch"),
        pytest.raises(RuntimeError, match=r"zoneout in expectation.*give lengths on the CPU"),
    ):
        recurrence(**made, lengths=torch.tensor(LENGTHS), zoneout=(0.1, 0.1))


def test_a_masked_forward_pass_is_recognised_by_its_backward_pass(monkeypatch):
    """The forward pass was captured, the backward pass is not."""
    masked(monkeypatch)
    made = {k: v.float().requires_grad_() for k, v in make("gru", 5, 4, 3, 20).items()}
    lengths = torch.tensor(LENGTHS)
    grads = []
    for captured in (False, True):
        with monkeypatch.context() as patch, use_backend("torch"):
            patch.setattr(operation, "capturing", lambda device, now=captured: now)
            outputs, *_ = recurrence(**made, kind="gru", lengths=lengths)
        grads.append(torch.autograd.grad(outputs.square().sum(), list(made.values())))
    assert_close(grads[1], grads[0], bound(torch.float32, 4))
    with monkeypatch.context() as patch, use_backend("torch"):
        outputs, *_ = recurrence(**made, kind="gru", lengths=lengths)
        patch.setattr(operation, "capturing", lambda device: True)
        with pytest.raises(RuntimeError, match="capture both"):
            outputs.sum().backward()
