"""Split Tatoeba's English-German pairs into training, validation and test files.

    python recipes/translation/prepare_tatoeba.py     data/tatoeba/eng-deu.tsv.gz into data/tatoeba

The input has an English sentence, a tab and a German sentence on each line, and holds many English
sentences several times, with other translations. Split by lines, most of a test set would have been
seen in training; so whole groups are dealt out: all pairs whose English sides have the same letters
and digits (whatever their case and punctuation) go to one split. The order of the groups is that
of a checksum, the same on every machine.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import sys
from pathlib import Path

Pairs = list[tuple[str, str]]


def read_pairs(path: Path) -> Pairs:
    """The pairs of a .tsv or .tsv.gz file; raises ValueError for a line without two columns."""
    opener = gzip.open if path.suffix == ".gz" else open
    pairs = []
    with opener(path, "rt", encoding="utf-8", newline="\n") as stream:
        for number, line in enumerate(stream, 1):
            columns = line.rstrip("\r\n").split("\t")
            if len(columns) != 2 or not all(column.strip() for column in columns):
                raise ValueError(
                    f"{path}, line {number}: {len(columns)} columns or an empty one; "
                    "expected an English and a German sentence with a tab between"
                )
            pairs.append((columns[0].strip(), columns[1].strip()))
    return pairs


def split(pairs: Pairs, validation: int, test: int, seed: int = 1) -> dict[str, Pairs]:
    """Deal out the pairs by English sentence.

    ``validation`` and ``test`` are numbers of sentences; of each English sentence there, the first
    pair is kept, so that no source is scored twice. All other pairs are for training. Raises
    ValueError when nothing is left to train on.
    """
    groups: dict[str, Pairs] = {}
    for pair in pairs:
        groups.setdefault(_letters(pair[0]), []).append(pair)
    if len(groups) <= validation + test:
        raise ValueError(
            f"{len(groups)} distinct English sentences; expected more than the "
            f"{validation} + {test} asked for validation and test"
        )
    order = sorted(groups, key=lambda key: hashlib.sha256(f"{seed} {key}".encode()).digest())
    held_out = set(order[: validation + test])
    return {
        "test": [groups[key][0] for key in order[:test]],
        "validation": [groups[key][0] for key in order[test : test + validation]],
        # In the order of the input, so that files can be compared.
        "train": [pair for pair in pairs if _letters(pair[0]) not in held_out],
    }


def write(splits: dict[str, Pairs], folder: Path) -> None:
    """train.tsv, validation.tsv, test.tsv, with a header line of the languages."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, pairs in splits.items():
        lines = ["en\tde", *(f"{en}\t{de}" for en, de in pairs)]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum()) or text


def main() -> None:
    parser = argparse.ArgumentParser(description="Split Tatoeba by distinct English sentence.")
    parser.add_argument(
        "pairs",
        type=Path,
        nargs="?",
        default=Path("data/tatoeba/eng-deu.tsv.gz"),
        help="eng-deu.tsv or eng-deu.tsv.gz (data/tatoeba/eng-deu.tsv.gz)",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("data/tatoeba"), help="folder of the three files"
    )
    parser.add_argument("--validation", type=int, default=1_000, help="sentences (1,000)")
    parser.add_argument("--test", type=int, default=5_000, help="sentences (5,000)")
    parser.add_argument("--seed", type=int, default=1, help="of the split (1)")
    arguments = parser.parse_args()
    try:
        splits = split(
            read_pairs(arguments.pairs), arguments.validation, arguments.test, arguments.seed
        )
        write(splits, arguments.output)
    except (OSError, EOFError, ValueError) as error:  # BadGzipFile is an OSError
        print(f"prepare_tatoeba: {error}", file=sys.stderr)
        sys.exit(2)
    counts = ", ".join(f"{name} {len(pairs):,}" for name, pairs in splits.items())
    print(f"{arguments.output}: {counts} pairs")


if __name__ == "__main__":
    main()
