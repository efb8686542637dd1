"""A linear-chain conditional random field over label sequences (Lafferty et al. 2001).

With emissions e_t(k) of a network and learned transitions A, a sequence y of length n scores

    s(y) = start(y_1) + sum_t e_t(y_t) + sum_t A(y_t-1, y_t) + end(y_n),   p(y) = exp(s(y)) / Z

(Lample et al. 2016, section 2.2). Z sums over all sequences that the ``Constraints`` allow.

Letters for sizes: B batch, T steps, K labels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Constraints(NamedTuple):
    """Which labels may begin a sequence, follow one another and end it."""

    start: Tensor  # (K,) bool
    transitions: Tensor  # (K, K) bool: [from, to]
    end: Tensor  # (K,) bool

    @staticmethod
    def none(labels: int) -> Constraints:
        free = torch.ones(labels, dtype=torch.bool)
        return Constraints(free, torch.ones(labels, labels, dtype=torch.bool), free.clone())


class LinearChain(nn.Module):
    """The field: transitions and their constraints, likelihood, best sequence, marginals.

    ``learned=False`` keeps all transitions at zero: the labels are then independent of each
    other, but for the constraints.
    """

    start: Tensor
    transitions: Tensor
    end: Tensor
    allowed_start: Tensor
    allowed: Tensor
    allowed_end: Tensor

    def __init__(
        self, labels: int, constraints: Constraints | None = None, learned: bool = True
    ) -> None:
        super().__init__()
        constraints = constraints or Constraints.none(labels)
        shapes = {"start": (labels,), "transitions": (labels, labels), "end": (labels,)}
        for name, shape in shapes.items():
            if learned:
                self.register_parameter(name, nn.Parameter(torch.zeros(shape)))
            else:
                self.register_buffer(name, torch.zeros(shape), persistent=False)
        # not saved: whoever builds the layer knows the labels
        self.register_buffer("allowed_start", constraints.start, persistent=False)
        self.register_buffer("allowed", constraints.transitions, persistent=False)
        self.register_buffer("allowed_end", constraints.end, persistent=False)

    def log_likelihood(self, emissions: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
        """log p(labels) for each sequence: emissions (B, T, K), labels (B, T), lengths (B,) of at
        least 1 -> (B,). What stands past a length is not read."""
        return self.score(emissions, labels, lengths) - self.log_partition(emissions, lengths)

    def score(self, emissions: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
        """s(labels), unnormalised: (B,)"""
        mask = _real(lengths, emissions.shape[1])  # (B, T)
        labels = labels.masked_fill(~mask, 0)
        at = emissions.gather(2, labels.unsqueeze(2)).squeeze(2)  # (B, T)
        between = self.transitions[labels[:, :-1], labels[:, 1:]]  # (B, T-1)
        last = labels.gather(1, (lengths - 1).unsqueeze(1)).squeeze(1)  # (B,)
        inner = (at * mask).sum(1) + (between * mask[:, 1:]).sum(1)
        return self.start[labels[:, 0]] + inner + self.end[last]

    def log_partition(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """log Z of each sequence, by the forward algorithm: (B,)"""
        log_z: Tensor = _LogPartition.apply(
            emissions,
            self.start.masked_fill(~self.allowed_start, -torch.inf),
            self.transitions.masked_fill(~self.allowed, -torch.inf),
            self.end.masked_fill(~self.allowed_end, -torch.inf),
            lengths,
        )
        return log_z

    @torch.no_grad()
    def decode(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """The best sequence of each row by the Viterbi algorithm: (B, T) labels, 0 past a length.
        Of equal ones, the same whatever the batch."""
        batch, steps, _ = emissions.shape
        between = self.transitions.masked_fill(~self.allowed, -torch.inf)
        end = self.end.masked_fill(~self.allowed_end, -torch.inf)
        best = emissions[:, 0] + self.start.masked_fill(~self.allowed_start, -torch.inf)  # (B, K)
        back = []  # (B, K) for each step from the second on: the label before
        for step in range(1, steps):
            value, before = (best.unsqueeze(2) + between).max(1)  # (B, K): over the label before
            live = (step < lengths).unsqueeze(1)
            best = torch.where(live, value + emissions[:, step], best)
            back.append(before)
        label = (best + end).argmax(1)  # (B,)
        labels = emissions.new_zeros((batch, steps), dtype=torch.int64)
        for step in range(steps - 1, -1, -1):
            live = step < lengths
            labels[:, step] = torch.where(live, label, 0)
            if step:
                before = back[step - 1].gather(1, label.unsqueeze(1)).squeeze(1)
                label = torch.where(live, before, label)
        return labels

    @torch.no_grad()
    def marginals(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """p(y_t = k), by the forward and the backward algorithm: (B, T, K), 0 past a length."""
        sums = _forward(
            emissions,
            self.start.masked_fill(~self.allowed_start, -torch.inf),
            self.transitions.masked_fill(~self.allowed, -torch.inf),
            self.end.masked_fill(~self.allowed_end, -torch.inf),
            lengths,
        )
        probabilities, _ = _marginals(sums, lengths)
        return probabilities.to(emissions.dtype)


class _Sums(NamedTuple):
    """The forward algorithm's results, scaled: what stands at step t was divided by scales 0 to t.

    Sums of exponentials in float64 need no logarithm at each step, but a product of a step: labels
    whose scores differ by more than 700 nats at a step are as good as impossible.
    """

    alpha: Tensor  # (B, T, K)
    scale: Tensor  # (B, T), 1 past a length
    emissions: Tensor  # (B, T, K) exp(emission - their maximum at that step)
    transitions: Tensor  # (K, K) exp(transition - their maximum)
    end: Tensor  # (K,)
    total: Tensor  # (B,) sum over the last labels
    log_z: Tensor  # (B,)


def _forward(
    emissions: Tensor, start: Tensor, transitions: Tensor, end: Tensor, lengths: Tensor
) -> _Sums:
    dtype = torch.float32 if emissions.device.type == "mps" else torch.float64
    emissions, start, transitions, end = (
        t.detach().to(dtype) for t in (emissions, start, transitions, end)
    )
    steps = emissions.shape[1]
    mask = _real(lengths, steps)  # (B, T)
    highest = emissions.amax(2)  # (B, T)
    e = (emissions - highest.unsqueeze(2)).exp()
    largest, first, last = transitions.amax(), start.amax(), end.amax()
    p, end = (transitions - largest).exp(), (end - last).exp()
    alpha, scale = torch.empty_like(e), torch.ones_like(highest)
    current = (start - first).exp() * e[:, 0]  # (B, K)
    for step in range(steps):
        if step:
            moved = (current @ p) * e[:, step]
            current = torch.where(mask[:, step, None], moved, current)
        total = current.sum(1)  # (B,): 1 past a length
        current = current / total.unsqueeze(1)
        alpha[:, step], scale[:, step] = current, total
    scale = scale.masked_fill(~mask, 1.0)
    total = current @ end  # (B,)
    log_z = (scale.log() + highest * mask).sum(1) + total.log()
    log_z = log_z + first + last + largest * (lengths - 1)
    return _Sums(alpha, scale, e, p, end, total, log_z)


def _marginals(sums: _Sums, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """p(y_t) (B, T, K), and each step's share of the next one's labels, (B, T, K): exp(e) * beta,
    scaled, zero at the first step and past a length."""
    alpha, e = sums.alpha, sums.emissions
    steps = e.shape[1]
    beta = sums.end.expand_as(e[:, 0]) / sums.total.unsqueeze(1)  # (B, K)
    probabilities, ahead = torch.zeros_like(e), torch.zeros_like(e)
    for step in range(steps - 1, -1, -1):
        live = (step < lengths).unsqueeze(1)
        probabilities[:, step] = torch.where(live, alpha[:, step] * beta, 0.0)
        if step:
            weighted = e[:, step] * beta / sums.scale[:, step, None]
            ahead[:, step] = torch.where(live, weighted, 0.0)
            beta = torch.where(live, weighted @ sums.transitions.T, beta)
    return probabilities, ahead


class _LogPartition(torch.autograd.Function):
    """log Z; its derivatives are the marginals of single labels and of pairs."""

    @staticmethod
    def forward(
        ctx: Any,
        emissions: Tensor,
        start: Tensor,
        transitions: Tensor,
        end: Tensor,
        lengths: Tensor,
    ) -> Tensor:
        sums = _forward(emissions, start, transitions, end, lengths)
        ctx.save_for_backward(*sums, lengths)
        ctx.dtypes = [t.dtype for t in (emissions, start, transitions, end)]
        return sums.log_z if emissions.dtype == torch.float64 else sums.log_z.float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # grad (B,)
        *saved, lengths = ctx.saved_tensors
        sums = _Sums(*saved)
        single, ahead = _marginals(sums, lengths)  # (B, T, K)
        weight = grad.to(single.dtype)[:, None, None]
        single = single * weight
        before = (sums.alpha[:, :-1] * weight).flatten(0, 1)  # (B*(T-1), K)
        pairs = sums.transitions * (before.T @ ahead[:, 1:].flatten(0, 1))  # (K, K)
        rows = torch.arange(len(lengths), device=lengths.device)
        gradients = (single, single[:, 0].sum(0), pairs, single[rows, lengths - 1].sum(0))
        return *(g.to(d) for g, d in zip(gradients, ctx.dtypes, strict=True)), None


def _real(lengths: Tensor, steps: int) -> Tensor:
    """(B, T) bool: steps before the lengths."""
    return torch.arange(steps, device=lengths.device) < lengths.unsqueeze(1)
