"""Constraints of a search: against all sequences listed, and dynamic beam allocation itself."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from seq2seq.decoding import beam_search, greedy_search
from seq2seq.decoding.constraints import Extension, allocate, choose
from tests.seq2seq.decoding.toys import (
    CLOSE,
    EOS,
    IDS,
    A,
    B,
    C,
    ToyRNN,
    every_sequence,
    follow,
    limits,
)


class Tokens:
    """Sequences of tokens that must come, and such as must not; a state is all tokens so far."""

    def __init__(self, required: Sequence[tuple], forbidden: Sequence[tuple] = ()) -> None:
        self.required, self.forbidden = required, forbidden

    def first(self) -> tuple:
        return ()

    def advance(self, state: tuple, token: int) -> tuple:
        return (*state, token)

    def _begun(self, state: tuple, form: tuple) -> int:
        return max(n for n in range(len(form)) if n == 0 or state[-n:] == form[:n])

    def wanted(self, state: tuple) -> list[int]:
        missing = [form for form in self.required if not holds(state, form)]
        return [form[self._begun(state, form)] for form in missing]

    def barred(self, state: tuple) -> list[int]:
        ends = [form for form in self.forbidden if len(state) >= len(form) - 1]
        return [one[-1] for one in ends if state[len(state) - len(one) + 1 :] == one[:-1]]

    def progress(self, state: tuple) -> int:
        missing = [form for form in self.required if not holds(state, form)]
        met = sum(len(form) for form in self.required if holds(state, form))
        return met + max((self._begun(state, form) for form in missing), default=0)

    def complete(self, state: tuple) -> bool:
        return all(holds(state, form) for form in self.required)


def holds(tokens: Sequence[int], form: tuple) -> bool:
    return any(tuple(tokens[i : i + len(form)]) == form for i in range(len(tokens)))


CONSTRAINTS = [
    Tokens([(A,)]),
    None,
    Tokens([(B, C), (A,)]),
    Tokens([], [(A,), (C, C)]),
    Tokens([(C, A)], [(B,), (A, A)]),
]


def search(model: ToyRNN, sources: list[int], constraints: list, beam_size: int, **options) -> list:
    return beam_search(
        model, model.start(sources), sources=len(sources), beam_size=beam_size,
        n_best=beam_size, max_lengths=limits(*[4] * len(sources)), constraints=constraints,
        **IDS, **options,
    )  # fmt: skip


def meets(tokens: list[int], constraint: Tokens | None) -> bool:
    if constraint is None:
        return True
    wrong = any(holds(tokens, form) for form in constraint.forbidden)
    return constraint.complete(tuple(tokens)) and not wrong


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_wide_beam_finds_the_best_that_meet_them(alpha: float) -> None:
    model = ToyRNN(seed=8)
    found = search(model, list(range(5)), CONSTRAINTS, 400, patience=math.inf, length_penalty=alpha)
    for source, (constraint, beam) in enumerate(zip(CONSTRAINTS, found, strict=True)):
        every = every_sequence(model, source, 4, alpha, 0.0, 4)
        expected = [one for one in every if meets(one.tokens, constraint)]
        finished = [one for one in beam if one.finished]
        assert [one.tokens for one in finished] == [one.tokens for one in expected]
        assert [one.score for one in finished] == pytest.approx(
            [one.score for one in expected], **CLOSE
        )


@pytest.mark.parametrize("beam_size", [1, 2, 3, 7])
def test_they_hold_in_a_narrow_beam_and_alone(beam_size: int) -> None:
    model = ToyRNN(seed=8)
    found = search(model, list(range(5)), CONSTRAINTS, beam_size)
    for source, (constraint, beam) in enumerate(zip(CONSTRAINTS, found, strict=True)):
        assert beam and meets(beam[0].tokens, constraint)
        assert all(meets(one.tokens, constraint) for one in beam if one.finished)
        assert search(model, [source], [constraint], beam_size) == [beam]
        log_ps, _ = follow(model, source, beam[0].tokens)
        every = [*beam[0].tokens, EOS] if beam[0].finished else beam[0].tokens
        expected = [log_ps[t, token].item() for t, token in enumerate(every)]
        assert beam[0].token_scores == pytest.approx(expected, **CLOSE)


def test_no_constraints_change_nothing() -> None:
    model = ToyRNN(seed=8)
    plain = search(model, [0, 1], [None, None], 3)
    assert plain == search(model, [0, 1], [Tokens([]), None], 3)
    options = {"sources": 2, "max_lengths": limits(4, 4), **IDS}
    greedy = greedy_search(model, model.start([0, 1]), constraints=[Tokens([]), None], **options)
    assert greedy == greedy_search(model, model.start([0, 1]), **options)


def test_what_cannot_be_met_in_time_is_met_as_far_as_may_be() -> None:
    model = ToyRNN(seed=8)
    (beam,) = search(model, [0], [Tokens([(A, B, C), (C, A, B)])], 4)
    assert not any(one.finished for one in beam)
    assert all(holds(one.tokens, (A, B, C)) or holds(one.tokens, (C, A, B)) for one in beam)


def test_beginnings_come_first() -> None:
    model = ToyRNN(seed=8)
    for beam_size in (1, 3):
        (beam,) = search(model, [2], [Tokens([(A,)], [(C,)])], beam_size, beginnings=[[B, B]])
        assert all(one.tokens[:2] == [B, B] for one in beam)
        assert meets(beam[0].tokens, Tokens([(A,)], [(C,)]))


@pytest.mark.parametrize(("beam_size", "groups"), [(2, 2), (4, 2), (6, 3)])
def test_each_group_holds_them(beam_size: int, groups: int) -> None:
    model, sources = ToyRNN(seed=8), list(range(5))
    options = {"groups": groups, "diversity": 0.7}
    found = search(model, sources, CONSTRAINTS, beam_size, **options)
    for source, (constraint, beam) in enumerate(zip(CONSTRAINTS, found, strict=True)):
        assert beam and all(meets(one.tokens, constraint) for one in beam if one.finished)
        assert search(model, [source], [constraint], beam_size, **options) == [beam]


def test_groups_without_strength_find_what_one_finds() -> None:
    model, sources = ToyRNN(seed=8), list(range(5))
    found = search(model, sources, CONSTRAINTS, 6, groups=2, diversity=0.0)
    plain = search(model, sources, CONSTRAINTS, 3)
    for two, one in zip(found, plain, strict=True):
        assert [h.tokens for h in two if h.finished] == [h.tokens for h in one if h.finished]


def test_groups_with_empty_constraints_search_as_without() -> None:
    model, sources = ToyRNN(seed=8), [0, 1, 2]
    options = {"groups": 3, "diversity": 0.7}
    empty = search(model, sources, [Tokens([])] * 3, 6, **options)
    assert empty == search(model, sources, [None] * 3, 6, **options)


def test_strength_sends_the_groups_to_other_words_around_the_same_one() -> None:
    model, options = ToyRNN(seed=8), {"groups": 2, "min_length": 2}
    (alike,) = search(model, [0], [Tokens([(A,)])], 4, diversity=0.0, **options)
    (apart,) = search(model, [0], [Tokens([(A,)])], 4, diversity=100.0, **options)
    assert len({(*one.tokens,) for one in apart}) > len({(*one.tokens,) for one in alike})
    assert all(holds(one.tokens, (A,)) for one in apart if one.finished)


def test_places_are_shared_among_the_banks() -> None:
    ranked = [Extension(-float(n), n, A, False, bank) for n, bank in enumerate([0] * 6 + [1, 2, 2])]
    chosen = allocate(ranked, 6)
    assert [one.bank for one in chosen] == [0, 0, 0, 1, 2, 2]
    assert [one.row for one in chosen] == [0, 1, 2, 6, 7, 8]
    assert [one.bank for one in allocate(ranked, 1)] == [2]  # nearest to the end
    assert [one.bank for one in allocate(ranked, 4)] == [0, 1, 2, 2]
    assert allocate(ranked, 100) == ranked
    assert allocate([], 3) == []
    ending = [Extension(-0.5, 9, EOS, True, 2), *ranked]
    assert [one.ends for one in choose(ending, 1)] == [True, False]


def test_wrong_use() -> None:
    model = ToyRNN()
    with pytest.raises(ValueError, match="there are 1 constraints; expected 2"):
        search(model, [0, 1], [None], 2)
