"""linear_cross_entropy in Triton against float64, in Triton's interpreter (on a GPU: compiled)."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.backend import use_backend
from kernels.loss import linear_cross_entropy, triton_backend
from tests.kernels.test_loss import make, run

INTERPRETED = not torch.cuda.is_available()
DEVICE = "cpu" if INTERPRETED else "cuda"


@pytest.fixture(autouse=True)
def poisoned():
    """Fresh memory holds NaN: what a kernel forgets to write shows."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


def compare(tensors, targets, dtype=torch.float32, factor=50, **options):
    """``factor`` roundings: as for the torch backend."""
    loss, grads = run("reference", torch.float64, tensors, targets, **options)
    on_device = [t.to(DEVICE) for t in tensors]
    found, found_grads = run("triton", dtype, on_device, targets.to(DEVICE), **options)
    tolerance = factor * torch.finfo(dtype).eps
    assert (found.cpu() - loss).norm() <= tolerance * loss.norm()
    for a, b in zip(found_grads, grads, strict=True):
        assert (a.cpu() - b).norm() <= tolerance * b.norm()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("chunk", [52 * 3, 1 << 20])  # three rows a chunk, and all
def test_equals_the_reference(monkeypatch, smoothing, reduction, with_bias, chunk):
    monkeypatch.setattr(triton_backend, "_CHUNK_BYTES", chunk)
    monkeypatch.setattr(triton_backend, "_BLOCK", 8)  # two blocks of words, the last one ragged
    hidden, weight, bias, targets = make()
    tensors = (hidden, weight, bias) if with_bias else (hidden, weight)
    compare(tensors, targets, label_smoothing=smoothing, reduction=reduction)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    rows=st.integers(1, 6),
    size=st.integers(1, 9),
    words=st.integers(1, 40),
    reduction=st.sampled_from(["mean", "none"]),
)
def test_any_sizes(rows, size, words, reduction):
    *tensors, targets = make(rows, size, words)
    compare(tensors, targets, label_smoothing=0.3, reduction=reduction)


def test_no_rows():
    hidden, weight = torch.zeros(0, 3, device=DEVICE), torch.zeros(4, 3, device=DEVICE)
    loss, grads = run("triton", torch.float32, (hidden, weight), torch.zeros(0).long().to(DEVICE))
    assert loss == 0 and all(g.eq(0).all() for g in grads)


def test_half_precision():
    """The loss of 64 rows is an average of their roundings; gradients are rounded as logits, as
    probabilities and as results."""
    hidden, weight, bias, targets = make(64, 32, 50, seed=2)
    compare((hidden, weight / 6, bias), targets, dtype=torch.float16, factor=4, label_smoothing=0.1)


def test_no_targets_give_zero_loss_and_zero_gradients():
    *tensors, targets = make()
    tensors = [t.to(DEVICE) for t in tensors]
    loss, grads = run("triton", torch.float32, tensors, targets.fill_(-100).to(DEVICE))
    assert loss == 0 and all(g.eq(0).all() for g in grads)


def test_ignored_rows_may_hold_anything():
    hidden, weight, bias, targets = make()
    clean = [t.to(DEVICE) for t in (hidden, weight, bias)]
    expected = run("triton", torch.float32, clean, targets.to(DEVICE), label_smoothing=0.1)
    hidden[targets == -100] = float("nan")
    dirty = [t.to(DEVICE) for t in (hidden, weight, bias)]
    found = run("triton", torch.float32, dirty, targets.to(DEVICE), label_smoothing=0.1)
    assert torch.equal(found[0], expected[0])
    assert all(torch.equal(a, b) for a, b in zip(found[1], expected[1], strict=True))


def test_extreme_and_forbidden_logits():
    hidden = torch.tensor([[400.0], [-400.0]], device=DEVICE)
    weight = torch.tensor([[1.0], [-1.0], [0.0]], device=DEVICE)
    targets = torch.tensor([1, 1], device=DEVICE)
    loss, grads = run("triton", torch.float32, (hidden, weight), targets)
    assert loss == 400.0  # (800 + 0) / 2
    assert all(torch.isfinite(g).all() for g in grads)
    never = torch.tensor([float("-inf"), 0.0, 0.0], device=DEVICE)  # a word that cannot be
    with use_backend("triton"):
        loss = linear_cross_entropy(hidden[:1], weight, targets[:1], never)
    assert loss == 400.0


