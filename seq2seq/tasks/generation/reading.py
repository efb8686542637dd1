"""Text files larger than memory, read in chunks that end where a line ends.

What comes out is the same as of the whole text: subwords and words do not span the end of a line,
and characters nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from seq2seq.tasks.generation.text import BLANK_LINES, decode
from seq2seq.text.files import check_is_text, open_binary

Texts = str | bytes
Event = tuple[Texts, bool]  # a stretch of a document; whether the document ends with it

CHUNK = 1 << 22  # bytes read at once
_LONGEST_LINE = 1 << 26  # bytes; a longer line is cut, so that memory stays bounded


def chunks(path: Path, raw: bool) -> Iterator[Texts]:
    """A file (.gz too) piece by piece, as ``text.read`` gives it whole; the same errors."""
    rest, offset, lines = b"", 0, 0
    with open_binary(path) as stream:
        while block := stream.read(CHUNK):
            if not (offset or rest or raw):
                check_is_text(block[:256], str(path))
            rest += block
            cut = rest.rfind(b"\n") + 1
            if not cut and len(rest) >= _LONGEST_LINE:
                cut = _between_characters(rest)
            if cut:
                yield _text(rest[:cut], path, raw, offset, lines)
                offset, lines, rest = offset + cut, lines + rest.count(b"\n", 0, cut), rest[cut:]
    if rest:
        yield _text(rest, path, raw, offset, lines)


def _text(content: bytes, path: Path, raw: bool, offset: int, lines: int) -> Texts:
    return content if raw else decode(content, str(path), offset=offset, lines=lines)


def _between_characters(content: bytes) -> int:
    """Where UTF-8 can be cut, near its end."""
    cut = len(content) - 1
    while cut and content[cut] & 0xC0 == 0x80:
        cut -= 1
    return cut


def events(paths: Sequence[Path], kind: str, raw: bool) -> Iterator[Event]:
    """The documents of files (see TextConfig) in stretches; empty ones are left out."""
    if kind == "none":
        yield from ((text, False) for text in _joined(chunks(p, raw) for p in paths))
        yield (b"" if raw else ""), True
        return
    for path in paths:
        if kind == "file":
            yield from ((text, False) for text in chunks(path, raw))
            yield (b"" if raw else ""), True
        elif kind == "line":
            for text in chunks(path, raw):
                yield from ((line, True) for line in _lines(text) if line)
        else:
            yield from ((document, True) for document in _paragraphs(chunks(path, raw)) if document)


def _joined(files: Iterable[Iterator[Texts]]) -> Iterator[Texts]:
    """One text of several, whose lines may go on from one to the next."""
    rest: Texts | None = None
    for file in files:
        for text in file:
            whole = text if rest is None else rest + text  # type: ignore[operator]  # of one kind
            rest = None
            end = b"\n" if isinstance(whole, bytes) else "\n"
            if whole[-1:] == end or len(whole) >= _LONGEST_LINE // 4:
                yield whole
            else:
                rest = whole
    if rest:
        yield rest


def _lines(text: Texts) -> Sequence[Texts]:
    if isinstance(text, bytes):
        return [line.removesuffix(b"\r") for line in text.split(b"\n")]
    return text.split("\n")


def _paragraphs(texts: Iterator[Texts]) -> Iterator[Texts]:
    """What stands between blank lines. Those at the end of a chunk may go on in the next."""
    rest: Texts | None = None
    for text in texts:
        whole = text if rest is None else rest + text  # type: ignore[operator]  # of one kind
        ends = [m.span() for m in _blank(whole).finditer(whole) if m.end() < len(whole)]
        start = 0
        for first, last in ends:
            yield whole[start:first]
            start = last
        rest = whole[start:]
    if rest is not None:
        yield from _blank(rest).split(rest)


def _blank(text: Texts) -> re.Pattern:
    return BLANK_LINES if isinstance(text, str) else re.compile(BLANK_LINES.pattern.encode())


def cut(
    events: Iterable[Event], ranges: Sequence[tuple[int, float]]
) -> Iterator[tuple[int, Event]]:
    """The parts of a text that lie in ``ranges``, ascending, in characters of its documents: the
    number of the range with each stretch. A document that goes on past a range ends there."""
    at, number, begun = 0, 0, False
    for text, ends in events:
        while text:
            if number == len(ranges):
                return
            start, stop = ranges[number]
            if at < start:
                left_out = int(min(len(text), start - at))
                text, at = text[left_out:], at + left_out
                continue
            taken = text if stop - at >= len(text) else text[: int(stop - at)]
            text, at, begun = text[len(taken) :], at + len(taken), True
            yield number, (taken, False)
            if at == stop and (text or not ends):
                yield number, (taken[:0], True)
                number, begun = number + 1, False
        if ends and begun:
            yield number, (text, True)
            begun = False
            number += at == ranges[number][1]
