"""What the kit brings to a machine without a network: Triton's cache, packages, a corpus."""

from __future__ import annotations

import base64
import importlib.metadata
import importlib.util
import json
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

from benchmarks.gpu_kit.places import ABOUT, ARCHIVE, CACHE, PACKAGES, WHEELS

KEPT = (".cubin", ".json")  # of a kernel; its texts are for people


def compiled(cache: Path = CACHE) -> int:
    """How many kernels a cache holds."""
    return sum(1 for _ in cache.glob("*/*.cubin"))


def keep_only(hashes: set[str], cache: Path = CACHE) -> None:
    """Removes from ``cache`` what is not named: kernels of an earlier state of the code."""
    names = {base64.b32encode(bytes.fromhex(h)).decode().rstrip("=") for h in hashes}
    for folder in cache.glob("*"):
        if folder.name not in names:
            shutil.rmtree(folder)


def pack(cache: Path, archive: Path) -> int:
    """Writes the kernels of ``cache`` into a .tar.xz; -> their number."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    aside = archive.with_suffix(".new")
    with tarfile.open(aside, "w:xz", preset=6) as tar:
        for path in sorted(cache.glob("*/*")):
            if path.suffix in KEPT and path.is_file():
                tar.add(path, arcname=str(path.relative_to(cache)), filter=_plain)
    aside.replace(archive)
    return compiled(cache)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """The same archive from the same kernels, whoever makes it."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    return entry


def unpack(archive: Path = ARCHIVE, cache: Path = CACHE) -> int:
    """Fills ``cache`` from ``archive`` where it is there; -> the number of kernels.

    A group file names its kernel's files by absolute path: they are made those of this machine.
    """
    if archive.exists() and not compiled(cache):
        cache.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as tar:
            tar.extractall(cache, filter="data")
    for group in cache.glob("*/__grp__*.json"):
        names = json.loads(group.read_text(encoding="utf-8"))["child_paths"]
        there = {n: str(group.parent / n) for n in names if (group.parent / n).exists()}
        group.write_text(json.dumps({"child_paths": there}), encoding="utf-8")
    return compiled(cache)


def fits(about: Path = ABOUT) -> bool:
    """Whether the carried cache was made for the card and the Triton version that are here."""
    if not about.exists():
        return False
    made = json.loads(about.read_text(encoding="utf-8"))
    try:
        own = importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        return False
    return own == made["triton"] and capability() in (made["capability"], None)


def capability() -> str | None:
    """Compute capability of the first card, e.g. "9.0", or None. Asking torch takes seconds."""
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(found.stdout.split()), None)


def install(wheels: Path = WHEELS, folder: Path = PACKAGES) -> list[str]:
    """Unpacks those wheels whose package cannot be found here; -> their names.

    They hold plain Python or compiled modules and no scripts, so unpacking is all that it takes.
    """
    missing = []
    for wheel in sorted(wheels.glob("*.whl")):
        name = wheel.name.split("-", 1)[0]
        if importlib.util.find_spec(name) is None:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
            missing.append(name)
    return missing
