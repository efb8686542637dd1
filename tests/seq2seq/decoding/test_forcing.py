"""Search with given beginnings, against all sequences listed."""

from __future__ import annotations

import pytest

from seq2seq.decoding import beam_search, greedy_search
from seq2seq.errors import UsageError
from tests.seq2seq.decoding.toys import (
    BOS,
    CLOSE,
    EOS,
    IDS,
    PAD,
    A,
    B,
    C,
    ToyRNN,
    every_sequence,
    follow,
    limits,
)

BEGINNINGS = [[A], [], [C, C, B], [B, A, A, C], [C, A]]


def search(model: ToyRNN, sources: list[int], beginnings: list, beam_size: int, **options) -> list:
    lengths = limits(*[4] * len(sources))
    return beam_search(
        model, model.start(sources), sources=len(sources), beam_size=beam_size,
        n_best=beam_size, max_lengths=lengths, beginnings=beginnings, **IDS, **options,
    )  # fmt: skip


def test_a_wide_beam_finds_the_best_that_begin_so() -> None:
    model = ToyRNN(seed=8)
    found = search(model, list(range(5)), BEGINNINGS, 400, patience=float("inf"))
    for source, (given, beam) in enumerate(zip(BEGINNINGS, found, strict=True)):
        every = every_sequence(model, source, 4, 1.0, 0.0, 4)
        expected = [one for one in every if one.tokens[: len(given)] == given]
        finished = [one for one in beam if one.finished]
        assert [one.tokens for one in finished] == [one.tokens for one in expected]
        assert [one.score for one in finished] == pytest.approx(
            [one.score for one in expected], **CLOSE
        )


@pytest.mark.parametrize("beam_size", [1, 3])
def test_forced_tokens_have_their_own_log_p(beam_size: int) -> None:
    model = ToyRNN(seed=8)
    found = search(model, list(range(5)), BEGINNINGS, beam_size, no_repeat_ngram=1, min_length=2)
    for source, (given, beam) in enumerate(zip(BEGINNINGS, found, strict=True)):
        assert beam
        for one in beam:
            assert one.tokens[: len(given)] == given and len(one.tokens) >= 2
            log_ps, _ = follow(model, source, one.tokens)
            every = [*one.tokens, EOS] if one.finished else one.tokens
            expected = [log_ps[t, token].item() for t, token in enumerate(every)]
            assert one.token_scores == pytest.approx(expected, **CLOSE)
        assert search(model, [source], [given], beam_size, no_repeat_ngram=1, min_length=2) == [
            beam
        ]


def test_empty_beginnings_change_nothing() -> None:
    model = ToyRNN(seed=8)
    options = {"sources": 3, "max_lengths": limits(4, 4, 4), **IDS}
    plain = greedy_search(model, model.start([0, 1, 2]), **options)
    assert plain == greedy_search(model, model.start([0, 1, 2]), beginnings=[[]] * 3, **options)
    assert plain != greedy_search(model, model.start([0, 1, 2]), beginnings=[[C, B]] * 3, **options)


def test_wrong_beginnings() -> None:
    model = ToyRNN()
    with pytest.raises(ValueError, match="1 beginnings for 2 sources"):
        search(model, [0, 1], [[A]], 2)
    with pytest.raises(ValueError, match=r"beginnings\[0\] has 5 tokens; the maximum length is 4"):
        search(model, [0], [[A] * 5], 2)
    for token in (BOS, EOS, PAD):
        with pytest.raises(UsageError, match=rf"beginnings\[1\] holds token {token}"):
            search(model, [0, 1], [[], [A, token]], 2)