def test_never_holds_all_logits_and_without_gradients_makes_none(monkeypatch):
    from torch.utils._python_dispatch import TorchDispatchMode

    largest, products = 0, 0

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest, products
            out = function(*args, **(kwargs or {}))
            # the interpreter moves whole buffers as bytes
            if isinstance(out, torch.Tensor) and out.is_floating_point():
                largest = max(largest, out.numel())
            products += str(function).startswith("aten.mm.")
            return out

    monkeypatch.setattr(triton_backend, "_CHUNK_BYTES", 4 * 100 * 8)
    tensors = [torch.randn(64, 3, device=DEVICE), torch.randn(100, 3, device=DEVICE)]
    targets = torch.randint(100, (64,), device=DEVICE)
    chunks = triton_backend.chunks

    def counted(*arguments):  # inside the operator no mode is active
        with Count():
            return chunks(*arguments)

    monkeypatch.setattr(triton_backend, "chunks", counted)
    for reduction in ("mean", "none"):
        run("triton", torch.float32, tensors, targets, reduction=reduction)
        assert largest == 8 * 100
    products = 0
    with use_backend("triton"):
        linear_cross_entropy(*(t.detach() for t in tensors), targets)
    assert products == 8  # one of each chunk: its logits


def test_autocast_rounds_only_the_products():
    hidden, weight, bias, targets = make(64, 32, 50, seed=2)
    tensors = [t.to(DEVICE) for t in (hidden, weight / 6, bias)]
    exact, _ = run("triton", torch.float32, tensors, targets.to(DEVICE))
    with torch.autocast(DEVICE, torch.float16):
        rounded, grads = run("triton", torch.float32, tensors, targets.to(DEVICE))
    assert 0 < (rounded - exact).abs() <= torch.finfo(torch.float16).eps * exact
    assert all(g.isfinite().all() for g in grads)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_twice_differentiated(reduction):
    found = []
    for backend, dtype in (("triton", torch.float32), ("reference", torch.float64)):
        *tensors, targets = make(5, 3, 7)
        leaves = [t.to(DEVICE, dtype).requires_grad_() for t in tensors]
        with use_backend(backend):
            loss = linear_cross_entropy(
                leaves[0], leaves[1], targets.to(DEVICE), leaves[2], 0.1, reduction=reduction
            )
        grads = torch.autograd.grad(loss.square().sum(), leaves, create_graph=True)
        found.append(torch.autograd.grad(sum(g.square().sum() for g in grads), leaves))
    for a, b in zip(*found, strict=True):
        assert (a.double() - b).norm() <= 100 * torch.finfo(torch.float32).eps * b.norm()


def test_two_runs_are_bit_identical():
    *tensors, targets = make(30, 8, 40)
    tensors = [t.to(DEVICE) for t in tensors]
    one, two = (run("triton", torch.float32, tensors, targets.to(DEVICE)) for _ in range(2))
    assert torch.equal(one[0], two[0])
    assert all(torch.equal(a, b) for a, b in zip(one[1], two[1], strict=True))


@pytest.mark.skipif(not INTERPRETED, reason="an assertion on the device ends the process")
def test_targets_outside_the_vocabulary():
    hidden, weight = torch.zeros(2, 5), torch.zeros(13, 5)
    with use_backend("triton"), pytest.raises(ValueError, match=r"expected 0\.\.12"):
        linear_cross_entropy(hidden, weight, torch.tensor([0, 13]))


def test_a_hidden_state_made_from_the_weight_twice_differentiated():
    """Tied embeddings: the weight's gradient counts each path once, create_graph or not."""
    *tensors, targets = make(5, 3, 7)
    weight = tensors[1].to(DEVICE, torch.float32).requires_grad_()
    with use_backend("triton"):
        loss = linear_cross_entropy(weight[:5].tanh(), weight, targets.to(DEVICE))
    (plain,) = torch.autograd.grad(loss, weight, retain_graph=True)
    (again,) = torch.autograd.grad(loss, weight, create_graph=True)
    assert (plain - again).norm() <= 50 * torch.finfo(torch.float32).eps * plain.norm()


def test_targets_and_bias_need_not_be_contiguous():
    hidden, weight, bias, targets = make(6, 5, 11)
    found = []
    for backend in ("triton", "reference"):
        tensors = [t.to(DEVICE, torch.float32) for t in (hidden, weight)]
        apart = torch.stack([bias, -bias], 1).to(DEVICE, torch.float32)[:, 0].requires_grad_()
        strided = torch.stack([targets, targets.roll(1)], 1).to(DEVICE)[:, 0]
        with use_backend(backend):
            loss = linear_cross_entropy(*tensors, strided, apart)
        found.append((loss.detach(), *torch.autograd.grad(loss, apart)))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)
