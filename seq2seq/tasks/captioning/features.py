"""Image features computed beforehand: one array (S, F) for each image, or (F,) where pooled.

Either a .safetensors file with a tensor for each image, under the name of the image's file
("dog.jpg", or "dog"; with folders before it, "a/dog.jpg", where images of several bear one name),
or a folder of .npy files, "dog.jpg.npy" or "dog.npy" for "dog.jpg"; the
longer name tells dog.jpg from dog.png. Nothing is unpickled.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np
import torch
from torch import Tensor

from seq2seq.array_files import UNREADABLE, reason_of
from seq2seq.errors import UsageError
from seq2seq.images.files import ImageError


class Features:
    """Reads the features of images by the names of their files, when they are asked for."""

    def __init__(self, location: str | Path, size: int) -> None:
        """``size``: F. Raises UsageError where ``location`` is neither such a file nor a folder."""
        self.location, self.size, self._file = Path(location), size, None
        self._names: frozenset[str] = frozenset()
        self._found: dict[str, str | None] = {}  # by image
        if self.location.is_dir():
            return
        from safetensors import SafetensorError, safe_open

        if not self.location.is_file():
            raise UsageError(f"data.features {location}: no such file or folder")
        try:
            self._file = safe_open(self.location, framework="pt")
        except SafetensorError as error:
            raise UsageError(
                f"data.features {location}: not a safetensors file ({error})"
            ) from None
        self._names = frozenset(self._file.keys())

    def read(self, images: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """Features (B, S, F) float32, zero past an image's own number of regions, and those numbers
        (B,), None where all are equal. Raises ImageError for an image that has none."""
        return pad_features([self.one(image) for image in images])

    def one(self, image: str) -> Tensor:
        """(S, F)"""
        name = self._name(image)
        if self._file is None:
            return read_features(self.location / (name or f"{Path(image).stem}.npy"), self.size)
        if name is None:
            raise ImageError(f"{image}: {self.location} holds no tensor '{Path(image).name}'")
        return check_features(self._file.get_tensor(name), self.size, f"{self.location}: {name}")

    def check(self, images: Sequence[str]) -> None:
        """Raises ImageError that names images without features, and two with the same."""
        names = [self._name(image) for image in images]
        missing = [image for image, name in zip(images, names, strict=True) if name is None]
        if missing:
            more = f" (and {len(missing) - 1:,} more images)" if len(missing) > 1 else ""
            raise ImageError(
                f"{missing[0]}{more}: {self.location} holds no features of it; expected the name "
                f"'{Path(missing[0]).name}'"
            )
        found: dict[str | None, str] = {}
        for image, name in zip(images, names, strict=True):
            if name in found:
                raise ImageError(
                    f"{self.location}: '{name}' would be the features of {found[name]} and of "
                    f"{image}; name them by their folders, too, as in '{_ends(image)[1]}'"
                )
            found[name] = image

    def _name(self, image: str) -> str | None:
        """The tensor's name, or the file's in the folder: the longest end of the image's path.
        Looked for once: a batch is not to ask the disk for all names that a file may have."""
        if image not in self._found:
            self._found[image] = self._longest(image)
        return self._found[image]

    def _longest(self, image: str) -> str | None:
        for end in reversed(_ends(image)):
            for name in (end, str(PurePath(end).with_suffix(""))):
                if self._file is not None and name in self._names:
                    return name
                beside = PurePath(name).is_absolute()  # the folder would not count
                file = f"{name}.npy"
                if self._file is None and not beside and (self.location / file).is_file():
                    return file
        return None


_DEEPEST = 4  # folders of an image's path that may be part of its features' name


def _ends(image: str) -> list[str]:
    """dog.jpg, a/dog.jpg, ..., and the whole path"""
    parts = PurePath(image).parts
    ends = [str(PurePath(*parts[-n:])) for n in range(1, min(_DEEPEST, len(parts)) + 1)]
    return ends if ends[-1] == image else [*ends, image]


def read_features(path: str | os.PathLike[str], size: int) -> Tensor:
    """One .npy file -> (S, F) float32. Raises ImageError where that is not what it holds."""
    try:
        found = np.load(path, allow_pickle=False)
    except UNREADABLE as error:  # a header of any size, too
        raise ImageError(f"{path}: features cannot be read ({reason_of(error)})") from None
    if not isinstance(found, np.ndarray):
        raise ImageError(f"{path}: an archive of several arrays (.npz); expected one array (.npy)")
    return check_features(found, size, str(path))


def check_features(features: Tensor | np.ndarray, size: int, name: str) -> Tensor:
    """(F,) or (S, F) -> (S, F) float32. Raises ImageError for other shapes and no real numbers."""
    if isinstance(features, np.ndarray):
        if features.dtype.kind not in "fiu":
            raise ImageError(f"{name}: features of type {features.dtype}; expected real numbers")
        with np.errstate(over="ignore"):  # told below
            features = torch.from_numpy(features.astype(np.float32))
    if features.is_complex():
        raise ImageError(f"{name}: features of type {features.dtype}; expected real numbers")
    features = features.unsqueeze(0) if features.dim() == 1 else features
    if features.dim() != 2 or features.shape[1] != size or not len(features):
        raise ImageError(
            f"{name}: features of shape {tuple(features.shape)}; expected (regions, {size}): "
            "'model.encoder.size' is the width"
        )
    features = features.float()
    if not bool(features.isfinite().all()):
        raise ImageError(f"{name}: features hold NaN or infinity")
    return features


def pad_features(features: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Arrays (S_i, F) -> (B, S, F) and the lengths (B,), None where they are equal."""
    counts = [len(one) for one in features]
    padded = torch.nn.utils.rnn.pad_sequence(list(features), batch_first=True)  # (B, S, F)
    return padded, None if len(set(counts)) == 1 else torch.tensor(counts)
