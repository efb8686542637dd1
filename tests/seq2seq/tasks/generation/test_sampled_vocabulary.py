"""The loss over a part of the vocabulary stands for the loss over all of it."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from seq2seq.tasks.generation.config import LanguageModelConfig
from seq2seq.tasks.generation.model import LanguageModel
from seq2seq.tasks.generation.objectives import LanguageLoss
from seq2seq.tasks.generation.sampled_vocabulary import SampledVocabulary

COUNTS = torch.tensor([0, 40, 900, 300, 100, 30, 30, 10, 3, 1, 1, 1])


def test_units_are_drawn_as_often_as_it_says():
    torch.manual_seed(0)
    sampled = SampledVocabulary(COUNTS, 5)
    shares = COUNTS.clamp(min=1).double() / COUNTS.sum()
    hits, claimed = torch.zeros(len(COUNTS)), torch.zeros(len(COUNTS))
    draws = 4000
    for _ in range(draws):
        others = torch.multinomial(shares, 6, replacement=True)
        targets = torch.cat([torch.tensor([2]), others])  # beside the first one, what is drawn
        units, places, log_share = sampled.draw(targets)
        assert units[places].tolist() == targets.tolist()
        assert units.tolist() == sorted(set(units.tolist()))
        hits[units] += 1
        claimed[units] += log_share.exp()
    found, said = hits / draws, claimed / hits
    # a share of n draws varies by at most sqrt(1 / 4n); five of those, and what clamping adds
    difference = (found - said).abs()
    assert difference[3:].max() < 5 * (0.25 / draws) ** 0.5 + 1e-3 and found[2] == 1


def test_a_large_enough_sample_is_the_whole_vocabulary():
    sampled = SampledVocabulary(COUNTS, len(COUNTS))
    units, places, log_share = sampled.draw(torch.tensor([3, 0, 3]))
    assert units.tolist() == list(range(len(COUNTS))) and places.tolist() == [3, 0, 3]
    assert log_share.abs().max() == 0


def test_the_loss_is_smallest_at_the_true_distribution():
    """Logits trained by the sampled loss become log p of the text, up to a constant."""
    torch.manual_seed(0)
    true = torch.tensor([0.05, 0.3, 0.25, 0.15, 0.1, 0.08, 0.04, 0.03])
    sampled = SampledVocabulary((true * 10_000).long(), 2)
    logits = torch.zeros(len(true), requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for step in range(3000):
        targets = torch.multinomial(true, 4, replacement=True)
        units, places, log_share = sampled.draw(targets)
        loss = cross_entropy((logits[units] - log_share).expand(4, -1), places)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / 3000)
    assert (logits.softmax(0) - true).abs().max() < 0.02


def test_training_draws_and_validation_does_not():
    torch.manual_seed(0)
    model = LanguageModel(LanguageModelConfig(layers=1, hidden_size=8, embedding_size=8), 12)
    inputs = torch.randint(0, 12, (2, 5))
    whole = LanguageLoss(model)
    part = LanguageLoss(model, sampled=SampledVocabulary(COUNTS, 2))
    everything = LanguageLoss(model, sampled=SampledVocabulary(COUNTS, 12))
    expected = whole(inputs, inputs)[0]
    torch.testing.assert_close(everything(inputs, inputs)[0], expected)
    assert part(inputs, inputs)[0] != expected
    torch.testing.assert_close(part.eval()(inputs, inputs)[0], expected)
