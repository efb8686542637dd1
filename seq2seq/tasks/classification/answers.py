"""Files of answers: what a model says of each example of a file, beside what is true.

    place   truth   bad     good
    12      good    0.25    0.75

Columns are divided by tabs: where the example stands (a line, the name of a series, the number of
an image), its target, and the probability of each label, or one column ``answer`` of numbers. A run
writes such a file for its test set; ``training.teachers`` reads one.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from seq2seq.errors import UsageError
from seq2seq.tasks.classification.labelled import Labelled
from seq2seq.tasks.classification.targets import Targets
from seq2seq.text.files import read_lines

_TOLERANCE = 1e-3  # of the sum of rounded probabilities


def number_text(value: float, spread: float) -> str:
    """A number with the digits that mean something: to a millionth of the numbers' ``spread``."""
    digits = 6
    if value and spread:
        digits += math.floor(math.log10(abs(value))) - math.floor(math.log10(spread))
    return f"{value:.{min(max(digits, 6), 17)}g}"


def write_answers(
    path: Path, answers: np.ndarray, truth: Labelled, targets: Targets, spread: float = 1.0
) -> None:
    """Write the file of ``answers_text``."""
    path.write_text(answers_text(answers, truth, targets, spread), encoding="utf-8")


def answers_text(
    answers: np.ndarray, truth: Labelled, targets: Targets, spread: float = 1.0
) -> str:
    """``answers``: (N, K) probabilities of the labels, or (N,) numbers with this ``spread``, of
    examples ``truth``."""
    lines = ["\t".join(_head(targets))]
    for row in range(len(truth)):
        numbers = np.atleast_1d(answers[row]).tolist()
        fields = [
            _plain(truth.places[row]),
            _shown(truth, row),
            *(number_text(n, spread) if targets.kind == "number" else f"{n:.6g}" for n in numbers),
        ]
        lines.append("\t".join(fields))
    return "\n".join(lines) + "\n"


def read_answers(
    path: Path, examples: Labelled, targets: Targets, held_out: Collection[Any] = ()
) -> np.ndarray:
    """The answers of ``examples``, found by their places: (N, K) float32 probabilities of the
    labels of ``targets``, or (N,) numbers. Answers of other examples are passed over.

    ``held_out`` are places that a run keeps for its validation or test set. A file that answers
    these, too, is refused: whoever answered may have learnt their labels while answering others.

    Raises UsageError, with file and line, for other labels, for what is no probability, for an
    example without an answer, with two, or with another target, and where several examples stand
    in one place.
    """
    if not path.exists():
        raise UsageError(f"{path}: no such file of answers; folds.py and boosted.py write one")
    lines = read_lines(path)
    expected = _head(targets)
    if lines[0].split("\t") != expected:
        found = ", ".join(lines[0].split("\t")[:8])
        raise UsageError(
            f"{path}, line 1: {found}; expected the columns {', '.join(expected[:8])}"
            f"{', ...' if len(expected) > 8 else ''}, divided by tabs"
        )
    rows = {_plain(place): row for row, place in enumerate(examples.places)}
    kept = {_plain(place) for place in held_out}
    if len(rows) < len(examples):
        raise UsageError(
            f"{path}: several examples of {examples.name} stand in one {examples.place} (phrases "
            "of a sentence, say); answers are found by their place"
        )
    found_rows: dict[int, int] = {}  # row -> line
    kind = np.float64 if targets.kind == "number" else np.float32
    answers = np.zeros((len(examples), targets.outputs), kind)
    for number, line in enumerate(lines[1:], 2):
        where, fields = f"{path}, line {number}", line.split("\t")
        if len(fields) != len(expected):
            raise UsageError(f"{where}: {len(fields)} columns; expected {len(expected)}")
        if fields[0] in kept:
            raise UsageError(
                f"{where}: it answers {fields[0]}, which this run holds out, and may have learnt "
                "from it elsewhere; let models answer that have seen the training part alone "
                "(boosted.py), or leave such lines out if they have"
            )
        row = rows.get(fields[0])
        if row is None:
            continue
        if fields[1] != _shown(examples, row):
            raise UsageError(
                f"{where}: the target of {fields[0]} is {fields[1]!r}, and "
                f"{_shown(examples, row)!r} in {examples.name}; expected answers to this very file"
            )
        if row in found_rows:
            raise UsageError(f"{where}: {fields[0]} was answered in line {found_rows[row]} already")
        found_rows[row] = number
        answers[row] = _numbers(fields[2:], targets, where)
    if missing := [row for row in range(len(examples)) if row not in found_rows]:
        raise UsageError(
            f"{path}: no answer for {len(missing):,} of {len(examples):,} examples, such as "
            f"{examples.where(missing[0])}"
        )
    return answers[:, 0] if targets.kind == "number" else answers


def _plain(value: object) -> str:
    """On one line and in one column."""
    return " ".join(str(value).split("\t")).replace("\n", " ")


def _shown(examples: Labelled, row: int) -> str:
    target = examples.targets[row]
    return _plain(",".join(target) if isinstance(target, list) else target)


def _head(targets: Targets) -> list[str]:
    return ["place", "truth", *(targets.names or ["answer"])]


def _numbers(fields: list[str], targets: Targets, where: str) -> list[float]:
    try:
        values = [float(field) for field in fields]
    except ValueError:
        values = [math.nan]
    if not all(map(math.isfinite, values)):
        raise UsageError(f"{where}: {', '.join(fields[:8])}; expected numbers")
    if targets.kind == "number":
        return values
    if min(values) < 0 or max(values) > 1 + _TOLERANCE:
        raise UsageError(f"{where}: {', '.join(fields[:8])}; expected probabilities, from 0 to 1")
    if targets.kind == "label" and abs(sum(values) - 1) > _TOLERANCE:
        raise UsageError(f"{where}: probabilities of {sum(values):g} together; expected 1")
    return values
