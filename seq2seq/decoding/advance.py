"""One step of a beam search: what ends, what lives on, which sources are done."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional as F

from seq2seq.decoding.active_beams import ActiveBeams
from seq2seq.decoding.contract import bad_logits
from seq2seq.decoding.extending import Extensions, extend
from seq2seq.decoding.nbest import NBest
from seq2seq.decoding.penalties import coverage_term, length_divisor
from seq2seq.decoding.search_options import Options


def advance(
    options: Options,
    live: ActiveBeams,
    nodes: Tensor,
    logits: Tensor,
    attention: Tensor | None,
    step: int,
) -> tuple[ActiveBeams, Tensor | None, list[tuple[list[int], NBest]]]:
    """One step of all sources.

    nodes (N,), logits (N, V), attention (N, S) or None: of the rows just fed, which hold ``step``
    tokens each. Returns what is live now; the rows of the model's state that this needs (None:
    all of them in their order); and the sources that are over, with their hypotheses.
    """
    b, beams = live.log_p.shape
    nodes = nodes.view(b, beams)  # (b, R)
    covered = None  # (b, R, S) after this step
    if attention is not None:
        attention = attention.view(b, beams, -1)
        if live.coverage is None:
            live.coverage = torch.zeros_like(attention)
        covered = live.coverage + attention
    found, sound = extend(options, live, logits, step)
    finished = _finished(options, live, found, nodes, covered, step)
    grown, rows = _survivors(options, live, found, nodes, covered)
    grown.best = live.best.ranked_with(finished)
    grown.count = live.count + found.ends.sum(1)

    fates = _fates(options, grown, sound.view(b, beams), step)
    for source, fate in zip(live.sources, fates, strict=True):
        if fate == _UNSOUND:
            raise bad_logits(source // options.groups, step)
    kept = [i for i, fate in enumerate(fates) if fate == _GOING and step < live.limits[i]]
    if len(kept) == b:
        return grown, None if beams == options.beam_size == 1 else rows.flatten(), []
    over = sorted(set(range(b)) - set(kept))
    index = torch.tensor(over, device=nodes.device)
    cut = _cut(options, live, found, nodes, step)
    best = grown.best.take(index).filled_with(cut.take(index))
    index = torch.tensor(kept, dtype=torch.long, device=nodes.device)
    return grown.keep(kept), rows[index].flatten(), [([live.sources[i] for i in over], best)]


def _finished(
    options: Options,
    live: ActiveBeams,
    found: Extensions,
    nodes: Tensor,
    covered: Tensor | None,
    step: int,
) -> NBest:
    """The hypotheses (b, 2K) that this step ended."""
    log_p = found.log_p.masked_fill(~found.ends, -torch.inf)  # (b, 2K)
    score = log_p / length_divisor(step + 1, options.alpha)
    if covered is not None:
        score = score + coverage_term(covered, live.lengths, options.beta).gather(1, found.row)
    return NBest(score, log_p, nodes.gather(1, found.row), found.ends)


def _survivors(
    options: Options,
    live: ActiveBeams,
    found: Extensions,
    nodes: Tensor,
    covered: Tensor | None,
) -> tuple[ActiveBeams, Tensor]:
    """The K best extensions that do not end, and their rows (b, K) in the model's state."""
    b, beams = live.log_p.shape
    log_p = found.log_p.masked_fill(found.ends, -torch.inf)  # (b, 2K)
    there = (log_p > -torch.inf).to(torch.uint8)
    order = there.sort(dim=1, descending=True, stable=True).indices[:, : options.beam_size]
    log_p = log_p.gather(1, order)
    missing = (0, options.beam_size - log_p.shape[1])  # where the vocabulary is so small
    log_p, order = F.pad(log_p, missing, value=-torch.inf), F.pad(order, missing)  # (b, K)
    # What is not there becomes a copy of the first: the model is fed nothing meaningless.
    order = torch.where(log_p == -torch.inf, order[:, :1], order)
    token, row = found.token.gather(1, order), found.row.gather(1, order)  # (b, K)
    first = torch.arange(0, b * beams, beams, device=row.device).unsqueeze(1)  # (b, 1)
    rows = first + row  # (b, K)
    prefix = live.prefix
    if options.no_repeat_ngram:
        old = prefix[rows.flatten()]  # (N', t)
        prefix = torch.cat([old, token.view(-1, 1)], 1)
    grown = dataclasses.replace(
        live,
        tokens=token.flatten(),
        parents=nodes.gather(1, row).flatten(),
        log_p=log_p,
        coverage=None if covered is None else covered.flatten(0, 1)[rows],
        prefix=prefix,
        states=live.advanced(token, row),
    )
    return grown, rows


_GOING, _OVER, _UNSOUND = 0, 1, 2


def _fates(options: Options, grown: ActiveBeams, sound: Tensor, step: int) -> list[int]:
    """What became of each source in this step: the one transfer to the host.

    A live hypothesis has step + 1 tokens and will have at least step + 2 with eos, at most
    limit + 1. log P is negative: the larger divisor gives the better score.
    """
    if options.alpha >= 0:
        divisor = length_divisor(grown.limit + 1, options.alpha)  # (b,)
    else:
        divisor = length_divisor(step + 2, options.alpha)
    bound = grown.log_p.amax(1) / divisor  # (b,): -inf where nothing is live
    worst = grown.best.score[:, options.n_best - 1]  # (b,) of those to be found
    over = (worst >= bound) | (grown.count >= options.enough)  # (b,)
    return over.long().masked_fill(~sound.all(1), _UNSOUND).tolist()


def _cut(options: Options, live: ActiveBeams, found: Extensions, nodes: Tensor, step: int) -> NBest:
    """The hypotheses (b, R) fed in this step, as they stand without it, but those it ended."""
    ended = torch.zeros_like(nodes).scatter_add_(1, found.row, found.ends.long())  # (b, R)
    log_p = live.log_p.masked_fill(ended > 0, -torch.inf)  # (b, R)
    if live.constraints is not None:  # of what must come, those that hold most
        log_p = log_p.masked_fill(_behind(live, log_p), -torch.inf)
    score = log_p / length_divisor(step, options.alpha)
    if live.coverage is not None:
        score = score + coverage_term(live.coverage, live.lengths, options.beta)
    return NBest(score, log_p, nodes, torch.zeros_like(ended, dtype=torch.bool))


def _behind(live: ActiveBeams, log_p: Tensor) -> Tensor:
    """Which of the hypotheses log_p (b, R) have met less of their constraint than others there."""
    behind = torch.zeros_like(log_p, dtype=torch.bool)
    for i, constraint in enumerate(live.constraints or ()):
        if constraint is not None:
            there = (log_p[i] > -torch.inf).tolist()
            met = [
                constraint.progress(state) if alive else -1
                for state, alive in zip(live.states[i], there, strict=True)
            ]
            behind[i] = torch.tensor([one < max(met) for one in met], device=log_p.device)
    return behind
