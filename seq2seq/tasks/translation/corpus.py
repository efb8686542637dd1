"""Sentence pairs as token ids: filtered, tokenised once, cached and memory-mapped."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import datasets
import numpy as np
import pyarrow.compute

from seq2seq.errors import RunError, UsageError
from seq2seq.processors import cores
from seq2seq.tasks.translation.config import FilterConfig, TranslationConfig
from seq2seq.text.files import os_error_in, quiet
from seq2seq.text.sentencepiece import Tokenizer

_VERSION = 2  # of the columns below: another number makes caches of older code void
_ROWS_A_WORKER = 100_000  # fewer pairs are tokenised in less time than a process takes to begin


@dataclass
class Corpus:
    """Tokenised sentence pairs; row i of all fields is pair i.

    ``pairs`` has the columns source, target (text), source_ids and target_ids (int32, without
    beginning and end of sentence) and stays on disk; only the lengths are in memory.
    """

    pairs: datasets.Dataset
    source_lengths: np.ndarray  # (rows,) int32, tokens
    target_lengths: np.ndarray  # (rows,) int32, tokens without end of sentence
    dropped: dict[str, int] = field(default_factory=dict)  # why the filter dropped how many
    kept: np.ndarray | None = None  # (rows,) their numbers before the filter; None: all

    def __len__(self) -> int:
        return len(self.source_lengths)


def build_tokenizers(
    config: TranslationConfig, pairs: datasets.Dataset
) -> tuple[Tokenizer, Tokenizer]:
    """Tokenizers of source and target, trained on ``pairs`` or loaded as configured.

    They are one and the same object when ``tokenizer.shared``. Raises UsageError for a
    vocabulary that does not fit the text and a model file that is missing, RunError for one
    that is damaged.
    """
    options = config.tokenizer
    if options.model is not None:
        source = _load("model", options.model)
        if options.shared:
            return source, source
        if options.target_model is None:
            raise UsageError(
                "'tokenizer.target_model' is not set; with 'tokenizer.model' and "
                "'tokenizer.shared: false' the target side needs a model of its own"
            )
        return source, _load("target_model", options.target_model)
    if options.target_model is not None:
        raise UsageError("'tokenizer.target_model' is set but 'tokenizer.model' is not; set both")
    if len(pairs) > options.sample_sentences:
        rows = np.random.default_rng(config.seed).choice(
            len(pairs), options.sample_sentences, replace=False, shuffle=False
        )
        pairs = pairs.select(np.sort(rows))
    if options.shared:
        both = Tokenizer.train(chain(_texts(pairs, "source"), _texts(pairs, "target")), options)
        return both, both
    return (
        Tokenizer.train(_texts(pairs, "source"), options),
        Tokenizer.train(_texts(pairs, "target"), options),
    )


def tokenize_pairs(
    pairs: datasets.Dataset,
    source_tokenizer: Tokenizer,
    target_tokenizer: Tokenizer,
    filter: FilterConfig | None,
) -> Corpus:
    """Tokenise ``pairs`` (columns source and target) and keep what the filter lets pass.

    Without a filter every pair is kept, in order, the empty ones too. Tokens are cached beside
    the dataset under the fingerprints of the text and of both models. Of several reasons to
    drop a pair, the first of: empty, too_short, too_long, ratio, duplicate is counted.
    """
    digest = hashlib.sha256(repr((_VERSION, pairs._fingerprint)).encode())
    for tokenizer in (source_tokenizer, target_tokenizer):
        digest.update(hashlib.sha256(tokenizer.model).digest())
    fingerprint = digest.hexdigest()[:32]
    ids = datasets.List(datasets.Value("int32"))
    features = datasets.Features({**pairs.features, "source_ids": ids, "target_ids": ids})
    try:
        with quiet():
            tokenized = pairs.map(
                _tokenize,
                batched=True,
                fn_kwargs={"source": source_tokenizer, "target": target_tokenizer},
                features=features,
                new_fingerprint=fingerprint,
                num_proc=_workers(pairs, fingerprint),
                desc="tokenising",
            )
    except (OSError, ValueError) as error:
        if (cause := os_error_in(error)) is None:
            raise
        raise RunError(
            f"the tokenised corpus cannot be written ({cause.strerror or cause}); set "
            "'data.cache_dir' to a folder with room"
        ) from error
    return _kept(tokenized, filter)


def tokenize_rows(
    rows: list[dict[str, str]], source: Tokenizer, target: Tokenizer, filter: FilterConfig
) -> Corpus:
    """The same of some pairs in memory."""
    columns = {side: [row[side] for row in rows] for side in ("source", "target")}
    ids = _tokenize(columns, source, target)
    kinds = {name: pyarrow.list_(pyarrow.int32()) for name in ids}
    arrays = {name: pyarrow.array(ids[name], kind) for name, kind in kinds.items()}
    table = pyarrow.table({**{name: pyarrow.array(columns[name]) for name in columns}, **arrays})
    return _kept(datasets.Dataset(table), filter)


def _kept(tokenized: datasets.Dataset, filter: FilterConfig | None) -> Corpus:
    """Pairs with their ids, of which those are kept that the filter lets pass."""
    source_lengths = _lengths(tokenized, "source_ids")
    target_lengths = _lengths(tokenized, "target_ids")
    if filter is None:
        return Corpus(tokenized, source_lengths, target_lengths)
    keep, dropped = _filter(tokenized, source_lengths, target_lengths, filter)
    if not keep.all():
        tokenized = tokenized.select(np.flatnonzero(keep))
    numbers = np.flatnonzero(keep)
    return Corpus(tokenized, source_lengths[keep], target_lengths[keep], dropped, numbers)


def _workers(pairs: datasets.Dataset, fingerprint: str) -> int | None:
    """How many processes tokenise; None: this one. What is cached is taken as it was written."""
    for file in pairs.cache_files[:1]:
        folder = Path(file["filename"]).parent
        if (folder / f"cache-{fingerprint}.arrow").exists():
            return None
        for part in folder.glob(f"cache-{fingerprint}_00000_of_*.arrow"):
            return int(part.stem.rsplit("_", 1)[1])
    workers = min(cores(), len(pairs) // _ROWS_A_WORKER)
    return workers if workers > 1 else None


def _tokenize(
    batch: dict[str, list[str]], source: Tokenizer, target: Tokenizer
) -> dict[str, list[list[int]]]:
    return {
        "source_ids": source.encode_batch(batch["source"]),
        "target_ids": target.encode_batch(batch["target"]),
    }


def _filter(
    pairs: datasets.Dataset, source: np.ndarray, target: np.ndarray, filter: FilterConfig
) -> tuple[np.ndarray, dict[str, int]]:
    """Mask of the pairs to keep, and how many were dropped for each reason."""
    shorter, longer = np.minimum(source, target), np.maximum(source, target)
    reasons = {
        "empty": shorter == 0,
        "too_short": shorter < filter.min_length,
        "too_long": longer > filter.max_length,
    }
    if filter.max_length_ratio is not None:
        reasons["ratio"] = longer > filter.max_length_ratio * shorter
    keep = np.ones(len(source), dtype=bool)
    dropped = dict.fromkeys(("empty", "too_short", "too_long", "ratio", "duplicate"), 0)
    for reason, mask in reasons.items():
        dropped[reason] = int((keep & mask).sum())
        keep &= ~mask
    if filter.deduplicate:
        repeated = keep & _repeated(pairs, keep)
        dropped["duplicate"] = int(repeated.sum())
        keep &= ~repeated
    return keep, dropped


def _repeated(pairs: datasets.Dataset, among: np.ndarray) -> np.ndarray:
    """Mask of the pairs that stood before, in both texts, among those of the mask."""
    seen: set[bytes] = set()
    repeated = np.zeros(len(among), dtype=bool)
    rows = zip(_texts(pairs, "source"), _texts(pairs, "target"), strict=True)
    for i, pair in enumerate(rows):
        if not among[i]:
            continue
        key = hashlib.blake2b("\0".join(pair).encode(), digest_size=16).digest()
        repeated[i] = key in seen
        seen.add(key)
    return repeated


def _lengths(pairs: datasets.Dataset, column: str) -> np.ndarray:
    lengths = pyarrow.compute.list_value_length(pairs.data.column(column))
    return lengths.to_numpy().astype(np.int32)


def _texts(pairs: datasets.Dataset, column: str) -> Iterator[str]:
    for table in pairs.select_columns(column).with_format("arrow").iter(1000):
        yield from table.column(column).to_pylist()


def _load(key: str, path: str) -> Tokenizer:
    if not Path(path).is_file():
        raise UsageError(f"'tokenizer.{key}' is {path}: no such file; check the path")
    return Tokenizer.load(path)
