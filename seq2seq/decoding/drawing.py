"""Whole sequences drawn from a model, with their log probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from seq2seq.arguments import check_number, check_whole
from seq2seq.config.checks import MAX_SAMPLES
from seq2seq.decoding.contract import StepModel, check_limits, check_logits
from seq2seq.decoding.hypothesis import Hypothesis
from seq2seq.decoding.sampling import Rollout, Sampling
from seq2seq.errors import UsageError


def draw_sequences(
    model: StepModel,
    state: Any,
    *,
    keys: Sequence[Sequence[int]],
    max_lengths: Tensor,
    bos: int,
    eos: int,
    pad: int,
    options: Sampling,
) -> list[list[Hypothesis]]:
    """For each source one sequence for each of its keys, in their order.

    model, state  the contract of ARCHITECTURE.md; state of ``model.start``, B rows
    keys          B lists of equally many seeds, at least one; a key and its source alone decide
                  the sequence, not the batch
    max_lengths   (B,) the most tokens, eos not counted
    options       what is drawn from; see ``sampling.py``

    ``log_probability``, ``token_scores`` and ``score`` are log P of the model itself, before
    temperature and cuts. bos and pad never come. Raises RunError for logits that give no
    probabilities.
    """
    limits = check_limits(len(keys), max_lengths)
    if not keys:
        return []
    samples = len(keys[0])
    device = max_lengths.device
    with torch.inference_mode():
        logits, state = model.step(torch.full((len(keys),), bos, device=device), state)
        check_logits(logits, len(keys), eos)
        rows = torch.arange(len(keys), device=device).repeat_interleave(samples)  # (N,)
        logits, state = logits[rows], model.reorder(state, rows)
    flat = [key for some in keys for key in some]
    rollout = Rollout(model, state, logits, [[]] * len(flat), flat, options, {bos, pad} - {eos})
    tokens: list[list[int]] = [[] for _ in flat]
    scores: list[list[float]] = [[] for _ in flat]
    finished = [False] * len(flat)
    alive = list(range(len(flat)))
    while alive:
        drawn, going = rollout.step().tolist(), []
        for position, (row, token, log_p) in enumerate(
            zip(alive, drawn, rollout.log_p().tolist(), strict=True)
        ):
            finished[row] = token == eos
            if finished[row] or len(tokens[row]) < limits[row // samples]:
                scores[row].append(log_p)
                if not finished[row]:
                    tokens[row].append(token)
                    going.append(position)
        if going and len(going) < len(alive):
            rollout.keep(going)
        alive = [alive[position] for position in going]
    found = [
        Hypothesis(given, sum(log_ps), sum(log_ps), ended, None, log_ps)
        for given, log_ps, ended in zip(tokens, scores, finished, strict=True)
    ]
    return [found[at : at + samples] for at in range(0, len(found), samples)]


def sources_together(batch_size: int, beam_size: int, samples: int) -> int:
    """How many sources are drawn for at once: as many rows as a beam search of these sizes has."""
    return max(1, batch_size * beam_size // samples)


def check_sampling(
    samples: int, sampling: Sampling, min_length: int, name: Callable[[str], str] = str
) -> None:
    """Raises UsageError for a value out of range, and for a minimum length: sampling has none.
    ``name`` gives a setting the name by which the user knows it."""
    check_whole(name("samples"), samples, 1, MAX_SAMPLES)
    check_whole(name("top_k"), sampling.top_k, 0)
    for key in ("temperature", "top_p", "min_p"):
        check_number(name(key), getattr(sampling, key))
    temperature = sampling.temperature  # 0: the likeliest; smaller than 0.001, logits overflow
    if temperature != 0 and not 0.001 <= temperature <= 1000:
        raise UsageError(f"{name('temperature')} is {temperature}; expected 0, or 0.001 to 1000")
    if not 0 < sampling.top_p <= 1:
        raise UsageError(f"{name('top_p')} is {sampling.top_p}; expected more than 0, at most 1")
    if not 0 <= sampling.min_p <= 1:
        raise UsageError(f"{name('min_p')} is {sampling.min_p}; expected 0 to 1")
    if min_length:
        raise UsageError(
            f"{name('min_length')} is {min_length}; sampling has no minimum length: set it to 0"
        )
