"""A committee: its answer is the mean of its members', who learn each by their own loss."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from seq2seq import Classifier, UsageError
from seq2seq.config import config_from_dict
from seq2seq.tasks.classification.committee import Committee, build_network
from seq2seq.tasks.classification.config import ClassModelConfig
from seq2seq.tasks.classification.model import ClassificationModel, Shape
from seq2seq.tasks.classification.objectives import ClassificationLoss, losses
from seq2seq.tasks.classification.sources import Inputs
from seq2seq.training.loop import train
from tests.seq2seq.running import assert_same_run, kill_and_resume
from tests.seq2seq.tasks.classification.conftest import (
    sentences,
    series_settings,
    text_settings,
    write,
    write_npz,
)


def network(kind, outputs, members=3):
    torch.manual_seed(0)
    config = ClassModelConfig(
        embedding_size=4, members=members, pooling=["attention"], dropout=0.0, input_dropout=0.0
    )
    config.encoder.hidden_size = 5
    return build_network(config, Shape(outputs, units=9), kind, False)


def batch():
    return Inputs(torch.tensor([[3, 4, 5, 6], [7, 8, 0, 0]]), torch.tensor([4, 2]))


@pytest.mark.parametrize(
    ("kind", "outputs", "answer"),
    [
        ("label", 3, lambda x: x.softmax(-1)),
        ("labels", 3, lambda x: x.sigmoid()),
        ("number", 1, lambda x: x),
    ],
)
def test_the_answer_is_the_mean_and_the_loss_is_each_ones(kind, outputs, answer):
    committee = network(kind, outputs)
    assert isinstance(committee, Committee)
    result = committee(batch())
    each = [member(batch()) for member in committee.members]
    expected = torch.stack([answer(one.logits) for one in each]).mean(0)
    torch.testing.assert_close(answer(result.logits), expected)
    shares = torch.stack([one.attention for one in each]).mean(0)
    torch.testing.assert_close(result.attention, shares)
    targets = {
        "label": torch.tensor([2, 0]),
        "labels": torch.tensor([[1.0, 0, 1], [0, 0, 1]]),
        "number": torch.tensor([0.3, -2.0]),
    }[kind]
    loss, _ = ClassificationLoss(committee, kind, None, 0.0)(batch(), targets)
    sums = [losses(one.logits, targets, kind, None, 0.0).sum() for one in each]
    torch.testing.assert_close(loss, torch.stack(sums).mean())
    assert loss >= losses(result.logits, targets, kind, None, 0.0).sum() - 1e-6  # Jensen
    loss.backward()
    first = each[0].logits.grad_fn is not None and committee.members[0].output.weight.grad
    torch.manual_seed(0)
    alone = network(kind, outputs, members=1)
    assert isinstance(alone, ClassificationModel)
    ClassificationLoss(alone, kind, None, 0.0)(batch(), targets)[0].backward()
    torch.testing.assert_close(first * 3, alone.output.weight.grad)  # no other member's in it


def test_certain_answers_stay_finite():
    committee = network("labels", 2)
    with torch.no_grad():
        for member in committee.members:
            member.output.weight.zero_()
            member.output.bias.copy_(torch.tensor([300.0, -300.0]))
    logits = committee(batch()).logits
    torch.testing.assert_close(logits, torch.tensor([[300.0, -300.0]] * 2))


def test_it_is_trained_saved_and_resumed(texts, tmp_path):
    whole, part = (text_settings(texts, tmp_path / name) for name in ("whole", "part"))
    for values in (whole, part):
        values["model"]["members"] = 2
        values["training"]["adversarial"] = 0.02
    model = train(config_from_dict(whole), quiet=True)
    classifier = Classifier.from_pretrained(model, device="cpu")
    first, second = classifier.model.members
    assert not torch.equal(first.output.weight, second.output.weight)
    assert "mean answer of 2 such networks" in (model / "README.md").read_text()
    answer = classifier.classify("the plot was not lovely", explain=True)
    assert sum(share for _, share in answer.explanation) == pytest.approx(1)
    several = ["a film", "the plot was not lovely", "here"]
    alone = [classifier.classify(text).probability for text in several]
    together = [one.probability for one in classifier.classify(several)]
    np.testing.assert_allclose(alone, together, rtol=1e-5)
    part["model"]["members"] = 1
    with pytest.raises(UsageError, match=r"its 'model\.members' is 2, here 1"):
        train(config_from_dict(part | {"training": {"start_from": str(model)}}), quiet=True)
    part["model"]["members"] = 2
    kill_and_resume(part, tmp_path)
    assert_same_run(tmp_path / "part", tmp_path / "whole")


def test_members_of_series_and_vectors_begin_with_the_same_data(tmp_path, texts):
    write_npz(tmp_path / "train.npz", 60, 1, irregular=True)
    values = series_settings(tmp_path, tmp_path / "run", False, max_steps=2, validate_every=2)
    values["data"]["scale"] = "ranks"
    values["model"] |= {"members": 2, "summary": True}
    first, second = Classifier.from_pretrained(
        train(config_from_dict(values), quiet=True), device="cpu"
    ).model.members
    for name, buffer in first.named_buffers():
        if name.startswith(("scaling", "summary")):
            assert torch.equal(buffer, dict(second.named_buffers())[name]), name

    (tmp_path / "vectors.txt").write_text("great 1 2 3\nfilm 4 5 6\nunheard 7 8 9\n")
    write(tmp_path / "train.tsv", [(len(text), text) for _, text in sentences(60, 5)])
    values = text_settings(texts, tmp_path / "n", max_steps=40, learning_rate=2e-2)
    values["data"] = {"train": str(tmp_path / "train.tsv"), "target": "number"}
    values["units"] = {"vectors": str(tmp_path / "vectors.txt"), "frozen": True}
    values["model"] |= {"embedding_size": 3, "members": 2}
    model = train(config_from_dict(values), quiet=True)
    classifier = Classifier.from_pretrained(model, device="cpu")
    great = int(classifier.units.encode("great")[0])
    for member in classifier.model.members:
        assert member.embedding.weight[great].tolist() == [1, 2, 3]
    scores = json.loads((tmp_path / "n" / "validation.scores.json").read_text())
    assert scores["mae"] < 15 and classifier.model.centre > 10
    with pytest.raises(UsageError, match=r"'model\.members' is 0"):
        config_from_dict(values | {"model": {"members": 0}})
    with pytest.raises(UsageError, match="is 1000000; expected at most 100"):
        config_from_dict(values | {"model": {"members": 1000000}})
