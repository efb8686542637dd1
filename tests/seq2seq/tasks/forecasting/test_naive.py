"""Naive forecasts against their equations."""

from __future__ import annotations

import numpy as np
import pytest

from seq2seq.errors import UsageError
from seq2seq.tasks.forecasting.naive import (
    NAIVE,
    constant_velocity,
    drift,
    last,
    parabola,
    seasonal,
)

NAN = float("nan")


def column(*values):
    return np.array(values, dtype=np.float64)[:, None]


@pytest.mark.parametrize(
    ("naive", "season", "history", "expected"),
    [
        (last, 1, (1, 5, 3), (3, 3, 3)),
        (last, 1, (1, 5, NAN), (5, 5, 5)),
        (seasonal, 2, (9, 1, 2, 3), (2, 3, 2)),
        (seasonal, 3, (9, 1, 2, 3), (1, 2, 3)),
        (seasonal, 2, (1, 2, NAN, 3), (1, 3, 1)),  # from the season before
        (seasonal, 2, (NAN, 2, NAN, 3), (3, 3, 3)),  # no season has it: the last value
        (seasonal, 5, (1, 2, 3), (3, 3, 3)),  # shorter than a season
        (drift, 1, (1, 9, 5), (7, 9, 11)),
        (drift, 1, (NAN, 1, 3, NAN), (7, 9, 11)),  # two steps after the last value
        (constant_velocity, 1, (1, 9, 5), (1, -3, -7)),
        (constant_velocity, 1, (9, 3, NAN, 4), (4.5, 5, 5.5)),
        (constant_velocity, 1, (3,), (3, 3, 3)),
        (parabola, 1, (0, 1, 4, 9), (16, 25, 36)),
        (parabola, 1, (0, NAN, 4, 9, NAN), (25, 36, 49)),
        (parabola, 1, (1, 2), (3, 4, 5)),
        (parabola, 1, (NAN, 2), (2, 2, 2)),
    ],
)
def test_equations(naive, season, history, expected):
    found = naive(column(*history), 3, season)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, column(*expected), rtol=1e-12, atol=1e-12)


def test_parabola_is_the_best_of_all():
    values = np.random.default_rng(1).normal(size=(9, 2))
    expected = [np.polyval(np.polyfit(np.arange(9), values[:, c], 2), [9, 10]) for c in (0, 1)]
    np.testing.assert_allclose(parabola(values, 2), np.transpose(expected), rtol=1e-9)


@pytest.mark.parametrize("name", NAIVE)
@pytest.mark.parametrize("missing", [False, True])
def test_windows_at_once_are_windows_one_by_one(name, missing):
    draw = np.random.default_rng(3)
    values = draw.normal(size=(2, 4, 11, 3))
    if missing:
        values[draw.uniform(size=values.shape) < 0.4] = NAN
    found = NAIVE[name](values, 5, 3)
    assert found.shape == (2, 4, 5, 3)
    for i in np.ndindex(2, 4):
        np.testing.assert_allclose(found[i], NAIVE[name](values[i], 5, 3), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAIVE)
def test_nothing_is_forecast_from_nothing(name):
    assert np.isnan(NAIVE[name](np.full((4, 1), NAN), 2, 2)).all()


@pytest.mark.parametrize("name", NAIVE)
def test_history_stays_as_it_is(name):
    values = np.array([[1.0], [NAN], [3.0]])
    kept = values.copy()
    NAIVE[name](values, 2, 2)
    np.testing.assert_array_equal(values, kept)


@pytest.mark.parametrize("name", NAIVE)
def test_misuse(name):
    with pytest.raises(UsageError, match="horizon of 0"):
        NAIVE[name](np.zeros((3, 1)), 0, 1)
    with pytest.raises(UsageError, match=r"shape \(0, 1\)"):
        NAIVE[name](np.zeros((0, 1)), 1, 1)
    with pytest.raises(UsageError, match="season of 0"):
        seasonal(np.zeros((3, 1)), 1, 0)
