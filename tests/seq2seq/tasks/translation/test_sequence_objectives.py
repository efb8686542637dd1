"""Training on drawn translations."""

from __future__ import annotations

import pytest
import torch

from seq2seq.config import config_from_dict
from seq2seq.errors import UsageError
from seq2seq.tasks.translation.batches import collate
from seq2seq.tasks.translation.config import DecodingConfig, TranslationTrainingConfig
from seq2seq.tasks.translation.sequence_objectives import SequenceReward, TextReward
from seq2seq.training.sequence_rewards import mean_of_others
from tests.seq2seq.tasks.translation.models import ENGLISH, GERMAN, make_translator

DECODING = DecodingConfig(max_length_ratio=1.0, max_length_extra=2)


def make_objective(reward, **options):
    translator = make_translator()
    values = {"label_smoothing": 0.0, "samples": 6, **options}
    objective = SequenceReward(
        translator.model, reward, TranslationTrainingConfig(**values), DECODING
    )
    source = [translator.source_tokenizer.encode(text) for text in ENGLISH]
    target = [translator.target_tokenizer.encode(text) for text in GERMAN]
    batch = collate(source, target)
    pairs = (batch.source, batch.source_lengths, batch.target_input, batch.target_output)
    return objective.train(), (*pairs, batch.indices)


def count_of_seven(translations, rows):
    return torch.tensor([min(1.0, ids.count(7) / 3) for ids in translations])


@pytest.mark.parametrize("kind", ["self_critical", "minimum_risk"])
def test_rewarded_translations_become_likelier(kind):
    torch.manual_seed(1)
    objective, batch = make_objective(
        count_of_seven, objective=kind, cross_entropy_weight=0.0, sharpness=1.0
    )
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-2)
    rewards = []
    for _ in range(30):
        loss, reported = objective(*batch)
        rewards.append(-reported.item() / (batch[3] != -100).sum().item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert objective.model.training  # as it was
    assert sum(rewards[-5:]) > 2 * sum(rewards[:5])


def test_the_gradient_is_that_of_the_distribution_drawn_from():
    """d loss / d bias = tokens / (N t) sum_nt advantage_n (p_nt - 1[y_nt])."""
    objective, batch = make_objective(
        count_of_seven, objective="self_critical", temperature=0.7, cross_entropy_weight=0.0
    )
    model = objective.model
    torch.manual_seed(5)
    loss, _ = objective(*batch)
    (found,) = torch.autograd.grad(loss, model.projection.bias)
    torch.manual_seed(5)
    drawn = objective.eval()._draw(batch[0], batch[1])
    rewards = torch.stack([count_of_seven([one.tokens for one in some], None) for some in drawn])
    advantages = rewards - mean_of_others(rewards)
    wanted = torch.zeros_like(found)
    for row, some in enumerate(drawn):
        for k, one in enumerate(some):
            outputs = [*one.tokens, *([3] * one.finished)]
            inputs = torch.tensor([[2, *outputs[:-1]]])
            length = batch[1][row : row + 1]
            with torch.no_grad():
                vectors = model(batch[0][row : row + 1, : int(length)], length, inputs)
                p = (model.projection(vectors[0]) / 0.7).softmax(1)  # (T, V)
            hit = torch.nn.functional.one_hot(torch.tensor(outputs), p.shape[1])
            wanted += advantages[row, k] * (p - hit).sum(0)
    tokens = (batch[3] != -100).sum()
    wanted *= tokens / (18 * 0.7)
    assert wanted.abs().max() > 1e-3
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_cross_entropy_has_its_share():
    objective, batch = make_objective(
        lambda found, rows: torch.zeros(len(found)), objective="self_critical",
        cross_entropy_weight=0.25,
    )  # fmt: skip
    loss, reported = objective(*batch)
    wanted = 0.25 * objective.cross_entropy(*batch[:4])
    torch.testing.assert_close(loss, wanted)
    assert reported == 0


@pytest.mark.parametrize("metric", ["bleu", "chrf"])
def test_the_reward_is_highest_for_the_reference(metric):
    tokenizer = make_translator().target_tokenizer
    reward = TextReward(metric, tokenizer, GERMAN)
    ids = tokenizer.encode(GERMAN[1])
    found = reward([ids, ids[:-3], [], ids], [1, 1, 1, 0])
    assert found[0] == pytest.approx(1)
    assert 1 > found[1] > found[2] == 0
    assert found[3] < found[1]


def test_the_reward_of_text_without_spaces_counts_characters():
    class Texts:
        def decode_batch(self, ids):
            return ["我是一个人在那里吃饭" for _ in ids]

    words, signs = (
        TextReward("bleu", Texts(), ["我是一个人在这里吃饭"], counted)([[1]], [0]).item()
        for counted in ("13a", "zh")
    )
    assert words == 0 < signs < 1


@pytest.mark.parametrize(
    "change, message",
    [
        ({}, "start_from"),
        ({"start_from": "m", "samples": 1}, "at least 2"),
        ({"start_from": "m", "temperature": 0.0}, "0.05 to 20"),
        ({"start_from": "m", "cross_entropy_weight": 1.5}, "0 to 1"),
        ({"start_from": "m", "rdrop": 1.0}, "rdrop"),
    ],
)
def test_settings_that_make_no_sense(change, message):
    training = {"objective": "self_critical", **change}
    with pytest.raises(UsageError, match=message):
        config_from_dict({"data": {"train": "x.{lang}"}, "training": training})
