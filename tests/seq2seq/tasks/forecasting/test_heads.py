"""Each head against its distribution, in float64: densities against torch and scipy, gradients by
finite differences, quantiles against the density."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from seq2seq.tasks.forecasting.config import ForecastModelConfig
from seq2seq.tasks.forecasting.heads import (
    GaussianHead,
    NegativeBinomialHead,
    PointHead,
    QuantilesHead,
    StudentHead,
    make_head,
)

LEVELS = [0.05, 0.25, 0.5, 0.75, 0.95]
HEADS = {
    "mse": PointHead("mse"),
    "mae": PointHead("mae"),
    "huber": PointHead("huber"),
    "gaussian": GaussianHead(),
    "student": StudentHead(),
    "negative binomial": NegativeBinomialHead(),
    "quantiles": QuantilesHead(LEVELS),
}
SMALL = 1e-6


def softplus(x):
    return math.log1p(math.exp(x))


def inputs(head, seed=0, count=6):
    torch.manual_seed(seed)
    parameters = torch.randn(count, head.size, dtype=torch.float64, requires_grad=True)
    value = torch.randint(0, 9, (count,)).double()
    factor = torch.full((count,), 2.0, dtype=torch.float64)
    return parameters, value / factor, factor


@pytest.mark.parametrize("name", HEADS)
def test_gradients(name):
    head = HEADS[name]
    parameters, value, factor = inputs(head)
    assert head.loss(parameters, value, factor).shape == value.shape
    assert torch.autograd.gradcheck(lambda p: head.loss(p, value, factor), (parameters,))


def test_likelihoods_are_those_of_scipy():
    for name in ("gaussian", "student", "negative binomial"):
        head = HEADS[name]
        parameters, value, factor = inputs(head)
        found = -head.loss(parameters, value, factor).detach().numpy()
        rows = zip(parameters.tolist(), value.tolist(), factor.tolist(), strict=True)
        expected = []
        for own, z, unit in rows:
            if name == "gaussian":
                expected.append(stats.norm.logpdf(z, own[0], softplus(own[1]) + SMALL))
            elif name == "student":
                scale, freedom = softplus(own[1]) + SMALL, 2 + softplus(own[2])
                expected.append(stats.t.logpdf(z, freedom, own[0], scale))
            else:
                mean = unit * (softplus(own[0]) + SMALL)
                dispersion = (softplus(own[1]) + SMALL) / math.sqrt(unit)
                chance = 1 / (1 + dispersion * mean)
                expected.append(stats.nbinom.logpmf(round(z * unit), 1 / dispersion, chance))
        assert found == pytest.approx(expected, rel=1e-9), name


def test_the_moments_of_counts():
    parameters = torch.tensor([[0.3, -0.4]], dtype=torch.float64)
    factor = torch.tensor([3.0], dtype=torch.float64)
    counts = torch.arange(2000, dtype=torch.float64)
    density = (-NegativeBinomialHead().loss(parameters, counts / 3, factor)).exp()
    mean = float((density * counts).sum())
    variance = float((density * counts**2).sum()) - mean**2
    dispersion = (softplus(-0.4) + SMALL) / math.sqrt(3)
    assert float(density.sum()) == pytest.approx(1)
    assert mean == pytest.approx(3 * (softplus(0.3) + SMALL))
    assert mean == pytest.approx(3 * float(NegativeBinomialHead().mean(parameters, factor)))
    assert variance == pytest.approx(mean + dispersion * mean**2)


@pytest.mark.parametrize("name", ["gaussian", "student"])
def test_quantiles_invert_the_density(name):
    head = HEADS[name]
    parameters = torch.randn(1, head.size, dtype=torch.float64)
    grid = torch.linspace(-400, 400, 800_001, dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    density = (-head.loss(parameters.expand(len(grid), -1), grid, one)).exp()
    below = torch.cumulative_trapezoid(density, grid)
    for level in (0.02, 0.3, 0.5, 0.9):
        at = head.quantiles(parameters, torch.tensor([level], dtype=torch.float64), one)
        place = int(torch.searchsorted(grid, at)) - 1
        assert float(below[place]) == pytest.approx(level, abs=2e-3)


def test_quantiles_of_counts_are_the_smallest_that_reach_the_level():
    head = NegativeBinomialHead()
    parameters = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    factor = torch.tensor([2.0], dtype=torch.float64)
    counts = torch.arange(200, dtype=torch.float64)
    below = (-head.loss(parameters, counts / 2, factor)).exp().cumsum(0)
    for level in (0.1, 0.5, 0.93):
        found = 2 * head.quantiles(parameters, torch.tensor([level], dtype=torch.float64), factor)
        assert int(found) == int((below < level).sum())


def test_the_pinball_loss_is_least_at_the_quantiles():
    random = np.random.default_rng(0)
    sample = torch.from_numpy(random.gamma(2.0, 1.0, 4001))
    head = QuantilesHead(LEVELS)
    parameters = torch.zeros(1, head.size, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([parameters], max_iter=300, line_search_fn="strong_wolfe")
    one = torch.ones(1, dtype=torch.float64)

    def closure():
        optimizer.zero_grad()
        loss = head.loss(parameters.expand(len(sample), -1), sample, one).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    levels = torch.tensor(LEVELS, dtype=torch.float64)
    found = head.quantiles(parameters.detach().expand(5, -1), levels, one)
    assert found.numpy() == pytest.approx(np.quantile(sample, LEVELS), abs=0.03)


def test_the_pinball_loss_by_hand_and_crossing():
    head = QuantilesHead([0.1, 0.5, 0.8])
    parameters = torch.tensor([1.0, 2.0, -3.0], dtype=torch.float64)
    low, high = 2 - softplus(1), 2 + softplus(-3)
    one = torch.ones((), dtype=torch.float64)
    value = torch.tensor(2.01, dtype=torch.float64)
    parts = [0.1 * (2.01 - low), 0.5 * 0.01, 0.2 * (high - 2.01)]
    assert float(head.loss(parameters, value, one)) == pytest.approx(2 * sum(parts) / 3)
    found = [float(head.quantiles(parameters, torch.tensor(q), one)) for q in (0.1, 0.3, 0.5, 0.9)]
    expected = [low, (low + 2) / 2, 2, high + (high - 2) / 3]
    assert found == pytest.approx(expected, rel=1e-6)
    assert float(head.mean(parameters, one)) == pytest.approx(0.3 * low + 0.35 * 2 + 0.35 * high)
    many = QuantilesHead(LEVELS).quantiles(
        torch.randn(100, 5), torch.tensor([[0.01], [0.2], [0.5], [0.99]]).expand(4, 100), one
    )
    assert (many.diff(dim=0) > 0).all()


def test_likelihood_of_a_constant_series_stays_finite():
    for name in ("gaussian", "student"):
        head = HEADS[name]
        parameters = torch.full((1, head.size), -80.0)
        parameters[:, 0] = 1.0
        loss = head.loss(parameters, torch.ones(1), torch.ones(1))
        assert bool(loss.isfinite().all()) and float(loss) < -10


def test_make_head():
    for name, kind in (
        ("point", PointHead),
        ("gaussian", GaussianHead),
        ("student", StudentHead),
        ("negative_binomial", NegativeBinomialHead),
        ("quantiles", QuantilesHead),
    ):
        assert isinstance(make_head(ForecastModelConfig(head=name)), kind)
