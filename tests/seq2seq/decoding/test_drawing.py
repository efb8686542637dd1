"""Sequences drawn: their distribution, scores, limits; the same whatever the batch."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from seq2seq.decoding import Sampling, greedy_search
from seq2seq.decoding.drawing import draw_sequences
from tests.seq2seq.decoding.toys import CLOSE, EOS, IDS, ToyRNN, every_sequence, follow, limits


def draw(model: ToyRNN, sources: list[int], samples: int, limit: int = 5, **options) -> list:
    return draw_sequences(
        model,
        model.start(sources),
        keys=[[1000 * source + n for n in range(samples)] for source in sources],
        max_lengths=limits(*[limit] * len(sources)),
        options=Sampling(**options),
        **IDS,
    )


def test_scores_are_the_models_own() -> None:
    model, kinds = ToyRNN(vocabulary=9, seed=3), set()
    for source, drawn in enumerate(draw(model, [0, 1, 2, 3], 6, temperature=1.5, top_k=4)):
        for one in drawn:
            kinds.add(one.finished)
            assert len(one.tokens) <= 5
            log_ps, _ = follow(model, source, one.tokens)
            every = [*one.tokens, EOS] if one.finished else one.tokens
            expected = [log_ps[t, token].item() for t, token in enumerate(every)]
            assert one.token_scores == pytest.approx(expected, **CLOSE)
            assert one.score == one.log_probability == sum(one.token_scores)
    assert kinds == {True, False}


def test_sequences_come_as_often_as_they_are_probable() -> None:
    model, samples = ToyRNN(seed=4), 4000
    (drawn,) = draw(model, [0], samples, limit=2)
    counts = Counter(tuple(one.tokens) for one in drawn if one.finished)
    # bos and pad never come: what the model gives them goes to the others
    for one in every_sequence(model, 0, 2, 0.0, 0.0, 4):
        log_ps, _ = follow(model, 0, one.tokens)
        rest = log_ps[:, [token for token in range(6) if token not in (0, 1)]].logsumexp(1)
        p = math.exp(one.log_probability - rest.sum().item())
        spread = math.sqrt(samples * p * (1 - p))
        assert abs(counts[tuple(one.tokens)] - samples * p) <= 5 * spread + 1


def test_a_source_does_not_depend_on_its_batch() -> None:
    model = ToyRNN(vocabulary=9, seed=3)
    together = draw(model, [0, 1, 2, 3], 3, top_p=0.9)
    assert together == [draw(model, [source], 3, top_p=0.9)[0] for source in range(4)]
    assert len({tuple(one.tokens) for drawn in together for one in drawn}) > 6


def test_temperature_0_is_greedy() -> None:
    model = ToyRNN(vocabulary=9, seed=3)
    greedy = greedy_search(
        model, model.start([0, 1, 2]), sources=3, max_lengths=limits(5, 5, 5), **IDS
    )
    for one, drawn in zip(greedy, draw(model, [0, 1, 2], 2, temperature=0), strict=True):
        assert [other.tokens for other in drawn] == [one.tokens] * 2
        assert [other.finished for other in drawn] == [one.finished] * 2
    assert draw(model, [], 2) == []
