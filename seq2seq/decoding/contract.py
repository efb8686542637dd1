"""The model interface that search uses, and checks of the arguments of a search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NotRequired, Protocol, TypedDict

import torch
from torch import Tensor

from seq2seq.arguments import is_number
from seq2seq.decoding.constraints import Constraint
from seq2seq.errors import RunError, UsageError


class StepModel(Protocol):
    """A model that emits tokens: the part of the contract of ARCHITECTURE.md that search uses.

    ``step`` feeds one token to each row and returns the scores of the next one, of any floating
    dtype, not normalised; -inf marks a token as impossible. ``reorder`` returns the state whose
    row i is row ``index[i]`` of the old one; indices may repeat and rows may be left out. After a
    step ``state.attention`` is (N, S), of the same S throughout a search, or None. Search keeps
    neither the logits nor the old state, so a model may reuse their memory.
    """

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]: ...

    def reorder(self, state: Any, index: Tensor) -> Any: ...


class SearchArguments(TypedDict):
    """What greedy and beam search are both given; described at ``beam_search``."""

    sources: int
    max_lengths: Tensor
    bos: int
    eos: int
    pad: int
    min_length: int
    no_repeat_ngram: int
    return_attention: bool
    beginnings: NotRequired[Sequence[Sequence[int]] | None]
    constraints: NotRequired[Sequence[Constraint | None] | None]


def check_limits(sources: int, max_lengths: Tensor) -> list[int]:
    """The maximum lengths (B,) as a list; raises ValueError where they fit no search."""
    if sources < 0:
        raise ValueError(f"sources is {sources}; expected a number of at least 0")
    if max_lengths.shape != (sources,):
        raise ValueError(
            f"max_lengths has shape {tuple(max_lengths.shape)}; expected one length for each of "
            f"the {sources} sources: ({sources},)"
        )
    if max_lengths.is_floating_point() or max_lengths.dtype == torch.bool:
        raise ValueError(f"max_lengths holds {max_lengths.dtype}; expected whole numbers")
    limits = max_lengths.tolist()
    for source, limit in enumerate(limits):
        if limit < 0:
            raise ValueError(f"max_lengths[{source}] is {limit}; expected at least 0")
    return limits


def check_option(name: str, value: float, least: float, most: float | None = None) -> None:
    """Raises UsageError unless least <= value <= most (NaN is refused too)."""
    if not is_number(value) or value < least or (most is not None and value > most):
        expected = f"at least {least}" if most is None else f"from {least} to {most}"
        raise UsageError(f"{name} is {value!r}; expected a number {expected}")


def attention_of(state: Any) -> Tensor:
    """state.attention (N, S) in at least single precision; raises UsageError where it is None."""
    if state.attention is None:
        raise UsageError(
            "coverage_penalty needs a model with attention, and this one has none; "
            "set coverage_penalty to 0"
        )
    return state.attention.float() if state.attention.dtype.itemsize < 4 else state.attention


def check_logits(logits: Tensor, rows: int, eos: int) -> None:
    """Raises ValueError unless logits are (rows, V) floating numbers with a column for eos."""
    if logits.dim() != 2 or logits.shape[0] != rows or not logits.is_floating_point():
        raise ValueError(
            f"the model's step gave {logits.dtype} logits of shape {tuple(logits.shape)}; "
            f"expected floating numbers of shape ({rows}, V)"
        )
    if not 0 <= eos < logits.shape[1]:
        raise ValueError(
            f"eos is token {eos}, but the model's vocabulary has {logits.shape[1]} tokens; "
            "use the tokenizer that the model was trained with"
        )


def bad_logits(source: int, step: int) -> RunError:
    """The error for logits that give no probabilities."""
    return RunError(
        f"source {source} of the batch, step {step + 1}: the model's logits give no probabilities "
        "(NaN, +inf, or -inf everywhere); the weights are damaged or the training diverged: use "
        "an earlier checkpoint"
    )
