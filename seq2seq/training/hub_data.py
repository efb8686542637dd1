"""Which revision of a data set on the hub a run reads."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seq2seq.config import RunConfig
from seq2seq.text.files import quiet


def hub_revisions(config: RunConfig) -> dict[str, str]:
    """The commit of the data set that ``data.hub`` names: of the hub's newest, or where the hub
    cannot be reached, of the one in the cache, which is what is read then. Name -> commit.

    Empty for files and local folders, and where there is neither: whoever reads the data says so.
    """
    data: Any = getattr(config, "data", None)
    name = getattr(data, "hub", None)
    if not name or Path(name).exists():
        return {}
    import datasets

    try:
        with quiet(), _without_notes():
            found = datasets.load_dataset_builder(
                name, data.hub_config, cache_dir=getattr(data, "cache_dir", None)
            )
    except Exception:  # of many kinds, and the reader of the data gives its own error for each
        return {}
    return {name: str(found.hash)} if found.hash else {}


@contextlib.contextmanager
def _without_notes() -> Iterator[None]:
    """What the libraries remark on the way, the reader of the data hears again."""
    loggers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
