"""Greedy search: the most probable next token, step by step."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seq2seq.decoding.beam import beam_search
from seq2seq.decoding.candidates import best_of_rows
from seq2seq.decoding.constraints import Constraint
from seq2seq.decoding.contract import (
    StepModel,
    bad_logits,
    check_limits,
    check_logits,
    check_option,
)
from seq2seq.decoding.hypothesis import Hypothesis

_GOING, _FINISHED, _CUT, _UNSOUND = range(4)


def greedy_search(
    model: StepModel,
    state: Any,
    *,
    sources: int,
    max_lengths: Tensor,
    bos: int,
    eos: int,
    pad: int,
    min_length: int = 0,
    no_repeat_ngram: int = 0,
    beginnings: Sequence[Sequence[int]] | None = None,
    constraints: Sequence[Constraint | None] | None = None,
    return_attention: bool = False,
) -> list[Hypothesis]:
    """y_t = argmax_v P(v | y_1 .. y_(t-1), X) until eos; one hypothesis for each source.

    It finds what beam search with a beam of one finds; arguments and errors are described there.
    There is no length penalty: ``score`` is ``log_probability``.
    """
    check_option("no_repeat_ngram", no_repeat_ngram, 0)
    if no_repeat_ngram or beginnings is not None or constraints is not None:
        nbest = beam_search(
            model,
            state,
            sources=sources,
            beam_size=1,
            max_lengths=max_lengths,
            bos=bos,
            eos=eos,
            pad=pad,
            length_penalty=0.0,
            no_repeat_ngram=no_repeat_ngram,
            min_length=min_length,
            beginnings=beginnings,
            constraints=constraints,
            return_attention=return_attention,
        )
        return [hypotheses[0] for hypotheses in nbest]
    limits = check_limits(sources, max_lengths)
    check_option("min_length", min_length, 0)
    if not sources:
        return []
    with torch.inference_mode():
        first = torch.full((sources,), bos, device=max_lengths.device)
        search = _Search(limits, eos, frozenset({bos, pad} - {eos}), min_length, return_attention)
        steps = search.run(model, state, first)
    return search.read(steps)


class _Step(NamedTuple):
    """What one step gave the b sources that were still searched."""

    sources: list[int]
    fates: list[int]
    tokens: Tensor  # (b,)
    log_p: Tensor  # (b,) of the sequences so far
    attention: Tensor | None  # (b, S)


class _Search(NamedTuple):
    limits: list[int]  # (B,) the most tokens
    eos: int
    forbidden: frozenset[int]
    min_length: int
    return_attention: bool

    def run(self, model: StepModel, state: Any, tokens: Tensor) -> list[_Step]:
        """One row for each source, from its first token on; a source that is done leaves."""
        sources = list(range(len(tokens)))
        log_p = torch.zeros(len(tokens), device=tokens.device)  # (b,)
        steps: list[_Step] = []
        while sources:
            logits, state = model.step(tokens, state)  # (b, V)
            check_logits(logits, len(sources), self.eos)
            one = self._step(sources, logits, log_p, len(steps))
            if self.return_attention and state.attention is not None:
                one = one._replace(attention=state.attention.clone())
            steps.append(one)
            tokens, log_p = one.tokens, one.log_p
            going = [row for row, fate in enumerate(one.fates) if fate == _GOING]
            if going and len(going) < len(sources):
                index = torch.tensor(going, device=tokens.device)
                state = model.reorder(state, index)
                tokens, log_p = tokens[index], log_p[index]
            sources = [sources[row] for row in going]
        return steps

    def _step(self, sources: list[int], logits: Tensor, log_p: Tensor, step: int) -> _Step:
        """The next token of each source, and log P with it: one transfer to the host."""
        barred = self.forbidden if step >= self.min_length else self.forbidden | {self.eos}
        gain, tokens, sound = best_of_rows(logits, barred=barred)  # (b,) each
        log_p = log_p + gain
        found = (tokens == self.eos).long()  # (b,): _GOING or _FINISHED
        found = found.masked_fill(log_p == -torch.inf, _CUT).masked_fill(~sound, _UNSOUND)
        fates = found.tolist()
        for row, (source, fate) in enumerate(zip(sources, fates, strict=True)):
            if fate == _UNSOUND:
                raise bad_logits(source, step)
            if fate == _GOING and step >= self.limits[source]:
                fates[row] = _CUT
        return _Step(sources, fates, tokens, log_p, None)

    def read(self, steps: list[_Step]) -> list[Hypothesis]:
        """The steps of each source, put together."""
        tokens: list[list[int]] = [[] for _ in self.limits]
        reached: list[list[float]] = [[0.0] for _ in self.limits]  # log P, step by step
        attention: list[list[Tensor]] = [[] for _ in self.limits]
        finished = [False] * len(self.limits)
        for one in steps:
            columns = zip(
                one.sources, one.fates, one.tokens.tolist(), one.log_p.tolist(), strict=True
            )
            rows = None if one.attention is None else one.attention.cpu()
            for row, (source, fate, token, log_p) in enumerate(columns):
                if fate == _CUT:
                    continue
                finished[source] = fate == _FINISHED
                reached[source].append(log_p)
                if fate == _GOING:
                    tokens[source].append(token)
                if rows is not None:
                    attention[source].append(rows[row])
        return [
            Hypothesis(
                tokens[source],
                reached[source][-1],
                reached[source][-1],
                finished[source],
                self._joined(attention[source], steps),
                [after - before for before, after in itertools.pairwise(reached[source])],
            )
            for source in range(len(self.limits))
        ]

    def _joined(self, rows: list[Tensor], steps: list[_Step]) -> Tensor | None:
        """(T, S), also of no rows; None where nothing was attended to."""
        first = steps[0].attention
        if first is None:
            return None
        return torch.stack(rows) if rows else torch.empty(0, first.shape[1], dtype=first.dtype)
