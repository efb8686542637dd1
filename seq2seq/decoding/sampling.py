"""Sampling: the next token drawn from what the model gives, step by step.

A row's tokens follow from its own logits and its own stream of random numbers, never from the
rows beside it: a row gives the same alone and in a batch.

What a step does, in this order: tokens that never come are taken out; repeated tokens are made
less likely (Keskar et al. 2019, section 4.1); tokens that would repeat an n-gram are taken out;
the logits are divided by the temperature; the k likeliest, the smallest set of probability
top_p (Holtzman et al. 2020) and those at least min_p times as likely as the likeliest (Nguyen et
al. 2024) remain; one of them is drawn. At temperature 0 the likeliest is taken.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kernels.common.precision import widest
from seq2seq.arguments import check_whole
from seq2seq.decoding.contract import StepModel
from seq2seq.errors import RunError

_BLOCK = 512  # random numbers drawn at a time


@dataclass(frozen=True)
class Sampling:
    """See the head of this file; the defaults change nothing. Values are not checked here."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0


def seed_of(seed: object) -> int:
    """The seed that was given, or where it is None one that nobody can tell. Raises UsageError for
    what is no whole number."""
    return secrets.randbits(32) if seed is None else check_whole("seed", seed)


def row_key(seed: int, sample: int, prompt: Sequence[int]) -> int:
    """What a row's random numbers follow from: the seed, the number of the sample among those of
    its prompt, and the prompt. Two prompts do not share their numbers."""
    text = f"{seed} {sample} {' '.join(map(str, prompt))}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


class Noise:
    """For each row a stream of numbers uniform in [0, 1), the same on every device."""

    def __init__(self, keys: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(key) for key in keys]
        self._block, self._at = torch.empty(len(keys), 0, dtype=torch.float64), 0

    def next(self) -> Tensor:
        """(N, 1) float64"""
        if self._at == self._block.shape[1]:
            rows = [torch.rand(_BLOCK, generator=g, dtype=torch.float64) for g in self._generators]
            self._block, self._at = torch.stack(rows), 0  # (N, 512)
        self._at += 1
        return self._block[:, self._at - 1 : self._at]

    def keep(self, rows: list[int]) -> None:
        self._generators = [self._generators[row] for row in rows]
        self._block = self._block[rows]


class Rollout:
    """N rows that are being written: each ``step`` gives one token a row.

        logits, state = model.start(prompts)
        rollout = Rollout(model, state, logits, prompts, keys, options, banned)
        tokens = rollout.step()      # (N,)
        rollout.keep([0, 2])         # rows 0 and 2 go on, as rows 0 and 1

    ``logits`` (N, V) are those of the first token; ``prompts`` are what repetition counts from;
    ``keys``, one a row, seed the random numbers; ``banned`` tokens never come. ``end``, banned or
    not, is what a row gives that no_repeat_ngram leaves nothing else.

    Raises RunError for logits that give no probabilities.
    """

    def __init__(
        self,
        model: StepModel,
        state: Any,
        logits: Tensor,
        prompts: Sequence[Sequence[int]],
        keys: Sequence[int],
        options: Sampling,
        banned: Iterable[int] = (),
        end: int | None = None,
    ) -> None:
        self._end = end
        self.model, self.state, self.options = model, state, options
        self._logits: Tensor | None = logits
        self._tokens: Tensor | None = None  # drawn, and not yet fed
        self._allowed = torch.zeros(logits.shape[1], device=logits.device)  # -inf where banned
        self._allowed[sorted(banned)] = -torch.inf
        self._noise = Noise(keys) if options.temperature else None
        self._seen = None  # (N, V) bool: tokens that stood before
        if options.repetition_penalty != 1:
            self._seen = torch.zeros(logits.shape, dtype=torch.bool, device=logits.device)
            for row, prompt in enumerate(prompts):
                self._seen[row, list(prompt)] = True
        size = options.no_repeat_ngram
        self._grams = [_Grams(size, prompt) for prompt in prompts] if size else None

    def step(self) -> Tensor:
        """The next token of each row, (N,) on the CPU."""
        with torch.inference_mode():
            tokens = self._choose(self._next_logits())
            self._tokens = tokens
            if self._seen is not None:
                self._seen.scatter_(1, tokens.unsqueeze(1), True)
            found = tokens.cpu()
            for row, grams in enumerate(self._grams or ()):
                grams.add(int(found[row]))
        return found

    def log_p(self) -> Tensor:
        """log P (N,) of the tokens drawn last, under the model as it is: before temperature,
        penalties and cuts. To be asked for before the next step."""
        assert self._logits is not None and self._tokens is not None  # a step was made
        with torch.inference_mode():
            logits = self._logits.to(torch.promote_types(self._logits.dtype, torch.float32))
            return logits.log_softmax(1).gather(1, self._tokens.unsqueeze(1)).squeeze(1)

    def flush(self) -> tuple[Tensor, Any]:
        """Feed the token drawn last: logits of the next one, and the state with all tokens."""
        with torch.inference_mode():
            return self._next_logits(), self.state

    def keep(self, rows: list[int]) -> None:
        """Go on with these rows alone."""
        index = torch.tensor(rows, dtype=torch.long, device=self._allowed.device)
        self.state = self.model.reorder(self.state, index)
        for name in ("_tokens", "_logits", "_seen"):
            value = getattr(self, name)
            setattr(self, name, None if value is None else value.index_select(0, index))
        if self._noise:
            self._noise.keep(rows)
        if self._grams:
            self._grams = [self._grams[row] for row in rows]

    def _next_logits(self) -> Tensor:
        if self._tokens is not None:
            self._logits, self.state = self.model.step(self._tokens, self.state)
            self._tokens = None
        assert self._logits is not None  # given at first, made by each step
        return self._logits

    def _choose(self, logits: Tensor) -> Tensor:
        """logits (N, V) -> tokens (N,)"""
        options = self.options
        if self._seen is not None:
            logits = penalise(logits.float(), self._seen, options.repetition_penalty)
        # the division by the temperature, and the ban, in one pass
        scale = 1 / options.temperature if options.temperature else 1.0
        logits = torch.add(self._allowed, logits, alpha=scale)  # (N, V)
        for row, grams in enumerate(self._grams or ()):
            forbidden = grams.forbidden()
            if not forbidden:
                continue
            before = logits[row].amax()
            logits[row, forbidden] = -torch.inf
            if self._end is not None and before.isfinite() and logits[row].amax() == -torch.inf:
                logits[row, self._end] = 0.0  # every token has been used up
        highest = logits.amax(1, keepdim=True)  # (N, 1)
        if not bool(highest.isfinite().all()):  # NaN, inf, or nothing left
            raise RunError(
                "the model's logits give no probabilities (NaN, +inf, or nothing that may come); "
                "the weights are damaged, or no_repeat_ngram leaves nothing"
            )
        if self._noise is None:  # temperature 0
            return logits.argmax(1)
        if 0 < options.top_k < logits.shape[1]:
            logits = keep_top_k(logits, options.top_k)
        if options.top_p < 1:
            logits = keep_top_p(logits, options.top_p)
        if options.min_p > 0:
            logits = keep_min_p(logits, options.min_p)
        return draw(logits, self._noise.next())


