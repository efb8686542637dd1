"""How well a language model predicts a text: nats, bits per character, perplexity."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels.common.precision import widest
from seq2seq.arguments import check_kind, check_number, check_whole, is_number
from seq2seq.errors import RunError, UsageError
from seq2seq.layers.evaluating import evaluating
from seq2seq.tasks.generation.cloze_model import ClozeModel
from seq2seq.tasks.generation.model import LanguageModel, LanguageState
from seq2seq.tasks.generation.text import Corpus
from seq2seq.text.vocabulary import END

WARM_UP = 1000  # units that a stretch reads before those that are scored
_STEPS = 256  # of a window: memory grows with it, the figures do not depend on it
_ROWS = 64
_IGNORE = -100


@dataclass(frozen=True)
class TextScore:
    """The log probability of a text, and by what it can be counted."""

    total: float  # -log p of all units scored, nats
    tokens: int  # units scored
    characters: int
    words: int

    def __str__(self) -> str:
        return (
            f"{self.nats:.4f} nats a unit (perplexity {self.perplexity:.2f}), "
            f"{self.bits_per_character:.4f} bits a character, perplexity "
            f"{self.word_perplexity:.2f} a word; {self.tokens:,} units"
        )

    @property
    def log_probability(self) -> float:
        return 0.0 - self.total  # of nothing: 0, not -0

    @property
    def nats(self) -> float:
        """Mean per unit."""
        return self.total / max(1, self.tokens)

    @property
    def bits_per_character(self) -> float:
        return self.total / math.log(2) / max(1, self.characters)

    @property
    def perplexity(self) -> float:
        return _exp(self.nats)

    @property
    def word_perplexity(self) -> float:
        return _exp(self.total / max(1, self.words))


@dataclass(frozen=True)
class Cache:
    """The neural cache (Grave et al. 2017, eq. 2-3): with the hidden states h_i of the last
    ``size`` steps and the units x_(i+1) that followed them,

        p(w) = (1 - weight) p_model(w) + weight p_cache(w)
        p_cache(w) ~ sum over i with x_(i+1) = w of exp(flatness h_t h_i)
    """

    size: int = 2000
    weight: float = 0.1
    flatness: float = 0.3

    def __post_init__(self) -> None:
        check_whole("cache size", self.size, 1)
        if not is_number(self.weight) or not 0 < self.weight < 1:
            raise UsageError(f"cache weight is {self.weight!r}; expected 0 < weight < 1")
        check_number("cache flatness", self.flatness, 0)


@dataclass(frozen=True)
class Dynamic:
    """Dynamic evaluation (Krause et al. 2018, eq. 3 and 5): after each segment of ``steps`` units,
    which has then been scored, the weights follow its gradient and are then drawn back to where
    they began,  w' = w - rate dL/dw,  w <- w' + decay (w_0 - w'),  L the segment's mean loss."""

    rate: float = 0.1
    decay: float = 0.001
    steps: int = 20

    def __post_init__(self) -> None:
        check_number("dynamic rate", self.rate, 0)
        check_number("dynamic decay", self.decay, 0, 1)
        check_whole("dynamic steps", self.steps, 1)


class Segment(NamedTuple):
    """A stretch of a piece of text, read from an empty state: inputs [start, end), of which the
    targets of [scored, end) count."""

    piece: np.ndarray
    start: int
    scored: int
    end: int


def evaluate(
    model: LanguageModel,
    corpus: Corpus,
    *,
    rows: int = 1,
    warm_up: int = WARM_UP,
    cold_window: int | None = None,
    cache: Cache | None = None,
    dynamic: Dynamic | None = None,
    share: tuple[int, int] = (0, 1),
) -> TextScore:
    """Score every unit of a text that has one before it.

    Stateful: with ``rows`` 1 the state runs through each piece from its beginning to its end. With
    more, so many stretches of it are read side by side; each one first reads the ``warm_up``
    units before it, which are not scored. ``cold_window``: each stretch of so many units is read
    from an empty state instead, with no overlap.

    ``share`` (r, W): only what falls to process r of W is scored; ``total`` and ``tokens`` of the
    result are of that, to be summed over the processes.

    With ``dynamic`` segments are read in the order of the text, one after the other, so that
    weights have learned from nothing behind what is scored; with ``rows`` above 1 the stretches
    share them, and each is scored with what was learned from the others, too. The weights are as
    before in the end.

    Raises UsageError for an option of another kind or out of range, RunError where the model gives
    no probabilities (NaN).
    """
    _check_reading(rows, cold_window, cache, dynamic)
    device = next(model.parameters()).device
    segments = _segments(corpus, rows, warm_up, cold_window)
    if dynamic is None:
        segments.sort(key=lambda s: s.start - s.end)  # of like length side by side
    side_by_side = max(rows, _ROWS) if cold_window and dynamic is None else rows
    total = 0.0
    with evaluating(model), _restored(model, dynamic is not None) as first:
        for number in range(0, len(segments), side_by_side):
            group = segments[number : number + side_by_side][share[0] :: share[1]]
            if not group:
                continue
            values = _read(model, group, corpus.documents, device, cache, dynamic, first)
            total += float(values.sum())
    _check_number(total, cache, dynamic)
    own = (
        s
        for n in range(0, len(segments), side_by_side)
        for s in segments[n : n + side_by_side][share[0] :: share[1]]
    )
    count = sum(s.end - s.scored for s in own)
    return TextScore(total, count, corpus.characters, corpus.words)


def evaluate_cloze(model: ClozeModel, corpus: Corpus, rows: int, steps: int) -> TextScore:
    """Score every unit of a text by those around it, in windows of ``steps`` units each: at the
    edges of a window the model knows one side alone."""
    device = next(model.parameters()).device
    windows = [
        Segment(piece, at, at, min(at + steps, len(piece) - 1))
        for piece in corpus.pieces
        for at in range(0, len(piece) - 1, steps)
    ]
    windows.sort(key=lambda s: s.start - s.end)
    total, count = 0.0, 0
    with evaluating(model), torch.no_grad():
        for length, alike in itertools.groupby(windows, lambda s: s.end - s.start):
            while group := list(itertools.islice(alike, rows)):  # nothing is padded
                ((inputs, targets),) = _windows(group, length)
                inputs, targets = inputs.to(device), targets.to(device)  # (B, T)
                resets = (inputs == END) if corpus.documents else None
                vectors = model(inputs, targets, None, resets).vectors
                logits = model.projection(vectors).float()  # (B, T, V)
                loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
                total += float(loss)
                count += targets.numel()
    _check_number(total, None, None)
    return TextScore(total, count, corpus.characters, corpus.words)


def losses(model: LanguageModel, segments: list[Segment], documents: bool) -> list[float]:
    """-log p of what is scored of each segment, nats; RunError where the model gives NaN."""
    device = next(model.parameters()).device
    order = sorted(range(len(segments)), key=lambda i: segments[i].start - segments[i].end)
    totals = [0.0] * len(segments)
    with evaluating(model):
        for at in range(0, len(order), _ROWS):
            rows = order[at : at + _ROWS]
            group = [segments[i] for i in rows]
            if group[0].end <= group[0].start:  # the longest is empty
                break
            values = _read(model, group, documents, device, None, None, []).tolist()
            for i, value in zip(rows, values, strict=True):
                totals[i] = value
    _check_number(sum(totals), None, None)
    return totals


def _segments(corpus: Corpus, rows: int, warm_up: int, cold_window: int | None) -> list[Segment]:
    found = []
    for piece in corpus.pieces:
        inputs = len(piece) - 1
        if cold_window:
            size, warm_up = cold_window, 0
        else:
            share = max(1, round(rows * len(piece) / corpus.tokens))
            size = max(1, math.ceil(inputs / share))
        found += [
            Segment(piece, max(0, at - warm_up), at, min(at + size, inputs))
            for at in range(0, inputs, size)
        ]
    return found


def _read(
    model: LanguageModel,
    group: list[Segment],
    documents: bool,
    device: torch.device,
    cache: Cache | None,
    dynamic: Dynamic | None,
    first: list[Tensor],
) -> Tensor:
    """-log p of what is scored of each segment, (B,) float64, or the widest that the device has."""
    state: LanguageState | None = None
    memory = _Memory(cache) if cache else None
    total = torch.zeros(len(group), dtype=widest(device), device=device)
    for inputs, targets in _windows(group, dynamic.steps if dynamic else _STEPS):
        inputs, targets = inputs.to(device), targets.to(device)  # (B, T)
        resets = (inputs == END) if documents else None
        if resets is not None and not bool(resets.any()):
            resets = None
        with torch.set_grad_enabled(dynamic is not None):
            found = model(inputs, state, resets)
            logits = model.projection(found.vectors).float()  # (B, T, V)
            log_p = F.cross_entropy(
                logits.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=_IGNORE
            ).view(targets.shape)  # (B, T), -log p; 0 where there is no target
        scored = log_p.detach()
        if memory is not None:
            scored = memory.mixed(scored, found.vectors.detach().float(), targets)
        total += scored.to(total.dtype).sum(1)
        kept = int((targets != _IGNORE).sum())
        if dynamic is not None and kept:
            _adapt(model, log_p.sum() / kept, dynamic, first)
        state = found.state.detach()
    return total


def _windows(group: list[Segment], steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    longest = max(s.end - s.start for s in group)
    for at in range(0, longest, steps):
        width = min(steps, longest - at)
        inputs = np.zeros((len(group), width), np.int64)
        targets = np.full((len(group), width), _IGNORE, np.int64)
        for row, s in enumerate(group):
            part = s.piece[s.start + at : min(s.end, s.start + at + width) + 1]
            if len(part) < 2:
                continue
            inputs[row, : len(part) - 1] = part[:-1]
            targets[row, : len(part) - 1] = part[1:]
            targets[row, : max(0, s.scored - s.start - at)] = _IGNORE
        yield torch.from_numpy(inputs), torch.from_numpy(targets)


class _Memory:
    """The cache of B rows."""

    def __init__(self, options: Cache) -> None:
        self.options = options
        self.keys: Tensor | None = None  # (B, C, H)
        self.units: Tensor | None = None  # (B, C) that followed; -100: none

    def mixed(self, scored: Tensor, vectors: Tensor, targets: Tensor) -> Tensor:
        """-log of the mixed probability (B, T) from -log p of the model; remembers the window."""
        options, steps = self.options, targets.shape[1]
        keys, units = vectors, targets
        if self.keys is not None and self.units is not None:
            keys = torch.cat([self.keys, vectors], 1)  # (B, C+T, H)
            units = torch.cat([self.units, targets], 1)
        old = keys.shape[1] - steps
        scores = options.flatness * vectors @ keys.transpose(1, 2)  # (B, T, C+T)
        at = torch.arange(steps, device=keys.device).unsqueeze(1) + old  # (T, 1)
        other = torch.arange(keys.shape[1], device=keys.device)
        seen = (other < at) & (other >= at - options.size)  # (T, C+T)
        seen = seen & (units != _IGNORE).unsqueeze(1)  # (B, T, C+T)
        scores = scores.masked_fill(~seen, -torch.inf)
        right = units.unsqueeze(1) == targets.unsqueeze(2)
        every = scores.logsumexp(2)
        log_cache = scores.masked_fill(~right, -torch.inf).logsumexp(2) - every
        log_cache = log_cache.masked_fill(every == -torch.inf, -torch.inf)
        mixed = torch.logaddexp(
            -scored + math.log1p(-options.weight), log_cache + math.log(options.weight)
        )
        self.keys, self.units = keys[:, -options.size :], units[:, -options.size :]
        # with nothing to look back at the model stands alone
        mixed = torch.where(every == -torch.inf, -scored, mixed)
        return torch.where(targets == _IGNORE, torch.zeros_like(mixed), -mixed)


@torch.no_grad()
def _adapt(model: nn.Module, loss: Tensor, options: Dynamic, first: list[Tensor]) -> None:
    parameters = list(model.parameters())
    with torch.enable_grad():
        gradients = torch.autograd.grad(loss, parameters)
    for parameter, gradient, began in zip(parameters, gradients, first, strict=True):
        parameter.sub_(gradient, alpha=options.rate).lerp_(began, options.decay)


@contextlib.contextmanager
def _restored(model: nn.Module, changing: bool) -> Iterator[list[Tensor]]:
    """Gives copies of the weights, and copies them back in the end."""
    first = [p.detach().clone() for p in model.parameters()] if changing else []
    try:
        yield first
    finally:
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), first, strict=False):
                parameter.copy_(value)


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def _check_reading(
    rows: int, cold_window: int | None, cache: Cache | None, dynamic: Dynamic | None
) -> None:
    check_whole("rows", rows, 1)
    if cold_window is not None:
        check_whole("cold_window", cold_window, 1)
    if cache is not None:
        check_kind("cache", cache, Cache)
    if dynamic is not None:
        check_kind("dynamic", dynamic, Dynamic)


def _check_number(total: float, cache: Cache | None, dynamic: Dynamic | None) -> None:
    if not math.isnan(total):
        return
    reason = "the weights are damaged"
    if dynamic is not None:
        reason += f", or the dynamic rate {dynamic.rate:g} is too high"
    if cache is not None:
        reason += f", or the cache flatness {cache.flatness:g} is too high"
    raise RunError(f"the model gives no probabilities (NaN); {reason}")
