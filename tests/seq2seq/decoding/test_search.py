"""Search, checked against the enumeration of every sequence."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from seq2seq.decoding import Hypothesis, beam_search, greedy_search
from tests.seq2seq.decoding.toys import (
    BOS,
    CLOSE,
    EOS,
    IDS,
    PAD,
    TRAP,
    A,
    B,
    C,
    Table,
    TableState,
    ToyRNN,
    assert_same,
    every_sequence,
    follow,
    limits,
    table_beam,
)

# --- against every sequence -----------------------------------------------------------------
# With 3 letters and at most 3 tokens a step has at most 27 * (3 + 1) = 108 extensions: a beam of
# 108 prunes nothing.


@pytest.mark.parametrize(
    ("alpha", "beta"), [(0.0, 0.0), (1.0, 0.0), (2.5, 0.0), (-1.0, 0.0), (0.6, 0.4), (0.0, 2.0)]
)
def test_a_wide_beam_finds_every_sequence_in_order(alpha: float, beta: float) -> None:
    model = ToyRNN()
    lengths = limits(4, 2)
    found = beam_search(
        model,
        model.start([0, 1]),
        sources=2,
        beam_size=108,
        max_lengths=limits(3, 3),
        length_penalty=alpha,
        coverage_penalty=beta,
        n_best=108,
        source_lengths=lengths,
        return_attention=True,
        **IDS,
    )
    for source, hypotheses in enumerate(found):
        expected = every_sequence(model, source, 3, alpha, beta, lengths[source].item())
        assert len(expected) == 1 + 3 + 9 + 27
        assert_same(hypotheses, expected)
        for mine, true in zip(hypotheses, expected, strict=True):
            torch.testing.assert_close(mine.attention, true.attention)


@pytest.mark.parametrize("alpha", [-1.0, 0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("beta", [0.0, 0.3])
@pytest.mark.parametrize("n_best", [1, 4])
def test_stopping_by_the_bound_alone_never_loses_the_best(
    alpha: float, beta: float, n_best: int
) -> None:
    model = ToyRNN(seed=3)
    found = beam_search(
        model,
        model.start(list(range(6))),
        sources=6,
        beam_size=108,
        max_lengths=limits(*[3] * 6),
        length_penalty=alpha,
        coverage_penalty=beta,
        n_best=n_best,
        patience=math.inf,
        **IDS,
    )
    for source in range(6):
        expected = every_sequence(model, source, 3, alpha, beta, 4)[:n_best]
        assert_same(found[source], expected)


def test_the_bound_stops_a_search_that_cannot_improve() -> None:
    source = {(): {EOS: 0.6, A: 0.4}, "else": {A: 0.5, EOS: 0.5}}
    for alpha, steps in ((0.0, 1), (1.0, 5)):
        model = Table()
        found = beam_search(
            model,
            model.start([source]),
            sources=1,
            beam_size=2,
            max_lengths=limits(30),
            length_penalty=alpha,
            patience=math.inf,
            **IDS,
        )
        assert found[0][0].tokens == []
        # alpha 1: log(0.4 * 0.5 ** (t - 1)) / lp(31) is below log(0.6) / lp(1) from t = 5 on.
        assert len(model.rows) == steps


def test_the_bound_is_that_of_the_source() -> None:
    model = Table()
    first = {"else": {EOS: 1.0}}
    second = {(): {EOS: 0.6, A: 0.4}, "else": {A: 0.5, EOS: 0.5}}
    state = model.start([first, second])
    options = {"sources": 2, "beam_size": 2, "max_lengths": limits(0, 30), **IDS}
    beam_search(model, state, patience=math.inf, **options)
    assert model.rows == [2, 2, 2, 2, 2]  # as above, where the second is alone


def test_a_negative_length_penalty_favours_the_next_step() -> None:
    source = {(): {EOS: 0.3, A: 0.7}, "else": {EOS: 1.0}}
    best = table_beam(source, 2, limit=20, length_penalty=-2.0, patience=math.inf)[0]
    assert best.tokens == [A]  # log(0.7) * (7/6)^2 > log(0.3)


def test_patience_bounds_how_many_hypotheses_are_awaited() -> None:
    source = {"else": {A: 0.7, EOS: 0.3}}
    steps = {}
    for patience in (0.5, 1.0, 2.0):
        model = Table()
        state = model.start([source])
        beam_search(
            model, state, sources=1, beam_size=2, max_lengths=limits(40), length_penalty=3.0,
            patience=patience, **IDS,
        )  # fmt: skip
        steps[patience] = len(model.rows)
    assert steps == {0.5: 1, 1.0: 2, 2.0: 4}


# --- greedy ---------------------------------------------------------------------------------


def greedy_loop(model: ToyRNN, source: int, limit: int, least: int = 0) -> Hypothesis:
    """Greedy search of one source, written out."""
    tokens: list[int] = []
    log_p, state = 0.0, model.start([source])
    while True:
        logits, state = model.step(torch.tensor([[BOS, *tokens][-1]]), state)
        log_ps = logits[0].double().log_softmax(0)
        allowed = log_ps.clone()
        allowed[[PAD, BOS] + ([EOS] if len(tokens) < least else [])] = -math.inf
        best = allowed.argmax().item()
        if best == EOS:
            return Hypothesis(
                tokens, log_p + log_ps[best].item(), log_p + log_ps[best].item(), True
            )
        if len(tokens) == limit:
            return Hypothesis(tokens, log_p, log_p, False)
        tokens.append(best)
        log_p += log_ps[best].item()


@pytest.mark.parametrize("least", [0, 3])
def test_greedy_is_the_argmax_at_each_step(least: int) -> None:
    model = ToyRNN(vocabulary=9, seed=5)
    lengths = [7 + i % 5 for i in range(24)]
    found = greedy_search(
        model, model.start(list(range(24))), sources=24, max_lengths=limits(*lengths),
        min_length=least, **IDS,
    )  # fmt: skip
    expected = [greedy_loop(model, i, lengths[i], least) for i in range(24)]
    assert {h.finished for h in expected} == {True, False}  # both kinds are compared
    assert_same(found, expected)


@pytest.mark.parametrize("alpha", [-1.0, 0.0, 2.0])
def test_a_beam_of_one_is_greedy(alpha: float) -> None:
    model = ToyRNN(vocabulary=9, seed=6)
    options = {"sources": 16, "max_lengths": limits(*[9] * 16), **IDS}
    greedy = greedy_search(model, model.start(list(range(16))), **options)
    found = beam_search(
        model, model.start(list(range(16))), beam_size=1, length_penalty=alpha, **options
    )
    assert [beam[0].tokens for beam in found] == [one.tokens for one in greedy]
    assert [beam[0].log_probability for beam in found] == [one.log_probability for one in greedy]
    assert all(one.score == one.log_probability for one in greedy)


@pytest.mark.parametrize("beam_size", [1, 4])
def test_scores_of_tokens_are_the_models_own(beam_size: int) -> None:
    model, kinds = ToyRNN(vocabulary=9, seed=7), set()
    options = {"sources": 6, "max_lengths": limits(*range(6)), "n_best": beam_size, **IDS}
    for source, hypotheses in enumerate(
        beam_search(model, model.start(list(range(6))), beam_size=beam_size, **options)
    ):
        for one in hypotheses:
            kinds.add(one.finished)
            given = [*one.tokens, EOS] if one.finished else one.tokens
            log_ps, _ = follow(model, source, one.tokens)
            expected = [log_ps[t, token].item() for t, token in enumerate(given)]
            assert one.token_scores == pytest.approx(expected, **CLOSE)
            assert sum(one.token_scores) == pytest.approx(one.log_probability, **CLOSE)
    assert kinds == {True, False}


def test_a_beam_of_one_is_not_reordered_for_nothing() -> None:
    model = ToyRNN()
    options = {"sources": 3, "max_lengths": limits(6, 6, 6), "min_length": 9, **IDS}
    greedy_search(model, model.start([0, 1, 2]), **options)
    assert model.rows == [3] * 7
    assert model.reorders == 0


def test_a_beam_escapes_where_greedy_is_trapped() -> None:
    model = Table()
    greedy = greedy_search(model, model.start([TRAP]), sources=1, max_lengths=limits(5), **IDS)
    assert greedy[0].tokens == [A, A]
    assert greedy[0].log_probability == pytest.approx(math.log(0.24), **CLOSE)
    best = table_beam(TRAP, 2, length_penalty=0.0)[0]
    assert best.tokens == [B]
    assert best.log_probability == pytest.approx(math.log(0.36), **CLOSE)


# --- ranking --------------------------------------------------------------------------------


def test_n_best_is_sorted_distinct_and_complete() -> None:
    found = table_beam(TRAP, 5, length_penalty=0.0, n_best=5)
    assert [h.tokens for h in found] == [[B], [A, A], [A], [A, B], [B, A]]
    expected = [0.36, 0.24, 0.18, 0.18, 0.04]
    assert [math.exp(h.score) for h in found] == pytest.approx(expected, rel=1e-5)


def test_fewer_come_back_where_fewer_exist() -> None:
    assert [h.tokens for h in table_beam({"else": {EOS: 1.0}}, 4, n_best=4)] == [[]]


def test_the_length_penalty_favours_longer_output() -> None:
    source = {(): {EOS: 0.5, A: 0.5}, (A,): {B: 1.0}, (A, B): {EOS: 0.8, C: 0.2}, "else": {EOS: 1}}
    assert table_beam(source, 3, length_penalty=0.0)[0].tokens == []
    longer = table_beam(source, 3, length_penalty=2.0)[0]
    assert longer.tokens == [A, B]
    assert longer.log_probability == pytest.approx(math.log(0.4), **CLOSE)
    assert longer.score == pytest.approx(math.log(0.4) / (8 / 6) ** 2, **CLOSE)


class Looker(Table):
    """A Table in which A looks at source position 0, B at 1, and all else at both."""

    def step(self, tokens: Tensor, state: TableState) -> tuple[Tensor, TableState]:
        logits, state = super().step(tokens, state)
        looks = {A: [1.0, 0.0], B: [0.0, 1.0]}
        # What is attended to while a token is fed counts for the next one.
        state.attention = torch.tensor([looks.get(t, [0.1, 0.1]) for t in tokens.tolist()])
        return logits, state


def test_the_coverage_penalty_favours_what_looks_everywhere() -> None:
    source = {(): {A: 1.0}, (A,): {A: 0.6, B: 0.4}, "else": {EOS: 1.0}}
    best = {}
    for beta in (0.0, 1.0):
        model = Looker()
        options = {"sources": 1, "beam_size": 3, "max_lengths": limits(5), **IDS}
        found = beam_search(model, model.start([source]), coverage_penalty=beta, **options)
        best[beta] = found[0][0]
    assert best[0.0].tokens == [A, A]
    assert best[1.0].tokens == [A, B]
    assert best[1.0].score == pytest.approx(math.log(0.4) / (8 / 6), **CLOSE)  # all covered


def test_padding_of_the_source_does_not_count_for_coverage() -> None:
    source = {"else": {EOS: 1.0}}
    model = Looker()
    options = {"sources": 2, "beam_size": 2, "max_lengths": limits(5, 5), **IDS}
    state = model.start([source, source])
    found = beam_search(model, state, coverage_penalty=0.5, source_lengths=limits(1, 2), **options)
    assert found[0][0].score == pytest.approx(0.5 * math.log(0.1), **CLOSE)
    assert found[1][0].score == pytest.approx(1.0 * math.log(0.1), **CLOSE)


def test_cut_hypotheses_are_ranked_by_score() -> None:
    model = Looker()
    source = {(): {C: 0.6, A: 0.4}, "else": {A: 1.0}}  # after C coverage is 0.2, 0.2; A 1.1, 0.1
    options = {"sources": 1, "beam_size": 2, "n_best": 2, "max_lengths": limits(2), **IDS}
    found = beam_search(
        model, model.start([source]), coverage_penalty=1.0, length_penalty=0.0, **options
    )[0]
    assert [(h.tokens, h.finished) for h in found] == [([A, A], False), ([C, A], False)]
    expected = [math.log(0.4 * 0.1), math.log(0.6 * 0.2 * 0.2)]
    assert [h.score for h in found] == pytest.approx(expected, **CLOSE)


def test_a_position_never_attended_to_keeps_the_score_finite() -> None:
    class Blind(Table):
        def step(self, tokens: Tensor, state: TableState) -> tuple[Tensor, TableState]:
            logits, state = super().step(tokens, state)
            state.attention = torch.zeros(len(tokens), 2)
            return logits, state

    model = Blind()
    options = {"sources": 1, "beam_size": 2, "max_lengths": limits(3), **IDS}
    found = beam_search(model, model.start([TRAP]), coverage_penalty=1.0, **options)
    assert math.isfinite(found[0][0].score)
