"""Search, checked against the enumeration of every sequence and against loops over one row."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from seq2seq.decoding import Hypothesis, beam_search, greedy_search
from seq2seq.decoding.candidates import BLOCK, block_maxima, candidates, scan, top_tokens
from seq2seq.decoding.ngrams import without_repeats
from seq2seq.errors import RunError, UsageError

PAD, BOS, EOS = 0, 1, 2
IDS = {"bos": BOS, "eos": EOS, "pad": PAD}
A, B, C = 3, 4, 5
# Sums of about ten terms of size 10 in float32.
CLOSE = {"rel": 1e-5, "abs": 1e-5}


@dataclass
class ToyState:
    hidden: Tensor  # (N, H)
    attention: Tensor | None = None  # (N, S)


class ToyRNN:
    """A random network: h' = tanh(W h + e(y)), logits = U h', attention = softmax(A h').

    The weights are drawn once, the first state of source i from seed i, so that a source is the
    same in every batch. Products are computed row by row: equal rows give equal bits.
    """

    def __init__(
        self, vocabulary: int = 6, positions: int = 4, seed: int = 0, attention: bool = True
    ) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.recurrent = torch.randn(8, 8, generator=draw)
        self.embedding = 1.5 * torch.randn(vocabulary, 8, generator=draw)
        self.output = torch.randn(vocabulary, 8, generator=draw)
        self.align = 2 * torch.randn(positions, 8, generator=draw)
        self.attention = attention
        self.rows: list[int] = []  # how many rows each step had
        self.reorders = 0

    def start(self, sources: list[int]) -> ToyState:
        seeds = [torch.Generator().manual_seed(1000 + source) for source in sources]
        rows = [torch.randn(8, generator=draw) for draw in seeds]
        return ToyState(torch.stack(rows) if rows else torch.empty(0, 8))

    def step(self, tokens: Tensor, state: ToyState) -> tuple[Tensor, ToyState]:
        self.rows.append(len(tokens))
        inner = (self.recurrent * state.hidden.unsqueeze(1)).sum(2) + self.embedding[tokens]
        hidden = torch.tanh(inner)  # (N, H)
        logits = (self.output * hidden.unsqueeze(1)).sum(2)  # (N, V)
        weights = (self.align * hidden.unsqueeze(1)).sum(2).softmax(1)  # (N, S)
        return logits, ToyState(hidden, weights if self.attention else None)

    def reorder(self, state: ToyState, index: Tensor) -> ToyState:
        self.reorders += 1
        return ToyState(state.hidden[index])


class Table:
    """P(next | prefix) given by a dict from prefixes to {token: probability}.

    Sources are dicts; the state holds, for each row, its dict and its prefix.
    """

    vocabulary = 6

    def __init__(self) -> None:
        self.rows: list[int] = []

    def start(self, sources: list[dict]) -> TableState:
        return TableState([(source, None) for source in sources])

    def step(self, tokens: Tensor, state: TableState) -> tuple[Tensor, TableState]:
        self.rows.append(len(tokens))
        assert len(tokens) == len(state.rows)
        rows, logits = [], torch.full((len(tokens), self.vocabulary), -math.inf)
        for i, ((source, prefix), token) in enumerate(
            zip(state.rows, tokens.tolist(), strict=True)
        ):
            prefix = () if prefix is None else (*prefix, token)
            for token, probability in source.get(prefix, source["else"]).items():
                logits[i, token] = math.log(probability) + 7  # unnormalised
            rows.append((source, prefix))
        return logits, TableState(rows)

    def reorder(self, state: TableState, index: Tensor) -> TableState:
        return TableState([state.rows[i] for i in index.tolist()])


@dataclass
class TableState:
    rows: list[tuple[dict, tuple | None]]
    attention: None = None


def limits(*lengths: int) -> Tensor:
    return torch.tensor(lengths, dtype=torch.long)


def table_beam(source: dict, beam_size: int, limit: int = 10, **options) -> list[Hypothesis]:
    model = Table()
    return beam_search(
        model,
        model.start([source]),
        sources=1,
        beam_size=beam_size,
        max_lengths=limits(limit),
        **IDS,
        **options,
    )[0]


def follow(model: ToyRNN, source: int, tokens: list[int]) -> tuple[Tensor, Tensor]:
    """log P (len + 1, V) and attention (len + 1, S) along a sequence, one row at a time."""
    state, log_p, attention = model.start([source]), [], []
    for token in [BOS, *tokens]:
        logits, state = model.step(torch.tensor([token]), state)
        log_p.append(logits.double().log_softmax(1)[0])
        attention.append(None if state.attention is None else state.attention[0])
    return torch.stack(log_p), None if attention[0] is None else torch.stack(attention)


def score_of(
    log_p: float, steps: int, attention: Tensor | None, alpha: float, beta: float, length: int
) -> float:
    coverage = attention[:, :length].sum(0).clamp(max=1).log().sum().item() if beta else 0.0
    return log_p / ((5 + steps) / 6) ** alpha + beta * coverage


def every_sequence(
    model: ToyRNN, source: int, limit: int, alpha: float, beta: float, length: int, least: int = 0
) -> list[Hypothesis]:
    """All finished hypotheses of ``least`` to ``limit`` tokens, best first."""
    letters = [v for v in range(len(model.output)) if v not in (PAD, BOS, EOS)]
    found = []
    for size in range(least, limit + 1):
        for tokens in itertools.product(letters, repeat=size):
            log_ps, attention = follow(model, source, list(tokens))
            log_p = sum(log_ps[t, v].item() for t, v in enumerate([*tokens, EOS]))
            score = score_of(log_p, size + 1, attention, alpha, beta, length)
            found.append(Hypothesis(list(tokens), score, log_p, True, attention))
    return sorted(found, key=lambda hypothesis: -hypothesis.score)


def assert_same(found: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [h.tokens for h in found] == [h.tokens for h in expected]
    assert [h.finished for h in found] == [h.finished for h in expected]
    assert [h.score for h in found] == pytest.approx([h.score for h in expected], **CLOSE)
    log_ps = [h.log_probability for h in expected]
    assert [h.log_probability for h in found] == pytest.approx(log_ps, **CLOSE)


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


def test_a_beam_of_one_is_not_reordered_for_nothing() -> None:
    model = ToyRNN()
    options = {"sources": 3, "max_lengths": limits(6, 6, 6), "min_length": 9, **IDS}
    greedy_search(model, model.start([0, 1, 2]), **options)
    assert model.rows == [3] * 7
    assert model.reorders == 0


TRAP = {
    (): {A: 0.6, B: 0.4},
    (A,): {A: 0.4, B: 0.3, EOS: 0.3},
    (B,): {EOS: 0.9, A: 0.1},
    "else": {EOS: 1.0},
}


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


# --- the vocabulary -------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 7, 4 * BLOCK * 6, 40 * BLOCK + 17, 8000])
@pytest.mark.parametrize("kind", ["normal", "few values", "all equal", "mostly impossible"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_top_tokens_are_those_of_a_stable_sort(width: int, kind: str, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(width)
    logits = torch.randn(9, width, generator=draw).to(dtype)
    if kind == "few values":
        logits = logits.mul(2).round()
    elif kind == "all equal":
        logits = torch.zeros_like(logits)
    elif kind == "mostly impossible":
        logits[:, : width - width // 8] = -math.inf
    count = min(5, width)
    values, tokens = top_tokens(logits, 5, block_maxima(logits))
    expected = logits.sort(dim=1, descending=True, stable=True)
    kept = expected.values[:, :count]
    assert torch.equal(values.sort(dim=1, descending=True).values, kept)
    assert torch.equal(logits.gather(1, tokens), values)
    if kind != "mostly impossible" or width >= 4 * BLOCK:  # which -inf comes back is open
        assert torch.equal(tokens, expected.indices[:, :count].sort(dim=1).values)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", [50, 3000])
def test_log_probabilities_are_those_of_log_softmax(dtype: torch.dtype, width: int) -> None:
    logits = (30 * torch.randn(6, width, generator=torch.Generator().manual_seed(1))).to(dtype)
    before = logits.clone()
    log_p, tokens, sound = candidates(
        logits, 5, eos=EOS, forbidden=frozenset({PAD, BOS}), allow_eos=True,
        prefix=torch.empty(6, 0, dtype=torch.long), no_repeat_ngram=0,
    )  # fmt: skip
    expected = logits.double().log_softmax(1).gather(1, tokens)
    open_ = ~torch.isin(tokens, torch.tensor([PAD, BOS]))
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    tolerance = 8 * torch.finfo(exact).eps * 100  # values up to about 100
    torch.testing.assert_close(log_p[open_].double(), expected[open_], rtol=0, atol=tolerance)
    assert log_p[~open_].eq(-math.inf).all()
    assert sound.all()
    assert torch.equal(logits, before)  # the model's own memory


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3, 1e30])
@pytest.mark.parametrize("shift", [0.0, 500.0, -500.0])
def test_the_normaliser_neither_overflows_nor_vanishes(size: float, shift: float) -> None:
    draw = torch.Generator().manual_seed(7)
    logits = size * torch.randn(40, 5000, generator=draw) + shift
    logits[3, :4990] = -math.inf
    maxima, normaliser = scan(logits)
    assert torch.equal(maxima.amax(1), logits.amax(1))
    expected = logits.double().logsumexp(1, keepdim=True)
    torch.testing.assert_close(normaliser.double(), expected, rtol=2e-6, atol=2e-6)


def test_a_batch_may_come_in_low_precision_and_strided() -> None:
    class Strided(ToyRNN):
        def step(self, tokens: Tensor, state: ToyState) -> tuple[Tensor, ToyState]:
            logits, state = super().step(tokens, state)
            state.attention = state.attention.bfloat16()
            return logits.bfloat16().t().contiguous().t(), state

    model = Strided(vocabulary=300)
    found = beam_search(
        model, model.start([0, 1, 2]), sources=3, beam_size=4, max_lengths=limits(5, 6, 7),
        coverage_penalty=0.1, **IDS,
    )  # fmt: skip
    assert all(math.isfinite(source[0].score) for source in found)


# --- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [math.nan, math.inf, None])
@pytest.mark.parametrize("beam_size", [1, 3])
def test_logits_without_probabilities(damage: float | None, beam_size: int) -> None:
    class Damaged(ToyRNN):
        def step(self, tokens: Tensor, state: ToyState) -> tuple[Tensor, ToyState]:
            logits, state = super().step(tokens, state)
            if len(self.rows) == 2:
                if damage is None:
                    logits[-1] = -math.inf
                else:
                    logits[-1, 4] = damage
            return logits, state

    model = Damaged()
    with pytest.raises(RunError, match=r"source 2 .* step 2: .*\(NaN"):
        beam_search(
            model, model.start([0, 1, 2]), sources=3, beam_size=beam_size, min_length=3,
            max_lengths=limits(5, 5, 5), **IDS,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("beam_size", 0),
        ("n_best", 0),
        ("n_best", 4),
        ("min_length", -1),
        ("no_repeat_ngram", -2),
        ("coverage_penalty", -0.1),
        ("length_penalty", math.nan),
        ("length_penalty", 50.0),
        ("patience", -1.0),
    ],
)
def test_options_out_of_range(option: str, value: float) -> None:
    model = ToyRNN()
    options = {"sources": 1, "beam_size": 3, "max_lengths": limits(4), **IDS, option: value}
    with pytest.raises(UsageError, match=f"{option} is {value}"):
        beam_search(model, model.start([0]), **options)


def test_arguments_that_do_not_fit() -> None:
    model = ToyRNN()
    options = {"sources": 2, "beam_size": 3, "max_lengths": limits(4, 4), **IDS}
    wrong = [
        ({"max_lengths": limits(4)}, r"max_lengths has shape \(1,\); .* \(2,\)"),
        ({"max_lengths": limits(4, -1)}, r"max_lengths\[1\] is -1"),
        ({"max_lengths": torch.ones(2)}, "max_lengths holds torch.float32"),
        ({"source_lengths": limits(4)}, "source_lengths has shape"),
        ({"eos": 6}, "eos is token 6, but the model's vocabulary has 6"),
        ({"sources": -1}, "sources is -1"),
    ]
    for change, message in wrong:
        with pytest.raises(ValueError, match=message):
            beam_search(model, model.start([0, 1]), **(options | change))

    class Deep(ToyRNN):
        def step(self, tokens: Tensor, state: ToyState) -> tuple[Tensor, ToyState]:
            logits, state = super().step(tokens, state)
            return torch.stack([logits, logits], 1), state

    with pytest.raises(ValueError, match=r"logits of shape \(2, 2, 6\); .* \(2, V\)"):
        beam_search(Deep(), model.start([0, 1]), **options)


def test_the_result_can_be_used_outside_of_the_search() -> None:
    model = ToyRNN()
    options = {"sources": 1, "max_lengths": limits(4), "return_attention": True, **IDS}
    attention = greedy_search(model, model.start([0]), **options)[0].attention
    weight = torch.ones(4, requires_grad=True)
    (attention * weight).sum().backward()
    assert weight.grad.isfinite().all()
