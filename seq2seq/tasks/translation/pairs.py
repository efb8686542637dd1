"""Sentence pairs from files or the hub, as a `datasets.Dataset` of `source` and `target`.

The dataset is memory-mapped from a cache, so it may exceed memory. A file that has changed
(path, size or time) is read anew.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import datasets
import pyarrow
import pyarrow.parquet

from seq2seq.errors import RunError, UsageError
from seq2seq.json_files import parse_json
from seq2seq.public_data import missing_hint
from seq2seq.tasks.translation.config import DataConfig
from seq2seq.text.files import (
    check_unicode,
    csv_rows,
    decode_lines,
    open_binary,
    quiet,
    read_lines,
)

_FEATURES = datasets.Features(
    {"source": datasets.Value("string"), "target": datasets.Value("string")}
)
_FORMATS = (".tsv", ".csv", ".json", ".jsonl", ".parquet")
_VERSION = 1  # of the readers below: another number makes caches of older code void

Pairs = Iterator[tuple[str, str]]


def load_pairs(
    config: DataConfig, split: Literal["train", "validation", "test"]
) -> datasets.Dataset:
    """Sentence pairs of one split; text columns ``source`` and ``target``, in file order.

    ``config`` says where they are (see DataConfig). NUL characters become spaces, missing values
    (JSON null and the like) empty text; blank lines are kept.

    Raises UsageError for a split that is not configured, a missing, empty or malformed file,
    files of unequal length, invalid UTF-8 and a missing column.
    """
    location = getattr(config, split)
    if location is None:
        raise UsageError(
            f"'data.{split}' is not set; give it a path (or, with 'data.hub', a split)"
        )
    with quiet():
        if config.hub:
            return _load_hub(config, location)
        if "{lang}" in location:
            paths = [location.replace("{lang}", lang) for lang in (config.source, config.target)]
        else:
            paths = [location]
            _format(location)
        return _load_files(config, paths)


def _load_files(config: DataConfig, paths: list[str]) -> datasets.Dataset:
    for path in paths:
        if not Path(path).is_file():
            raise UsageError(f"{path}: no such file; check the path in 'data'{missing_hint(path)}")
    stats = [Path(path).stat() for path in paths]
    # Every argument is part of the cache's key: a changed file, or another choice of columns,
    # is another dataset. Times are text so that no library takes lists for shards.
    versions = [
        f"{Path(path).resolve()} {stat.st_size} {stat.st_mtime_ns}"
        for path, stat in zip(paths, stats, strict=True)
    ]
    arguments = {
        "paths": tuple(paths),
        "columns": tuple(config.columns or ()),
        "source": config.source,
        "target": config.target,
        "versions": tuple(versions),
        "reader": _VERSION,
    }
    try:
        return datasets.Dataset.from_generator(
            _rows, features=_FEATURES, cache_dir=config.cache_dir, gen_kwargs=arguments
        )
    except datasets.exceptions.DatasetGenerationError as error:
        raise _cause(error, config) from None
    except OSError as error:
        raise _cache_error(config, error) from None


def _rows(
    paths: tuple[str, ...],
    columns: tuple[str, ...],
    source: str,
    target: str,
    versions: tuple[str, ...],
    reader: int,
) -> Iterator[dict[str, str]]:
    """Rows of one split for Dataset.from_generator; the last two only mark the cache."""
    if len(paths) == 2:
        pairs = _read_parallel(*paths)
    else:
        read = {
            ".tsv": _read_tsv,
            ".csv": _read_csv,
            ".json": _read_json,
            ".jsonl": _read_jsonl,
            ".parquet": _read_parquet,
        }[_format(paths[0])]
        pairs = read(paths[0], source, target, columns)
    empty = True
    for first, second in pairs:
        empty = False
        yield {"source": first, "target": second}
    if empty:
        raise UsageError(f"{' and '.join(paths)}: no sentence pairs in it; expected at least one")


def _read_parallel(source: str, target: str) -> Pairs:
    counts = [0, 0]
    with open_binary(source) as first, open_binary(target) as second:
        for row in zip_longest(decode_lines(first, source), decode_lines(second, target)):
            for side, text in enumerate(row):
                counts[side] += text is not None
            if counts[0] == counts[1]:
                yield row
    if counts[0] != counts[1]:
        raise UsageError(
            f"{source} has {counts[0]} lines and {target} has {counts[1]}; "
            "parallel files need one line for each line of the other"
        )


def _read_tsv(path: str, source: str, target: str, columns: tuple[str, ...]) -> Pairs:
    # Quotes mean nothing here: a sentence may hold a lone one.
    with open_binary(path) as stream:
        lines = enumerate(decode_lines(stream, path), 1)
        rows = ((number, line.split("\t")) for number, line in lines if line)
        yield from _from_table(path, rows, source, target, columns)


def _read_csv(path: str, source: str, target: str, columns: tuple[str, ...]) -> Pairs:
    with open_binary(path) as stream:
        reader = csv_rows(decode_lines(stream, path))
        try:
            rows = ((reader.line_num, row) for row in reader if row)
            yield from _from_table(path, rows, source, target, columns)
        except csv.Error as error:
            raise UsageError(f"{path}, line {reader.line_num}: not valid CSV: {error}") from None


def _from_table(
    path: str,
    rows: Iterator[tuple[int, list[str]]],
    source: str,
    target: str,
    columns: tuple[str, ...],
) -> Pairs:
    """The two columns of rows of fields, named by ``columns`` or else by the first row."""
    names = list(columns) or next(rows, (0, []))[1]
    if not names:
        return
    first, second = _find(path, names, source), _find(path, names, target)
    for number, row in rows:
        if len(row) != len(names):
            raise UsageError(
                f"{path}, line {number}: {len(row)} fields; expected {len(names)} "
                f"({', '.join(names)})"
            )
        yield row[first], row[second]


def _find(path: str, names: list[str], wanted: str) -> int:
    if wanted in names:
        return names.index(wanted)
    raise UsageError(
        f"{path}: no column '{wanted}'; it has: {', '.join(map(repr, names))}; name them with "
        "'data.source' and 'data.target' (and 'data.columns' for a .tsv or .csv without a header)"
    )


def _read_json(path: str, source: str, target: str, columns: tuple[str, ...]) -> Pairs:
    """One list of objects, such a list under ``data``, or (like .jsonl) an object a line."""
    text = "\n".join(read_lines(path))
    try:
        values = parse_json(text)
    except json.JSONDecodeError as error:
        if not error.msg.startswith("Extra data"):
            raise UsageError(f"{path}, line {error.lineno}: not valid JSON: {error.msg}") from None
        yield from _read_jsonl(path, source, target, columns)
        return
    if isinstance(values, dict) and isinstance(values.get("data"), list):
        values = values["data"]
    elif isinstance(values, dict):
        values = [values]  # a file of one line
    if not isinstance(values, list):
        raise UsageError(f"{path}: expected a list of objects, found {type(values).__name__}")
    for number, value in enumerate(values, 1):
        yield _from_object(f"{path}, row {number}", value, source, target)


def _read_jsonl(path: str, source: str, target: str, columns: tuple[str, ...]) -> Pairs:
    with open_binary(path) as stream:
        for number, line in enumerate(decode_lines(stream, path), 1):
            if not line.strip():
                continue
            try:
                value = parse_json(line)
            except json.JSONDecodeError as error:
                raise UsageError(f"{path}, line {number}: not valid JSON: {error.msg}") from None
            yield _from_object(f"{path}, line {number}", value, source, target)


def _read_parquet(path: str, source: str, target: str, columns: tuple[str, ...]) -> Pairs:
    try:
        with open_binary(path) as stream:
            # Parquet is read from its end: a compressed file has to be unpacked first.
            table = pyarrow.parquet.ParquetFile(
                io.BytesIO(stream.read()) if path.endswith(".gz") else stream
            )
            names = table.schema_arrow.names
            nested = "translation" in names and not {source, target} <= set(names)
            wanted = ["translation"] if nested else [source, target]
            for name in wanted:
                _find(path, names, name)
            number = 0
            for batch in table.iter_batches(batch_size=1000, columns=wanted):
                for value in batch.to_pylist():
                    number += 1
                    yield _from_object(f"{path}, row {number}", value, source, target)
    except pyarrow.ArrowException as error:
        raise UsageError(f"{path}: not a readable Parquet file: {error}") from None


def _from_object(where: str, value: Any, source: str, target: str) -> tuple[str, str]:
    """The two texts of a row with named values, flat or under ``translation``."""
    if isinstance(value, dict) and not {source, target} <= set(value):
        nested = value.get("translation")
        value = nested if isinstance(nested, dict) else value
    if not isinstance(value, dict):
        raise UsageError(f"{where}: expected named columns, found {value!r:.60}")
    texts = []
    for name in (source, target):
        if name not in value:
            _find(where, list(value), name)
        text = "" if value[name] is None else value[name]
        if not isinstance(text, str):
            raise UsageError(f"{where}: '{name}' is {text!r:.60}; expected text")
        if not text.isascii():
            check_unicode(text, f"{where}: '{name}'")
        texts.append(text.replace("\0", " "))
    return texts[0], texts[1]


def _load_hub(config: DataConfig, split: str) -> datasets.Dataset:
    """A split of a hub dataset, or of a local folder in any layout `datasets` reads."""
    name = f"dataset {config.hub}"
    try:
        dataset = _fetch(config, split)
    except (UsageError, RunError):
        raise
    except datasets.exceptions.DatasetGenerationError as error:
        raise UsageError(f"{name}: {_cause(error, config)}") from None
    except (ValueError, KeyError, FileNotFoundError, ConnectionError, OSError) as error:
        raise UsageError(
            f"{name}, split '{split}': {error}; check 'data.hub' and the split"
        ) from None
    columns = dataset.column_names
    if not {config.source, config.target} <= set(columns) and "translation" not in columns:
        for column in (config.source, config.target):
            _find(name, columns, column)
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
    except OSError as error:
        raise _cache_error(config, error) from None


def _fetch(config: DataConfig, split: str) -> datasets.Dataset:
    assert config.hub is not None  # the caller's condition
    folder = Path(config.hub)
    saved = (folder / "dataset_dict.json").exists() or (folder / "state.json").exists()
    if not saved:
        return datasets.load_dataset(
            config.hub, config.hub_config, split=split, cache_dir=config.cache_dir
        )
    dataset = datasets.load_from_disk(str(folder))
    if isinstance(dataset, datasets.DatasetDict):
        if split not in dataset:
            raise UsageError(f"dataset {folder}: no split '{split}'; it has: {', '.join(dataset)}")
        return dataset[split]
    return dataset


def _rename(
    batch: dict[str, list[object]], indices: list[int], where: str, source: str, target: str
) -> dict[str, list[str]]:
    """A batch of named columns to the columns ``source`` and ``target``."""
    pairs = [
        _from_object(
            f"{where}, row {index + 1}", {key: batch[key][i] for key in batch}, source, target
        )
        for i, index in enumerate(indices)
    ]
    return {"source": [pair[0] for pair in pairs], "target": [pair[1] for pair in pairs]}


def _format(path: str) -> str:
    suffix = Path(path.removesuffix(".gz")).suffix.lower()
    if suffix in _FORMATS:
        return suffix
    raise UsageError(
        f"{path}: unknown format '{suffix}'; expected {', '.join(_FORMATS)} (or .gz of one), or "
        "two parallel text files, written with {lang} in place of the language"
    )


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
