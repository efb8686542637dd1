"""What stands for Triton itself in the keys of its cache, also for a build for another Python."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path


def own_key() -> str:
    """The key of the Triton that is installed here."""
    from triton.runtime import cache

    key = cache.triton_key
    plain = getattr(key, "plain", key)  # not the carried one that start.py puts in its place
    return plain()


def key_for(wheel: Path) -> str:
    """The key of the same version of Triton built for another Python, from its wheel.

    Builds of a version differ in their compiled library alone, whose hash is a part of the key.
    """
    import triton

    folder = Path(triton.__file__).parent / "_C"
    (library,) = folder.glob("libtriton.*")
    here = hashlib.sha256(library.read_bytes()).hexdigest()
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.startswith("triton/_C/libtriton.")]
        there = hashlib.sha256(archive.read(name)).hexdigest()
    key = own_key()
    if here not in key:
        raise RuntimeError(
            f"the key of Triton {triton.__version__} does not hold its library's hash"
        )
    return key.replace(here, there)
