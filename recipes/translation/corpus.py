"""A made-up English-German corpus: grammatical, endless, and the same for the same seed.

It exercises what makes translation more than word substitution: the German verb at the end of
subordinate clauses, brackets of auxiliary and participle, inversion behind an adverbial, separable
verbs, agreement in gender, case and number, pronouns that take the gender of what they stand for,
and an open vocabulary of names and numbers. A sentence has one right translation.

    python recipes/translation/corpus.py --output runs/demo/data --seed 1
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from grammar.lexicon import Pair
from grammar.names import TEST, TRAIN, VALIDATION
from grammar.sentences import Speaker, sentence

SPLITS = (TRAIN, VALIDATION, TEST)


def pairs(split: str, seed: int) -> Iterator[Pair]:
    """Endless distinct pairs of one split: "train", "validation" or "test"."""
    speaker = Speaker(seed * len(SPLITS) + SPLITS.index(split), split)
    seen: set[str] = set()
    while True:
        pair = sentence(speaker)
        if pair.en not in seen:
            seen.add(pair.en)
            yield pair


def generate(train: int, validation: int, test: int, seed: int) -> dict[str, list[Pair]]:
    """So many pairs of each split; no English sentence stands in two splits or twice."""
    made: dict[str, list[Pair]] = {}
    seen: set[str] = set()
    # The test set is drawn first: it does not depend on how much there is to train on.
    for split, count in ((TEST, test), (VALIDATION, validation), (TRAIN, train)):
        source = pairs(split, seed)
        made[split] = chosen = []
        while len(chosen) < count:
            pair = next(source)
            if pair.en not in seen:
                chosen.append(pair)
        seen.update(pair.en for pair in chosen)
    return made


def write(corpus: dict[str, list[Pair]], folder: Path) -> None:
    """One file for each split and language: train.en, train.de, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, chosen in corpus.items():
        for language in ("en", "de"):
            lines = "".join(getattr(pair, language) + "\n" for pair in chosen)
            (folder / f"{split}.{language}").write_text(lines, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a made-up English-German corpus.")
    parser.add_argument("--output", type=Path, required=True, help="folder for the six files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--train", type=int, default=30_000, help="pairs (30,000)")
    parser.add_argument("--validation", type=int, default=500, help="pairs (500)")
    parser.add_argument("--test", type=int, default=1_000, help="pairs (1,000)")
    arguments = parser.parse_args()
    corpus = generate(arguments.train, arguments.validation, arguments.test, arguments.seed)
    write(corpus, arguments.output)
    counts = ", ".join(f"{split} {len(corpus[split]):,}" for split in SPLITS)
    print(f"{arguments.output}: {counts} pairs")


if __name__ == "__main__":
    main()
