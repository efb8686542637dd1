"""The linear-chain field against all sequences, one by one."""

from __future__ import annotations

import itertools

import pytest
import torch

from seq2seq.layers.crf import Constraints, LinearChain

LABELS, LENGTHS = 4, [4, 1, 3]


def chain(constrained, dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    constraints = None
    if constrained:
        allowed = torch.ones(LABELS, LABELS, dtype=torch.bool)
        allowed[0, 1] = allowed[2, 3] = False
        constraints = Constraints(
            torch.tensor([1, 0, 1, 1]).bool(), allowed, torch.tensor([1, 1, 1, 0]).bool()
        )
    field = LinearChain(LABELS, constraints).to(dtype)
    for parameter in field.parameters():
        torch.nn.init.normal_(parameter)
    emissions = torch.randn(len(LENGTHS), max(LENGTHS), LABELS, dtype=dtype)
    return field, emissions, torch.tensor(LENGTHS)


def sequences(field, emissions, length):
    """Every allowed sequence and its score, by the definition."""
    for labels in itertools.product(range(LABELS), repeat=length):
        allowed = field.allowed_start[labels[0]] and field.allowed_end[labels[-1]]
        score = field.start[labels[0]] + field.end[labels[-1]]
        for step, label in enumerate(labels):
            score = score + emissions[step, label]
            if step:
                allowed = allowed and field.allowed[labels[step - 1], label]
                score = score + field.transitions[labels[step - 1], label]
        if allowed:
            yield labels, score.item()


@pytest.mark.parametrize("constrained", [False, True])
def test_sums_best_sequence_and_marginals_are_those_of_all_sequences(constrained):
    field, emissions, lengths = chain(constrained)
    log_z, best = field.log_partition(emissions, lengths), field.decode(emissions, lengths)
    marginals = field.marginals(emissions, lengths)
    for row, length in enumerate(LENGTHS):
        found = list(sequences(field, emissions[row], length))
        scores = torch.tensor([score for _, score in found], dtype=torch.float64)
        torch.testing.assert_close(log_z[row], scores.logsumexp(0))
        assert best[row, :length].tolist() == list(max(found, key=lambda pair: pair[1])[0])
        assert not best[row, length:].any()
        expected = torch.zeros(max(LENGTHS), LABELS, dtype=torch.float64)
        for (labels, _), share in zip(found, scores.softmax(0), strict=True):
            for step, label in enumerate(labels):
                expected[step, label] += share
        torch.testing.assert_close(marginals[row], expected)


@pytest.mark.parametrize("constrained", [False, True])
def test_likelihoods_of_all_sequences_sum_to_one(constrained):
    field, emissions, _ = chain(constrained)
    every = [labels for labels, _ in sequences(field, emissions[0], 4)]
    rows = emissions[:1].expand(len(every), -1, -1)
    likelihood = field.log_likelihood(rows, torch.tensor(every), torch.full((len(every),), 4)).exp()
    torch.testing.assert_close(likelihood.sum().item(), 1.0)


@pytest.mark.parametrize("constrained", [False, True])
def test_gradients(constrained):
    field, emissions, lengths = chain(constrained)
    labels = torch.tensor([[2, 0, 2, 1], [0, 0, 0, 0], [3, 1, 1, 3]])  # the rest is not read
    labels[2, 2] = 2

    def likelihood(emissions, start, transitions, end):
        names = {"start": start, "transitions": transitions, "end": end}
        arguments = (emissions, labels, lengths)
        return torch.func.functional_call(
            _Likelihood(field), {f"f.{k}": v for k, v in names.items()}, arguments
        )

    inputs = [emissions, field.start, field.transitions, field.end]
    inputs = [t.detach().clone().requires_grad_() for t in inputs]
    assert torch.autograd.gradcheck(likelihood, inputs)


class _Likelihood(torch.nn.Module):
    def __init__(self, field):
        super().__init__()
        self.f = field

    def forward(self, *arguments):
        return self.f.log_likelihood(*arguments)


def test_what_is_forbidden_gets_no_gradient_and_what_is_padding_neither():
    field, emissions, lengths = chain(True)
    emissions.requires_grad_()
    field.log_partition(emissions, lengths).sum().backward()
    assert field.transitions.grad[0, 1] == 0 and field.start.grad[1] == 0
    assert not emissions.grad[1, 1:].any() and not emissions.grad[2, 3:].any()
    assert field.transitions.grad.isfinite().all()


def test_scores_far_apart_and_long_sequences_stay_finite():
    field, _, _ = chain(True, torch.float32)
    emissions = 60 * torch.randn(2, 500, LABELS)
    emissions.requires_grad_()
    lengths = torch.tensor([500, 317])
    log_z = field.log_partition(emissions, lengths)
    log_z.sum().backward()
    assert log_z.isfinite().all() and emissions.grad.isfinite().all()
    best = field.decode(emissions, lengths)
    score = field.score(emissions, best, lengths)
    assert (score <= log_z + 1e-2).all()


def test_a_row_alone_and_in_a_batch():
    field, emissions, lengths = chain(False, torch.float32)
    together = field.decode(emissions, lengths)
    for row, length in enumerate(LENGTHS):
        alone = field.decode(emissions[row : row + 1, :length], lengths[row : row + 1])
        assert alone[0].tolist() == together[row, :length].tolist()


def test_without_learned_transitions_the_labels_are_independent_but_for_the_constraints():
    _, emissions, lengths = chain(False)
    field = LinearChain(LABELS, learned=False).double()
    assert not list(field.parameters()) and not field.state_dict()
    assert torch.equal(field.decode(emissions, lengths)[0], emissions[0].argmax(1))
    torch.testing.assert_close(field.marginals(emissions, lengths)[0], emissions[0].softmax(1))
