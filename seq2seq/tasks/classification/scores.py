"""Scores of answers against the truth, as scikit-learn computes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from seq2seq.errors import UsageError
from seq2seq.tasks.classification.targets import Kind, Targets

# name -> in words; in the order in which they are told
NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "auc": "AUC",
    "average_precision": "average precision",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "r2": "R2",
    "loss": "loss",
}


def figures_of(targets: Targets) -> tuple[str, ...]:
    """The figures that ``score`` gives for such targets."""
    if targets.kind == "number":
        return ("mae", "rmse", "r2")
    if targets.kind == "label" and len(targets.names) > 2:
        return ("accuracy", "macro_f1")
    return ("accuracy", "macro_f1", "auc", "average_precision")


def score(
    kind: Kind, answers: np.ndarray, truth: np.ndarray, threshold: float = 0.5
) -> dict[str, float]:
    """Figures of ``figures_of``.

    answers (N, K): probabilities, or numbers (N,); truth (N,) ids, (N, K) sets, (N,) numbers. Of
    two labels average precision is that of the one that is rarer here, AUC is of either. Of sets of
    labels, accuracy counts sets that are right as a whole; the others are means over the labels.
    Where all examples have the same label there is nothing to rank: AUC is 0.5, average precision
    the share of the label.
    """
    metrics = _scikit_learn()
    if kind == "number":
        errors = answers - truth
        return {
            "mae": float(np.abs(errors).mean()),
            "rmse": float(np.sqrt(np.square(errors).mean())),
            "r2": float(metrics.r2_score(truth, answers)) if len(truth) > 1 else 0.0,
        }
    if kind == "labels":
        found = (answers >= threshold).astype(np.int64)
        wanted = truth.astype(np.int64)
        ranks = [_ranking(metrics, wanted[:, n], answers[:, n]) for n in range(answers.shape[1])]
        auc, precision = np.mean(ranks, 0).tolist()
    else:
        found, wanted = answers.argmax(1), truth
        auc = precision = 0.0
        if answers.shape[1] == 2:
            rarer = int(2 * wanted.sum() <= len(wanted))
            auc, precision = _ranking(metrics, (wanted == rarer).astype(int), answers[:, rarer])
    figures = {
        "accuracy": float(metrics.accuracy_score(wanted, found)),
        "macro_f1": float(metrics.f1_score(wanted, found, average="macro", zero_division=0)),
    }
    if kind == "labels" or answers.shape[1] == 2:
        figures |= {"auc": auc, "average_precision": precision}
    return figures


def check_installed() -> None:
    """Raises UsageError where scikit-learn is missing."""
    _scikit_learn()


def _scikit_learn() -> Any:
    try:
        from sklearn import metrics
    except ImportError:
        raise UsageError(
            "scores of classification need scikit-learn, which is not installed; install it with: "
            "pip install 'recurrent-seq2seq[classification]'"
        ) from None
    return metrics


def _ranking(metrics: Any, wanted: np.ndarray, answers: np.ndarray) -> tuple[float, float]:
    if wanted.min() == wanted.max():
        return 0.5, float(wanted.mean())
    return (
        float(metrics.roc_auc_score(wanted, answers)),
        float(metrics.average_precision_score(wanted, answers)),
    )


def confusion(answers: np.ndarray, truth: np.ndarray, names: tuple[str, ...]) -> str:
    """How often each label (rows) was answered as each (columns), as a table."""
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (truth, answers.argmax(1)), 1)
    width = max(6, *(len(name) for name in names), len(str(counts.max())))
    head = " " * width + "".join(f"  {name:>{width}}" for name in names)
    rows = [
        f"{name:>{width}}" + "".join(f"  {count:>{width}}" for count in row)
        for name, row in zip(names, counts.tolist(), strict=True)
    ]
    return "\n".join([head, *rows])


def told(figures: dict[str, float]) -> str:
    """The figures in words, on one line."""
    return ", ".join(f"{NAMES[name]} {value:.4f}" for name, value in figures.items())
