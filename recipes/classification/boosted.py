"""Answers of gradient-boosted trees to the training series of a configuration, as a teacher.

    cd recipes/classification
    python boosted.py physionet2012_taught.yaml "runs/boosted-{fold}.tsv"
    python folds.py physionet2012_taught.yaml runs/taught \\
        --training.teachers "[runs/boosted-{fold}.tsv]"

The trees (scikit-learn) see what `model.summary` sees: a few figures of each feature, over the
whole series. No answer comes from trees that have seen its label: the training series are divided
into five parts, and trees learnt from four of them answer the fifth; twice, divided in two ways,
and the mean counts. {fold} stands for the folds of `data.folds`, for each of which trees learn from
its training series alone. Options behind the two are keys of the configuration, as for
`seq2seq train`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from seq2seq import load_config
from seq2seq.command_line.overrides import split_overrides
from seq2seq.errors import RunError, UsageError
from seq2seq.tasks.classification.answers import write_answers
from seq2seq.tasks.classification.config import ClassificationConfig
from seq2seq.tasks.classification.examples import load_splits, source_of
from seq2seq.tasks.classification.labelled import Labelled
from seq2seq.tasks.classification.scaling import Summary
from seq2seq.tasks.classification.targets import learn_targets

try:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold
except ImportError:
    sys.exit("boosted: needs scikit-learn; pip install 'recurrent-seq2seq[classification]'")

PARTS, ROUNDS = 5, 2
_BLOCK = 256  # series whose figures are computed at once


def trees(seed: int) -> HistGradientBoostingClassifier:
    """Small trees; each split chooses among a fifth of the figures, drawn anew."""
    return HistGradientBoostingClassifier(
        learning_rate=0.05,
        max_iter=250,
        max_leaf_nodes=6,
        min_samples_leaf=20,
        l2_regularization=5.0,
        max_features=0.2,
        random_state=seed,
    )


def figures_of(train: Labelled, config: ClassificationConfig) -> np.ndarray:
    """(N, F), NaN for what does not exist"""
    source = source_of(train.inputs, config.data, None)
    blocks = [np.arange(b, min(b + _BLOCK, len(source))) for b in range(0, len(source), _BLOCK)]
    found, summary = [], Summary(train.inputs[0].values.shape[1], len(train.inputs[0].static))
    for block in blocks:
        found.append(summary.figures(source.collate(block)).numpy())
    return np.concatenate(found)


def answers_of(figures: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Probabilities (N, K) of the labels, from trees that have not seen a row's ``truth`` (N,)."""
    found = np.zeros((len(truth), int(truth.max()) + 1))
    for seed in range(ROUNDS):
        parts = StratifiedKFold(PARTS, shuffle=True, random_state=seed)
        for seen, asked in parts.split(figures, truth):
            learnt = trees(seed).fit(figures[seen], truth[seen])
            found[np.ix_(asked, learnt.classes_)] += learnt.predict_proba(figures[asked])
    return found / ROUNDS


def run(path: str, output: str, options: list[str]) -> None:
    rest, overrides = split_overrides(options)
    if rest:
        raise UsageError(f"{rest[0]}: expected --key value")
    folds = load_config(path, overrides).data.folds
    if bool(folds) != ("{fold}" in output):
        raise UsageError(
            f"{output}: 'data.folds' is {folds}; expected "
            + ("{fold} in the name" if folds else "a name without {fold}")
        )
    for fold in range(max(folds, 1)):
        config = load_config(path, overrides | ({"data.fold": str(fold)} if folds else {}))
        if config.data.kind != "series" or config.data.target != "label":
            raise UsageError(
                f"{path}: 'data.kind' is {config.data.kind}, 'data.target' {config.data.target}; "
                "expected series and label"
            )
        train = load_splits(config)["train"]
        targets = learn_targets(config.data.target, train)
        file = Path(output.replace("{fold}", str(fold)))
        file.parent.mkdir(parents=True, exist_ok=True)
        truth = targets.encode(train)
        if np.bincount(truth).max() < PARTS:
            raise UsageError(
                f"{train.name}: no label has {PARTS} training series, one for each part"
            )
        answers = answers_of(figures_of(train, config), truth)
        write_answers(file, answers, train, targets)
        print(f"{file}: answers to {len(train):,} series")


def main() -> None:
    if len(sys.argv) < 3 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    try:
        run(sys.argv[1], sys.argv[2], sys.argv[3:])
    except (UsageError, RunError, OSError) as error:
        print(f"boosted: {error}", file=sys.stderr)
        sys.exit(1 if isinstance(error, RunError) else 2)


if __name__ == "__main__":
    main()
