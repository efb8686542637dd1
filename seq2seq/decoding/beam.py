"""Beam search, batched: all sources at once, each with K hypotheses.

What is searched. A step extends each of the K live hypotheses of a source by every token. Of
all these extensions the K with the largest log P are looked at: those that end with eos are
finished and kept aside with their score. The K best that do not end are live in the next step.
The search of a source is over as soon as

- it has n_best finished hypotheses and no live one can beat the worst of them: log P only falls
  and the coverage penalty is at most 0, so a live one reaches at most log P / lp, with lp at the
  length that favours it most; or
- patience * K hypotheses have finished (Kasai et al. 2022, section 3). With patience 1, the
  usual rule, a beam of one is greedy search, whatever the length penalty; with infinity, only
  the bound above decides; or
- it is at its maximum length, or nothing can be continued. What is then live is cut: such
  hypotheses fill up the n best after the finished ones.

Sources do not influence each other, and a source that is done leaves the batch at once.
Everything stays on the device but one small vector per step, which says who is done.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seq2seq.decoding.active_beams import ActiveBeams
from seq2seq.decoding.candidates import candidates
from seq2seq.decoding.contract import (
    StepModel,
    attention_of,
    bad_logits,
    check_limits,
    check_logits,
    check_option,
)
from seq2seq.decoding.forcing import check_beginnings, force, forced_now
from seq2seq.decoding.history import History
from seq2seq.decoding.hypothesis import Hypothesis
from seq2seq.decoding.nbest import NBest
from seq2seq.decoding.penalties import coverage_term, length_divisor
from seq2seq.errors import UsageError


def beam_search(
    model: StepModel,
    state: Any,
    *,
    sources: int,
    beam_size: int,
    max_lengths: Tensor,
    bos: int,
    eos: int,
    pad: int,
    length_penalty: float = 1.0,
    coverage_penalty: float = 0.0,
    no_repeat_ngram: int = 0,
    min_length: int = 0,
    n_best: int = 1,
    source_lengths: Tensor | None = None,
    prompts: Sequence[Sequence[int]] | None = None,
    patience: float = 1.0,
    beginnings: Sequence[Sequence[int]] | None = None,
    return_attention: bool = False,
) -> list[list[Hypothesis]]:
    """The n best hypotheses of each source, best first.

    They are ranked by  score = log P(Y | X) / lp(Y) + cp(X; Y)  (Wu et al. 2016, equation 14):

        lp = ((5 + |Y|) / 6) ** length_penalty, |Y| counting eos
        cp = coverage_penalty * sum_s log(min(sum_t a_ts, 1)) over the positions of the source

    model, state      the contract of ARCHITECTURE.md; state of ``model.start``, B rows
    sources           B
    beam_size         K, live hypotheses per source; may exceed the vocabulary
    max_lengths       (B,) whole numbers on the model's device: the most tokens, eos not counted
    bos, eos, pad     token ids; bos is fed first; bos and pad are never emitted
    no_repeat_ngram   n: no n-gram of tokens twice in a hypothesis; 0: off
    min_length        the fewest tokens of a finished hypothesis, eos not counted
    n_best            hypotheses to return, at most K; fewer come back where fewer exist
    source_lengths    (B,): the first so many positions count for coverage; default: all
    prompts           B sequences of tokens that stand before the hypotheses: no_repeat_ngram counts
                      them, as sampling does; default: none
    patience          see the head of this file; n_best finished ones are awaited in any case
    beginnings        B lists of tokens that the hypotheses of a source begin with, whatever the
                      model and no_repeat_ngram say; they count for lengths and scores
    return_attention  keep the attention of each hypothesis

    log P is the model's own, over its whole vocabulary, whatever may not be emitted. Finished
    hypotheses come before cut ones; of equally probable extensions the one of the better
    hypothesis, then the lower token, goes first.

    Raises UsageError for options out of range and for a coverage penalty with a model without
    attention; RunError for logits that give no probabilities (NaN); ValueError for arguments
    whose shapes do not fit.
    """
    limits = check_limits(sources, max_lengths)
    check_option("beam_size", beam_size, 1)
    check_option("n_best", n_best, 1)
    check_option("min_length", min_length, 0)
    check_option("no_repeat_ngram", no_repeat_ngram, 0)
    check_option("coverage_penalty", coverage_penalty, 0)
    check_option("length_penalty", length_penalty, -10, 10)  # beyond, lp overflows
    check_option("patience", patience, 0)
    if n_best > beam_size:
        raise UsageError(
            f"n_best is {n_best}, but beam_size is {beam_size}; a beam gives at most as many "
            f"hypotheses as it holds: set beam_size to at least {n_best}"
        )
    if source_lengths is not None and source_lengths.shape != (sources,):
        raise ValueError(
            f"source_lengths has shape {tuple(source_lengths.shape)}; expected ({sources},)"
        )
    if prompts is not None and len(prompts) != sources:
        raise ValueError(f"there are {len(prompts)} prompts; expected {sources}")
    if beginnings is not None:
        check_beginnings(beginnings, limits, frozenset({bos, eos, pad}))
    if not sources:
        return []
    options = _Options(
        beam_size=beam_size,
        enough=max(n_best, patience * beam_size),
        eos=eos,
        forbidden=frozenset({bos, pad} - {eos}),
        alpha=length_penalty,
        beta=coverage_penalty,
        no_repeat_ngram=no_repeat_ngram,
        min_length=min_length,
        beginnings=beginnings,
    )
    prefix = None
    if prompts is not None and no_repeat_ngram:
        prefix = _side_by_side(prompts, max_lengths.device)  # (B, t)
    history = History()
    live = ActiveBeams.start(limits, max_lengths, source_lengths, bos, n_best, prefix)
    over: list[tuple[list[int], NBest]] = []
    step = 0
    with torch.inference_mode():
        while live.sources:
            nodes = history.add(live.tokens, live.parents, live.log_p.flatten())  # (N,)
            logits, state = model.step(live.tokens, state)  # (N, V)
            check_logits(logits, len(nodes), eos)
            if return_attention and state.attention is not None:
                history.add_attention(state.attention)
            attention = attention_of(state) if coverage_penalty else None  # (N, S)
            live, rows, left = _advance(options, live, nodes, logits, attention, step)
            over.extend(left)
            if rows is not None and live.sources:
                state = model.reorder(state, rows)
            step += 1
    return _hypotheses(history, over, sources)


def _side_by_side(prompts: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """(B, longest), the shorter ones after -1, which is no token."""
    longest = max(map(len, prompts))
    rows = [[-1] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    return torch.tensor(rows, dtype=torch.long, device=device).view(len(prompts), longest)


@dataclass(frozen=True)
class _Options:
    """What a step needs to know."""

    beam_size: int
    enough: float  # so many finished hypotheses end the search of a source
    eos: int
    forbidden: frozenset[int]
    alpha: float
    beta: float
    no_repeat_ngram: int
    min_length: int
    beginnings: Sequence[Sequence[int]] | None


@dataclass
class _Extensions:
    """The 2K best extensions of each source, best first (fewer where the vocabulary is small)."""

    log_p: Tensor  # (b, 2K), as all; -inf: none
    token: Tensor
    row: Tensor  # the hypothesis extended, 0 .. R-1
    ends: Tensor  # bool: by eos, and among the K best


def _advance(
    options: _Options,
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
    found, sound = _extend(options, live, logits, step)
    finished = _finished(options, live, found, nodes, covered, step)
    grown, rows = _survivors(options, live, found, nodes, covered)
    grown.best = live.best.ranked_with(finished)
    grown.count = live.count + found.ends.sum(1)

    fates = _fates(options, grown, sound.view(b, beams), step)
    for source, fate in zip(live.sources, fates, strict=True):
        if fate == _UNSOUND:
            raise bad_logits(source, step)
    kept = [i for i, fate in enumerate(fates) if fate == _GOING and step < live.limits[i]]
    if len(kept) == b:
        return grown, None if beams == options.beam_size == 1 else rows.flatten(), []
    over = sorted(set(range(b)) - set(kept))
    index = torch.tensor(over, device=nodes.device)
    cut = _cut(options, live, found, nodes, step)
    best = grown.best.take(index).filled_with(cut.take(index))
    index = torch.tensor(kept, dtype=torch.long, device=nodes.device)
    return grown.keep(kept), rows[index].flatten(), [([live.sources[i] for i in over], best)]


def _extend(
    options: _Options, live: ActiveBeams, logits: Tensor, step: int
) -> tuple[_Extensions, Tensor]:
    """The 2K best extensions, at least K of them not by eos; and which rows are sound (N,)."""
    b, beams = live.log_p.shape
    gains, tokens, sound = candidates(
        logits,
        options.beam_size,
        eos=options.eos,
        forbidden=options.forbidden,
        allow_eos=step >= options.min_length,
        prefix=live.prefix,
        no_repeat_ngram=options.no_repeat_ngram,
    )  # (N, C), (N, C), (N,)
    if options.beginnings is not None:
        forced_rows, forced = forced_now(options.beginnings, live.sources, beams, step)
        if forced_rows:
            force(gains, tokens, logits, forced_rows, forced)
    width, most = gains.shape[1], 2 * options.beam_size
    log_p = live.log_p.unsqueeze(2) + gains.view(b, beams, width)  # (b, R, C)
    log_p, position = log_p.flatten(1).sort(dim=1, descending=True, stable=True)  # (b, R*C)
    log_p, position = log_p[:, :most], position[:, :most]  # (b, 2K)
    token = tokens.view(b, -1).gather(1, position)  # (b, 2K)
    ends = (token == options.eos) & (log_p > -torch.inf)  # (b, 2K)
    # An eos below the K best is neither finished nor continued.
    log_p[:, options.beam_size :].masked_fill_(ends[:, options.beam_size :], -torch.inf)
    ends[:, options.beam_size :] = False
    return _Extensions(log_p, token, position // width, ends), sound


def _finished(
    options: _Options,
    live: ActiveBeams,
    found: _Extensions,
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
    options: _Options,
    live: ActiveBeams,
    found: _Extensions,
    nodes: Tensor,
    covered: Tensor | None,
) -> tuple[ActiveBeams, Tensor]:
    """The K best extensions that do not end, and their rows (b, K) in the model's state."""
    b, beams = live.log_p.shape
    log_p = found.log_p.masked_fill(found.ends, -torch.inf)  # (b, 2K)
    log_p, order = log_p.sort(dim=1, descending=True, stable=True)
    log_p, order = log_p[:, : options.beam_size], order[:, : options.beam_size]
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
    )
    return grown, rows


