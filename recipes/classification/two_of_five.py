"""What a model of five labels, 0 to 4, is worth as a judge of two: labels 3 and 4 against 0 and 1.

    python recipes/classification/two_of_five.py MODEL data/sentiment/sst_trees.test.txt.gz

The probabilities of 3 and 4 are added up, and those of 0 and 1. Inputs whose label is 2 are left
out, as in SST-2.
"""

from __future__ import annotations

import sys

import numpy as np

from seq2seq import Classifier
from seq2seq.tasks.classification.examples import read_examples


def accuracy(classifier: Classifier, path: str) -> tuple[float, int]:
    """The share of inputs that are judged right, and how many there are."""
    if classifier.targets.names != ("0", "1", "2", "3", "4"):
        sys.exit(f"labels are {classifier.targets.names}; expected 0 to 4")
    labelled = read_examples(path, classifier.config.data)
    truth = np.array([int(label) for label in labelled.targets])
    chances = classifier.answers(classifier.read(labelled.inputs))  # (N, 5)
    positive = chances[:, 3:].sum(1) > chances[:, :2].sum(1)
    judged = truth != 2
    return float((positive == (truth > 2))[judged].mean()), int(judged.sum())


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    share, count = accuracy(Classifier.from_pretrained(sys.argv[1], device="cpu"), sys.argv[2])
    print(f"{count:,} inputs: accuracy {share:.4f}")


if __name__ == "__main__":
    main()
