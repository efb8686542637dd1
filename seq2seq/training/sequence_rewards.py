"""Losses on whole sequences that a model wrote itself, weighed by a reward.

Captioning and translation use them: a task draws sequences, scores them, and computes their log
probabilities once more with gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kernels.loss import linear_cross_entropy


def sequence_losses(
    vectors: Tensor, projection: nn.Linear, targets: Tensor, temperature: float = 1.0
) -> Tensor:
    """-log p of each sequence, p = prod_t softmax((W v_t + b) / temperature)[y_t].

    vectors (N, T, A), targets (N, T) with -100 past the end -> (N,)
    """
    losses = linear_cross_entropy(
        vectors.flatten(0, 1) / temperature,
        projection.weight,
        targets.flatten(),
        projection.bias / temperature,
        reduction="none",
    ).view_as(targets)  # (N, T)
    return losses.sum(1)


def mean_of_others(rewards: Tensor) -> Tensor:
    """The baseline of each sample: the mean reward of the other K - 1 samples of its source
    (Luo 2020, eq. 4). rewards (B, K), K at least 2 -> (B, K)"""
    return (rewards.sum(1, keepdim=True) - rewards) / (rewards.shape[1] - 1)


def policy_gradient(losses: Tensor, advantages: Tensor) -> Tensor:
    """sum_n advantage_n * -log p(y_n), whose gradient is minus that of the expected reward for
    sequences drawn from p (Williams 1992; Rennie et al. 2017, eq. 5). Both (N,) -> ()"""
    return (losses * advantages.to(losses)).sum()


def expected_risk(losses: Tensor, rewards: Tensor, sharpness: float) -> Tensor:
    """Minimum risk training (Shen et al. 2016, eq. 11 and 13): for each source

        sum_k Q(y_k) (1 - r(y_k)),      Q(y_k) = p(y_k)^a / sum_j p(y_j)^a

    over its K candidates; a is ``sharpness``. A candidate that stands twice counts once.
    losses (B, K) = -log p, rewards (B, K) from 0 to 1; those of repeated candidates are NaN.
    Returns (B,).
    """
    repeated = rewards.isnan()
    scores = (-sharpness * losses).masked_fill(repeated, -torch.inf)  # (B, K)
    cost = (1 - rewards).nan_to_num(0.0).to(losses)
    return (scores.softmax(1) * cost).sum(1)
