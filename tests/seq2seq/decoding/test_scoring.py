"""Log probabilities of given sequences."""

from __future__ import annotations

import math

import pytest
import torch

from seq2seq.decoding import beam_search, greedy_search
from seq2seq.decoding.scoring import score_sequences
from seq2seq.errors import RunError
from tests.seq2seq.decoding.toys import BOS, CLOSE, EOS, IDS, A, B, C, ToyRNN

GIVEN = [[A, B], [], [C, C, A, B], [B]]


def score(model, sources, targets, **more):
    common = {"bos": BOS, "eos": EOS, "device": torch.device("cpu")}
    return score_sequences(model, model.start(sources), targets, **common, **more)


@pytest.mark.parametrize("size", [6, 300])
def test_the_sum_of_the_log_probabilities_of_each_step(size):
    model = ToyRNN(size)
    found = score(model, [0, 1, 2, 3], GIVEN, return_attention=True)
    assert model.rows == [4, 3, 2, 1, 1]  # a sequence that is over leaves
    for source, tokens, one in zip(range(4), GIVEN, found, strict=True):
        state, parts, weights = model.start([source]), [], []
        for before, after in zip([BOS, *tokens], [*tokens, EOS], strict=True):
            logits, state = model.step(torch.tensor([before]), state)
            parts.append(float(logits.double().log_softmax(1)[0, after]))
            weights.append(state.attention[0])
        assert one.tokens == tokens and one.finished
        assert one.token_scores == pytest.approx(parts, **CLOSE)
        assert one.log_probability == one.score == pytest.approx(sum(parts), **CLOSE)
        torch.testing.assert_close(one.attention, torch.stack(weights))


def test_what_a_search_found_has_the_score_that_it_gave():
    model, sources = ToyRNN(6), list(range(8))
    limits = torch.full((8,), 20)
    greedy = greedy_search(model, model.start(sources), sources=8, max_lengths=limits, **IDS)
    nbest = beam_search(
        model, model.start(sources), sources=8, beam_size=3, max_lengths=limits, **IDS
    )
    for found in (greedy, [one[0] for one in nbest]):
        ended = [(i, one) for i, one in enumerate(found) if one.finished]
        assert ended
        scored = score(model, [i for i, _ in ended], [one.tokens for _, one in ended])
        for (_, one), again in zip(ended, scored, strict=True):
            assert again.token_scores == pytest.approx(one.token_scores, **CLOSE)


def test_alone_and_in_a_batch():
    model = ToyRNN(300)
    together = score(model, [0, 1, 2, 3], GIVEN)
    alone = [score(model, [i], [tokens])[0] for i, tokens in enumerate(GIVEN)]
    assert [one.token_scores for one in together] == [one.token_scores for one in alone]


class Fixed(ToyRNN):
    """Gives the same logits whatever it is fed."""

    def __init__(self, logits):
        super().__init__(attention=False)
        self.logits = torch.tensor(logits)

    def step(self, tokens, state):
        return self.logits.expand(len(tokens), -1), state

    def reorder(self, state, index):
        return state


def test_what_is_impossible_and_what_is_no_probability():
    (one,) = score(Fixed([0.0, -math.inf, 0.0, -math.inf]), [0], [[A]])
    assert one.log_probability == -math.inf and one.attention is None
    with pytest.raises(RunError, match=r"source 1 of the batch, step 1: .* no probabilities"):
        score(Broken([0.0] * 4), [0, 1], [[], [A]])
    for token in (4, -1):
        with pytest.raises(ValueError, match=f"token {token}; the vocabulary has 4 tokens"):
            score(Fixed([0.0] * 4), [0], [[A, token]])
    assert score(Fixed([0.0] * 4), [], []) == []


class Broken(Fixed):
    def step(self, tokens, state):
        logits, state = super().step(tokens, state)
        logits = logits.clone()
        logits[-1] = torch.nan
        return logits, state
