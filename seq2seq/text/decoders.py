"""From ids of units back to text, one id at a time."""

from __future__ import annotations

import codecs
from collections.abc import Collection, Sequence

from seq2seq.text.characters import from_subwords
from seq2seq.text.words import CLOSING, OPENING


class Decoder:
    """Ids in, text out as soon as it is whole; bytes that are no UTF-8 become U+FFFD."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = pieces
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, unit: int) -> str:
        return self._utf8.decode(self.pieces[unit])

    def finish(self) -> str:
        """The bytes still held back: the beginning of a character that was never completed."""
        return self._utf8.decode(b"", final=True)


class WordDecoder(Decoder):
    """Spaces between words, none beside ``breaks`` (ends of lines and documents), nor in ``split``
    text before marks that follow a word and after marks that open."""

    def __init__(self, pieces: Sequence[bytes], breaks: Collection[int], split: bool) -> None:
        super().__init__(pieces)
        self._breaks, self._split = breaks, split
        self._before: int | None = None

    def add(self, unit: int) -> str:
        before, self._before = self._before, unit
        text = super().add(unit)
        if before is None or before in self._breaks or unit in self._breaks:
            return text
        if self._split and (self.pieces[unit] in CLOSING or self.pieces[before] in OPENING):
            return text
        return " " + text


class SubwordDecoder(Decoder):
    """Gives U+2581 back, which SentencePiece was given as another character."""

    def add(self, unit: int) -> str:
        return from_subwords(super().add(unit))

    def finish(self) -> str:
        return from_subwords(super().finish())
