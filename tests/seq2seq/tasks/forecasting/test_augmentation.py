"""Training windows turned in the plane and made noisy; forecasts of logarithms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seq2seq.config import config_from_dict
from seq2seq.errors import UsageError
from seq2seq.tasks.forecasting.augmentation import augmentation
from seq2seq.tasks.forecasting.encoding import learn_encoding
from seq2seq.tasks.forecasting.making import make_model, places, reach_of
from seq2seq.tasks.forecasting.series_set import pack
from seq2seq.tasks.forecasting.windows import WindowCutter
from tests.seq2seq.tasks.forecasting.models import make_config, make_forecaster, make_series


@pytest.fixture
def batch():
    config = make_config(scaling="none")
    series = pack(make_series(missing=False))
    encoding = learn_encoding(config, series, series.lengths)
    cutter = WindowCutter(series, encoding, reach_of(make_model(config, encoding)))
    return cutter.cut(np.array([0, 1, 2, 0]), np.full(4, 20), np.full(4, 25))[0]


def test_stretched_windows_keep_the_mean_of_their_past(batch):
    change = augmentation((), 0.0, stretch=0.5)
    found = change(batch, np.random.default_rng(1))
    mean = batch.past.mean(1, keepdim=True)
    torch.testing.assert_close(found.past.mean(1, keepdim=True), mean)
    factor = (found.past - mean).norm(dim=1) / (batch.past - mean).norm(dim=1)  # (B, C)
    assert float(factor.std()) > 0.1
    expected = mean + factor[:, None] * (batch.future - mean)
    torch.testing.assert_close(found.future, expected)
    again = change(batch, np.random.default_rng(1))
    assert torch.equal(again.past, found.past)


def test_stretching_is_refused_where_values_cannot_be():
    values = {"task": "forecasting", "data": {"stretch": 0.3}}
    for model in (
        {"head": "negative_binomial"},
        {"scaling": "mean", "base_form": "multiplicative"},
    ):
        with pytest.raises(UsageError, match="stretch"):
            config_from_dict({**values, "model": model})


@pytest.mark.parametrize("data", [{"noise": 1e308}, {"noise": 1001}, {"stretch": 11.0}])
def test_augmentation_out_of_range(data):
    with pytest.raises(UsageError, match=rf"'data.{next(iter(data))}' is .*expected at most 1"):
        config_from_dict({"task": "forecasting", "data": data})


def test_a_share_of_windows_stays_free_of_noise(batch):
    rows = [batch] * 50
    random = np.random.default_rng(1)
    change = augmentation((), 0.3, 0.75)
    same = [(change(one, random).past == one.past).all((1, 2)) for one in rows]
    assert 0.65 < float(torch.cat(same).double().mean()) < 0.85  # 200 windows
    random = np.random.default_rng(1)
    assert not any(bool((augmentation((), 0.3)(b, random).past == b.past).any()) for b in rows)


def test_turned_windows_keep_all_distances(batch):
    change = augmentation((0, 1), 0.0)
    found = change(batch, np.random.default_rng(1))
    whole = [torch.cat([one.past, one.future], 1) for one in (batch, found)]
    before, after = (torch.cdist(one, one) for one in whole)
    # sums of squares of values up to about 40, in float32
    torch.testing.assert_close(after, before, rtol=1e-3, atol=0.1)
    assert not torch.allclose(whole[0], whole[1], atol=0.5)
    again = change(batch, np.random.default_rng(1))
    torch.testing.assert_close(again.past, found.past, rtol=0, atol=0)
    crossed = [one[:, 1:, 0] * one[:, :-1, 1] - one[:, 1:, 1] * one[:, :-1, 0] for one in whole]
    sides = (crossed[0] * crossed[1]).sum(1).sign()
    assert {1.0, -1.0} == set(sides.tolist())  # some are mirrored, some are not


def test_noise_is_in_the_past_alone(batch):
    found = augmentation((), 0.5)(batch, np.random.default_rng(1))
    assert torch.equal(found.future, batch.future)
    deviation = (found.past - batch.past).std((1, 2))
    assert (deviation < 0.7).all() and deviation.max() > 3 * deviation.min()
    assert augmentation((), 0.0)(batch, np.random.default_rng(1)) is batch


def test_targets_by_name():
    assert places(["b"], ["a", "b"], "data.rotate") == (1,)
    with pytest.raises(UsageError, match=r"'data.rotate' holds 'c'; expected some of the targets"):
        places(["c"], ["a", "b"], "data.rotate")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"transform": "log", "scaling": "global"}, "transform: log' goes with"),
        ({"transform": "log", "head": "negative_binomial"}, "heads that are no counts"),
    ],
)
def test_log_with_what_it_does_not_go_with(model, message):
    from seq2seq.tasks.forecasting.config import check

    with pytest.raises(UsageError, match=message):
        check(make_config(**model), "here")


def test_forecasts_of_logarithms_grow_with_the_series():
    """A series ten times as large has a forecast ten times as large; none is below 0."""
    forecaster = make_forecaster(transform="log", scaling="window", base="last", kind="segments")
    series = make_series(1, missing=False)[0]
    larger = type(series)(**{**vars(series), "values": 10 * series.values})
    first, second = forecaster.forecast([series, larger])
    np.testing.assert_allclose(second.quantiles, 10 * first.quantiles, rtol=1e-5)
    assert (first.quantiles > 0).all() and (np.diff(first.quantiles, axis=0) >= 0).all()
    with pytest.raises(UsageError, match="above 0"):
        forecaster.forecast(type(series)(**{**vars(series), "values": series.values - 100}))


def test_the_network_reads_the_base():
    """With the level, a series moved up has another forecast than the forecast moved up."""
    series = make_series(1, missing=False)[0]
    moved = type(series)(**{**vars(series), "values": series.values + 5})
    for names, same in (([], True), (["a"], False)):
        forecaster = make_forecaster(
            scaling="none", base="last", kind="segments", channels="joint", read_base=names
        )
        first, second = forecaster.forecast([series, moved])
        assert np.allclose(second.median - 5, first.median, atol=1e-4) == same
