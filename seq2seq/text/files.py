"""Text files: lines of UTF-8, plain or gzipped."""

from __future__ import annotations

import contextlib
import gzip
import io
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from seq2seq.errors import UsageError


def read_lines(path: str | Path) -> list[str]:
    """Lines of a UTF-8 text file (.gz too), split at newlines only, without them.

    A carriage return at the end of a line goes with the newline; NUL becomes a space.
    Raises UsageError for a missing, empty or damaged file and for invalid UTF-8.
    """
    with open_binary(path) as stream:
        lines = list(decode_lines(stream, str(path)))
    if not lines:
        raise UsageError(f"{path}: the file is empty; expected at least one line of text")
    return lines


def decode_lines(stream: Iterable[bytes], name: str) -> Iterator[str]:
    """Text of each line of a binary stream (a file, standard input), as ``read_lines`` does.

    Raises UsageError with name, line and byte offset for invalid UTF-8.
    """
    start = 0
    for number, line in enumerate(stream, 1):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{name}, line {number}: not valid UTF-8: byte 0x{line[error.start]:02x} at offset "
                f"{start + error.start} of the file; convert it with: iconv -f latin1 -t utf-8"
            ) from None
        if number == 1:
            text = text.removeprefix("\N{BYTE ORDER MARK}")
        start += len(line)
        yield text.removesuffix("\n").removesuffix("\r").replace("\0", " ")


@contextlib.contextmanager
def open_binary(path: str | Path) -> Iterator[io.BufferedIOBase]:
    """Binary stream of a file, unpacked when its name ends in .gz."""
    try:
        with gzip.open(path) if str(path).endswith(".gz") else open(path, "rb") as stream:
            yield stream
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UsageError(f"{path}: not a whole gzip file: {error}") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from None


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
