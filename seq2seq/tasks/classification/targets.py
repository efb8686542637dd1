"""Targets as numbers: labels and their ids, sets of labels, standardised numbers."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from seq2seq.errors import UsageError
from seq2seq.tasks.classification.labelled import Labelled

Kind = Literal["label", "labels", "number"]


@dataclass(frozen=True)
class Targets:
    """What a model answers: one of ``names``, any number of them, or a number (no names)."""

    kind: Kind
    names: tuple[str, ...]

    @property
    def outputs(self) -> int:
        """Numbers that the network gives for each input."""
        return 1 if self.kind == "number" else len(self.names)

    def encode(self, labelled: Labelled) -> np.ndarray:
        """(N,) int64 ids of labels, (N, K) float32 of sets, (N,) float64 of numbers.

        Raises UsageError with file and line for a label that training does not have.
        """
        if self.kind == "number":
            return np.array(labelled.targets, np.float64)
        ids = {name: n for n, name in enumerate(self.names)}
        if self.kind == "label":
            rows = np.zeros(len(labelled), np.int64)
            for row, name in enumerate(labelled.targets):
                rows[row] = ids[name] if name in ids else self._refuse(name, labelled.where(row))
            return rows
        sets = np.zeros((len(labelled), len(self.names)), np.float32)
        for row, names in enumerate(labelled.targets):
            for name in names:
                sets[row, ids[name] if name in ids else self._refuse(name, labelled.where(row))] = 1
        return sets

    def _refuse(self, name: str, where: str) -> int:
        near = difflib.get_close_matches(name, self.names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {_listed(self.names)}"
        raise UsageError(f"{where}: label {name!r} is none of the training set; {hint}")


def learn_targets(kind: Kind, labelled: Labelled) -> Targets:
    """The labels of a training set: numbers by value, others by the alphabet. Raises UsageError
    where there are fewer than two (of ``labels``: none)."""
    if kind == "number":
        return Targets(kind, ())
    names = counts_of(kind, labelled.targets)
    if len(names) < (2 if kind == "label" else 1):
        found = f"one label alone, {next(iter(names))!r}" if names else "no label"
        raise UsageError(f"{labelled.name}: {found}; there is nothing to tell apart")
    return Targets(kind, tuple(sorted(names, key=_order)))


def counts_of(kind: Kind, targets: Sequence[object]) -> Counter[str]:
    """How many examples each label has."""
    if kind == "label":
        return Counter(map(str, targets))
    return Counter(name for names in targets for name in names)  # type: ignore[attr-defined]


def class_weights(targets: np.ndarray) -> np.ndarray:
    """(K,) float32: N / (K n) for a label with n of N examples (King & Zeng 2001). Of sets of
    labels: (N - n) / n, the weight of having a label."""
    if targets.ndim == 1:
        counts = np.bincount(targets)
        weights = len(targets) / (len(counts) * np.maximum(counts, 1))
        return weights.astype(np.float32)
    counts = targets.sum(0)
    return ((len(targets) - counts) / np.maximum(counts, 1)).astype(np.float32)


def split_rows(targets: list[object], kind: Kind, parts: int, seed: int) -> np.ndarray:
    """(N,) the part, from 0, of each row: parts of like size, in which each label (of ``label``)
    has its share; numbers and sets are dealt out without regard to what they are."""
    found = np.empty(len(targets), np.int64)
    found[_order_of_dealing(targets, kind, seed)] = np.arange(len(targets)) % parts
    return found


def held_rows(targets: list[object], kind: Kind, share: float, seed: int) -> np.ndarray:
    """(N,) bool: whether a row is of the ``share`` that is held out, dealt as ``split_rows`` deals.
    A share of 1 / n is the first of n parts."""
    parts = max(1, round(1 / share))
    if abs(parts * share - 1) < 0.01:
        return split_rows(targets, kind, parts, seed) == 0
    turns = np.floor(np.arange(len(targets) + 1) * share)  # one more wherever a row is held out
    held = np.empty(len(targets), bool)
    held[_order_of_dealing(targets, kind, seed)] = np.diff(turns) > 0
    return held


def _order_of_dealing(targets: list[object], kind: Kind, seed: int) -> np.ndarray:
    draw = np.random.default_rng([seed, 17])
    order = draw.permutation(len(targets))
    if kind == "label":  # those of a label side by side, so that dealing gives each part its share
        counts = counts_of(kind, targets)
        ranks = {name: n for n, name in enumerate(sorted(counts, key=lambda x: (counts[x], x)))}
        order = order[np.argsort([ranks[str(targets[row])] for row in order], kind="stable")]
    return order


def _order(name: str) -> tuple[int, float, str]:
    try:
        return 0, float(name), name
    except ValueError:
        return 1, 0.0, name


def _listed(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
