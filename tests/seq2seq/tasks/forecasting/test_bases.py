"""Bases: what a network corrects."""

from __future__ import annotations

import pytest
import torch

from seq2seq.tasks.forecasting.bases import Base
from seq2seq.tasks.forecasting.config import ForecastModelConfig
from seq2seq.tasks.forecasting.inputs import Sizes

SEASON = torch.tensor([1.0, 3.0, 2.0, 6.0])


def base_of(kind, form="additive", context=12, horizon=5):
    config = ForecastModelConfig(base=kind, base_form=form, context=context, horizon=horizon)
    return Base(config, Sizes(1, 2, (), 0, season=4))


def of(base, past, seen, features=None):
    """Shift and factor of the windows, without covariates unless some are given."""
    steps = past.shape[1] + base.horizon
    return base(past, seen, torch.zeros(len(past), steps, 2) if features is None else features)


def test_last_mean_and_velocity():
    past = torch.arange(12.0).reshape(1, 12, 1) ** 2
    seen = torch.ones_like(past)
    assert of(base_of("last"), past, seen).shift[0, :, 0].tolist() == [121.0] * 17
    assert of(base_of("mean"), past, seen).shift[0, -1, 0] == pytest.approx(float(past.mean()))
    ahead = of(base_of("velocity"), past, seen).shift[0, 12:, 0].tolist()
    assert ahead == [121.0 + 21 * n for n in range(1, 6)]


def reverting(kind, targets=1, horizon=5):
    config = ForecastModelConfig(base=kind, horizon=horizon, reversion=True, scaling="global")
    return Base(config, Sizes(targets, 2, (), 0, season=4))


def test_reversion_falls_back_to_the_mean_by_which_values_are_scaled():
    past = torch.arange(24.0).reshape(1, 12, 2)
    seen = torch.ones_like(past)
    for kind, level in (("last", past[0, -1]), ("mean", past[0].mean(0))):
        base = reverting(kind, 2)
        with torch.no_grad():
            base.reversion.weight.copy_(torch.tensor([-0.2, 0.1]))
        shift = of(base, past, seen).shift[0]
        assert torch.equal(shift[:12], level.expand(12, 2))  # the past is as without
        rate = torch.exp(5 * base.reversion.weight) / 5
        for ahead in range(1, 6):
            expected = level * torch.exp(-rate * ahead)
            assert shift[11 + ahead].tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_reversion_learns_the_rate_of_each_target():
    """Two autoregressions of first order, which keep 0.9 and 0.5 of a distance each step."""
    keep, random = torch.tensor([0.9, 0.5]), torch.Generator().manual_seed(0)
    base = reverting("last", 2)
    optimizer = torch.optim.Adam(base.parameters(), 0.01)
    for _ in range(300):
        past = torch.randn(64, 12, 2, generator=random)
        future = past[:, -1:] * keep ** torch.arange(1, 6)[:, None]
        future = future + 0.3 * torch.randn(future.shape, generator=random)
        loss = (of(base, past, torch.ones_like(past)).shift[:, 12:] - future).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert base.reversion()[0].tolist() == pytest.approx(keep.tolist(), abs=0.03)


def noisy_line(noise, turned=0.0, seed=0):
    """64 windows of a point that moves 0.5 a step along a line, measured with noise: (64, 12, 2)"""
    random = torch.Generator().manual_seed(seed)
    angle = torch.rand(64, 1, generator=random) * 6.28 + turned
    steps = 0.5 * torch.arange(12.0)
    line = torch.stack([angle.cos() * steps, angle.sin() * steps], -1)
    return line + noise * torch.randn(line.shape, generator=random), line


def steady_base(channels="joint"):
    config = ForecastModelConfig(base="steady_velocity", channels=channels, horizon=5)
    torch.manual_seed(0)
    return Base(config, Sizes(2, 0, (), 0, season=4))


