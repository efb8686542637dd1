"""What a run reads and runs with: files by size and sha256, data sets of the hub by revision,
versions of libraries, precision and backend. It is written when a run begins, and compared when one
is resumed."""

from __future__ import annotations

import glob
import hashlib
import itertools
import json
from importlib import metadata
from pathlib import Path
from typing import Any

from seq2seq.config import RunConfig
from seq2seq.config.reading import paths_of
from seq2seq.digests import file_digest
from seq2seq.errors import RunError, UsageError
from seq2seq.json_files import read_json
from seq2seq.training.checkpoints import write_text
from seq2seq.training.hub_data import hub_revisions
from seq2seq.training.log import say

INPUTS_FILE = "inputs.json"

# They read and cut the text, decode the images, draw the order: the numbers of a run follow.
_LIBRARIES = ("datasets", "numpy", "pandas", "pillow", "sentencepiece", "torch")
_SPLITS = ("train", "validation", "test")
_NOT_READ = ("output", "data.cache_dir")
_SAME_ON_CPU = {"auto", "torch"}  # backends
# read when a run begins, or when it has ended: resuming does not read them
_NOT_COMPARED = ("tokenizer.", "training.", "data.test")
_COMPARED = ("training.teachers",)  # their answers are asked for again


def inputs_of(config: RunConfig, settings: dict[str, str]) -> dict[str, Any]:
    """What there is to compare: ``files`` by key, ``versions``, ``settings`` as given, and
    ``revisions`` of data sets on the hub."""
    seen: dict[Any, Any] = {}
    try:
        files = {
            key: read
            for key, path, endings in _read_paths(config)
            if (read := _files(config, path, endings, seen))
        }
    except OSError as error:
        name = error.filename
        raise UsageError(f"{name}: cannot be read ({error.strerror or error})") from None
    parts = {"files": files, "versions": _versions(), "settings": settings}
    return {**parts, "revisions": hub_revisions(config)}


def check_same_inputs(path: Path, now: dict[str, Any], *, resume: bool, allow: bool) -> None:
    """Write what a run reads and runs with to ``path``; with ``resume`` compare it with what stands
    there first, and raise UsageError for a difference, or with ``allow`` say it and go on.

    A run without the file, of an older version, goes on with a warning.
    """
    if resume and not path.exists():
        say(
            f"warning: the run was started by a version that kept no {path.name}; whether its "
            "data, libraries, precision and backend are the same cannot be told"
        )
    elif resume:
        changes = list(_changes(_read(path), now))
        if changes and not allow:
            more = f" ({len(changes) - 1} more)" if len(changes) > 1 else ""
            raise UsageError(
                f"--resume: {changes[0]}{more}; bring back what the run was started with, begin "
                "another with --output, or go on all the same with --allow-changes"
            )
        for change in changes:
            say(f"warning: {change}; going on, as --allow-changes asks")
    write_text(path, json.dumps(now, indent=1))


def _read(path: Path) -> dict[str, Any]:
    try:
        values = read_json(path)
        parts = {part: dict(values[part]) for part in ("files", "versions", "settings")}
        return {**parts, "revisions": dict(values.get("revisions", {}))}  # runs of before: none
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: cannot be read ({error})") from None


def _changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Each difference as a sentence's beginning."""
    found = []
    for key, files in before["files"].items():
        if _compared(key):
            found += _changed_files(key, files, now["files"].get(key, {}))
    for key in now["files"]:
        if key not in before["files"] and _compared(key):
            found.append(f"'{key}' names files that the run was started without")
    cpu = now["settings"].get("device") == "cpu"
    for part, what in (("versions", "version of "), ("settings", "")):
        for name, old in before[part].items():
            new = now[part].get(name, old)
            if name == "device" or (name == "backend" and cpu and {old, new} <= _SAME_ON_CPU):
                continue
            if new != old:
                found.append(f"the {what}{name} is {new}, the run was started with {old}")
    for name, old in before["revisions"].items():
        new = now["revisions"].get(name, old)
        if new != old:
            found.append(
                f"the revision of the data set {name} is {new}, the run was started with {old}"
            )
    return found


def _compared(key: str) -> bool:
    return key.startswith(_COMPARED) or not key.startswith(_NOT_COMPARED)


def _changed_files(key: str, before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    found = []
    for name, old in before.items():
        new = now.get(name)
        if new is None:
            found.append(f"'{key}': {name}, which the run was started with, is not there")
        elif (new["size"], new["sha256"]) != (old["size"], old["sha256"]):
            sizes = f"{new['size']:,} bytes, then {old['size']:,}"
            sizes = sizes if new["size"] != old["size"] else f"{old['size']:,} bytes as before"
            found.append(f"'{key}': {name} has changed since the run was started ({sizes})")
    new = [name for name in now if name not in before]
    return found + [f"'{key}': {name} is new since the run was started" for name in new]


def _read_paths(config: RunConfig) -> list[tuple[str, str, tuple[str, ...] | None]]:
    """``paths_of`` what is read; names of splits of a data set on the hub are no paths."""
    hub = getattr(getattr(config, "data", None), "hub", None)
    splits = (*(f"data.{split}" for split in _SPLITS), "data.more_train") if hub else ()
    left_out = (*_NOT_READ, *splits)
    return [one for one in paths_of(config) if one[0].split("[")[0] not in left_out]


def _files(
    config: RunConfig, location: str, endings: tuple[str, ...] | None, seen: dict[Any, Any]
) -> dict[str, dict[str, Any]]:
    """Size and sha256 of each file that a path of the configuration stands for; a folder counts
    as one. ``seen``: what was read before."""
    data = getattr(config, "data", None)
    languages = [name for key in ("source", "target") if (name := getattr(data, key, None))]
    if location == "-" and not Path(location).exists():
        raise UsageError(_READ_OFTEN.format("'-': is standard input"))
    found: list[Path] = []
    for language, split in itertools.product(languages or [""], _SPLITS):
        name = location.replace("{lang}", language).replace("{split}", split)
        path = Path(name)
        found += [path] if path.exists() else map(Path, sorted(glob.glob(name, recursive=True)))
        if endings and path.is_file():  # it lists what lies beside it
            found.append(path.parent)
    for path in found:
        if (path, endings) not in seen:
            seen[path, endings] = _digest(path, Path(config.output).resolve(), endings)
    return {str(path): seen[path, endings] for path in found}


_READ_OFTEN = (
    "{}, which can be read once; a run reads its data more often, also to resume: write it to a "
    "file"
)


def _digest(path: Path, output: Path, endings: tuple[str, ...] | None) -> dict[str, Any]:
    if not path.is_dir():
        if not path.is_file():
            raise UsageError(_READ_OFTEN.format(f"{path}: is no file but a pipe or a device"))
        return {"size": path.stat().st_size, "sha256": file_digest(path)}
    whole, size = hashlib.sha256(), 0
    for one in sorted(path.rglob("*")):
        parts = one.relative_to(path).parts
        # neither caches that libraries keep there nor this run are data
        if any(part.startswith((".", "cache-")) for part in parts) or not one.is_file():
            continue
        if output in one.resolve().parents:
            continue
        if endings and one.suffix.lower() not in endings and one.stem != "metadata":
            continue
        size += one.stat().st_size
        whole.update(repr((parts, file_digest(one))).encode())
    return {"size": size, "sha256": whole.hexdigest()}


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
