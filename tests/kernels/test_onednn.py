"""oneDNN's LSTM layer in the torch backend's place: equal lengths on a CPU."""

import pytest
import torch

from kernels.common.precision import Precision
from kernels.recurrence import onednn
from kernels.recurrence.layout import Arguments, Options
from kernels.recurrence.reference import GateNorm
from tests.kernels.recurrences import make, run

BF16 = torch.bfloat16
needs_bf16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="no bfloat16 products here"
)


def relative(found, truth):
    return ((found - truth).norm() / truth.norm()).item()


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(BF16, marks=needs_bf16)])
@pytest.mark.parametrize("directions", [0, 2])
@pytest.mark.parametrize("present", [True, False])
def test_results_and_gradients(directions, present, dtype, monkeypatch):
    """Bounds of 2 and 4 roundings of bfloat16: of states, and of states and their gradients; in
    float32, which rounds every sum alike, of ten times as many."""
    passes = []
    for name in ("forward", "backward"):
        run_it = getattr(onednn, name)
        monkeypatch.setattr(
            onednn, name, lambda *a, run_it=run_it, name=name: passes.append(name) or run_it(*a)
        )
    arguments = make("lstm", 5, 7, 12, 16, directions=directions, bias=present, state=present)
    rounded = {k: v.to(dtype).double() for k, v in arguments.items()}
    truth = run("reference", rounded, kind="lstm")
    found = run("torch", rounded, dtype, kind="lstm")
    assert passes == ["forward", "backward"]
    eps = torch.finfo(dtype).eps * (1 if dtype == BF16 else 10)
    for k, (ours, right) in enumerate(zip(found, truth, strict=True)):
        assert relative(ours, right) < (2 if k < 3 else 4) * eps


@needs_bf16
def test_gradients_of_single_results_and_of_gradients():
    from kernels import recurrence

    arguments = {k: v.to(BF16).requires_grad_() for k, v in make("lstm", 3, 4, 5, 8).items()}
    exact = {k: v.detach().double().requires_grad_() for k, v in arguments.items()}
    for result in range(3):
        pairs = []
        for own in (arguments, exact):
            total = recurrence(**own, kind="lstm")[result].double().square().sum()
            pairs.append(torch.autograd.grad(total, own["weight_hh"])[0].double())
        assert relative(*pairs) < 4 * torch.finfo(BF16).eps
    outputs = recurrence(**arguments, kind="lstm")[0].double().square().sum()
    (first,) = torch.autograd.grad(outputs, arguments["inputs"], create_graph=True)
    assert first.double().sum().requires_grad  # by the reference


def test_it_is_taken_where_it_fits_alone():
    half, full = Precision(BF16, torch.float32, BF16), Precision(*[torch.float32] * 3)
    double = Precision(*[torch.float64] * 3)
    weights = torch.zeros(1, 16, 3), torch.zeros(1, 16, 4)
    plain = Arguments(torch.zeros(2, 5, 3), *weights, *[None] * 5)
    supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert onednn.fits("lstm", half, plain, Options(), None, True) == supported
    assert onednn.fits("lstm", full, plain, Options(), None, True)
    with torch.backends.mkldnn.flags(enabled=False):
        assert not onednn.fits("lstm", full, plain, Options(), None, True)
    gain = GateNorm(torch.ones(1, 4, 4), torch.ones(1, 4, 4))
    mask = plain._replace(hidden_mask=torch.ones(1, 2, 4))
    norm = plain._replace(input_gain=gain[0], recurrent_gain=gain[1])
    step = plain._replace(inputs=torch.zeros(2, 1, 3))
    resets = Options(resets=torch.zeros(2, 5, dtype=torch.bool))
    for case in (
        ("gru", half, plain, Options(), None),
        ("lstm", double, plain, Options(), None),
        ("lstm", half, mask, Options(), None),
        ("lstm", half, norm, Options(), None),
        ("lstm", half, step, Options(), None),
        ("lstm", half, plain, Options((0.1, 0.0)), None),
        ("lstm", half, plain, resets, None),
        ("lstm", half, plain, Options(), torch.tensor([5, 3])),
    ):
        assert not onednn.fits(*case, True)