def penalise(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Logits of tokens seen (N, V) are divided by the penalty where positive, else multiplied."""
    lower = torch.where(logits > 0, logits / penalty, logits * penalty)
    return torch.where(seen, lower, logits)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """-inf for all but the k largest; of equal ones the lower token stays."""
    kept = logits.sort(dim=1, descending=True, stable=True).indices[:, :k]
    return torch.full_like(logits, -torch.inf).scatter_(1, kept, logits.gather(1, kept))


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """-inf for all but the fewest tokens that together have probability p."""
    values, order = logits.sort(dim=1, descending=True, stable=True)
    shares = values.to(widest(values.device)).softmax(1)  # (N, V)
    before = shares.cumsum(1) - shares  # of likelier ones
    values = values.masked_fill(before >= p, -torch.inf)
    return torch.empty_like(logits).scatter_(1, order, values)


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """-inf for tokens less than p times as likely as the likeliest."""
    shares = (logits - logits.amax(1, keepdim=True)).exp()
    return logits.masked_fill(shares < p, -torch.inf)


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Tokens (N,) of softmax(logits), by the inverse of the cumulative distribution at uniform
    (N, 1)."""
    device = logits.device
    if widest(device) != torch.float64:  # the tokens are to be the same everywhere
        logits = logits.cpu()
    uniform = uniform.to(logits.device)
    shares = torch.softmax(logits, 1, dtype=torch.float64)  # (N, V)
    reached = shares.cumsum(1)
    # Rounding may leave the sum short of 1 and must not choose what has no probability.
    below = (reached <= uniform * reached[:, -1:]).sum(1)  # (N,)
    return below.clamp(max=logits.shape[1] - 1).to(device)


class _Grams:
    """The n-grams of one row: what may not come next."""

    def __init__(self, size: int, tokens: Sequence[int]) -> None:
        self._size = size
        self._last: tuple[int, ...] = ()  # the n - 1 last tokens
        self._after: dict[tuple[int, ...], list[int]] = {}
        for token in tokens:
            self.add(token)

    def add(self, token: int) -> None:
        if len(self._last) == self._size - 1:
            self._after.setdefault(self._last, []).append(token)
        self._last = (*self._last, token)[-(self._size - 1) :] if self._size > 1 else ()

    def forbidden(self) -> list[int]:
        return self._after.get(self._last, []) if len(self._last) == self._size - 1 else []
