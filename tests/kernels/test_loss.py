"""linear_cross_entropy: the chunked backend against the reference in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from kernels.backend import use_backend
from kernels.loss import linear_cross_entropy, torch_backend
from tests.kernels.allocations import Allocations


def make(rows=11, size=5, words=13, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, size, generator=generator, dtype=torch.float64)
    weight = torch.randn(words, size, generator=generator, dtype=torch.float64)
    bias = torch.randn(words, generator=generator, dtype=torch.float64)
    targets = torch.randint(words, (rows,), generator=generator)
    targets[::4] = -100
    return hidden, weight, bias, targets


def run(backend, dtype, tensors, targets, **options):
    leaves = [t.to(dtype).requires_grad_() for t in tensors]
    hidden, weight, *bias = leaves
    with use_backend(backend):
        loss = linear_cross_entropy(hidden, weight, targets, *bias, **options)
    grads = torch.autograd.grad(loss.sum() * 1.5, leaves)
    return loss.double(), [g.double() for g in grads]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("chunk", [52 * 3, 1 << 20])  # three rows a chunk, and all
def test_equals_the_reference(monkeypatch, smoothing, reduction, with_bias, chunk):
    monkeypatch.setattr(torch_backend, "_CHUNK_BYTES", chunk)
    hidden, weight, bias, targets = make()
    tensors = (hidden, weight, bias) if with_bias else (hidden, weight)
    options = {"label_smoothing": smoothing, "reduction": reduction}
    loss, grads = run("reference", torch.float64, tensors, targets, **options)
    for dtype, factor in ((torch.float64, 50), (torch.float32, 50)):
        tolerance = factor * torch.finfo(dtype).eps
        found, found_grads = run("torch", dtype, tensors, targets, **options)
        assert (found - loss).norm() <= tolerance * loss.norm()
        for a, b in zip(found_grads, grads, strict=True):
            assert (a - b).norm() <= tolerance * b.norm()


def test_the_reference_is_the_textbook_formula():
    hidden, weight, bias, targets = make()
    with use_backend("reference"):
        loss = linear_cross_entropy(hidden, weight, targets, bias, 0.2, reduction="sum")
    log_p = F.log_softmax(hidden @ weight.t() + bias, 1)
    expected = sum(
        -0.8 * log_p[n, y] - 0.2 / 13 * log_p[n].sum()
        for n, y in enumerate(targets.tolist())
        if y != -100
    )
    torch.testing.assert_close(loss, expected)


def test_no_targets_give_zero_loss_and_zero_gradients():
    hidden, weight, bias, targets = make()
    for backend in ("torch", "reference"):
        loss, grads = run(backend, torch.float64, (hidden, weight, bias), targets.fill_(-100))
        assert loss == 0 and all(g.abs().max() == 0 for g in grads)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_never_holds_all_logits(monkeypatch, reduction):
    count = Allocations(monkeypatch, torch_backend, ("chunks",))
    monkeypatch.setattr(torch_backend, "_CHUNK_BYTES", 4 * 100 * 8)
    hidden, weight = torch.randn(64, 3), torch.randn(100, 3)
    run("torch", torch.float32, (hidden, weight), torch.randint(100, (64,)), reduction=reduction)
    assert count.largest == 4 * 8 * 100


def test_extreme_logits_stay_finite():
    hidden = torch.tensor([[400.0], [-400.0]])
    weight = torch.tensor([[1.0], [-1.0], [0.0]])
    loss, grads = run("torch", torch.float32, (hidden, weight), torch.tensor([1, 1]))
    assert loss == 400.0  # (800 + 0) / 2
    assert all(torch.isfinite(g).all() for g in grads)


def test_bf16_autocast_stays_close():
    hidden, weight, bias, targets = make(64, 32, 50, seed=2)
    weight = weight / 6
    loss, grads = run("reference", torch.float64, (hidden, weight, bias), targets)
    with torch.autocast("cpu", torch.bfloat16):
        found, found_grads = run("torch", torch.float32, (hidden, weight, bias), targets)
    assert abs(found - loss) <= 5e-3 * loss
    for a, b in zip(found_grads, grads, strict=True):
        assert (a - b).norm() <= 1e-2 * b.norm()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": torch.tensor([0, 13])}, "expected 0..12"),
        ({"targets": torch.tensor([0])}, "targets has shape"),
        ({"bias": torch.zeros(3)}, "bias has shape"),
        ({"weight": torch.zeros(13, 4)}, "weight"),
        ({"weight": torch.zeros(0, 5)}, "at least one word"),
        ({"reduction": "max"}, "reduction"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"targets": torch.tensor([0.0, 1.0])}, "targets has dtype torch.float32"),
        ({"targets": torch.tensor([0, 1], device="meta")}, "targets is on meta"),
        ({"weight": torch.zeros(13, 5, device="meta")}, "weight is on meta"),
        ({"weight": torch.zeros(13, 5, dtype=torch.float64)}, "weight has dtype torch.float64"),
        ({"bias": torch.zeros(13, dtype=torch.float16)}, "bias has dtype torch.float16"),
        ({"hidden": torch.zeros(2, 5, dtype=torch.int64)}, "hidden has dtype torch.int64"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {
        "hidden": torch.zeros(2, 5),
        "weight": torch.zeros(13, 5),
        "targets": torch.tensor([0, 1]),
        **change,
    }
    with pytest.raises(ValueError, match=message):
        linear_cross_entropy(**arguments)
