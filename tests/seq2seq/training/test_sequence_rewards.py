"""Losses on whole sequences."""

from __future__ import annotations

import torch
from torch import nn

from seq2seq.training.sequence_rewards import (
    expected_risk,
    mean_of_others,
    policy_gradient,
    sequence_losses,
)


def test_a_sequence_loss_is_minus_the_log_probability_of_its_tokens():
    torch.manual_seed(0)
    projection = nn.Linear(4, 7).double()
    vectors = torch.randn(3, 5, 4, dtype=torch.float64)
    targets = torch.randint(7, (3, 5))
    targets[1, 2:] = -100
    found = sequence_losses(vectors, projection, targets, temperature=0.6)
    log_p = (projection(vectors) / 0.6).log_softmax(2)
    wanted = [
        -sum(log_p[n, t, y] for t, y in enumerate(row) if y >= 0) for n, row in enumerate(targets)
    ]
    torch.testing.assert_close(found, torch.stack(wanted))


def test_the_baseline_leaves_its_own_sample_out():
    found = mean_of_others(torch.tensor([[1.0, 2.0, 6.0]]))
    assert found.tolist() == [[4.0, 3.5, 1.5]]


def test_the_policy_gradient_is_minus_that_of_the_expected_reward():
    """Over all outcomes, each weighed by its probability, it is exact."""
    logits = torch.tensor([0.3, -1.0, 0.8], dtype=torch.float64, requires_grad=True)
    rewards = torch.tensor([0.1, 0.9, 0.4], dtype=torch.float64)
    p = logits.softmax(0)
    (wanted,) = torch.autograd.grad(-(p * rewards).sum(), logits, retain_graph=True)
    loss = policy_gradient(-p.log(), rewards * p.detach())
    (found,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(found, wanted)


def test_expected_risk_counts_a_repeated_candidate_once():
    losses = torch.tensor([[1.0, 3.0, 1.0]], dtype=torch.float64, requires_grad=True)
    rewards = torch.tensor([[0.25, 0.75, torch.nan]], dtype=torch.float64)
    found = expected_risk(losses, rewards, sharpness=0.5)
    q = torch.tensor([-0.5, -1.5], dtype=torch.float64).softmax(0)
    torch.testing.assert_close(found, (q[0] * 0.75 + q[1] * 0.25)[None])
    assert torch.autograd.gradcheck(lambda x: expected_risk(x, rewards, 0.5), losses)
