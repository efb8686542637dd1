"""Arrays of numpy in files. What cannot be read, or has another shape, is one kind of error."""

from __future__ import annotations

import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from seq2seq.errors import UsageError

# What numpy, pandas and the readers of archives raise for files that are damaged, cut short or of
# another kind. RuntimeError: an archive with a password, or packed in a way Python does not know.
UNREADABLE = (
    *(OSError, ValueError, EOFError, RuntimeError, MemoryError, OverflowError, SyntaxError),
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error),
)
# networks compute in float32. A number of that type, not a float: beside it, arrays of half
# precision are compared in float32; a float would become infinite in theirs
LARGEST = np.finfo(np.float32).max


def reason_of(error: BaseException) -> str:
    """The first line of an error, for a sentence; without numpy's advice to unpickle."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].split(" If you trust")[0]


def load_npz(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name; nothing is unpickled. Raises UsageError for a file that
    is none."""
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            raise UsageError(f"{path}: holds one array (.npy); expected an archive of them (.npz)")
        with found:
            return _only_arrays(path, {name: found[name] for name in found.files})
    except UNREADABLE as error:
        raise UsageError(f"{path}: cannot be read as NPZ ({reason_of(error)})") from None


def load_folder(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a folder's .npy files, which stay on disk; nothing is unpickled. Raises
    UsageError for a file that is none."""
    found = {}
    for one in sorted(path.glob("*.npy")):
        try:
            found[one.stem] = np.load(one, mmap_mode="r", allow_pickle=False)
        except UNREADABLE as error:
            reason = reason_of(error)
            raise UsageError(f"{one}: cannot be read as an array of numpy ({reason})") from None
    return _only_arrays(path, found)


def _only_arrays(path: str | Path, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """numpy gives bytes, or a whole archive, for a file that is named .npy and is none."""
    for name, array in found.items():
        if not isinstance(array, np.ndarray):
            raise UsageError(f"{path}: {name!r} is no array of numpy (.npy)")
    return found


def check_dimensions(
    path: str | Path, arrays: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]]
) -> None:
    """Raises UsageError for an array that has another number of dimensions than ``expected``, by
    name, allows."""
    for name, allowed in expected.items():
        if name in arrays and arrays[name].ndim not in allowed:
            raise UsageError(
                f"{path}: '{name}' has shape {arrays[name].shape}; expected "
                f"{' or '.join(map(str, allowed))} dimension{'s' if allowed[-1] != 1 else ''}"
            )


def whole_numbers(path: str | Path, name: str, array: np.ndarray) -> np.ndarray:
    """An array as int64. Raises UsageError unless it holds whole numbers of at least 0."""
    if array.dtype.kind not in "iuf":
        raise UsageError(f"{path}: '{name}' holds {array.dtype}; expected whole numbers")
    with np.errstate(invalid="ignore"):
        found: np.ndarray = array.astype(np.int64)
    wrong = (found != array) | (found < 0)
    if wrong.any():
        raise UsageError(
            f"{path}: '{name}' holds {array[wrong].flat[0]}; expected whole numbers of at least 0"
        )
    return found
