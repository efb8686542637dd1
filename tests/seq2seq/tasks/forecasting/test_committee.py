"""Committees: the mean of forecasts, members that learn by themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seq2seq.errors import UsageError
from seq2seq.tasks.forecasting.making import reach_of
from seq2seq.tasks.forecasting.objectives import ForecastLoss
from seq2seq.tasks.forecasting.rolling import Origins
from seq2seq.tasks.forecasting.series_set import pack
from seq2seq.tasks.forecasting.windows import Batch, WindowCutter
from tests.seq2seq.tasks.forecasting.models import make_forecaster, make_series

BASES = {"base": "mean", "other_bases": ["last"]}


def a_batch(forecaster) -> Batch:
    series = pack(make_series())
    cutter = WindowCutter(series, forecaster.encoding, reach_of(forecaster.model))
    where = Origins(np.array([0, 1, 2]), np.array([20, 22, 24]), np.array([30, 30, 30]))
    return cutter.cut(*where)[0]


@pytest.mark.parametrize("head", ["point", "gaussian", "student", "quantiles"])
def test_the_forecast_is_the_mean_of_the_members(head):
    model = make_forecaster(**BASES, head=head).model
    batch = a_batch(make_forecaster(**BASES, head=head))
    outlooks = [member.ahead(batch) for member in model.members]
    level = torch.full_like(outlooks[0].shift, 0.5)
    medians = [one.shift + model.head.quantiles(one.parameters, level, level) for one in outlooks]
    assert not torch.allclose(medians[0], medians[1], atol=0.01)
    found = model.ahead(batch)
    median = found.shift + found.factor * model.head.quantiles(found.parameters, level, level)
    assert torch.allclose(median, (medians[0] + medians[1]) / 2, atol=1e-5)


@pytest.mark.parametrize("others", [[], ["mae"]])
def test_each_member_learns_by_its_own_loss(others):
    forecaster = make_forecaster(**BASES, head="point", loss="mse", other_losses=others)
    model, batch = forecaster.model.train(), a_batch(forecaster)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    ForecastLoss(model)(batch).backward()
    losses = [member.config.loss for member in model.members]
    assert losses == ["mse", *(others or ["mse"])]
    for member in model.members:
        alone = [parameter.grad.clone() for parameter in member.parameters()]
        member.zero_grad()
        ForecastLoss(member)(batch).backward()
        for parameter, grad in zip(member.parameters(), alone, strict=True):
            assert torch.allclose(grad, parameter.grad / len(model.members), atol=1e-6)


def test_what_is_validated_is_the_mean_forecast():
    forecaster = make_forecaster(**BASES, head="point", loss="mse")
    model, batch = forecaster.model.eval(), a_batch(forecaster)
    with torch.no_grad():
        together = float(ForecastLoss(model)(batch))
        apart = [float(ForecastLoss(member)(batch)) for member in model.members]
    assert together < sum(apart) / len(apart)


def test_a_season_longer_than_the_context_is_refused():
    with pytest.raises(UsageError, match="the base seasonal reads a whole season"):
        make_forecaster(other_bases=["seasonal"], context=3)


def test_the_card_names_the_bases(tmp_path):
    make_forecaster(**BASES).save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "mean, last; additive" in card and "the mean of 2 such networks" in card
    options = {"head": "point", "loss": "mae", "other_losses": ["mse"]}
    make_forecaster(**BASES, **options).save_pretrained(tmp_path, card={})
    assert "point, mae, mse" in (tmp_path / "README.md").read_text()
