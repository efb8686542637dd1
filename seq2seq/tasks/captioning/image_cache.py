"""Decoded images of one data set as a memory-mapped array: decoded once, read by index.

Training passes over the images many times; decoding JPEGs would cost more than a small network.
Files that have changed (path, size or time) are another cache. A cache file that no run uses any
more can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import numpy as np
import torch

from seq2seq.errors import RunError
from seq2seq.images.files import ImageError, read_images

_VERSION = 1  # of the pixels: another number makes caches of older code void
_AT_ONCE = 64  # images a thread decodes before they are written
_NAMED = 5  # bad images that one message names


class ImageCache:
    """Images on disk: ``len(cache)``, and ``cache[index]`` for bytes (B, 3, P, P)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pixels = np.load(path, mmap_mode="r", allow_pickle=False)  # (N, 3, P, P)

    def __len__(self) -> int:
        return len(self._pixels)

    @property
    def size(self) -> int:
        """P, pixels a side."""
        return self._pixels.shape[-1]

    def __getitem__(self, index: Sequence[int] | np.ndarray | torch.Tensor) -> torch.Tensor:
        """Copies of the images of ``index`` (B,): (B, 3, P, P) uint8."""
        rows = np.asarray(index, dtype=np.int64)  # (B,)
        return torch.from_numpy(self._pixels[rows])


def cache_images(
    paths: Sequence[str | Path], size: int, folder: str | Path | None = None
) -> ImageCache:
    """Decode images as ``read_image`` does, or find them decoded already.

    Args:
        paths: N files; the same order is the same cache.
        size: P, pixels a side.
        folder: where caches lie; by default ``images`` in the cache folder of `datasets`. It takes
            N * 3 * P * P bytes.

    Raises:
        ImageError: images that cannot be read; names the first five, and how many there are.
        RunError: the cache cannot be written.
    """
    folder = Path(folder) if folder else Path(datasets.config.HF_DATASETS_CACHE) / "images"
    target = folder / f"{_key(paths, size)}.npy"
    if not target.is_file():
        # Written under another name, then renamed: the file is complete or does not exist. Two
        # processes that build the same cache at once write the same bytes.
        aside = target.with_suffix(f".{os.getpid()}.tmp")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write(aside, paths, size)
            os.replace(aside, target)
        except OSError as error:
            raise RunError(
                f"image cache {folder}: {error.strerror or error}; set 'data.cache_dir' to a "
                f"folder with room for {len(paths) * 3 * size * size / 1e6:,.0f} MB"
            ) from None
        finally:
            with contextlib.suppress(OSError):  # of a folder that is a file, say, told above
                aside.unlink()
    return ImageCache(target)


def _key(paths: Sequence[str | Path], size: int) -> str:
    digest = hashlib.sha256(json.dumps((_VERSION, size)).encode())
    for path in paths:
        absolute = os.path.abspath(path)
        try:
            stat = os.stat(absolute)
        except OSError:
            continue  # the reader will name it, and no cache is written
        digest.update(json.dumps((absolute, stat.st_size, stat.st_mtime_ns)).encode())
    return digest.hexdigest()[:32]


def _write(path: Path, paths: Sequence[str | Path], size: int) -> None:
    # Written as a stream: on a full disk, writing to mapped memory would kill the process.
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)),
        "fortran_order": False,
        "shape": (len(paths), 3, size, size),
    }
    bad: list[ImageError] = []
    with open(path, "wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for image in _decoded(paths, size):
            if isinstance(image, ImageError):
                bad.append(image)
            elif not bad:
                stream.write(image.numpy().data)
        stream.flush()
        os.fsync(stream.fileno())
    if bad:
        others = len(bad) - _NAMED
        more = [f"and {others:,} more"] if others > 0 else []
        count = "1 image" if len(bad) == 1 else f"{len(bad):,} images"
        raise ImageError(
            f"{count} of {len(paths):,} cannot be read; mend them, or take them out of the "
            "metadata:\n  " + "\n  ".join([str(error) for error in bad[:_NAMED]] + more)
        )


def _decoded(paths: Sequence[str | Path], size: int) -> Iterator[torch.Tensor | ImageError]:
    """Images in order, decoded by as many threads as there are processors."""
    workers = min(8, os.cpu_count() or 1)
    starts = range(0, len(paths), _AT_ONCE * workers)
    with ThreadPoolExecutor(workers) as pool:
        for start in starts:  # no more than one round of chunks is held in memory
            chunk = paths[start : start + _AT_ONCE * workers]
            parts = [chunk[i : i + _AT_ONCE] for i in range(0, len(chunk), _AT_ONCE)]
            for images in pool.map(read_images, parts, [size] * len(parts)):
                yield from images
