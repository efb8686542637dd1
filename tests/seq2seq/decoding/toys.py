"""Small models whose every sequence can be listed, and searches of one source with them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from seq2seq.decoding import Hypothesis, beam_search

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


TRAP = {
    (): {A: 0.6, B: 0.4},
    (A,): {A: 0.4, B: 0.3, EOS: 0.3},
    (B,): {EOS: 0.9, A: 0.1},
    "else": {EOS: 1.0},
}
