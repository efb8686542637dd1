"""The network: padding changes nothing, every key of its configuration works, losses are right."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from seq2seq import UsageError
from seq2seq.config import config_from_dict
from seq2seq.config.images import ImageEncoderConfig
from seq2seq.tasks.classification.batches import Batches
from seq2seq.tasks.classification.calibration import at_limit, fit_temperature, probabilities
from seq2seq.tasks.classification.config import (
    ClassDataConfig,
    ClassEncoderConfig,
    ClassModelConfig,
    ImageInputConfig,
)
from seq2seq.tasks.classification.labelled import Labelled
from seq2seq.tasks.classification.model import ClassificationModel, Shape, chrono_
from seq2seq.tasks.classification.objectives import losses
from seq2seq.tasks.classification.scaling import Ranks, Summary
from seq2seq.tasks.classification.scores import confusion, score
from seq2seq.tasks.classification.series import make_series
from seq2seq.tasks.classification.sources import ImageSource, Inputs, SeriesSource
from seq2seq.tasks.classification.statistics import set_scaling
from seq2seq.tasks.classification.targets import Targets, class_weights, split_rows

NAN = float("nan")


def text_model(**keys):
    torch.manual_seed(0)
    encoder = ClassEncoderConfig(**keys.pop("encoder", {}), hidden_size=6)
    config = ClassModelConfig(embedding_size=5, encoder=encoder, **keys)
    return ClassificationModel(config, Shape(3, units=11, kept=2)).eval()


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"pooling": ["last", "mean", "max", "attention"], "hidden_size": 4},
        {"encoder": {"cell": "gru", "layers": 2, "residual": True, "layer_norm": True}},
        {"encoder": {"cell": "tanh", "bidirectional": False}, "pooling": ["last"]},
        {"encoder": {"cell": "lstm", "memory": 20, "recurrent_dropout": 0.2}},
    ],
)
def test_a_row_does_not_depend_on_its_batch(keys):
    model = text_model(**keys)
    ids = torch.randint(0, 13, (4, 7))
    lengths = torch.tensor([7, 3, 1, 0])
    together = model(Inputs(ids, lengths))
    for row, length in enumerate(lengths.tolist()):
        alone = model(Inputs(ids[row : row + 1, : max(1, length)], lengths[row : row + 1]))
        torch.testing.assert_close(alone.logits[0], together.logits[row])
        if alone.attention is not None:
            torch.testing.assert_close(
                alone.attention[0, :length], together.attention[row, :length]
            )
    model.train()
    loss = model(Inputs(ids, lengths)).logits.square().sum()
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("decay", [False, True])
def test_a_series_does_not_depend_on_its_batch(decay):
    encoder = ClassEncoderConfig(cell="gru", hidden_size=4, decay=decay, bidirectional=not decay)
    config = ClassModelConfig(encoder=encoder, pooling=["last", "max"])
    shape = Shape(2, features=2, static=1, irregular=True)
    torch.manual_seed(0)
    model = ClassificationModel(config, shape).eval()
    series = [
        make_series([[1, NAN], [NAN, 2], [NAN, NAN]], [0, 1, 5], [NAN]),
        make_series([[3, 4]], [2], [1.0]),
    ]
    source = SeriesSource(series, ClassDataConfig(kind="series"))
    together = model(source.collate(np.array([0, 1]))).logits
    for row in (0, 1):
        torch.testing.assert_close(model(source.collate(np.array([row]))).logits[0], together[row])
    assert torch.isfinite(together).all()
    others = [make_series(one.values, one.times * 3, one.static) for one in series]
    apart = SeriesSource(others, ClassDataConfig(kind="series"))
    assert not torch.allclose(model(apart.collate(np.array([0, 1]))).logits[0], together[0])


def test_images_through_a_cnn():
    images = ImageEncoderConfig(stem=8, widths=[8], blocks=[1], strides=[2], norm="batch")
    encoder = ClassEncoderConfig(hidden_size=4)
    config = ClassModelConfig(encoder=encoder, image_encoder=images, pooling=["attention"])
    torch.manual_seed(0)
    model = ClassificationModel(config, Shape(3, grid=True)).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype(np.uint8)
    source = ImageSource(pixels, ImageInputConfig(size=16, steps="grid"))
    together = model(source.collate(np.array([0, 1])))
    assert together.logits.shape == (2, 3) and together.attention.shape == (2, 16)
    alone = model(source.collate(np.array([1])))
    torch.testing.assert_close(alone.logits[0], together.logits[1])
    grey = ImageSource(pixels[..., 0], ImageInputConfig(size=16, steps="grid", shift=2))
    assert grey.collate(np.array([0]), np.random.default_rng(1)).values.shape == (1, 3, 16, 16)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_cnn_stays_as_it_is_in_training(frozen):
    images = ImageEncoderConfig(
        stem=8, widths=[8], blocks=[1], strides=[2], frozen=frozen, drop_path=0.5
    )
    config = ClassModelConfig(encoder=ClassEncoderConfig(hidden_size=4), image_encoder=images)
    model = ClassificationModel(config, Shape(3, grid=True)).train()
    torch.nn.init.ones_(model.image_encoder.blocks[0].second_norm.weight)
    before = {name: value.clone() for name, value in model.image_encoder.state_dict().items()}
    first, second = (model.image_encoder(torch.ones(8, 3, 16, 16))[0] for _ in range(2))
    after = model.image_encoder.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items()) == frozen
    assert torch.equal(first, second) == frozen


def test_scaling_cuts_what_lies_far_out():
    values = np.arange(200.0)[:, None] * [1, 0] + [0, NAN]
    values[0, 0] = 1e9
    source = SeriesSource([make_series(values)], ClassDataConfig(kind="series"))
    encoder = ClassEncoderConfig(hidden_size=4)
    model = ClassificationModel(
        ClassModelConfig(encoder=encoder), Shape(2, features=2, irregular=True)
    )
    set_scaling(model, source, 0.0)
    inputs = source.collate(np.array([0]))
    assert float(model.scaling.plain(inputs.values)[0, 1:, 0].std()) < 1e-3
    set_scaling(model, source, 0.01)
    scaled = model.scaling.plain(inputs.values)[0]
    assert 0.9 < float(scaled[1:, 0].std()) < 1.1 and float(scaled[0, 0]) < 3
    assert not scaled[:, 1].any()  # never measured: the mean


def test_normal_scores_follow_the_ranks():
    draw = np.random.default_rng(0)
    values = np.stack([np.exp(3 * draw.normal(size=5000)), draw.integers(0, 2, 5000)], 1)
    values[0, 0], values[7] = 1e12, NAN  # a mistyped value is a large one and no more
    ranks = Ranks(3)
    ranks.learn(torch.from_numpy(np.concatenate([values, np.full((5000, 1), NAN)], 1)))
    assert (ranks.knots.diff(dim=1) >= 0).all()
    wild = np.array([[1e13, 1, 4], [-5, 0, NAN], [1, 0.5, 0], [NAN, NAN, NAN]], np.float32)
    found = ranks(torch.from_numpy(wild))
    assert 3 < float(found[0, 0]) < 4.5 and -4.5 < float(found[1, 0]) < -3
    # the median of 4,999 draws of mean 0 and deviation 3 before exp: 0.05 either way
    assert abs(float(found[2, 0])) < 0.06
    share = np.nanmean(values[:, 1])  # two values: scores of the middles of their ranks
    normal = torch.distributions.Normal(0, 1)
    expected = normal.icdf(torch.tensor([(1 - share) / 2, 1 - share / 2]))
    torch.testing.assert_close(found[[1, 0], 1], expected.float(), atol=1e-4, rtol=0)
    assert found[3].isnan().all() and float(found[0, 2]) == 0  # of the third nothing is known
    some = torch.from_numpy(values[:300].astype(np.float32))[:, :1]
    order = some[:, 0].nan_to_num(0).argsort()
    scores = ranks(torch.cat([some, some, some], 1))[order, 0]
    assert (scores[~scores.isnan()].diff() >= 0).all()


def test_a_summary_of_what_was_measured():
    series = [
        make_series([[1, NAN], [NAN, NAN], [5, 4], [NAN, NAN]], [0, 1, 3, 7], [30]),
        make_series([[9, NAN]], None, [NAN]),
    ]
    source = SeriesSource(series, ClassDataConfig(kind="series"))
    summary = Summary(2, 1)
    found = summary.figures(source.collate(np.array([0, 1])))
    # mean, deviation, least, greatest, first, last, count, time since; the static feature
    first, second = [3, 2, 1, 5, 1, 5, 2, 4], [4, 0, 4, 4, 4, 4, 1, 4]
    both = [number for pair in zip(first, second, strict=True) for number in pair]
    torch.testing.assert_close(found[0], torch.tensor([*both, 30], dtype=torch.float32))
    alone, never = [9, 0, 9, 9, 9, 9, 1, 0], [NAN] * 6 + [0, NAN]
    both = [number for pair in zip(alone, never, strict=True) for number in pair]
    expected = torch.tensor([*both, NAN], dtype=torch.float32)
    torch.testing.assert_close(found[1], expected, equal_nan=True)
    summary.ranks.learn(found)
    curves = summary(source.collate(np.array([0, 1])))
    assert curves.shape == (2, summary.size) and torch.isfinite(curves).all()
    torch.testing.assert_close(summary(source.collate(np.array([1])))[0], curves[1])
    fine = Summary(2, 1, "fine")
    fine.ranks.learn(found)
    curves = fine(source.collate(np.array([0, 1]))).unflatten(1, (-1, 11))
    assert curves.flatten(1).shape == (2, fine.size) and torch.isfinite(curves).all()
    torch.testing.assert_close(curves[:, :, 10], found.isnan().float())  # what does not exist
    assert (curves[:, :, :10].diff(dim=2) <= 0).all()  # the higher the threshold, the less


def test_chrono_initialisation():
    model = text_model(encoder={"cell": "gru"})
    layer = model.encoder.layers[0]
    chrono_(layer, "gru", 100)
    update = layer.bias_ih_l0.chunk(3)[1]
    assert float(update.detach().min()) >= 0 and float(update.detach().max()) <= math.log(99)
    square = layer.weight_hh_l0.chunk(3)[0]
    torch.testing.assert_close(square @ square.T, torch.eye(6))
    assert not layer.bias_hh_l0.any()


def test_losses_are_torchs():
    torch.manual_seed(0)
    logits, ids = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    weights = torch.tensor([0.5, 1.0, 2.0])
    smooth = torch.full((5, 3), 0.1 / 3) + 0.9 * torch.nn.functional.one_hot(ids, 3)
    expected = -(smooth * logits.log_softmax(-1) * weights).sum(-1)
    torch.testing.assert_close(losses(logits, ids, "label", weights, 0.1), expected)
    sets = (torch.rand(5, 3) < 0.5).float()
    p = torch.sigmoid(logits)
    expected = -(sets * p.log() + (1 - sets) * (1 - p).log()).sum(-1)
    torch.testing.assert_close(losses(logits, sets, "labels", None, 0.0), expected)
    numbers = torch.randn(5)
    expected = 0.5 * (logits[:, 0] - numbers) ** 2
    torch.testing.assert_close(losses(logits[:, :1], numbers, "number", None, 0.0), expected)


def test_class_weights():
    assert class_weights(np.array([0, 0, 0, 1])).tolist() == pytest.approx([4 / 6, 2])
    sets = np.array([[1, 0], [1, 1], [1, 0], [0, 0]], np.float32)
    assert class_weights(sets).tolist() == pytest.approx([1 / 3, 3])


@pytest.mark.parametrize("kind", ["label", "labels"])
def test_temperature_finds_what_logits_were_scaled_by(kind):
    draw = np.random.default_rng(0)
    logits = torch.from_numpy(draw.normal(size=(20_000, 3)))
    chances = probabilities(logits, torch.tensor(1.0), kind).numpy()
    if kind == "label":
        truth = torch.from_numpy((chances.cumsum(1) < draw.random((20_000, 1))).sum(1).clip(max=2))
    else:
        truth = torch.from_numpy((draw.random(chances.shape) < chances).astype(np.float32))
    # the standard error of the fitted temperature is about 1 / sqrt(examples)
    assert fit_temperature(logits * 3, truth, kind) == pytest.approx(3, rel=0.05)
    sure = (truth if kind == "labels" else torch.eye(logits.shape[1])[truth]) * 2.0 - 1
    assert at_limit(fit_temperature(sure, truth, kind)) and not at_limit(3.0)


def test_scores():
    answers = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    figures = score("label", answers, np.array([0, 1, 1, 1]))
    assert figures["accuracy"] == 0.75 and figures["auc"] == 1.0
    assert figures["average_precision"] == 1.0 and figures["macro_f1"] == pytest.approx(
        (2 / 3 + 0.8) / 2
    )
    same = score("label", answers, np.array([1, 1, 1, 1]))
    assert (same["auc"], same["average_precision"]) == (0.5, 0.0)  # no rarer label
    sets = score("labels", answers, np.array([[1, 0], [0, 1], [1, 1], [0, 1]]))
    assert sets["accuracy"] == 0.75 and sets["auc"] == pytest.approx(1.0)
    numbers = score("number", np.array([1.0, 2, 3]), np.array([1.0, 2, 5]))
    assert numbers["mae"] == pytest.approx(2 / 3) and numbers["rmse"] == pytest.approx(
        (4 / 3) ** 0.5
    )
    table = confusion(answers, np.array([0, 1, 1, 1]), ("no", "yes"))
    assert [line.split() for line in table.splitlines()] == [
        ["no", "yes"],
        ["no", "1", "0"],
        ["yes", "1", "2"],
    ]


def test_parts_have_their_share_of_each_label():
    targets = ["a"] * 50 + ["b"] * 10 + ["c"]
    parts = split_rows(targets, "label", 5, seed=3)
    for part in range(5):
        held = [target for target, number in zip(targets, parts, strict=True) if number == part]
        assert held.count("a") == 10 and held.count("b") == 2
    assert (split_rows(targets, "label", 5, 3) == parts).all()
    assert (split_rows(targets, "label", 5, 4) != parts).any()


class Numbered:
    lengths = np.array([3, 1, 2] * 40)

    def __len__(self):
        return 120

    def collate(self, rows, draw=None):
        return Inputs(torch.from_numpy(rows.copy()), torch.from_numpy(self.lengths[rows]))


def test_batches_hold_every_example_once_and_go_on_anywhere():
    batches = Batches(Numbered(), np.arange(120), 16, 5)
    whole = list(batches.epoch(2, 0))
    assert len(whole) == batches.len_epoch(2) == 8
    assert sorted(torch.cat([b.targets for b in whole]).tolist()) == [*range(120)]
    assert all(torch.equal(b.inputs.values, b.targets) for b in whole)
    rest = list(batches.epoch(2, 3))
    assert [b.targets.tolist() for b in rest] == [b.targets.tolist() for b in whole[3:]]
    third = [b.targets.tolist() for b in batches.epoch(2, 1, 3)]
    assert third == [b.targets.tolist() for b in whole[1::3]]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"model": {"pooling": ["sum"]}}, "'model.pooling' is .'sum'.; expected a list of some"),
        ({"data": {"folds": 5, "fold": 5}}, "'data.fold' is 5; expected 0 to 4"),
        ({"data": {"folds": 1}}, "'data.folds' is 1"),
        ({"data": {"folds": 2, "test": "x"}}, "leave out 'data.test'"),
        ({"data": {"rename": ["a"]}}, "'data.rename' holds 'a'"),
        ({"units": {"vectors": "v", "kind": "characters"}}, "'units.vectors' are of words"),
        ({"units": {"frozen": True}}, "'units.frozen' needs 'units.vectors'"),
        ({"model": {"encoder": {"decay": True}}}, "'model.encoder.decay' is GRU-D"),
        ({"model": {"encoder": {"memory": 5, "cell": "tanh"}}}, "'model.encoder.memory' sets"),
        ({"training": {"best_by": "r2"}}, "'training.best_by' is 'r2'"),
        ({"data": {"target": "number"}, "training": {"label_smoothing": 0.1}}, "is of labels"),
        ({"data": {"phrases": True}}, "'data.phrases' needs"),
        ({"model": {"dropout": 1.0}}, "'model.dropout' is 1.0"),
    ],
)
def test_configurations_that_make_no_sense(keys, message):
    with pytest.raises(UsageError, match=message):
        config_from_dict({"task": "classification", **keys})


def test_targets_of_numbers():
    labelled = Labelled("here", ["a", "b"], [1.5, -2.0], [1, 2])
    assert Targets("number", ()).encode(labelled).tolist() == [1.5, -2.0]
    assert Targets("number", ()).outputs == 1
