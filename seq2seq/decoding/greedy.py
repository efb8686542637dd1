"""Greedy search: the most probable next token, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from seq2seq.decoding.beam import beam_search
from seq2seq.decoding.constraints import Constraint
from seq2seq.decoding.contract import StepModel
from seq2seq.decoding.hypothesis import Hypothesis


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

    It is beam search with a beam of one; arguments and errors are described there. There is no
    length penalty: ``score`` is ``log_probability``.
    """
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
