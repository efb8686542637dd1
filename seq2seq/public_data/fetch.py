"""Bring a data set into ``data/NAME/``: by URL, from a folder, or from a mirror.

``SEQ2SEQ_DATA`` names a folder or the URL of a mirror to take files from instead of the web. Two
layouts are accepted: SET/FILE, and that of the repositories, OWNER/NAME/COMMIT/PATH (or without the
commit, as in a clone).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from seq2seq.config.paths import normal_path
from seq2seq.errors import RunError, UsageError
from seq2seq.public_data.sources import SETS, DataSet, File
from seq2seq.public_data.unpacking import unpack_archives

PLACE = "SEQ2SEQ_DATA"
DATA = Path("data")

Tell = Callable[[str], None]


def fetch(
    name: str,
    output: Path = DATA,
    *,
    mirror: str | None = None,
    retries: int = 2,
    tell: Tell = print,
) -> Path:
    """Bring the set ``name`` into ``output/name``; returns that folder.

    ``mirror`` is the folder or mirror to take it from, by default ``SEQ2SEQ_DATA``; without either,
    files come from where they are published. Files that are there already are checked and kept.
    A file is written under its name only after its checksum was found right.

    Raises UsageError for a set that is not known, one that has to be brought by hand (which then
    says how), and a file in the way; RunError where the network, a checksum or the disk fails.
    """
    if name not in SETS:
        raise UsageError(f"data {name}: no such set; there are: {', '.join(SETS)}")
    chosen, folder = SETS[name], output / name
    mirror = os.environ.get(PLACE) if mirror is None else mirror
    try:
        if chosen.files:
            for file in chosen.files:
                _bring(name, file, folder, mirror, retries, tell)
        else:
            _bring_folder(name, chosen, folder, mirror, tell)
        if chosen.unpack:
            unpack_archives(folder)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written ({error.strerror or error})") from None
    return folder


def missing_hint(path: str | Path) -> str:
    """What to add to an error about a missing file: the command that fetches it, if one does."""
    parts = Path(path).parts
    known = [b for a, b in pairwise(parts) if a == "data" and b in SETS]
    return f"; fetch it with: seq2seq data {known[0]}" if known else ""


def _bring(
    name: str, file: File, folder: Path, mirror: str | None, retries: int, tell: Tell
) -> None:
    path = folder / file.name
    if path.exists():
        if _sha256(path) != file.sha256:
            raise UsageError(
                f"{path}: is another file than the published one (sha256 {_sha256(path)}, expected "
                f"{file.sha256}); move it away, or give another --output"
            )
        tell(f"{path}: is there already")
        return
    folder.mkdir(parents=True, exist_ok=True)
    layouts = [
        f"{name}/{file.name}",
        f"{file.repository}/{file.commit}/{file.path}",
        f"{file.repository}/{file.path}",
    ]
    if not mirror:
        _download([file.url], file, folder, retries)
    elif "://" in mirror:
        _download([f"{mirror.rstrip('/')}/{layout}" for layout in layouts], file, folder, retries)
    else:
        _copy([Path(normal_path(mirror)) / layout for layout in layouts], file, path)
    tell(f"{path}: {path.stat().st_size:,} bytes")


def _copy(candidates: list[Path], file: File, path: Path) -> None:
    source = next((one for one in candidates if one.is_file()), None)
    if source is None:
        tried = ", ".join(map(str, candidates))
        raise UsageError(f"{PLACE}: {file.name} is not there; looked for {tried}")
    if _sha256(source) != file.sha256:
        raise RunError(
            f"{source}: sha256 is {_sha256(source)}, expected {file.sha256}: another file, or a "
            "damaged one; copy it again"
        )
    _replace(source, path)


def _replace(source: Path, path: Path) -> None:
    """A copy under its name is whole or not there."""
    aside = path.with_name(f".{path.name}.copying-{os.getpid()}")
    try:
        shutil.copyfile(source, aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _download(urls: list[str], file: File, folder: Path, retries: int) -> None:
    """From the first of ``urls`` that has the file."""
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    bar = sys.stderr.isatty()
    for number, url in enumerate(urls):
        keeper = pooch.create(
            path=folder,
            base_url="",
            registry={file.name: f"sha256:{file.sha256}"},
            urls={file.name: url},
            retry_if_failed=retries,
        )
        try:
            keeper.fetch(file.name, downloader=pooch.HTTPDownloader(progressbar=bar, timeout=30))
        except requests.HTTPError as error:
            status = None if error.response is None else error.response.status_code
            if status == 404 and number + 1 < len(urls):
                continue
            raise RunError(f"{url}: the server answered {status}") from None
        except requests.RequestException as error:
            reason = str(error).splitlines()[0]
            raise RunError(
                f"{url}: cannot be fetched ({reason}); without a network, set {PLACE} to a folder "
                f"that has it"
            ) from None
        except ValueError:  # pooch's word for a checksum that is not the one expected
            raise RunError(
                f"{url}: is not the file expected (sha256 {file.sha256}): changed or damaged on "
                "its way; nothing was kept"
            ) from None
        # pooch's temporary file is for its owner alone; who may read the folder may read this too
        (folder / file.name).chmod(0o666 & folder.stat().st_mode)
        return


def _bring_folder(name: str, chosen: DataSet, folder: Path, mirror: str | None, tell: Tell) -> None:
    """Copy a set that is no public file as it stands from the folder that has it."""
    if folder.is_dir() and any(folder.iterdir()):
        tell(f"{folder}: is there already")
        return
    source = None if not mirror or "://" in mirror else Path(normal_path(mirror)) / name
    if source is None or not source.is_dir():
        looked = f"; {source} is not there" if source else ""
        raise UsageError(
            f"data {name}: not a public file as it stands{looked}. It holds {chosen.holds} "
            f"(licence: {chosen.licence}) and comes from {chosen.origin}. Put its files into "
            f"{folder}/, or set {PLACE} to a folder that has {name}/"
        )
    for path in sorted(source.rglob("*")):
        if path.is_file():
            target = folder / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, target)
            tell(f"{target}: {target.stat().st_size:,} bytes")


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
