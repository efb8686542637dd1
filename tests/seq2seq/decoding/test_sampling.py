"""What is drawn, against the definitions."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from seq2seq.decoding.sampling import (
    Noise,
    Rollout,
    Sampling,
    draw,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalise,
    row_key,
)
from seq2seq.errors import RunError

LOGITS = torch.tensor([[0.5, 0.2, 0.2, 0.08, 0.02], [0.02, 0.08, 0.2, 0.2, 0.5]]).log()


def kept(logits):
    return [row.isfinite().nonzero().flatten().tolist() for row in logits]


def test_top_k():
    assert kept(keep_top_k(LOGITS, 2)) == [[0, 1], [2, 4]]  # of equal ones the lower
    assert kept(keep_top_k(LOGITS, 5)) == [[0, 1, 2, 3, 4]] * 2


@pytest.mark.parametrize(
    ("p", "count"), [(0.01, 1), (0.49, 1), (0.51, 2), (0.75, 3), (0.95, 4), (0.999, 5)]
)
def test_top_p_keeps_the_fewest_that_reach_it(p, count):
    assert [len(row) for row in kept(keep_top_p(LOGITS, p))] == [count, count]


def test_min_p():
    assert kept(keep_min_p(LOGITS, 0.3)) == [[0, 1, 2], [2, 3, 4]]
    assert kept(keep_min_p(LOGITS, 1.0)) == [[0], [4]]


def test_the_repetition_penalty_lowers_what_was_seen_whatever_its_sign():
    logits = torch.tensor([[2.0, -2.0, 1.0]])
    seen = torch.tensor([[True, True, False]])
    assert penalise(logits, seen, 2.0).tolist() == [[1.0, -4.0, 1.0]]


def test_draws_follow_the_distribution():
    uniform = torch.arange(0, 1, 1e-4, dtype=torch.float64).unsqueeze(1)
    tokens = draw(LOGITS[:1].expand(len(uniform), -1), uniform)
    shares = torch.bincount(tokens, minlength=5) / len(uniform)
    torch.testing.assert_close(shares, LOGITS[0].exp(), rtol=0, atol=2e-4)


@pytest.mark.parametrize("uniform", [0.0, 0.3, 1 - 2**-53])
def test_what_has_no_probability_is_never_drawn(uniform):
    logits = torch.tensor([[-math.inf, 0.0, -math.inf, 1.0, -math.inf]])
    token = draw(logits, torch.tensor([[uniform]], dtype=torch.float64))
    assert token.tolist() in ([1], [3])


def test_noise_of_a_row_follows_from_its_key_alone():
    together, alone = Noise([1, 2, 3]), Noise([2])
    for step in range(600):
        if step == 300:
            together.keep([1, 2])
        row = 1 if step < 300 else 0
        value = together.next()
        assert value[row] == alone.next()[0]
        assert ((value >= 0) & (value < 1)).all()


def test_keys_differ_by_seed_sample_and_prompt():
    keys = {row_key(s, n, p) for s in (1, 2) for n in (0, 1) for p in ([5], [5, 6], [6])}
    assert len(keys) == 12
    assert all(0 <= key < 2**63 for key in keys)


class Fixed:
    """Always the same logits; counts the steps; its state are row numbers."""

    attention = None

    def __init__(self, logits):
        self.logits, self.steps = logits, 0

    def step(self, tokens, state):
        self.steps += 1
        return self.logits[state], state

    def reorder(self, state, index):
        return state[index]


def rollout(logits, prompts=None, banned=(), **options):
    rows = torch.arange(len(logits))
    prompts = prompts or [[0]] * len(logits)
    return Rollout(
        Fixed(logits), rows, logits, prompts, [1] * len(logits), Sampling(**options), banned
    )


def test_a_step_feeds_the_token_only_when_the_next_is_asked_for():
    found = rollout(LOGITS, temperature=0)
    assert found.step().tolist() == [0, 4]
    assert found.model.steps == 0
    found.step()
    assert found.model.steps == 1
    found.flush()
    found.flush()
    assert found.model.steps == 2


def test_rows_go_on_after_others_left():
    found = rollout(LOGITS, temperature=0)
    found.step()
    found.keep([1])
    assert found.step().tolist() == [4]


def test_banned_tokens_never_come():
    assert rollout(LOGITS, banned=[0, 4], temperature=0).step().tolist() == [1, 2]


def test_no_ngram_comes_twice():
    found = rollout(LOGITS[:1], prompts=[[0, 0]], temperature=0, no_repeat_ngram=2)
    tokens = [0, 0] + [int(found.step()) for _ in range(7)]
    pairs = list(pairwise(tokens))
    assert len(set(pairs)) == len(pairs)
    found = rollout(LOGITS[:1], prompts=[[3]], temperature=0, no_repeat_ngram=1)
    assert [int(found.step()) for _ in range(4)] == [0, 1, 2, 4]
    with pytest.raises(RunError, match="no_repeat_ngram leaves nothing"):
        found.step()


def test_logits_that_give_no_probabilities():
    for bad in (math.nan, math.inf):
        logits = LOGITS.clone()
        logits[1, 2] = bad
        with pytest.raises(RunError, match="no probabilities"):
            rollout(logits).step()
