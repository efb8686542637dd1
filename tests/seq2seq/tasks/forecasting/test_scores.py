"""Scores of forecasts against their definitions, written out in float64."""

from __future__ import annotations

import numpy as np
import pytest

from seq2seq.errors import UsageError
from seq2seq.tasks.forecasting import scores

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)


@pytest.fixture
def forecasts():
    """Actual values with gaps, a forecast, quantiles and scales of 5 windows, 4 steps, 2
    targets."""
    draw = np.random.default_rng(1)
    actual = 10 + draw.normal(size=(5, 4, 2))
    actual[0, 1, 0] = actual[3, :, 1] = np.nan
    point = actual.copy()
    point[np.isnan(point)] = 0
    point += draw.normal(size=point.shape)
    quantiles = point[:, None] + np.linspace(-1.2, 1.2, 5)[:, None, None]
    return actual, point, quantiles, draw.uniform(0.5, 2, size=(5, 2))


def there(actual):
    return [i for i in np.ndindex(actual.shape) if not np.isnan(actual[i])]


@pytest.mark.parametrize("rows", [500_000, 9])  # all at once, and one window at a time
def test_definitions(forecasts, monkeypatch, rows):
    monkeypatch.setattr(scores, "_ROWS", rows)
    actual, point, quantiles, scale = forecasts
    found = scores.score(actual, point, levels=LEVELS, quantiles=quantiles, scale=scale)
    all_, error = there(actual), actual - point
    mean = np.mean([actual[i] for i in all_])
    groups = [(n, c) for n in range(5) for c in range(2) if (n, c) != (3, 1)]

    def grouped(values):
        return [np.nanmean(values[n, :, c]) for n, c in groups]

    pinball = [
        max(q * e, (q - 1) * e)
        for n, h, c in all_
        for k, q in enumerate(LEVELS)
        for e in [actual[n, h, c] - quantiles[n, k, h, c]]
    ]
    inside = [quantiles[n, 0, h, c] <= actual[n, h, c] <= quantiles[n, 4, h, c] for n, h, c in all_]
    expected = {
        "mse": np.mean([error[i] ** 2 for i in all_]),
        "mae": np.mean([abs(error[i]) for i in all_]),
        "smape": np.mean(grouped(200 * np.abs(error) / (np.abs(actual) + np.abs(point)))),
        "mase": np.mean(grouped(np.abs(error) / scale[:, None])),
        "rse": np.sqrt(
            sum(error[i] ** 2 for i in all_) / sum((actual[i] - mean) ** 2 for i in all_)
        ),
        "pinball": np.mean(pinball),
        "crps": 2 * np.mean(pinball),
        "coverage_80": np.mean(inside),
    }
    assert found == pytest.approx(expected, rel=1e-12)
    assert 0 < found["coverage_80"] < 1


def test_crps_of_many_quantiles_is_that_of_the_gaussian():
    from scipy import stats

    levels = (np.arange(2000) + 0.5) / 2000
    actual = np.array([[[0.7]]])
    quantiles = stats.norm.ppf(levels).reshape(1, -1, 1, 1)
    found = scores.score(actual, np.zeros((1, 1, 1)), levels=levels, quantiles=quantiles)
    exact = 0.7 * (2 * stats.norm.cdf(0.7) - 1) + 2 * stats.norm.pdf(0.7) - 1 / np.sqrt(np.pi)
    assert found["crps"] == pytest.approx(exact, rel=1e-3)


def test_crps_of_paths_is_the_mean_over_pairs():
    draw = np.random.default_rng(2)
    paths, actual = draw.normal(size=(7, 3, 2)), draw.normal(size=(3, 2))
    pairs = [np.abs(paths[i] - paths[j]) for i in range(7) for j in range(7) if i != j]
    expected = np.abs(paths - actual).mean(0) - np.mean(pairs, axis=0) / 2
    np.testing.assert_allclose(scores.path_crps(actual, paths), expected, rtol=1e-12)
    with pytest.raises(UsageError, match="2 or more"):
        scores.path_crps(actual, paths[:1])


def test_scale_of_mase():
    history = np.array([[1.0, 1], [2, 1], [4, np.nan], [8, np.nan]])
    np.testing.assert_allclose(scores.mase_scale(history, 2), [4.5, np.nan])
    np.testing.assert_allclose(scores.mase_scale(history, 1), [7 / 3, 0])
    assert np.isnan(scores.mase_scale(history, 4)).all()


def test_a_series_that_never_changes_has_no_mase():
    actual = np.ones((2, 3, 1))
    found = scores.score(actual, actual + 1, scale=np.array([[0.0], [2.0]]))
    assert found["mase"] == pytest.approx(0.5)
    assert np.isnan(found["rse"])
    assert np.isnan(scores.score(actual, actual, scale=np.zeros((2, 1)))["mase"])


def test_displacement():
    actual = np.zeros((3, 2, 2))
    forecast = np.array([[[3.0, 4], [0, 0]], [[0, 1], [0, 1]], [[6, 8], [1, 1]]])
    actual[2, 1] = np.nan
    found = scores.displacement(actual, forecast)
    expected = {"ade": 17 / 5, "fde": 0.5, "mean_path": (2.5 + 1 + 10) / 3, "median_path": 2.5}
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("actual", "forecast", "options", "message"),
    [
        (np.zeros((2, 3, 1)), np.zeros((2, 3)), {}, r"\(2, 3, 1\), forecasts \(2, 3\)"),
        (np.zeros((1, 2, 1)), np.full((1, 2, 1), np.nan), {}, "forecast 0 is nan at step 1"),
        (np.full((1, 2, 1), np.nan), np.zeros((1, 2, 1)), {}, "all actual values are missing"),
        (np.zeros((1, 2, 1)), np.zeros((1, 2, 1)), {"scale": np.ones(1)}, r"expected \(1, 1\)"),
        (
            np.zeros((1, 2, 1)),
            np.zeros((1, 2, 1)),
            {"levels": (0.5,), "quantiles": np.zeros((1, 2, 1))},
            r"expected \(1, 1, 2, 1\)",
        ),
    ],
)
def test_what_cannot_be_scored(actual, forecast, options, message):
    with pytest.raises(UsageError, match=message):
        scores.score(actual, forecast, **options)
