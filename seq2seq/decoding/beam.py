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

Hypotheses are ranked by  score = log P(Y | X) / lp(Y) + cp(X; Y)  (Wu et al. 2016, equation 14):

    lp = ((5 + |Y|) / 6) ** length_penalty, |Y| counting eos
    cp = coverage_penalty * sum_s log(min(sum_t a_ts, 1)) over the positions of the source

log P is the model's own, over its whole vocabulary, whatever may not be emitted. Finished
hypotheses come before cut ones; of equally probable extensions the one of the better
hypothesis, then the lower token, goes first.

Sources do not influence each other, and a source that is done leaves the batch at once.
Everything stays on the device but one small vector per step, which says who is done
(constraints, where there are any, are looked at on the host).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from seq2seq.decoding.active_beams import ActiveBeams
from seq2seq.decoding.advance import advance
from seq2seq.decoding.constraints import Constraint
from seq2seq.decoding.contract import StepModel, attention_of, check_limits, check_logits
from seq2seq.decoding.forcing import check_beginnings
from seq2seq.decoding.groups import joined, repeated, repeated_rows, repeated_state
from seq2seq.decoding.history import History
from seq2seq.decoding.hypothesis import Hypothesis
from seq2seq.decoding.nbest import NBest
from seq2seq.decoding.search_options import Options, check_sources, group_options


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
    constraints: Sequence[Constraint | None] | None = None,
    groups: int = 1,
    diversity: float = 0.5,
    return_attention: bool = False,
) -> list[list[Hypothesis]]:
    """The n best hypotheses of each source, best first; the head of this file says how they are
    searched and ranked.

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
    constraints       what the hypotheses of each source must and must not hold (None: nothing); see
                      ``constraints.py``. A hypothesis that ends holds all that it must; where none
                      ends in time, the cut ones are those that hold most
    groups, diversity  diverse beam search (``groups.py``): beam_size is that of all groups; each
                      gives its n_best / groups best (rounded up), and n_best of these come back,
                      fewer where groups agree
    return_attention  keep the attention of each hypothesis

    Raises UsageError for options out of range and for a coverage penalty with a model without
    attention; RunError for logits that give no probabilities (NaN); ValueError for arguments
    whose shapes do not fit.
    """
    limits = check_limits(sources, max_lengths)
    check_sources(sources, source_lengths, prompts, constraints)
    options = group_options(
        eos=eos,
        forbidden=frozenset({bos, pad} - {eos}),
        beam_size=beam_size,
        n_best=n_best,
        patience=patience,
        length_penalty=length_penalty,
        coverage_penalty=coverage_penalty,
        no_repeat_ngram=no_repeat_ngram,
        min_length=min_length,
        beginnings=beginnings,
        groups=groups,
        diversity=diversity,
    )
    if beginnings is not None:
        check_beginnings(beginnings, limits, frozenset({bos, eos, pad}))
    if not sources:
        return []
    if not no_repeat_ngram:
        prompts = None
    with torch.inference_mode():
        live = _first(options, bos, limits, max_lengths, source_lengths, prompts, constraints)
        state = repeated_state(model, state, sources, groups, max_lengths.device)
        history, over = _search(model, state, live, options, return_attention)
    return joined(_hypotheses(history, over, sources * groups), groups, n_best)


def _first(
    options: Options,
    bos: int,
    limits: list[int],
    max_lengths: Tensor,
    source_lengths: Tensor | None,
    prompts: Sequence[Sequence[int]] | None,
    constraints: Sequence[Constraint | None] | None,
) -> ActiveBeams:
    """All sources, once for each group, before the first step."""
    groups = options.groups
    prefix = None if prompts is None else _side_by_side(prompts, max_lengths.device)  # (B, t)
    return ActiveBeams.start(
        repeated(limits, groups) or [],
        max_lengths.repeat_interleave(groups),
        repeated_rows(source_lengths, groups),
        bos,
        options.kept,
        repeated_rows(prefix, groups),
        repeated(constraints, groups),
    )


def _search(
    model: StepModel, state: Any, live: ActiveBeams, options: Options, return_attention: bool
) -> tuple[History, list[tuple[list[int], NBest]]]:
    """Step by step until no source is live: all that was fed, and the best of each source."""
    history = History()
    over: list[tuple[list[int], NBest]] = []
    step = 0
    while live.sources:
        nodes = history.add(live.tokens, live.parents, live.log_p.flatten())  # (N,)
        logits, state = model.step(live.tokens, state)  # (N, V)
        check_logits(logits, len(nodes), options.eos)
        if return_attention and state.attention is not None:
            history.add_attention(state.attention)
        attention = attention_of(state) if options.beta else None  # (N, S)
        live, rows, left = advance(options, live, nodes, logits, attention, step)
        over.extend(left)
        if rows is not None and live.sources:
            state = model.reorder(state, rows)
        step += 1
    return history, over


def _side_by_side(prompts: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """(B, longest), the shorter ones after -1, which is no token."""
    longest = max(map(len, prompts))
    rows = [[-1] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    return torch.tensor(rows, dtype=torch.long, device=device).view(len(prompts), longest)


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
