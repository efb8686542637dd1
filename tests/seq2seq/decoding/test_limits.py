"""Lengths, batches, n-grams and attention of a search."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from seq2seq.decoding import Hypothesis, beam_search, greedy_search
from seq2seq.decoding.ngrams import without_repeats
from seq2seq.errors import UsageError
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
    ToyState,
    assert_same,
    every_sequence,
    follow,
    limits,
    table_beam,
)

# --- lengths --------------------------------------------------------------------------------


def test_the_minimum_length_holds_and_bars_only_eos() -> None:
    model = ToyRNN()
    found = beam_search(
        model, model.start([0]), sources=1, beam_size=108, max_lengths=limits(3), min_length=2,
        n_best=108, length_penalty=0.0, **IDS,
    )[0]  # fmt: skip
    assert_same(found, every_sequence(model, 0, 3, 0.0, 0.0, 4, least=2))


def test_each_source_has_its_own_maximum_length() -> None:
    endless = {"else": {A: 0.99, B: 0.01}}
    model = Table()
    found = beam_search(
        model, model.start([endless] * 4), sources=4, beam_size=2, n_best=2,
        max_lengths=limits(3, 0, 5, 1), length_penalty=1.0, **IDS,
    )  # fmt: skip
    assert [source[0].tokens for source in found] == [[A] * 3, [], [A] * 5, [A]]
    assert not any(h.finished for source in found for h in source)
    assert [len(source) for source in found] == [2, 1, 2, 2]
    five = found[2][0]
    assert five.log_probability == pytest.approx(5 * math.log(0.99), **CLOSE)
    assert five.score == pytest.approx(5 * math.log(0.99) / (10 / 6), **CLOSE)
    # Sources leave the batch at their maximum.
    assert model.rows == [4, 3 * 2, 2 * 2, 2 * 2, 1 * 2, 1 * 2]


def test_cut_hypotheses_only_fill_up() -> None:
    # The cut [A, A] is more probable than the finished [A].
    source = {(): {A: 1.0}, (A,): {A: 0.9, EOS: 0.1}, "else": {A: 1.0}}
    found = table_beam(source, 2, limit=2, n_best=2)
    assert [(h.tokens, h.finished) for h in found] == [([A], True), ([A, A], False)]
    assert [h.tokens for h in table_beam(source, 2, limit=2, n_best=1)] == [[A]]


def test_a_hypothesis_may_end_at_its_maximum_length() -> None:
    source = {(): {A: 1.0}, (A,): {B: 1.0}, (A, B): {EOS: 0.7, A: 0.3}, "else": {A: 1.0}}
    found = table_beam(source, 2, limit=2, n_best=2)
    assert [(h.tokens, h.finished) for h in found] == [([A, B], True)]


def test_a_maximum_of_zero_still_finds_eos() -> None:
    ends = {"else": {EOS: 0.9, A: 0.1}}
    assert table_beam(ends, 2, limit=0) == [
        Hypothesis([], pytest.approx(math.log(0.9), **CLOSE), pytest.approx(math.log(0.9)), True)
    ]
    goes_on = {"else": {EOS: 0.1, A: 0.9}}
    (cut,) = table_beam(goes_on, 1, limit=0)
    assert cut == Hypothesis([], 0.0, 0.0, False)


def test_a_dead_end_is_cut() -> None:
    model = Table()
    source = {(): {A: 1.0}, "else": {PAD: 0.5, BOS: 0.5}}
    options = {"sources": 1, "max_lengths": limits(9), **IDS}
    found = greedy_search(model, model.start([source]), **options)
    assert found == [Hypothesis([A], 0.0, 0.0, False)]
    found = beam_search(model, model.start([source]), beam_size=3, n_best=3, **options)[0]
    assert [(h.tokens, h.finished) for h in found] == [([A], False)]


# --- the batch ------------------------------------------------------------------------------


@pytest.mark.parametrize("n_best", [1, 3])
def test_a_source_gives_the_same_alone_and_among_64(n_best: int) -> None:
    model = ToyRNN(vocabulary=12, seed=8)
    everything = {"length_penalty": 0.8, "coverage_penalty": 0.2, "no_repeat_ngram": 3, **IDS}
    everything |= {"beam_size": 4, "n_best": n_best, "return_attention": True}
    lengths = [3 + i % 9 for i in range(64)]
    state = model.start(list(range(64)))
    together = beam_search(model, state, sources=64, max_lengths=limits(*lengths), **everything)
    assert len(set(model.rows)) > 3  # sources left at different times
    for i in range(0, 64, 5):
        alone = beam_search(
            model, model.start([i]), sources=1, max_lengths=limits(lengths[i]), **everything
        )[0]
        assert [h.tokens for h in alone] == [h.tokens for h in together[i]]
        assert_same(alone, together[i])
        for one, other in zip(alone, together[i], strict=True):
            torch.testing.assert_close(one.attention, other.attention)


def test_sources_that_finish_leave_the_batch() -> None:
    short = {"else": {EOS: 1.0}}
    long = {(A,) * n: {A: 1.0} for n in range(4)} | {"else": {EOS: 1.0}}
    model = Table()
    found = beam_search(
        model, model.start([long, short, long, short]), sources=4, beam_size=3,
        max_lengths=limits(9, 9, 9, 9), **IDS,
    )  # fmt: skip
    assert [source[0].tokens for source in found] == [[A] * 4, [], [A] * 4, []]
    assert model.rows == [4, 6, 6, 6, 6]


def test_no_source() -> None:
    model = ToyRNN()
    nothing = {"sources": 0, "max_lengths": limits(), **IDS}
    assert beam_search(model, model.start([]), beam_size=3, **nothing) == []
    assert greedy_search(model, model.start([]), **nothing) == []
    assert model.rows == []


@pytest.mark.parametrize("beam_size", [3, 7, 50])
def test_a_beam_wider_than_the_vocabulary(beam_size: int) -> None:
    source = {"else": {A: 0.5, EOS: 0.5}}

    class Tiny(Table):
        vocabulary = 4

    model = Tiny()
    found = beam_search(
        model, model.start([source]), sources=1, beam_size=beam_size, n_best=3,
        max_lengths=limits(6), length_penalty=0.0, **IDS,
    )[0]  # fmt: skip
    assert [h.tokens for h in found] == [[], [A], [A, A]]


def test_the_model_is_fed_only_what_was_chosen() -> None:
    class Strict(Table):
        def step(self, tokens: Tensor, state: TableState) -> tuple[Tensor, TableState]:
            allowed = {A, B} if self.rows else {BOS}
            assert set(tokens.tolist()) <= allowed
            return super().step(tokens, state)

    model = Strict()
    options = {"sources": 1, "beam_size": 9, "max_lengths": limits(4), **IDS}
    source = {"else": {A: 0.4, B: 0.3, EOS: 0.2, PAD: 0.1}}
    assert beam_search(model, model.start([source]), **options)[0][0].finished
    assert len(model.rows) > 2


def test_pad_and_bos_are_never_emitted_but_keep_their_probability() -> None:
    source = {(): {PAD: 0.4, BOS: 0.3, A: 0.2, EOS: 0.1}, "else": {PAD: 0.5, EOS: 0.5}}
    found = table_beam(source, 6, n_best=3, length_penalty=0.0)
    assert [h.tokens for h in found] == [[], [A]]
    assert [math.exp(h.score) for h in found] == pytest.approx([0.1, 0.1], rel=1e-5)


def test_eos_that_is_also_bos_and_pad_can_be_emitted() -> None:
    model = Table()
    found = beam_search(
        model, model.start([TRAP]), sources=1, beam_size=2, max_lengths=limits(5),
        bos=EOS, eos=EOS, pad=EOS, length_penalty=0.0,
    )  # fmt: skip
    assert found[0][0].tokens == [B]


def test_ties_go_to_the_lower_token() -> None:
    source = {"else": {A: 1, B: 1, C: 1}}
    model = Table()
    greedy = greedy_search(model, model.start([source]), sources=1, max_lengths=limits(2), **IDS)
    assert greedy[0].tokens == [A, A]
    found = table_beam(source, 4, limit=2, n_best=4)
    assert [h.tokens for h in found] == [[A, A], [A, B], [A, C], [B, A]]


# --- n-grams --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("beam_size", [1, 4])
def test_no_ngram_comes_twice(size: int, beam_size: int) -> None:
    model = ToyRNN(vocabulary=7, seed=2)
    options = {"sources": 8, "beam_size": beam_size, "max_lengths": limits(*[14] * 8), **IDS}
    options |= {"min_length": 4, "n_best": beam_size}

    def repeats(found: list[list[Hypothesis]]) -> int:
        count = 0
        for hypothesis in itertools.chain.from_iterable(found):
            grams = list(zip(*(hypothesis.tokens[i:] for i in range(size)), strict=False))
            count += len(grams) - len(set(grams))
        return count

    state = model.start(list(range(8)))
    assert repeats(beam_search(model, state, no_repeat_ngram=size, **options)) == 0
    assert repeats(beam_search(model, model.start(list(range(8))), **options)) > 0


def test_a_token_is_banned_only_after_the_same_words() -> None:
    logits = torch.zeros(2, 8)
    prefix = torch.tensor([[3, 4, 5, 4, 3], [3, 4, 5, 3, 6]])
    banned = without_repeats(logits, prefix, 2) == -math.inf  # after 3 came 4; after 6 nothing
    assert banned.nonzero().tolist() == [[0, 4]]
    # 3 4 | 5 4: the second 4 also stands after 5, which is not what stands last.
    banned = without_repeats(logits, torch.tensor([[3, 4, 5, 4, 3]] * 2), 2) == -math.inf
    assert banned.nonzero().tolist() == [[0, 4], [1, 4]]
    assert without_repeats(logits, prefix, 6) is logits
    assert logits.eq(0).all()


# --- attention ------------------------------------------------------------------------------


def test_attention_is_that_of_the_ancestors() -> None:
    model = ToyRNN(vocabulary=9, seed=4)
    state = model.start(list(range(10)))
    found = beam_search(
        model, state, sources=10, beam_size=4, n_best=4, max_lengths=limits(*range(1, 11)),
        return_attention=True, **IDS,
    )  # fmt: skip
    kinds = set()
    for source, hypotheses in enumerate(found):
        for hypothesis in hypotheses:
            kinds.add(hypothesis.finished)
            _, expected = follow(model, source, hypothesis.tokens)
            rows = len(hypothesis.tokens) + hypothesis.finished
            assert hypothesis.attention.shape == (rows, 4)
            torch.testing.assert_close(hypothesis.attention, expected[:rows])
    assert kinds == {True, False}


def test_attention_survives_a_model_that_reuses_its_memory() -> None:
    class Reusing(ToyRNN):
        def step(self, tokens: Tensor, state: ToyState) -> tuple[Tensor, ToyState]:
            if hasattr(self, "last"):
                self.last.fill_(math.nan)
            logits, state = super().step(tokens, state)
            self.last = state.attention
            return logits, state

    model = Reusing()
    options = {"sources": 2, "max_lengths": limits(4, 4), "min_length": 3, **IDS}
    found = greedy_search(model, model.start([0, 1]), return_attention=True, **options)
    assert all(h.attention.isfinite().all() for h in found)


def test_without_attention_there_is_none() -> None:
    model = ToyRNN(attention=False)
    options = {"sources": 1, "beam_size": 2, "max_lengths": limits(4), **IDS}
    found = beam_search(model, model.start([0]), return_attention=True, **options)
    assert found[0][0].attention is None
    with pytest.raises(UsageError, match="coverage_penalty needs a model with attention"):
        beam_search(model, model.start([0]), coverage_penalty=0.1, **options)