_GOING, _OVER, _UNSOUND = 0, 1, 2


def _fates(options: _Options, grown: ActiveBeams, sound: Tensor, step: int) -> list[int]:
    """What became of each source in this step: the one transfer to the host.

    A live hypothesis has step + 1 tokens and will have at least step + 2 with eos, at most
    limit + 1. log P is negative: the larger divisor gives the better score.
    """
    if options.alpha >= 0:
        divisor = length_divisor(grown.limit + 1, options.alpha)  # (b,)
    else:
        divisor = length_divisor(step + 2, options.alpha)
    bound = grown.log_p[:, 0] / divisor  # (b,): -inf where nothing is live
    over = (grown.best.score[:, -1] >= bound) | (grown.count >= options.enough)  # (b,)
    return over.long().masked_fill(~sound.all(1), _UNSOUND).tolist()


def _cut(
    options: _Options, live: ActiveBeams, found: _Extensions, nodes: Tensor, step: int
) -> NBest:
    """The hypotheses (b, R) fed in this step, as they stand without it, but those it ended."""
    ended = torch.zeros_like(nodes).scatter_add_(1, found.row, found.ends.long())  # (b, R)
    log_p = live.log_p.masked_fill(ended > 0, -torch.inf)  # (b, R)
    score = log_p / length_divisor(step, options.alpha)
    if live.coverage is not None:
        score = score + coverage_term(live.coverage, live.lengths, options.beta)
    return NBest(score, log_p, nodes, torch.zeros_like(ended, dtype=torch.bool))


def _hypotheses(
    history: History, over: list[tuple[list[int], NBest]], sources: int
) -> list[list[Hypothesis]]:
    """Walk the back-pointers of what is returned."""
    paths = history.read()
    found: list[list[Hypothesis]] = [[] for _ in range(sources)]
    for ids, best in over:
        fields = (best.score, best.log_p, best.node, best.finished)
        for source, *columns in zip(ids, *(field.tolist() for field in fields), strict=True):
            for score, log_p, node, finished in zip(*columns, strict=True):
                if log_p == float("-inf"):
                    continue
                path = paths.path(node)
                found[source].append(
                    Hypothesis(
                        paths.tokens(path),
                        score,
                        log_p,
                        finished,
                        paths.attention(path, finished),
                        paths.token_scores(path, log_p, finished),
                    )
                )
    return found
