"""Flickr8k for this recipe: unpacks train.tar and validation.tar into folders of images.

    python recipes/captioning/prepare_flickr8k.py FOLDER      the folder with the two archives

Each archive holds one split as an image folder: photographs and `metadata.jsonl`, one line for
each with `file_name` and `captions`. They are unpacked into `--output` (runs/flickr8k-data, which
git ignores: the photographs may be used for research but not passed on).
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tarfile
from pathlib import Path

from seq2seq.errors import RunError, UsageError
from seq2seq.tasks.captioning.captions import load_captions

SPLITS = ("train", "validation")


def main() -> None:
    parser = argparse.ArgumentParser(description="Unpack Flickr8k into image folders.")
    parser.add_argument("archives", type=Path, help="folder with train.tar and validation.tar")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/flickr8k-data"), help="(runs/flickr8k-data)"
    )
    arguments = parser.parse_args()
    try:
        for split in SPLITS:
            archive, folder = arguments.archives / f"{split}.tar", arguments.output / split
            unpack(archive, folder)
            print(f"{folder}: {summary(folder)}")
    except (UsageError, RunError) as error:
        print(f"prepare_flickr8k: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the split's folder of ``archive`` as ``folder``, whole or not at all.

    A folder that is there already is left as it is. Members that would land outside the folder,
    links out of it and devices are refused (``tarfile``'s data filter).
    """
    if folder.exists():
        return
    if not archive.is_file():
        raise UsageError(f"{archive}: no such file; expected an archive of photographs")
    aside = folder.with_name(folder.name + ".unpacking")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        with tarfile.open(archive) as stream:
            stream.extractall(aside, filter="data")
        # Archives hold either the files themselves or one folder of them.
        inside = aside / archive.stem
        (inside if inside.is_dir() else aside).rename(folder)
    except tarfile.FilterError as error:
        raise UsageError(f"{archive}: {error}; not unpacked") from None
    except (tarfile.TarError, EOFError) as error:
        raise UsageError(f"{archive}: not a whole tar archive ({error})") from None
    except OSError as error:
        raise RunError(f"{folder}: cannot be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def summary(folder: Path) -> str:
    captions = load_captions(folder)["captions"][:]
    return f"{len(captions):,} photographs, {sum(map(len, captions)):,} captions"


if __name__ == "__main__":
    main()
