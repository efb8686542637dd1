"""What counts as wrong before anything is timed."""

import math

import pytest
import torch

from kernels.bench import recurrent_gpu as gpu
from kernels.bench.errors import LARGEST, allowed, largest_error, worst


def test_zeros_and_nans_are_wrong_under_any_bound():
    truth = [torch.ones(3, dtype=torch.float64), torch.ones(2, dtype=torch.float64)]
    zeros = largest_error([truth[0], torch.zeros(2)], truth)
    broken = largest_error([torch.full((3,), math.nan), truth[1]], truth)
    assert zeros == 1 and math.isnan(broken)
    for peer in (0.0, 0.1, 10.0, math.inf, math.nan):
        assert not zeros <= allowed(0.0078, peer) and not broken <= allowed(0.0078, peer)
    assert math.isnan(worst([0.1, math.nan, 0.2])) and worst([0.1, 0.2]) == 0.2
    assert allowed(0.001, 0.002) == pytest.approx(0.012) and allowed(1.0, 0.0) == LARGEST


@pytest.mark.skipif(torch.cuda.is_available(), reason="make gpu runs the real thing")
def test_a_wrong_gradient_is_not_timed(monkeypatch):
    """The outputs are right; the gradient of the inputs is off by a hundredth."""

    class Skewed(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            return 1.01 * grad

    contenders = gpu._contenders

    def broken(*arguments):
        return [
            c._replace(run=lambda x, run=c.run: run(Skewed.apply(x))) if c.name == "kernels" else c
            for c in contenders(*arguments)
        ]

    monkeypatch.setattr(gpu, "_contenders", broken)
    first, *others = gpu.measure(gpu.cases(quick=True)[0], 1, torch.device("cpu"), few=True)
    assert first["problem"].startswith("WRONG") and "forward" not in first
    assert all("forward" in row for row in others)
