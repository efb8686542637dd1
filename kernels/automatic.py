"""Where ``auto`` takes the Triton kernels: only what was measured right and faster, on that card.

The table is data: ``auto.json`` beside this file, and a user's own, which
``python -m kernels.bench --save`` writes and which goes before it for its card. An entry names the
operation, kind of cell, dtype of the products, range of sizes, compute capability and Triton
version it was measured for; what no entry covers runs on the torch backend.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

FORMAT = 1
SHIPPED = Path(__file__).with_name("auto.json")
Key = tuple[str, str, str, str, str]  # operation, kind, dtype, capability, Triton's version
Ranges = tuple[tuple[int, int], ...]  # both ends included


def user_table() -> Path:
    """The file of a user's own measurements, in the platform's folder for caches."""
    home = Path.home()
    if sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        folder = home / "Library" / "Caches"
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return folder / "recurrent-seq2seq" / "auto.json"


def version(full: str) -> str:
    """'3.6' of '3.6.0': what a measurement holds for."""
    return ".".join(full.split(".")[:2])


@functools.lru_cache(maxsize=4096)
def prefers_triton(operation: str, kind: str, dtype: str, size: int, device: str) -> bool:
    """Whether the Triton kernel was measured right and faster for this on the card ``device``.

    kind: of cell, "" where there is none. dtype: of the products, e.g. "bfloat16". size: hidden.
    A dictionary's entry a call: all else is looked up once in a process.
    """
    triton = _triton_version()
    if triton is None:
        return False
    major, minor = torch.cuda.get_device_capability(device)
    key = (operation, kind, dtype, f"{major}.{minor}", triton)
    return any(low <= size <= high for low, high in _table().get(key, ()))


def forget() -> None:
    """Reads the tables anew at the next call: after one was written."""
    prefers_triton.cache_clear()
    _table.cache_clear()


@functools.lru_cache(maxsize=1)
def _triton_version() -> str | None:
    try:
        return version(importlib.metadata.version("triton"))
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.lru_cache(maxsize=1)
def _table() -> dict[Key, Ranges]:
    return merged([read_entries(SHIPPED), read_entries(user_table())])


def merged(tables: list[list[dict[str, Any]]]) -> dict[Key, Ranges]:
    """One table of several. For a card and Triton version the last that has it counts alone."""
    found: dict[Key, Ranges] = {}
    for entries in tables:
        measured = {(entry["capability"], version(entry["triton"])) for entry in entries}
        found = {key: ranges for key, ranges in found.items() if key[3:] not in measured}
        for entry in entries:
            operation, kind, dtype, capability = (
                str(entry[name]) for name in ("operation", "kind", "dtype", "capability")
            )
            key = (operation, kind, dtype, capability, version(entry["triton"]))
            if entry["backend"] == "triton":
                low, high = entry["sizes"]
                found[key] = (*found.get(key, ()), (int(low), int(high)))
    return found


def read_entries(path: Path) -> list[dict[str, Any]]:
    """The entries of a table, none where there is no file. A file that is no table is named in a
    warning and ignored: the torch backend needs none."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return []
    try:
        table = json.loads(text)
        if table["format"] != FORMAT:
            raise ValueError(f"format {table['format']}, expected {FORMAT}")
        merged([table["entries"]])
        return table["entries"]
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        warnings.warn(
            f"{path} is no table of measurements ({type(problem).__name__}: {problem}); 'auto' "
            "takes the torch backend; write it anew with: python -m kernels.bench --save",
            stacklevel=2,
        )
        return []
