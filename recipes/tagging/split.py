"""Set sentences of a file in columns aside for validation: the last COUNT of them.

    python recipes/tagging/split.py data/ner/conll2000/train.txt.xz 1000 data/conll2000

Writes train.txt and validation.txt into the folder.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from seq2seq.errors import UsageError
from seq2seq.text.files import read_lines


def main() -> None:
    parser = argparse.ArgumentParser(description="Set sentences aside for validation.")
    parser.add_argument("file", type=Path, help="sentences in columns, blank lines between them")
    parser.add_argument("count", type=int, help="how many to set aside")
    parser.add_argument("output", type=Path, help="the folder to write")
    arguments = parser.parse_args()
    try:
        text = "\n".join(read_lines(arguments.file)).strip("\n")
        sentences = re.split(r"\n(?:\s*\n)+", text)
        if not 0 < arguments.count < len(sentences):
            raise UsageError(
                f"{arguments.count} of {len(sentences)} sentences; expected 1 to "
                f"{len(sentences) - 1}"
            )
    except UsageError as error:
        print(f"split: {error}", file=sys.stderr)
        sys.exit(2)
    arguments.output.mkdir(parents=True, exist_ok=True)
    parts = {"train": sentences[: -arguments.count], "validation": sentences[-arguments.count :]}
    for name, part in parts.items():
        path = arguments.output / f"{name}.txt"
        path.write_text("\n\n".join(part) + "\n", encoding="utf-8")
        print(f"{path}: {len(part):,} sentences")


if __name__ == "__main__":
    main()
