"""The choice of extensions for sources with constraints, on the host; see ``constraints.py``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seq2seq.decoding.active_beams import ActiveBeams
from seq2seq.decoding.constraints import Constraint, choose, extensions
from seq2seq.decoding.search_options import Options

Columns = tuple[Tensor, Tensor, Tensor, Tensor]  # log P, token, row, ends: (n, 2K) each


@dataclass(frozen=True)
class Offered:
    """What the R hypotheses of each of b sources may be extended by in one step."""

    gains: Tensor  # (b, R, C) log P of the best tokens; -inf for what may not come
    tokens: Tensor  # (b, R, C)
    logits: Tensor  # (b * R, V)
    forced: frozenset[int]  # rows of the logits that a given beginning decides


def constrain(
    options: Options,
    live: ActiveBeams,
    positions: Sequence[int],
    found: Columns,
    offered: Offered,
    counts: Callable[[int], Tensor] | None,
) -> Columns:
    """``found``, the best extensions of the sources at ``positions`` (n, 2K), with those of each
    source that has a constraint chosen anew by dynamic beam allocation.

    ``counts``, in diverse beam search: how often the earlier groups of the source at a position
    chose each token of the vocabulary (V,). An extension is ranked as without constraints, by log P
    less ``diversity`` times that count, in its own bank: so a word that must come does come.
    """
    assert live.constraints is not None  # the caller's part
    width = 2 * options.beam_size
    log_p, token, row, ends = _widened(found, width)
    for n, position in enumerate(positions):
        constraint = live.constraints[position]
        if constraint is None:
            continue
        every = _every(live, position, constraint, offered)
        penalties: dict[int, float] = {}
        if counts is not None:
            used = sorted({one for _, one, _ in every})
            penalties = dict(
                zip(used, (options.diversity * counts(position)[used]).tolist(), strict=True)
            )
        ranked = extensions(
            constraint,
            live.states[position],
            live.log_p[position].tolist(),
            every,
            options.eos,
            penalties,
        )
        chosen = choose(ranked, options.beam_size)
        missing = width - len(chosen)
        for field, values, filler in (
            (log_p, [one.log_p for one in chosen], -torch.inf),
            (token, [one.token for one in chosen], 0),
            (row, [one.row for one in chosen], 0),
            (ends, [one.ends for one in chosen], False),
        ):
            column = values + [filler] * missing
            field[n] = torch.tensor(column, dtype=field.dtype, device=field.device)
    return log_p, token, row, ends


def _every(
    live: ActiveBeams, position: int, constraint: Constraint, offered: Offered
) -> list[tuple[int, int, float]]:
    """(row, token, log P of the token) of all that the source at ``position`` may go on with."""
    beams = live.log_p.shape[1]
    rows = zip(offered.tokens[position].tolist(), offered.gains[position].tolist(), strict=True)
    every = [
        (row, token, gain)
        for row, pair in enumerate(rows)
        for token, gain in zip(*pair, strict=True)
    ]
    first = position * beams
    if first not in offered.forced:
        logits = offered.logits[first : first + beams]
        every += _wanted(constraint, live.states[position], logits)
    return every


def _widened(found: Columns, width: int) -> Columns:
    """Room for ``width`` extensions where the vocabulary gave fewer."""
    log_p, token, row, ends = found
    missing = (0, width - log_p.shape[1])
    return (
        F.pad(log_p, missing, value=-torch.inf),
        F.pad(token, missing),
        F.pad(row, missing),
        F.pad(ends, missing),
    )


def _wanted(
    constraint: Constraint, states: list[Any], logits: Tensor
) -> list[tuple[int, int, float]]:
    """(row, token, log P) of what brings a hypothesis nearer to what it must hold; logits (R, V).

    Whatever no_repeat_ngram says, but not what is barred."""
    pairs = [
        (row, token)
        for row, state in enumerate(states)
        for token in set(constraint.wanted(state)).difference(constraint.barred(state))
    ]
    if not pairs:
        return []
    index = torch.tensor(pairs, device=logits.device)  # (n, 2)
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(1)
    gains = wide[index[:, 0], index[:, 1]].tolist()
    return [(row, token, gain) for (row, token), gain in zip(pairs, gains, strict=True)]
