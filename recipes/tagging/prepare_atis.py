"""Write ATIS in columns: a word and its slot on each line, the intent in a comment above.

    python recipes/tagging/prepare_atis.py data/slots data/atis

Reads atis.{train,valid,test}.{seq.in,seq.out,label}, also gzipped: words, slots and intents of one
request a line. Writes train.txt, validation.txt and test.txt.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from seq2seq.errors import UsageError
from seq2seq.text.files import read_lines

SPLITS = {"train": "train", "valid": "validation", "test": "test"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Write ATIS in columns.")
    parser.add_argument("source", type=Path, help="the folder with atis.train.seq.in and so on")
    parser.add_argument("output", type=Path, help="the folder to write")
    arguments = parser.parse_args()
    try:
        for split, name in SPLITS.items():
            text = columns(arguments.source, split)
            arguments.output.mkdir(parents=True, exist_ok=True)
            path = arguments.output / f"{name}.txt"
            path.write_text(text, encoding="utf-8")
            print(path)
    except UsageError as error:
        print(f"prepare_atis: {error}", file=sys.stderr)
        sys.exit(2)


def columns(source: Path, split: str) -> str:
    """One split as text; UsageError where the files do not fit together."""
    words, slots, intents = (
        read_lines(_file(source, f"atis.{split}.{part}")) for part in ("seq.in", "seq.out", "label")
    )
    if not len(words) == len(slots) == len(intents):
        raise UsageError(
            f"{source}: {split} has {len(words)} requests, {len(slots)} lines of slots and "
            f"{len(intents)} intents; expected as many of each"
        )
    blocks = []
    for number, (line, labels, intent) in enumerate(zip(words, slots, intents, strict=True), 1):
        pairs = list(zip(line.split(), labels.split(), strict=False))
        if len(line.split()) != len(labels.split()):
            raise UsageError(
                f"{source}: {split}, line {number}: {len(line.split())} words and "
                f"{len(labels.split())} slots"
            )
        rows = "".join(f"{word}\t{label}\n" for word, label in pairs)
        blocks.append(f"# intent = {intent.strip()}\n{rows}")
    return "\n".join(blocks)


def _file(source: Path, name: str) -> Path:
    """The file, or the gzipped one."""
    plain, packed = source / name, source / f"{name}.gz"
    return packed if packed.exists() else plain


if __name__ == "__main__":
    main()
