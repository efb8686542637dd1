"""Plain text from files or the hub, as documents; cut into training and validation text."""

from __future__ import annotations

import glob
import gzip
import mmap
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from seq2seq.errors import RunError, UsageError
from seq2seq.public_data import missing_hint
from seq2seq.tasks.generation.config import TextConfig
from seq2seq.text.files import check_is_text
from seq2seq.text.vocabulary import END, Units

LARGE = 1 << 26  # bytes; a text of more is not read into memory, see ``mapped``
BLANK_LINES = re.compile(r"\n(?:[ \t\r]*\n)+")


# by the code of an ASCII character: whether it parts words, in str and in bytes
_SPACES = tuple(
    np.array([not kind(code).strip() for code in range(128)])
    for kind in (chr, lambda code: bytes([code]))
)


@dataclass
class Text:
    """Pieces of text that do not continue one another; each is one or more documents.

    ``pieces`` are str, or bytes where the units are bytes.
    """

    pieces: Sequence[Sequence[str | bytes]]

    def documents(self) -> Iterator[str | bytes]:
        for piece in self.pieces:
            yield from piece


@dataclass
class Corpus:
    """A text as ids, and what its losses are counted by."""

    pieces: list[np.ndarray]  # (N,) int32 each; state begins anew at each
    documents: bool  # ids END part documents, at which the state begins anew, too
    characters: int  # of the text; the end of a document, ``documents``, counts as one
    words: int  # between white space, the end of a line or of a document counting as one
    whole: np.ndarray | None = None  # all pieces in one array, where they stand in one file
    mapped: mmap.mmap | None = None  # that file

    def release(self) -> None:
        """Pages of the file that were read need not stay in this process's memory."""
        if self.mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            self.mapped.madvise(mmap.MADV_DONTNEED)

    @property
    def tokens(self) -> int:
        return sum(len(piece) for piece in self.pieces)


Split = Literal["train", "validation", "test"]


def load_text(config: TextConfig, split: Split, raw: bool) -> Text:
    """The text of one split; ``raw``: as bytes, not decoded.

    Text is UTF-8; a byte order mark is dropped, line ends become "\\n".

    Raises UsageError for a split that is not configured, a missing or empty file, and bytes that
    are no UTF-8, whose place it names.
    """
    location = _location(config, split)
    if config.hub:
        files = [_load_hub(config, location, raw)]
    else:
        files = [read(path, raw) for path in paths_of(location, split)]
    return as_documents(files, config.documents, f"'data.{split}': {location}")


def large_files(config: TextConfig, split: Split) -> list[Path] | None:
    """The files of one split, where they are too large to be read into memory."""
    if config.hub:
        return None
    paths = paths_of(_location(config, split), split)
    sizes = (path.stat().st_size * (4 if path.suffix == ".gz" else 1) for path in paths)
    return paths if sum(sizes) > LARGE else None


def _location(config: TextConfig, split: Split) -> str:
    location = getattr(config, split)
    if location is None:
        raise UsageError(
            f"'data.{split}' is not set; give it the path of a text file (or, with 'data.hub', a "
            "split)"
        )
    return location


def as_documents(files: Sequence[str | bytes], kind: str, name: str) -> Text:
    """What files hold as documents (see TextConfig); UsageError where they hold no text."""
    documents = [d for text in files for d in _documents(text, kind)]
    if kind == "none":
        documents = [_joined(documents)]
    documents = [document for document in documents if document]
    if not any(document.strip() for document in documents):
        raise UsageError(f"{name} holds no text")
    return Text([documents])


def split_text(text: Text, share: float, streams: int) -> tuple[Text, Text]:
    """(training, validation): of each of ``streams`` equal parts of the text, the last ``share``
    is validation. With several documents and one stream, whole documents at the end."""
    (documents,) = text.pieces
    if streams == 1 and len(documents) > 1:
        total, before, cut = sum(map(len, documents)), 0, len(documents) - 1
        for number, document in enumerate(documents):
            if number and before + len(document) / 2 >= total * (1 - share):
                cut = number
                break
            before += len(document)
        return Text([documents[:cut]]), Text([documents[cut:]])
    if len(documents) > 1:
        raise UsageError(
            f"'data.validation_streams' is {streams}: that is for a text without documents; set "
            "'data.documents: none' or 'data.validation_streams: 1'"
        )
    (whole,) = documents
    size = len(whole) // streams
    train, validation = [], []
    for n in range(streams):
        part = whole[n * size : (n + 1) * size if n + 1 < streams else len(whole)]
        cut = int(len(part) * (1 - share))
        train.append([part[:cut]])
        validation.append([part[cut:]])
    if not all(piece[0] for piece in (*train, *validation)):
        raise UsageError(
            f"the training text is too short ({len(whole)} characters) to part "
            f"{share:g} of each of {streams} streams from it; set 'data.validation' to a file, or "
            "'data.validation_share: 0'"
        )
    return Text(train), Text(validation)


def encode_text(text: Text, units: Units, documents: bool, backward: bool = False) -> Corpus:
    """Ids of a text, ``backward`` from its end; with ``documents`` END before, between and after
    them."""
    pieces = []
    characters = sum(map(characters_of, text.documents()))
    words = sum(map(count_words, text.documents()))
    for piece in text.pieces:
        parts = [units.encode(document) for document in piece]
        if documents:
            end = np.array([END], np.int32)
            parts = [end, *(part for ids in parts for part in (ids, end))]
        ids = np.concatenate(parts)
        pieces.append(ids[::-1].copy() if backward else ids)
        if documents:  # the end of each is predicted, too
            characters, words = characters + len(piece), words + len(piece)
        else:  # nothing stands before the first unit, which is not scored
            characters -= unscored_characters(int(pieces[-1][0]), units)
            words -= units.kind == "words"
    return Corpus(pieces, documents, characters, words)


