"""The extensions of all hypotheses by one token that a step of a beam search looks at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seq2seq.decoding.active_beams import ActiveBeams
from seq2seq.decoding.candidates import best_of_sources, candidates
from seq2seq.decoding.constrained import Offered, constrain
from seq2seq.decoding.constraints import without_barred
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
    allow_eos = step >= options.min_length
    alone = options.groups == 1 and live.constraints is None and options.beginnings is None
    if alone:  # nothing has to know what else there was
        barred = options.forbidden if allow_eos else options.forbidden | {options.eos}
        other = None if allowed is logits else allowed
        most = 2 * options.beam_size
        *best, sound = best_of_sources(logits, live.log_p, most, barred=barred, allowed=other)
        return _with_ends(options, *best), sound
    # What earlier groups took may push so many tokens down.
    passed = (options.groups - 1) * options.beam_size
    gains, tokens, sound = candidates(
        logits,
        options.beam_size + passed,
        eos=options.eos,
        forbidden=options.forbidden,
        allow_eos=allow_eos,
        allowed=None if allowed is logits else allowed,
    )  # (N, C), (N, C), (N,)
    forced_rows: list[int] = []
    if options.beginnings is not None:
        forced_rows, forced = forced_now(options.beginnings, live.sources, beams, step)
        if forced_rows:
            force(gains, tokens, logits, forced_rows, forced)
    gains, tokens = gains.view(b, beams, -1), tokens.view(b, beams, -1)  # (b, R, C)
    offered = Offered(gains, tokens, logits, frozenset(forced_rows))
    if options.groups > 1:
        return _best_of_groups(options, live, offered), sound
    found = _best(options, live.log_p, gains, tokens, None)
    if live.constraints is not None:
        found = Extensions(*constrain(options, live, range(b), _columns(found), offered, None))
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
    return _with_ends(options, ordered, token, position // width)


def _with_ends(options: Options, ordered: Tensor, token: Tensor, row: Tensor) -> Extensions:
    """ordered (log P, descending), token, row (b, 2K)"""
    ends = (token == options.eos) & (ordered > -torch.inf)  # (b, 2K)
    # An eos below the K best is neither finished nor continued.
    ordered[:, options.beam_size :].masked_fill_(ends[:, options.beam_size :], -torch.inf)
    ends[:, options.beam_size :] = False
    return Extensions(ordered, token, row, ends)


def _best_of_groups(options: Options, live: ActiveBeams, offered: Offered) -> Extensions:
    """One group after the other; see ``groups.py``."""
    gains, tokens = offered.gains, offered.tokens  # (b, R, C)
    taken = Taken(live.sources, options.groups, offered.logits.shape[1], gains.device)
    parts = []
    for turn in taken.turns:
        own = tokens[turn]  # (n, R, C)
        counts = taken.count(turn, own.flatten(1)).view_as(own)
        found = _best(options, live.log_p[turn], gains[turn], own, options.diversity * counts)
        if live.constraints is not None:
            columns = _columns(found)
            found = Extensions(
                *constrain(options, live, turn.tolist(), columns, offered, taken.counts)
            )
        going = ~found.ends & (found.log_p > -torch.inf)  # (n, 2K)
        taken.add(turn, found.token, going & (going.cumsum(1) <= options.beam_size))
        parts.append(found)
    back = torch.cat(taken.turns).argsort()
    joined = zip(*map(_columns, parts), strict=True)
    return Extensions(*(torch.cat(column)[back] for column in joined))


def _columns(found: Extensions) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return found.log_p, found.token, found.row, found.ends
