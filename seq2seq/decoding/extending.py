"""The extensions of all hypotheses by one token that a step of a beam search looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seq2seq.decoding.active_beams import ActiveBeams
from seq2seq.decoding.candidates import candidates
from seq2seq.decoding.constraints import choose, extensions, without_barred
from seq2seq.decoding.forcing import force, forced_now
from seq2seq.decoding.groups import Taken
from seq2seq.decoding.ngrams import without_repeats
from seq2seq.decoding.search_options import Options


@dataclass
class Extensions:
    """The 2K best extensions of each source, best first (fewer where the vocabulary is small)."""

    log_p: Tensor  # (b, 2K), as all; -inf: none
    token: Tensor
    row: Tensor  # the hypothesis extended, 0 .. R-1
    ends: Tensor  # bool: by eos, and among the K best


def extend(
    options: Options, live: ActiveBeams, logits: Tensor, step: int
) -> tuple[Extensions, Tensor]:
    """The 2K best extensions, at least K of them not by eos; and which rows are sound (N,)."""
    b, beams = live.log_p.shape
    allowed = logits  # (N, V)
    if options.no_repeat_ngram:
        allowed = without_repeats(allowed, live.prefix, options.no_repeat_ngram)
    if live.constraints is not None:
        allowed = without_barred(allowed, live.constraints, live.states)
    # What earlier groups took may push so many tokens down.
    passed = (options.groups - 1) * options.beam_size
    gains, tokens, sound = candidates(
        logits,
        options.beam_size + passed,
        eos=options.eos,
        forbidden=options.forbidden,
        allow_eos=step >= options.min_length,
        allowed=None if allowed is logits else allowed,
    )  # (N, C), (N, C), (N,)
    forced_rows: list[int] = []
    if options.beginnings is not None:
        forced_rows, forced = forced_now(options.beginnings, live.sources, beams, step)
        if forced_rows:
            force(gains, tokens, logits, forced_rows, forced)
    gains, tokens = gains.view(b, beams, -1), tokens.view(b, beams, -1)  # (b, R, C)
    if options.groups > 1:
        found = _best_of_groups(options, live, gains, tokens, logits.shape[1])
    else:
        found = _best(options, live.log_p, gains, tokens, None)
    if live.constraints is not None:
        _constrain(options, live, found, gains, tokens, logits, {*forced_rows})
    return found, sound


def _best(
    options: Options, log_p: Tensor, gains: Tensor, tokens: Tensor, penalty: Tensor | None
) -> Extensions:
    """log_p (b, R); gains, tokens, and penalty where ranking heeds one (b, R, C)."""
    width, most = gains.shape[2], 2 * options.beam_size
    total = (log_p.unsqueeze(2) + gains).flatten(1)  # (b, R*C)
    if penalty is None:
        ordered, position = total.sort(dim=1, descending=True, stable=True)
        ordered, position = ordered[:, :most], position[:, :most]  # (b, 2K)
    else:
        ranked = total - penalty.flatten(1)
        position = ranked.sort(dim=1, descending=True, stable=True).indices[:, :most]  # (b, 2K)
        ordered = total.gather(1, position)
    token = tokens.flatten(1).gather(1, position)  # (b, 2K)
    ends = (token == options.eos) & (ordered > -torch.inf)  # (b, 2K)
    # An eos below the K best is neither finished nor continued.
    ordered[:, options.beam_size :].masked_fill_(ends[:, options.beam_size :], -torch.inf)
    ends[:, options.beam_size :] = False
    return Extensions(ordered, token, position // width, ends)


def _best_of_groups(
    options: Options, live: ActiveBeams, gains: Tensor, tokens: Tensor, vocabulary: int
) -> Extensions:
    """One group after the other; see ``groups.py``."""
    taken = Taken(live.sources, options.groups, vocabulary, gains.device)
    parts = []
    for turn in taken.turns:
        own = tokens[turn]  # (n, R, C)
        counts = taken.count(turn, own.flatten(1)).view_as(own)
        found = _best(options, live.log_p[turn], gains[turn], own, options.diversity * counts)
        going = ~found.ends & (found.log_p > -torch.inf)  # (n, 2K)
        taken.add(turn, found.token, going & (going.cumsum(1) <= options.beam_size))
        parts.append(found)
    back = torch.cat(taken.turns).argsort()
    columns = zip(*((one.log_p, one.token, one.row, one.ends) for one in parts), strict=True)
    return Extensions(*(torch.cat(column)[back] for column in columns))


def _constrain(
    options: Options,
    live: ActiveBeams,
    found: Extensions,
    gains: Tensor,
    tokens: Tensor,
    logits: Tensor,
    forced: set[int],
) -> None:
    """Choose anew, in place, for each source with a constraint; see ``constraints.py``."""
    assert live.constraints is not None  # the caller's part
    beams, width = live.log_p.shape[1], 2 * options.beam_size
    _widen(found, width)
    for i, constraint in enumerate(live.constraints):
        if constraint is None:
            continue
        rows = zip(tokens[i].tolist(), gains[i].tolist(), strict=True)
        every = [
            (row, token, gain)
            for row, pair in enumerate(rows)
            for token, gain in zip(*pair, strict=True)
        ]
        if i * beams not in forced:
            every += _wanted(constraint, live.states[i], logits[i * beams : (i + 1) * beams])
        states, log_p = live.states[i], live.log_p[i].tolist()
        ranked = extensions(constraint, states, log_p, every, options.eos)
        chosen = choose(ranked, options.beam_size)
        missing = width - len(chosen)
        columns: list[list[Any]] = [
            [one.log_p for one in chosen] + [-torch.inf] * missing,
            [one.token for one in chosen] + [0] * missing,
            [one.row for one in chosen] + [0] * missing,
            [one.ends for one in chosen] + [False] * missing,
        ]
        fields = (found.log_p, found.token, found.row, found.ends)
        for field, column in zip(fields, columns, strict=True):
            field[i] = torch.tensor(column, dtype=field.dtype, device=field.device)


def _widen(found: Extensions, width: int) -> None:
    """Make room for ``width`` extensions where the vocabulary gave fewer."""
    missing = (0, width - found.log_p.shape[1])
    found.log_p = F.pad(found.log_p, missing, value=-torch.inf)
    found.token, found.row = F.pad(found.token, missing), F.pad(found.row, missing)
    found.ends = F.pad(found.ends, missing)


def _wanted(constraint: Any, states: list[Any], logits: Tensor) -> list[tuple[int, int, float]]:
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
