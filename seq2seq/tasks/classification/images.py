"""Images with their targets, as bytes (N, P, P), for a CNN (N, P, P, 3), from idx files, or from
folders and lists.

idx     NAME-images-idx3-ubyte and, beside it, NAME-labels-idx1-ubyte (.gz, .xz), as MNIST has them
folder  LABEL/*.png, also in folders below: the name of the first folder is the label; or
        metadata.jsonl in it, with file_name and the label's key. Hidden files are left out
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from seq2seq.config.images import IMAGE_ENDINGS
from seq2seq.errors import UsageError
from seq2seq.images.files import read_image
from seq2seq.json_files import parse_json
from seq2seq.public_data import missing_hint
from seq2seq.tasks.classification.config import ClassDataConfig, ImageInputConfig
from seq2seq.tasks.classification.labelled import Labelled, Renaming, parse_target
from seq2seq.text.files import open_binary, read_lines

_IMAGES, _LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"


def read_images(path: str, config: ClassDataConfig, labelled: bool = True) -> Labelled:
    """Images (N, P, P) uint8 of ``data.image.size`` pixels a side, and their targets; of folders,
    where a CNN reads them, in colour: (N, P, P, 3).

    Raises UsageError for a file that is no idx file, has no labels beside it, or as many.
    """
    location = Path(path)
    if not location.exists():
        raise UsageError(f"{path}: no such file or folder{missing_hint(location)}")
    rename = Renaming(config.rename)
    if location.is_dir():
        files, targets = listed_images(location, config, labelled)
        pixels = np.stack([read_pixels(file, config.image) for file in files])
        places: list[Any] = [str(file.relative_to(location)) for file in files]
    else:
        pixels = scaled(read_idx(path, 3), config.image.size)
        targets = _idx_labels(path, len(pixels)) if labelled else [""] * len(pixels)
        places = list(range(1, len(pixels) + 1))
    found = Labelled(path, pixels, [], places, "image")
    if not labelled:
        found.targets = targets
        return found
    parsed = [
        parse_target(target, config, rename, found.where(row)) for row, target in enumerate(targets)
    ]
    found.targets, found.unused = parsed, rename.unused
    kept = [row for row, target in enumerate(parsed) if target is not None]
    return found if len(kept) == len(parsed) else found.select(kept)


def read_idx(path: str, dimensions: int) -> np.ndarray:
    """An idx file of bytes: two zeros, type 8, the number of dimensions, sizes, the bytes."""
    with open_binary(path) as stream:
        raw = stream.read()
    head = 4 + 4 * dimensions
    if raw[:4] != bytes([0, 0, 8, dimensions]) or len(raw) < head:
        raise UsageError(f"{path}: not an idx file of bytes in {dimensions} dimensions")
    sizes = struct.unpack(f">{dimensions}I", raw[4:head])
    if len(raw) - head != int(np.prod(sizes, dtype=np.int64)):
        raise UsageError(
            f"{path}: {len(raw) - head:,} bytes for sizes {sizes}; cut short: copy it again"
        )
    return np.frombuffer(raw, np.uint8, offset=head).reshape(sizes)


def _idx_labels(path: str, count: int) -> list[str]:
    location = Path(path)
    stem = location.name.split(_IMAGES)[0] if _IMAGES in location.name else None
    beside = sorted(location.parent.glob(f"{stem}{_LABELS}*")) if stem is not None else []
    if not beside:
        raise UsageError(
            f"{path}: no labels; expected NAME-{_LABELS} (.gz, .xz) beside NAME-{_IMAGES}"
        )
    labels = read_idx(str(beside[0]), 1)
    if len(labels) != count:
        raise UsageError(f"{beside[0]}: {len(labels)} labels for {count} images")
    return [str(label) for label in labels.tolist()]


def listed_images(
    folder: Path, config: ClassDataConfig, labelled: bool
) -> tuple[list[Path], list[Any]]:
    """The images of a folder and their targets, None without. Raises UsageError for a folder that
    has none and, ``labelled``, for an image without a label."""
    listed = folder / "metadata.jsonl"
    files: list[Path] = []
    targets: list[Any] = []
    if listed.exists():
        for number, line in enumerate(read_lines(listed), 1):
            if line.strip():
                where = f"{listed}, line {number}"
                values = _object(line, where)
                if labelled and values.get(config.label) in (None, ""):
                    raise UsageError(f"{where}: an image without {config.label!r}")
                files.append(folder / str(values["file_name"]))
                targets.append(values.get(config.label))
    else:
        every = (p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_ENDINGS)
        files = sorted(p for p in every if not p.name.startswith("."))
        parts = [file.relative_to(folder).parts for file in files]
        alone = next((file for file, one in zip(files, parts, strict=True) if len(one) == 1), None)
        if labelled and alone:
            raise UsageError(
                f"{alone}: an image without a label; expected it in a folder of that name, "
                f"{folder / 'LABEL' / alone.name}, or metadata.jsonl beside it"
            )
        targets = [one[0] if len(one) > 1 else None for one in parts]
    if not files:
        raise UsageError(f"{folder}: no images in this folder ({', '.join(IMAGE_ENDINGS)})")
    return files, targets


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        values = parse_json(line)
    except ValueError as error:
        raise UsageError(f"{where}: not JSON ({error})") from None
    if not isinstance(values, dict) or "file_name" not in values:
        raise UsageError(f"{where}: expected an object with 'file_name'")
    return values


def read_pixels(source: Any, config: ImageInputConfig) -> np.ndarray:
    """An image file, or a Pillow image, as bytes: grey (P, P), for a CNN in colour (P, P, 3)."""
    colour = read_image(source, config.size).numpy().transpose(1, 2, 0)
    if config.steps == "grid":
        return np.ascontiguousarray(colour)
    weights = np.array([299, 587, 114])  # of ITU-R 601, as Pillow has it
    return ((colour @ weights + 500) // 1000).astype(np.uint8)


def scaled(pixels: np.ndarray, size: int) -> np.ndarray:
    """(N, H, W) -> (N, size, size)"""
    if pixels.shape[1:] == (size, size):
        return pixels
    from PIL import Image

    resized = [
        np.array(Image.fromarray(one).resize((size, size), Image.Resampling.BICUBIC))
        for one in pixels
    ]
    return np.stack(resized) if resized else np.zeros((0, size, size), np.uint8)
