"""Flickr8k for this recipe: unpacks train.tar and validation.tar into folders of images.

    python recipes/captioning/prepare_flickr8k.py FOLDER      the folder with the two archives

Each archive holds one split as an image folder: photographs and `metadata.jsonl`, one line for
each with `file_name` and `captions`. They are unpacked into `--output` (data/flickr8k, which git
ignores: the photographs may be used for research but not passed on). `seq2seq data flickr8k` does
the same for archives in a folder that SEQ2SEQ_DATA names.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from seq2seq.errors import RunError, UsageError
from seq2seq.public_data.unpacking import unpack
from seq2seq.tasks.captioning.captions import load_captions

SPLITS = ("train", "validation")


def main() -> None:
    parser = argparse.ArgumentParser(description="Unpack Flickr8k into image folders.")
    parser.add_argument("archives", type=Path, help="folder with train.tar and validation.tar")
    parser.add_argument(
        "--output", type=Path, default=Path("data/flickr8k"), help="(data/flickr8k)"
    )
    arguments = parser.parse_args()
    try:
        for split in SPLITS:
            folder = unpack(arguments.archives / f"{split}.tar", arguments.output / split)
            print(f"{folder}: {summary(folder)}")
    except (UsageError, RunError) as error:
        print(f"prepare_flickr8k: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)


def summary(folder: Path) -> str:
    captions = load_captions(folder)["captions"][:]
    return f"{len(captions):,} photographs, {sum(map(len, captions)):,} captions"


if __name__ == "__main__":
    main()
