"""The options of a beam search, and what they may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from seq2seq.arguments import check_number, check_whole
from seq2seq.decoding.constraints import Constraint
from seq2seq.decoding.contract import check_option
from seq2seq.decoding.groups import repeated
from seq2seq.errors import UsageError

MAX_BEAM_SIZE = 1000  # beyond, nothing is found that would be worth the memory


@dataclass(frozen=True)
class Options:
    """What a step needs to know, of a search whose sources hold one group of hypotheses each
    (``groups.py``). Values are not checked here."""

    beam_size: int  # hypotheses of a group
    n_best: int  # to be found by a group
    kept: int  # of what a group has found, with what stands in for what another found, too
    enough: float  # so many finished hypotheses end the search of a source
    eos: int
    forbidden: frozenset[int]
    alpha: float
    beta: float
    no_repeat_ngram: int
    min_length: int
    beginnings: Sequence[Sequence[int]] | None
    groups: int
    diversity: float


def group_options(
    *,
    eos: int,
    forbidden: frozenset[int],
    beam_size: int,
    n_best: int,
    patience: float,
    length_penalty: float,
    coverage_penalty: float,
    no_repeat_ngram: int,
    min_length: int,
    beginnings: Sequence[Sequence[int]] | None,
    groups: int,
    diversity: float,
) -> Options:
    """The options of each group, from those of ``beam_search``. Raises UsageError for a value out
    of range, and for such as do not go together."""
    check_option("beam_size", beam_size, 1)
    check_option("n_best", n_best, 1)
    check_option("min_length", min_length, 0)
    check_option("no_repeat_ngram", no_repeat_ngram, 0)
    check_option("coverage_penalty", coverage_penalty, 0)
    check_option("length_penalty", length_penalty, -10, 10)  # beyond, lp overflows
    check_option("patience", patience, 0)
    check_option("groups", groups, 1)
    check_option("diversity", diversity, 0, 1e6)
    if n_best > beam_size:
        raise UsageError(
            f"n_best is {n_best}, but beam_size is {beam_size}; a beam gives at most as many "
            f"hypotheses as it holds: set beam_size to at least {n_best}"
        )
    check_groups(beam_size, groups)
    size, each = beam_size // groups, -(-n_best // groups)
    return Options(
        beam_size=size,
        n_best=each,
        kept=each if groups == 1 else size,
        enough=max(each, patience * size),
        eos=eos,
        forbidden=forbidden,
        alpha=length_penalty,
        beta=coverage_penalty,
        no_repeat_ngram=no_repeat_ngram,
        min_length=min_length,
        beginnings=repeated(beginnings, groups),
        groups=groups,
        diversity=diversity,
    )


def check_groups(beam_size: int, groups: int, name: Callable[[str], str] = str) -> None:
    """Raises UsageError for a beam that so many groups cannot share; ``name`` gives a setting the
    name by which the user knows it."""
    if beam_size % groups:
        raise UsageError(
            f"{name('beam_size')} is {beam_size}, which {groups} groups cannot share equally; "
            f"expected a multiple of {groups}, such as {-(-beam_size // groups) * groups}"
        )


def check_settings(settings: Any, least: Mapping[str, float]) -> None:
    """Raises UsageError for a setting of a search that is below its least value, or of another
    kind of number than that: a whole one where that is an int; and for a beam that is too wide."""
    for key, lowest in least.items():
        if isinstance(lowest, int):
            check_whole(key, getattr(settings, key), lowest)
        else:
            check_number(key, getattr(settings, key), lowest)
    if settings.beam_size > MAX_BEAM_SIZE:
        raise UsageError(f"beam_size is {settings.beam_size}; expected at most {MAX_BEAM_SIZE}")


def check_sources(
    sources: int,
    source_lengths: Tensor | None,
    prompts: Sequence[Sequence[int]] | None,
    constraints: Sequence[Constraint | None] | None,
) -> None:
    """Raises ValueError for what should have one entry a source and has not."""
    if source_lengths is not None and source_lengths.shape != (sources,):
        raise ValueError(
            f"source_lengths has shape {tuple(source_lengths.shape)}; expected ({sources},)"
        )
    for name, given in (("prompts", prompts), ("constraints", constraints)):
        if given is not None and len(given) != sources:
            raise ValueError(f"there are {len(given)} {name}; expected {sources}")
