"""Adversarial training: how far, in which direction, and what is minimised."""

from __future__ import annotations

import pytest
import torch

from seq2seq.config import config_from_dict
from seq2seq.errors import UsageError
from seq2seq.tasks.classification.committee import build_network, members_of
from seq2seq.tasks.classification.config import ClassModelConfig
from seq2seq.tasks.classification.model import Shape
from seq2seq.tasks.classification.objectives import ClassificationLoss, losses
from seq2seq.tasks.classification.sources import Inputs
from seq2seq.training.adversarial import adversarial_loss, worst_step

LENGTHS = torch.tensor([4, 2])


def vectors():
    torch.manual_seed(0)
    return torch.randn(2, 4, 3)


def test_its_length_is_a_share_of_that_of_the_real_steps():
    x, gradient = vectors(), torch.randn(2, 4, 3)
    x[1, 2:], gradient[1, 2:] = 1e6, 5.0  # behind the end of the second
    step = worst_step(x, gradient, LENGTHS, 0.1)
    assert (step[1, 2:] == 0).all()
    for row, length in enumerate(LENGTHS.tolist()):
        of_x, of_g = x[row, :length], gradient[row, :length]
        torch.testing.assert_close(step[row, :length], 0.1 * of_x.norm() * of_g / of_g.norm())


def test_nothing_moves_where_the_loss_is_flat_however_long_the_text():
    x = 100 * vectors()
    gradient = torch.randn(2, 4, 3)
    gradient[0] = 0
    step = worst_step(x, gradient, LENGTHS, 0.9)
    assert (step[0] == 0).all() and step[1].abs().sum() > 0 and step.isfinite().all()


@pytest.mark.parametrize("scale", [1e30, 1.0, 1e-24, 1e-36])
def test_only_the_direction_of_the_gradient_counts(scale):
    x, gradient = vectors(), torch.randn(2, 4, 3)
    expected = worst_step(x, gradient, LENGTHS, 0.1)
    torch.testing.assert_close(worst_step(x, gradient * scale, LENGTHS, 0.1), expected)


def test_lengths_may_lie_on_another_device():
    x = torch.empty(2, 4, 3, device="meta")
    assert worst_step(x, x, LENGTHS, 0.1).shape == x.shape


def test_the_mean_of_both_losses_by_hand():
    """A linear loss rises by size ||x|| ||w|| when x is moved."""
    x, weight = vectors(), torch.randn(4, 3, requires_grad=True)
    full = torch.tensor([4, 4])
    found, rest = adversarial_loss(lambda z: ((z * weight).sum(), "rest"), x, full, 0.1, [weight])
    more = 0.1 * sum(one.norm() for one in x) * weight.norm()
    torch.testing.assert_close(found, (x * weight).sum() + more / 2)
    assert rest == "rest"
    # nothing is differentiated through r: d/dw of sum((x + r / 2) w) alone
    found.backward()
    step = worst_step(x, weight.detach().expand(2, 4, 3), full, 0.1)
    torch.testing.assert_close(weight.grad, (x + step / 2).sum(0))


def network(members, frozen=False):
    torch.manual_seed(0)
    config = ClassModelConfig(
        embedding_size=4, members=members, pooling=["attention"], dropout=0.0, input_dropout=0.0
    )
    config.encoder.hidden_size = 5
    return build_network(config, Shape(3, units=9), "label", frozen)


TEXTS = Inputs(torch.tensor([[3, 4, 5, 6], [7, 8, 0, 0]]), LENGTHS)
TARGETS = torch.tensor([2, 0])


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("frozen", [False, True])
def test_texts_that_are_moved_are_harder_and_the_plain_loss_is_reported(members, frozen):
    model = network(members, frozen)
    objective = ClassificationLoss(model, "label", None, 0.0, adversarial=0.05)
    clean, _ = ClassificationLoss(model, "label", None, 0.0)(TEXTS, TARGETS)
    minimised, reported = objective(TEXTS, TARGETS)
    assert minimised > clean
    torch.testing.assert_close(reported, clean.detach())
    minimised.backward()
    member = members_of(model)[0]
    assert member.output.weight.grad is not None and member.pooling is not None
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)
    objective.eval()
    torch.testing.assert_close(objective(TEXTS, TARGETS)[0], clean)


def test_the_gradient_is_that_of_both_losses():
    model = network(1)
    ClassificationLoss(model, "label", None, 0.1, adversarial=0.05)(TEXTS, TARGETS)[0].backward()
    found = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()

    def loss(x):
        return losses(model(TEXTS, x).logits, TARGETS, "label", None, 0.1).sum()

    x = model.embed(TEXTS)
    (gradient,) = torch.autograd.grad(loss(x), x)
    step = worst_step(x.detach(), gradient, LENGTHS, 0.05)
    (loss(model.embed(TEXTS)) / 2 + loss(model.embed(TEXTS) + step) / 2).backward()
    for one, parameter in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"task": "classification", "training": {"adversarial": 1.0}}, "'training.adversarial' is"),
        ({"task": "tagging", "training": {"adversarial": -0.1}}, "'training.adversarial' is -0.1"),
        (
            {
                "task": "classification",
                "data": {"kind": "series"},
                "training": {"adversarial": 0.1},
            },
            "moves the vectors of text; 'data.kind' is 'series'",
        ),
    ],
)
def test_configurations_that_make_no_sense(values, message):
    with pytest.raises(UsageError, match=message):
        config_from_dict(values)
