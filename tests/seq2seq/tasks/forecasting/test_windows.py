"""Windows hold the rows that they should; each epoch holds each window once."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from seq2seq.errors import UsageError
from seq2seq.tasks.forecasting.encoding import learn_encoding
from seq2seq.tasks.forecasting.scaling import window_scale
from seq2seq.tasks.forecasting.series import Series
from seq2seq.tasks.forecasting.series_set import pack
from seq2seq.tasks.forecasting.splits import split_series
from seq2seq.tasks.forecasting.times import Step, step_named
from seq2seq.tasks.forecasting.windows import (
    Reach,
    TrainingBatches,
    WindowCutter,
    Windows,
)
from tests.seq2seq.tasks.forecasting.models import make_config, make_series


def counted(*lengths):
    """Series whose value at step t is 1000 * (number of the series) + t."""
    return pack(
        [
            Series(
                f"s{n}",
                np.arange(length),
                Step(1, "rows"),
                1000.0 * n + np.arange(float(length))[:, None],
                ("y",),
            )
            for n, length in enumerate(lengths)
        ]
    )


def cutter_of(series, context=4, horizon=3, scaling="none", reach=None, ends=None):
    config = make_config()
    config.data.calendar = []
    encoding = learn_encoding(config, series, series.lengths if ends is None else ends)
    return WindowCutter(series, encoding, Reach(context, reach or context, horizon, scaling))


def test_a_window_is_past_and_future_around_its_origin():
    series = counted(20, 9)
    batch, shift, scale = cutter_of(series).cut(
        np.array([0, 1, 1]), np.array([10, 2, 8]), np.array([20, 9, 9])
    )
    assert batch.past[..., 0].tolist() == [
        [6, 7, 8, 9],
        [1000, 1000, 1000, 1001],  # before the series: its first value, marked as missing
        [1004, 1005, 1006, 1007],
    ]
    assert batch.observed[1, :, 0].tolist() == [0, 0, 1, 1]
    assert batch.future[..., 0].tolist() == [[10, 11, 12], [1002, 1003, 1004], [1008, 0, 0]]
    assert batch.future_observed.sum((1, 2)).tolist() == [3, 3, 1]
    assert batch.target_count == 7
    assert (shift == 0).all() and (scale == 1).all()


def test_missing_values_are_marked_and_filled():
    series = make_series(1)[0]
    series.values[:] = np.arange(80.0).reshape(40, 2)
    series.values[[8, 9, 12], 1] = np.nan
    batch, _, _ = cutter_of(pack([series])).cut(np.array([0]), np.array([11]), np.array([40]))
    assert batch.past[0, :, 1].tolist() == [15, 15, 15, 21]
    assert batch.observed[0, :, 1].tolist() == [1, 0, 0, 1]
    assert batch.future[0, :, 1].tolist() == [23, 0, 27]
    assert batch.future_observed[0, :, 1].tolist() == [1, 0, 1]


def test_known_covariates_and_calendar_lie_at_their_steps():
    series = make_series(2, missing=False)
    config = make_config()
    packed = pack(series)
    encoding = learn_encoding(config, packed, packed.lengths)
    cutter = WindowCutter(packed, encoding, Reach(4, 4, 5, "global"))
    batch, _, _ = cutter.cut(np.array([1]), np.array([37]), np.array([37]))
    assert encoding.calendar == ("time_of_day", "weekday")
    price = batch.features[0, :, -1].numpy()
    expected = (series[1].known[33:42, 0] - encoding.known_mean[0]) / encoding.known_deviation[0]
    assert price == pytest.approx(expected, abs=1e-6)
    hours = (series[1].times[0].astype("datetime64[h]").astype(int) + np.arange(33, 42)) % 24
    assert batch.features[0, :, 0].numpy() == pytest.approx(
        np.sin(2 * np.pi * hours / 24), abs=1e-6
    )


@pytest.mark.parametrize(("least", "first"), [(1, [1, 1, 1]), (4, [4, 4, 1])])
def test_windows_of_a_part(least, first):
    series = counted(12, 8, 2)
    windows = Windows(cutter_of(series), np.zeros(3, int), series.lengths, 1, least)
    index, origins = windows.locate(np.arange(len(windows)))
    for number, begin in enumerate(first):
        own = origins[index == number]
        last = max(int(series.lengths[number]) - 3, begin)
        assert own.tolist() == list(range(begin, last + 1))


def test_windows_of_a_later_part_step_by_their_stride():
    series = counted(30)
    windows = Windows(cutter_of(series), np.array([10]), np.array([20]), 3)
    assert windows.locate(np.arange(len(windows)))[1].tolist() == [10, 13, 16]
    assert len(Windows(cutter_of(series), np.array([20]), np.array([20]), 3)) == 0


def test_an_epoch_holds_each_window_once_and_goes_on_where_it_stopped():
    series = counted(15, 11)
    windows = Windows(cutter_of(series), np.zeros(2, int), series.lengths)
    batches = TrainingBatches(windows, 4, seed=3)
    epoch = [batch.past[:, -1, 0].tolist() for batch in batches.epoch(0)]
    assert len(epoch) == batches.len_epoch(0)
    index, origins = windows.locate(np.arange(len(windows)))
    assert (
        sorted(value for batch in epoch for value in batch) == (1000 * index + origins - 1).tolist()
    )
    assert [batch.past[:, -1, 0].tolist() for batch in batches.epoch(0, skip=2)] == epoch[2:]
    assert [batch.past[:, -1, 0].tolist() for batch in batches.epoch(1)] != epoch


def test_every_second_batch_of_an_epoch():
    series = counted(40)
    batches = TrainingBatches(Windows(cutter_of(series), np.zeros(1, int), series.lengths), 4, 1)
    whole = list(batches.epoch(0))
    for first in (0, 1):
        found = list(batches.epoch(0, first, 2))
        assert len(found) == len(whole[first::2]) > 1
        for batch, wanted in zip(found, whole[first::2], strict=True):
            assert torch.equal(batch.past, wanted.past)


def test_series_are_drawn_equally_often():
    series = counted(1000, 10)
    windows = Windows(cutter_of(series), np.zeros(2, int), series.lengths)
    batches = TrainingBatches(windows, 500, 1, each_epoch=2000, by_series=True)
    assert batches.len_epoch(0) == 4
    second = np.concatenate([(b.past[:, -1, 0] >= 1000).numpy() for b in batches.epoch(0)])
    assert second.mean() == pytest.approx(0.5, abs=0.06)  # 5 sigma


def test_a_million_series_fit():
    count = 1_000_000
    series = counted(8)
    from seq2seq.tasks.forecasting.series_set import SeriesSet

    many = SeriesSet(
        np.broadcast_to(series.names, count),
        np.broadcast_to(series.starts, count),
        series.step,
        np.broadcast_to(series.values[0], (8 * count, 1)),  # one value in memory
        np.arange(0, 8 * count + 1, 8),
        series.targets,
    )
    cutter = WindowCutter(many, cutter_of(series).encoding, Reach(4, 4, 3, "window"))
    windows = Windows(cutter, np.zeros(count, int), np.full(count, 8))
    assert len(windows) == 5 * count
    batch = next(TrainingBatches(windows, 64, 1, each_epoch=640).epoch(0))
    assert batch.past.shape == (64, 4, 1)


def test_scales():
    past = np.array([[[1.0], [3.0], [np.nan]], [[0.0], [0.0], [0.0]], [[np.nan]] * 3])
    observed = ~np.isnan(past)
    mean, deviation = np.array([5.0]), np.array([2.0])

    def of(kind):
        return [x.ravel().tolist() for x in window_scale(kind, past, observed, mean, deviation)]

    assert of("none") == [[0, 0, 0], [1, 1, 1]]
    assert of("global") == [[5, 5, 5], [2, 2, 2]]
    assert of("window") == [[2, 0, 5], [1, 1, 2]]
    assert of("mean") == [[0, 0, 0], [2, 1, 2]]


def test_splits_by_share_length_and_date():
    series = counted(100, 50)
    parts = split_series(series, ["0.7", "0.1", "0.2"])
    assert [p.tolist() for p in (parts.train, parts.validation, parts.test)] == [
        [70, 35],
        [80, 40],
        [100, 50],
    ]
    parts = split_series(series, ["40", "5", "5"])
    assert (parts.train.tolist(), parts.test.tolist()) == ([40, 40], [50, 50])
    parts = split_series(series, ["rest", "8", "8"])
    assert (parts.train.tolist(), parts.validation.tolist()) == ([84, 34], [92, 42])
    parts = split_series(counted(100, 12), ["rest", "8", "8"])
    assert (parts.train.tolist(), parts.validation.tolist()) == ([84, 0], [92, 4])
    dated = pack(make_series(3))  # from 05:00, 06:00, 07:00 on
    parts = split_series(dated, ["2024-03-01 20:00", "2024-03-02"])
    assert parts.train.tolist() == [15, 14, 13]
    assert parts.validation.tolist() == [19, 18, 17]
    assert parts.test.tolist() == dated.lengths.tolist()
    zoned = dataclasses.replace(dated, zone="America/New_York")  # five hours behind UTC
    parts = split_series(zoned, ["2024-03-01 20:00", "2024-03-02"])
    assert parts.train.tolist() == [20, 19, 18]
    assert parts.validation.tolist() == [24, 23, 22]
    with pytest.raises(UsageError, match="'2024-13-01'; expected dates of the calendar"):
        split_series(dated, ["2024-03-01", "2024-13-01"])


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (["0.9", "0.2"], "more than 1"),
        (["rest", "rest", "3"], "expected training, validation and test"),
        (["1"], "expected training, validation and test"),
        (["2024-01-01", "2024-02-01"], "whole numbers"),
    ],
)
def test_wrong_splits(split, message):
    with pytest.raises(UsageError, match=message):
        split_series(counted(10), split)


def test_series_of_one_value_give_no_window():
    series = counted(1, 1)
    windows = Windows(cutter_of(series), np.zeros(2, int), series.lengths)
    with pytest.raises(UsageError, match="no training window"):
        TrainingBatches(windows, 4, 1)


def test_sets_of_different_series_are_refused():
    first, second = make_series(2)
    with pytest.raises(UsageError, match="series 's1': step is D; series 's0' has h"):
        days = step_named("D")
        times = days.times(second.times[0], np.arange(len(second)))
        pack([first, dataclasses.replace(second, step=days, times=times)])
    with pytest.raises(UsageError, match="series 's1': static columns are"):
        pack([first, dataclasses.replace(second, static={})])
    with pytest.raises(UsageError, match="no series"):
        pack([])
    with pytest.raises(UsageError, match="values have shape"):
        dataclasses.replace(first, targets=("a",))
    again = pack([first, second])
    assert [one.name for one in again] == ["s0", "s1"]
    assert np.array_equal(again[1].values, second.values, equal_nan=True)
    assert np.array_equal(again[-1].known, second.known)
    assert again[0].static == first.static and len(again[:1]) == 1