def test_steady_velocity_learns_to_average_where_the_past_is_noisy():
    base = steady_base()
    optimizer = torch.optim.Adam(base.parameters(), 0.02)
    for seed in range(150):
        noise = 0.1 if seed % 2 else 0.0
        past, line = noisy_line(noise, seed=seed)
        if not noise:  # smooth, and turning: the last change is the best
            past = past + 0.02 * torch.arange(12.0)[:, None] ** 2
        target = line[:, -1:] - line[:, -2:-1] if noise else past[:, -1:] - past[:, -2:-1]
        loss = (base._velocity(past) - target).norm(dim=-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    smooth, line = noisy_line(0.0)
    past, _ = noisy_line(0.1)
    rates = [float(base.rate(one.diff(dim=1), True).detach().mean()) for one in (past, smooth)]
    assert rates[0] < 0.7 < rates[1]
    ahead = of(base, past, torch.ones_like(past), torch.zeros(64, 17, 0)).shift[:, 12:]
    step = line[:, -1:] - line[:, -2:-1]
    wrong = (ahead - past[:, -1:] - step * torch.arange(1, 6.0)[:, None]).norm(dim=-1).mean()
    last = (past[:, -1:] - past[:, -2:-1] - step).norm(dim=-1).mean() * 3
    assert float(wrong) < 0.6 * float(last)


def test_steady_velocity_turns_with_the_plane_and_constant_pasts_stay():
    base = steady_base()
    past, _ = noisy_line(0.1)
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    found = base._velocity(past) @ turn.T
    torch.testing.assert_close(base._velocity(past @ turn.T), found, rtol=1e-4, atol=1e-5)
    apart = steady_base("independent")
    assert apart.rate(past.diff(dim=1), False).shape == (64, 2)
    still = torch.full((1, 12, 2), 3.0)
    ahead = of(apart, still, torch.ones_like(still), torch.zeros(1, 17, 0)).shift
    assert torch.equal(ahead, torch.full_like(ahead, 3.0))
    one = of(apart, still[:, :1], torch.ones(1, 1, 2), torch.zeros(1, 6, 0)).shift
    assert torch.equal(one, torch.full_like(one, 3.0))


def test_the_last_season_repeats_and_missing_values_come_from_before():
    past = SEASON.repeat(3)[None, :, None] + torch.arange(12.0)[None, :, None] // 4 * 10
    seen = torch.ones_like(past)
    ahead = of(base_of("seasonal"), past, seen).shift[0, 12:, 0]
    assert ahead.tolist() == [21.0, 23.0, 22.0, 26.0, 21.0]
    seen[0, 9] = 0
    ahead = of(base_of("seasonal"), past, seen).shift[0, 12:, 0]
    assert ahead.tolist() == [21.0, 13.0, 22.0, 26.0, 21.0]


@pytest.mark.parametrize("context", [12, 14])
@pytest.mark.parametrize("form", ["additive", "multiplicative"])
def test_smoothing_finds_level_and_season(form, context):
    steps = torch.arange(-context, 5)
    profile = SEASON[steps % 4]
    series = 5 * profile if form == "multiplicative" else 5 + profile
    past = series[:context].reshape(1, -1, 1)
    found = of(base_of("smoothing", form, context), past, torch.ones_like(past))
    assert torch.allclose(found.shift[0, :, 0], series, atol=1e-5)
    if form == "multiplicative":
        assert torch.equal(found.shift, found.factor)


def test_smoothing_by_its_equations():
    torch.manual_seed(0)
    base = base_of("smoothing", "multiplicative", 8, 4)
    past = torch.rand(1, 8, 1) + 0.5
    seen = torch.ones_like(past)
    seen[0, 2] = 0
    alpha, gamma = base.rates.detach().sigmoid().tolist()
    y = past[0, :, 0].tolist()
    ratios = []
    for season in (range(4), range(4, 8)):
        own = [y[t] for t in season if t != 2]
        ratios.append([y[t] / (sum(own) / len(own)) for t in season])
    keep = 1 - gamma
    profile = [
        ratios[1][j] if j == 2 else (keep * ratios[0][j] + ratios[1][j]) / (keep + 1)
        for j in range(4)
    ]
    weights = [(1 - alpha) ** (7 - t) * (t != 2) for t in range(8)]
    level = sum(w * y[t] / profile[t % 4] for t, w in enumerate(weights)) / sum(weights)
    expected = [level * profile[j] for j in range(4)]
    found = of(base, past, seen).shift[0, 8:, 0]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    found.sum().backward()
    assert bool((base.rates.grad != 0).all())


def test_regression_is_a_profile_over_the_covariates_around_the_level():
    base = base_of("regression")
    with torch.no_grad():
        base.regression.weight.copy_(torch.tensor([[2.0, -1.0]]))
    features = torch.randn(1, 17, 2)
    profile = 2 * features[..., :1] - features[..., 1:]
    past = profile[:, :12] + 5
    seen = torch.ones_like(past)
    seen[0, 3], past[0, 3] = 0, 99.0
    found = of(base, past, seen, features)
    assert torch.allclose(found.shift, profile + 5, atol=1e-5)
