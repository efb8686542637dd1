"""Text files: lines of UTF-8, plain or packed (.gz, .xz)."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import lzma
import os
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from seq2seq.config.paths import STANDARD_INPUT, normal_path
from seq2seq.errors import UsageError


def read_lines(path: str | Path) -> list[str]:
    """Lines of a UTF-8 text file (.gz, .xz too), split at newlines only, without them.

    A carriage return at the end of a line goes with the newline; NUL becomes a space.
    Raises UsageError for a missing, empty or damaged file and for invalid UTF-8.
    """
    with open_binary(path) as stream:
        lines = list(decode_lines(stream, str(path)))
    if not lines:
        raise UsageError(f"{path}: the file is empty; expected at least one line of text")
    return lines


def encoding_of(head: bytes) -> str:
    """What a text that is not UTF-8 is most likely written in, by its first bytes, as iconv calls
    it."""
    if head.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    head = head[:64]
    if len(head) >= 8 and not any(head[1::2]):
        return "utf-16le"
    if len(head) >= 8 and not any(head[: len(head) & ~1 : 2]):
        return "utf-16be"
    return "latin1"


_PACKED = {
    b"\x1f\x8b": "zcat",
    b"\xfd7zXZ": "xzcat",
    b"BZh9": "bzcat",
    b"\x28\xb5\x2f\xfd": "zstdcat",
}


def check_is_text(head: bytes, name: str) -> None:
    """Raises UsageError where ``head``, the beginning of a text, is UTF-16 or UTF-32. Without a
    mark at its beginning it would pass for UTF-8 with a NUL after every letter. Also where it is
    packed, and no name said so: in a pipe, or a file without .gz."""
    for beginning, unpack in _PACKED.items():
        if head.startswith(beginning):
            raise UsageError(f"{name}: packed, not text; unpack it first: {unpack} FILE | ...")
    kind = encoding_of(head)
    if kind != "latin1" and any(head):
        raise UsageError(
            f"{name}: {kind.upper()} text, not UTF-8; convert it with: iconv -f {kind} -t utf-8"
        )


def check_unicode(text: str, where: str) -> None:
    """Raises UsageError for half of a surrogate pair, which JSON can spell and no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = ascii(text[error.start])
        raise UsageError(f"{where} holds {half}, half a character; expected Unicode") from None


def csv_rows(lines: Iterable[str]) -> Any:
    """A ``csv.reader`` of lines without their ends, whose fields may be of any length."""
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
    return csv.reader((line + "\n" for line in lines), strict=True)


_LONGEST_FIELD = 2**31 - 1  # what every platform's C long holds; csv alone stops at 131,072


def decode_lines(stream: Iterable[bytes], name: str) -> Iterator[str]:
    """Text of each line of a binary stream (a file, standard input), as ``read_lines`` does.

    Raises UsageError with name, line and byte offset for invalid UTF-8.
    """
    start = 0
    head = b""
    for number, line in enumerate(stream, 1):
        if number == 1:
            head = line
            check_is_text(head, name)
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{name}, line {number}: not valid UTF-8: byte 0x{line[error.start]:02x} at offset "
                f"{start + error.start} of the file; convert it with: iconv -f "
                f"{encoding_of(head)} -t utf-8"
            ) from None
        if number == 1:
            text = text.removeprefix("\N{BYTE ORDER MARK}")
        start += len(line)
        yield text.removesuffix("\n").removesuffix("\r").replace("\0", " ")


@contextlib.contextmanager
def open_binary(path: str | Path) -> Iterator[io.BufferedIOBase]:
    """Binary stream of a file, unpacked when its name ends in .gz or .xz."""
    path = normal_path(str(path))
    try:
        with open_packed(path) as stream:
            yield stream
    except PACKED_ERRORS as error:
        raise UsageError(not_whole(path, error)) from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from None


def is_stream(path: str | Path) -> bool:
    """Whether a path is standard input, a pipe or a terminal: its name says nothing about what it
    holds, and it can be read once only."""
    path = str(path)
    if path.startswith(_STREAMS):  # also of a file: /dev/stdin < table.csv
        return True
    return os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))


_STREAMS = (STANDARD_INPUT, "/dev/fd/", "/proc/self/fd/")
PACKED_ERRORS = (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError)


def not_whole(path: str, error: Exception) -> str:
    """What to say of one of PACKED_ERRORS."""
    return f"{path}: not a whole {'xz' if path.endswith('.xz') else 'gzip'} file: {error}"


def open_packed(path: str) -> io.BufferedIOBase:
    if path == STANDARD_INPUT:
        # opened by its name, a file begins anew, and a socket or another user's pipe cannot be read
        return open(os.dup(0), "rb")
    if path.endswith(".gz"):
        return gzip.open(path)
    return lzma.open(path) if path.endswith(".xz") else open(path, "rb")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Progress bars of the datasets library only where somebody watches them."""
    import datasets

    if sys.stderr.isatty() or not datasets.is_progress_bar_enabled():
        yield
        return
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.enable_progress_bars()


def os_error_in(error: BaseException) -> OSError | None:
    """The error of the system that led to another one; None without any. `datasets` answers a full
    disk with "I/O operation on closed file", since it writes once more while it tidies up."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, OSError):
        inner = inner.__cause__ or inner.__context__
    return inner
