"""The files and streams that commands read and write."""

from __future__ import annotations

import codecs
import contextlib
import io
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, TextIO

from seq2seq.errors import UsageError


@contextlib.contextmanager
def progress(
    total: int | None, shown: bool, asked: bool = False
) -> Iterator[Callable[[int], object]]:
    """A progress bar with the rate where somebody watches; gives what is called with the lines just
    done. ``asked``: where nobody watches, a line every 10 s and at the end."""
    from tqdm import tqdm

    if asked and not sys.stderr.isatty():
        with _spoken(total) as advance:
            yield advance
        return
    quiet = not (shown and sys.stderr.isatty())
    with tqdm(total=total, unit=" lines", dynamic_ncols=True, disable=quiet) as bar:
        yield bar.update


@contextlib.contextmanager
def _spoken(total: int | None) -> Iterator[Callable[[int], object]]:
    started = spoken = time.monotonic()
    done = 0

    def speak() -> None:
        rate = done / max(time.monotonic() - started, 1e-9)
        of = "" if total is None else f" of {total:,}"
        print(f"seq2seq: {done:,}{of} lines, {rate:.1f} lines/s", file=sys.stderr, flush=True)

    def advance(lines: int) -> None:
        nonlocal done, spoken
        done += lines
        if time.monotonic() - spoken >= 10:
            spoken = time.monotonic()
            speak()

    yield advance
    speak()


def chunks(stream: Iterable[bytes], name: str, size: int) -> Iterator[tuple[int, list[str]]]:
    """(number of the first line, texts) for up to ``size`` lines at a time."""
    texts: list[str] = []
    number = 0
    for number, line in enumerate(stream, start=1):
        texts.append(_decode(line, name, number))
        if len(texts) == size:
            yield number - size + 1, texts
            texts = []
    if texts:
        yield number - len(texts) + 1, texts


def _decode(line: bytes, name: str, number: int) -> str:
    if number == 1:
        from seq2seq.text.files import check_is_text

        check_is_text(line[:256], name)
        line = line.removeprefix(b"\xef\xbb\xbf")
    line = line.removesuffix(b"\n").removesuffix(b"\r")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        logging.getLogger("seq2seq").warning(
            "%s, line %d: not UTF-8 (byte 0x%02x at column %d); what cannot be read is replaced",
            name,
            number,
            line[error.start],
            error.start + 1,
        )
        return line.decode("utf-8", "replace")


def check_input(path: str | None, option: str = "") -> None:
    """Raises UsageError where there is no such file; /dev/stdin and pipes are files, too."""
    if path and (not os.path.exists(path) or os.path.isdir(path)):
        raise UsageError(f"{option and option + ' '}{path}: no such file")


@contextlib.contextmanager
def open_input(path: str | None) -> Iterator[IO[bytes] | io.BufferedIOBase]:
    """A file, unpacked where its name ends in .gz or .xz, or standard input. Raises UsageError for
    a damaged one."""
    if path is None:
        yield sys.stdin.buffer
        return
    from seq2seq.text.files import PACKED_ERRORS, not_whole, open_packed

    try:
        with open_packed(path) as stream:
            yield stream
    except PACKED_ERRORS as error:
        raise UsageError(not_whole(path, error)) from None


@contextlib.contextmanager
def open_output(path: str | None) -> Iterator[IO[bytes]]:
    if path is None:
        yield sys.stdout.buffer
        return
    try:  # an error in the caller's body is not ours
        stream: Any = packer_of(path)(path, "wb")
    except OSError as error:
        raise UsageError(f"--output {path}: cannot be written ({error.strerror})") from None
    with stream:
        yield stream


def packer_of(path: str) -> Callable[..., Any]:
    """What opens a file to be written: as its name says, .gz and .xz are packed."""
    if path.endswith(".gz"):
        import gzip

        return gzip.open
    if path.endswith(".xz"):
        import lzma

        return lzma.open
    return open


def write_utf8(stream: TextIO) -> None:
    """Have a stream of text write UTF-8 whatever the terminal or the locale says, as ``translate``
    does. Names of files that are no UTF-8 are written as the bytes they are; of other lone
    surrogates, which are no characters, nothing is left but a question mark."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="utf-8", errors=_BYTES_OR_MARK)


_BYTES_OR_MARK = "seq2seq.bytes_or_mark"


def _bytes_or_mark(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    kept = (bytes([ord(c) - 0xDC00]) if "\udc80" <= c <= "\udcff" else b"?" for c in found)
    return b"".join(kept), error.end


codecs.register_error(_BYTES_OR_MARK, _bytes_or_mark)


def open_text_output(path: str) -> TextIO:
    """A file of text that is written as standard output is."""
    try:
        stream: TextIO = packer_of(path)(path, "wt", encoding="utf-8", errors=_BYTES_OR_MARK)
        return stream
    except OSError as error:
        raise UsageError(f"--output {path}: cannot be written ({error.strerror})") from None


def same_file(one: str | None, other: str | None) -> bool:
    if not one or not other:
        return False
    with contextlib.suppress(OSError):
        return os.path.samefile(one, other)
    return False