def unscored_characters(first: int, units: Units) -> int:
    """How many characters the first unit of a piece writes, with nothing before it; at least 1."""
    return len(units.decoder().add(first).strip("\ufffd")) or 1


def count_words(text: str | bytes) -> int:
    """Words between white space, and line ends: how Penn Treebank and WikiText-2 are counted."""
    ends = text.count(b"\n") if isinstance(text, bytes) else text.count("\n")
    if len(text) < 1 << 16 or not text.isascii():
        return len(text.split()) + ends
    codes = np.frombuffer(text if isinstance(text, bytes) else text.encode(), np.uint8)
    spaces = _SPACES[isinstance(text, bytes)][codes]
    begins = int((spaces[:-1] & ~spaces[1:]).sum()) + (not spaces[0])  # in a third of the time
    return begins + ends


def characters_of(text: str | bytes) -> int:
    """Number of characters; of UTF-8 bytes, those that do not continue a character."""
    if isinstance(text, str):
        return len(text)
    return int(((np.frombuffer(text, np.uint8) & 0xC0) != 0x80).sum())


def _joined(documents: Sequence[str | bytes]) -> str | bytes:
    """One text of parts that are all str, or all bytes."""
    if documents and isinstance(documents[0], bytes):
        return b"".join(documents)  # type: ignore[arg-type]  # the others are bytes, too
    return "".join(documents)  # type: ignore[arg-type]  # all are str


def _documents(text: str | bytes, kind: str) -> Sequence[str | bytes]:
    if kind in ("none", "file"):
        return [text]
    if kind == "line":  # no other character ends one, as in ``seq2seq score``
        if isinstance(text, bytes):
            return [line.removesuffix(b"\r") for line in text.split(b"\n")]
        return text.split("\n")
    if isinstance(text, bytes):
        return re.split(BLANK_LINES.pattern.encode(), text)
    return BLANK_LINES.split(text)


def paths_of(location: str, split: str) -> list[Path]:
    path = Path(location)
    if path.is_file():
        return [path]
    if path.is_dir():
        raise UsageError(
            f"'data.{split}': {location} is a folder; expected a file, or a pattern such as "
            f"{location}/*.txt"
        )
    matches = sorted(Path(name) for name in glob.glob(location, recursive=True))
    matches = [path for path in matches if path.is_file()]
    if not matches:
        raise UsageError(f"'data.{split}': {location}: no such file{missing_hint(location)}")
    return matches


_AS_BYTES = ", or read it as it is with 'units.kind: bytes'"


def read(path: Path, raw: bool, hint: str = _AS_BYTES) -> str | bytes:
    """A file's text, or its bytes where ``raw``; UsageError where it cannot be read; ``hint``: see
    ``decode``."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UsageError(f"{path}: not a whole gzip file ({error})") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    return content if raw else decode(content, str(path), hint)


def decode(
    content: bytes,
    name: str,
    hint: str = _AS_BYTES,
    offset: int = 0,
    lines: int = 0,
) -> str:
    """UTF-8 text with "\\n" line ends; raises UsageError that names the first invalid byte,
    and ends in ``hint``. ``content`` begins after so many bytes and lines of the text."""
    mark = b"\xef\xbb\xbf" if not offset and content.startswith(b"\xef\xbb\xbf") else b""
    if not offset:
        check_is_text(content[:256], name)
    try:
        text = content[len(mark) :].decode("utf-8")
    except UnicodeDecodeError as error:
        at = error.start + len(mark)
        line = lines + content[:at].count(b"\n") + 1
        raise UsageError(
            f"{name}: not UTF-8 text (byte offset {offset + at}, line {line}: "
            f"0x{content[at]:02x}); convert it{hint}"
        ) from None
    return text.replace("\r\n", "\n")


def open_hub(config: TextConfig, split: str, streaming: bool) -> Any:
    """A split of a dataset that has the column that is asked for."""
    import datasets

    from seq2seq.text.files import quiet

    try:
        with quiet():
            table = datasets.load_dataset(
                config.hub, config.hub_config, split=split, streaming=streaming
            )
    except (datasets.exceptions.DatasetNotFoundError, ValueError) as error:
        raise UsageError(f"dataset {config.hub}: {str(error).splitlines()[0]}") from None
    except OSError as error:
        raise RunError(f"dataset {config.hub}: cannot be fetched ({error})") from None
    if table.column_names is None:  # of some streams they are known when a row is read
        table = table._resolve_features()
    if config.column not in table.column_names:
        raise UsageError(
            f"dataset {config.hub}: no column '{config.column}'; it has: "
            f"{', '.join(table.column_names)}; set 'data.column'"
        )
    return table


def _load_hub(config: TextConfig, split: str, raw: bool) -> str | bytes:
    table = open_hub(config, split, streaming=False)
    rows = (row or "" for row in table[config.column])
    text = "".join(row if row.endswith("\n") else row + "\n" for row in rows)
    return text.encode("utf-8", "surrogatepass") if raw else text
