"""Forced decoding: the log probability of sequences that are given, not searched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from seq2seq.decoding.candidates import scan
from seq2seq.decoding.contract import StepModel, bad_logits, check_logits
from seq2seq.decoding.hypothesis import Hypothesis


def score_sequences(
    model: StepModel,
    state: Any,
    targets: Sequence[Sequence[int]],
    *,
    bos: int,
    eos: int,
    device: torch.device,
    return_attention: bool = False,
) -> list[Hypothesis]:
    """log P(Y | X) = sum_t log P(y_t | y_1 .. y_(t-1), X) + log P(eos | Y, X) of each Y of
    ``targets``, given without bos and eos; row i of ``state`` holds the source of targets[i].

    It takes the steps that a search takes, so a sequence that a search found has the log
    probability that the search gave it. ``score`` is ``log_probability``, -inf for a sequence
    that the model holds to be impossible.

    Raises ValueError for a token outside the vocabulary, RunError for logits that give no
    probabilities.
    """
    rows = list(range(len(targets)))
    tokens = torch.full((len(rows),), bos, device=device)  # (b,)
    scores: list[list[float]] = [[] for _ in targets]
    attention: list[list[Tensor]] = [[] for _ in targets]
    step = 0
    while rows:
        logits, state = model.step(tokens, state)  # (b, V)
        check_logits(logits, len(rows), eos)
        wanted = [targets[row][step] if step < len(targets[row]) else eos for row in rows]
        _check_tokens(wanted, logits.shape[1])
        tokens = torch.tensor(wanted, device=device)  # (b,)
        gained, sound = _log_probabilities(logits, tokens)
        for row, one, right in zip(rows, gained.tolist(), sound.tolist(), strict=True):
            if not right:
                raise bad_logits(row, step)
            scores[row].append(one)
        if return_attention and state.attention is not None:
            for row, weights in zip(rows, state.attention.float().cpu(), strict=True):
                attention[row].append(weights.clone())  # (S,)
        going = [i for i, row in enumerate(rows) if step < len(targets[row])]
        if going and len(going) < len(rows):
            index = torch.tensor(going, device=device)
            state, tokens = model.reorder(state, index), tokens[index]
        rows = [rows[i] for i in going]
        step += 1
    return [
        Hypothesis(
            tokens=list(target),
            score=total,
            log_probability=total,
            finished=True,
            attention=torch.stack(seen) if seen else None,
            token_scores=parts,
        )
        for target, total, parts, seen in zip(
            targets, map(sum, scores), scores, attention, strict=True
        )
    ]


def _check_tokens(tokens: list[int], size: int) -> None:
    for token in tokens:
        if not 0 <= token < size:
            raise ValueError(f"a sequence holds token {token}; the vocabulary has {size} tokens")


def _log_probabilities(logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """log softmax(logits) of each row's token (b,), and whether the row gives probabilities (b,);
    in at least single precision."""
    logits = logits.contiguous().to(torch.promote_types(logits.dtype, torch.float32))
    _, normaliser = scan(logits)  # (b, 1): as a search has it, to the last bit
    chosen = logits.gather(1, tokens.unsqueeze(1))  # (b, 1)
    return (chosen - normaliser).squeeze(1), normaliser.squeeze(1).isfinite()
