"""Sentence pairs from files or the hub, as a `datasets.Dataset` of `source` and `target`.

The dataset is memory-mapped from a cache, so it may exceed memory. A file that has changed
(path, size or time) is read anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import datasets

from seq2seq.errors import RunError, UsageError
from seq2seq.public_data import missing_hint
from seq2seq.tasks.translation.config import DataConfig
from seq2seq.tasks.translation.pair_files import find_column, format_of, from_object, read_pairs
from seq2seq.text.files import os_error_in, quiet

_FEATURES = datasets.Features(
    {"source": datasets.Value("string"), "target": datasets.Value("string")}
)
_VERSION = 1  # of the readers below: another number makes caches of older code void


def load_pairs(
    config: DataConfig, split: Literal["train", "validation", "test"]
) -> datasets.Dataset:
    """Sentence pairs of one split; text columns ``source`` and ``target``, in file order.

    ``config`` says where they are (see DataConfig). NUL characters become spaces, missing values
    (JSON null and the like) empty text; blank lines are kept.

    Raises UsageError for a split that is not configured, a missing, empty or malformed file,
    files of unequal length, invalid UTF-8 and a missing column.
    """
    return _load(config, _location(config, split))


def load_corpora(config: DataConfig) -> list[datasets.Dataset]:
    """The pairs of ``train`` and of each of ``more_train``, as ``load_pairs`` gives them."""
    return [_load(config, one) for one in (_location(config, "train"), *config.more_train)]


def _load(config: DataConfig, location: str) -> datasets.Dataset:
    with quiet():
        if config.hub:
            return _load_hub(config, location)
        return _load_files(config, _paths(config, location))


def stream_pairs(config: DataConfig) -> datasets.IterableDataset:
    """The training pairs as ``load_pairs`` gives them, read anew each time, nothing kept on disk.

    Raises the errors of ``load_pairs``, those within the data when they are read.
    """
    location = _location(config, "train")
    with quiet():
        if config.hub:
            return _stream_hub(config, location)
        return datasets.IterableDataset.from_generator(
            _rows, features=_FEATURES, gen_kwargs=_arguments(config, _paths(config, location))
        )


def _location(config: DataConfig, split: str) -> str:
    location = getattr(config, split)
    if location is None:
        raise UsageError(
            f"'data.{split}' is not set; give it a path (or, with 'data.hub', a split)"
        )
    return location


def _paths(config: DataConfig, location: str) -> list[str]:
    """The files of a split, one or two; UsageError where one is missing."""
    if "{lang}" in location:
        paths = [location.replace("{lang}", lang) for lang in (config.source, config.target)]
    else:
        paths = [location]
        format_of(location)
    for path in paths:
        if not Path(path).is_file():
            raise UsageError(f"{path}: no such file; check the path in 'data'{missing_hint(path)}")
    return paths


def _arguments(config: DataConfig, paths: list[str]) -> dict[str, Any]:
    """The arguments that ``_rows`` is called with."""
    stats = [Path(path).stat() for path in paths]
    # Every argument is part of the cache's key: a changed file, or another choice of columns,
    # is another dataset. Times are text so that no library takes lists for shards.
    versions = [
        f"{Path(path).resolve()} {stat.st_size} {stat.st_mtime_ns}"
        for path, stat in zip(paths, stats, strict=True)
    ]
    return {
        "paths": tuple(paths),
        "columns": tuple(config.columns or ()),
        "source": config.source,
        "target": config.target,
        "versions": tuple(versions),
        "reader": _VERSION,
    }


def _load_files(config: DataConfig, paths: list[str]) -> datasets.Dataset:
    try:
        return datasets.Dataset.from_generator(
            _rows,
            features=_FEATURES,
            cache_dir=config.cache_dir,
            gen_kwargs=_arguments(config, paths),
        )
    except datasets.exceptions.DatasetGenerationError as error:
        raise _cause(error, config) from None
    except (OSError, ValueError) as error:
        if (cause := os_error_in(error)) is None:
            raise
        raise _cache_error(config, cause) from None


def _rows(
    paths: tuple[str, ...],
    columns: tuple[str, ...],
    source: str,
    target: str,
    versions: tuple[str, ...],
    reader: int,
) -> Iterator[dict[str, str]]:
    """Rows of one split for Dataset.from_generator; the last two only mark the cache."""
    pairs = read_pairs(paths, source, target, columns)
    empty = True
    for first, second in pairs:
        empty = False
        yield {"source": first, "target": second}
    if empty:
        raise UsageError(f"{' and '.join(paths)}: no sentence pairs in it; expected at least one")


def _load_hub(config: DataConfig, split: str) -> datasets.Dataset:
    """A split of a hub dataset, or of a local folder in any layout `datasets` reads."""
    name = f"dataset {config.hub}"
    dataset = _opened_hub(config, split, streaming=False)
    columns = dataset.column_names
    arguments = {"where": name, "source": config.source, "target": config.target}
    cache = Path(config.cache_dir or datasets.config.HF_DATASETS_CACHE) / "seq2seq"
    key = datasets.fingerprint.Hasher.hash((dataset._fingerprint, arguments, _VERSION))
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return dataset.map(
            _rename,
            batched=True,
            with_indices=True,
            fn_kwargs=arguments,
            remove_columns=columns,
            features=_FEATURES,
            cache_file_name=str(cache / f"{key}.arrow"),
            new_fingerprint=key,
        )
    except (OSError, ValueError) as error:
        if (cause := os_error_in(error)) is None:
            raise
        raise _cache_error(config, cause) from None


def _stream_hub(config: DataConfig, split: str) -> datasets.IterableDataset:
    dataset = _opened_hub(config, split, streaming=True)
    arguments = {"where": f"dataset {config.hub}", "source": config.source, "target": config.target}
    return dataset.map(
        _rename,
        batched=True,
        batch_size=100,
        with_indices=True,
        fn_kwargs=arguments,
        remove_columns=dataset.column_names,
        features=_FEATURES,
    )


def _opened_hub(config: DataConfig, split: str, streaming: bool) -> Any:
    """A split with the two columns that are asked for."""
    name = f"dataset {config.hub}"
    try:
        dataset = _fetch(config, split, streaming)
    except (UsageError, RunError):
        raise
    except datasets.exceptions.DatasetGenerationError as error:
        raise UsageError(f"{name}: {_cause(error, config)}") from None
    except (ValueError, KeyError, FileNotFoundError, ConnectionError, OSError) as error:
        raise UsageError(
            f"{name}, split '{split}': {error}; check 'data.hub' and the split"
        ) from None
    if dataset.column_names is None:  # of some streams they are known when a row is read
        dataset = dataset._resolve_features()
    columns = dataset.column_names
    if not {config.source, config.target} <= set(columns) and "translation" not in columns:
        for column in (config.source, config.target):
            find_column(name, columns, column)
    return dataset


def _fetch(config: DataConfig, split: str, streaming: bool) -> Any:
    assert config.hub is not None  # the caller's condition
    folder = Path(config.hub)
    saved = (folder / "dataset_dict.json").exists() or (folder / "state.json").exists()
    if not saved:
        return datasets.load_dataset(
            config.hub,
            config.hub_config,
            split=split,
            cache_dir=config.cache_dir,
            streaming=streaming,
        )
    dataset = datasets.load_from_disk(str(folder))
    if isinstance(dataset, datasets.DatasetDict):
        if split not in dataset:
            raise UsageError(f"dataset {folder}: no split '{split}'; it has: {', '.join(dataset)}")
        dataset = dataset[split]
    return dataset.to_iterable_dataset() if streaming else dataset


def _rename(
    batch: dict[str, list[object]], indices: list[int], where: str, source: str, target: str
) -> dict[str, list[str]]:
    """A batch of named columns to the columns ``source`` and ``target``."""
    pairs = [
        from_object(
            f"{where}, row {index + 1}", {key: batch[key][i] for key in batch}, source, target
        )
        for i, index in enumerate(indices)
    ]
    return {"source": [pair[0] for pair in pairs], "target": [pair[1] for pair in pairs]}


def _cause(error: BaseException, config: DataConfig) -> Exception:
    """The reader's own error inside the one that `datasets` wraps around it."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, UsageError | RunError):
            return inner
        if isinstance(inner, OSError):
            return _cache_error(config, inner)
        inner = inner.__cause__ or inner.__context__
    return RunError(f"{error}: {error.__cause__}")


def _cache_error(config: DataConfig, error: OSError) -> RunError:
    location = config.cache_dir or datasets.config.HF_DATASETS_CACHE
    return RunError(
        f"cache folder {location}: {error.strerror or error}; set 'data.cache_dir' to a folder "
        "with room that can be written"
    )
