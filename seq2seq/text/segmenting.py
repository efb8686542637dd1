"""Lines of text as pieces or ids and back, for every kind of vocabulary.

A line of pieces has a space between two; a space inside a piece is U+2581, as SentencePiece writes
it. Pieces spell what the vocabulary lacks as it stands in the text, so that they can be joined
again; ids cannot. What comes back:

    .model          the text in Unicode NFC with single spaces, as a translation model reads it
    subwords        the text as it was
    characters      the text as it was
    bytes           the text as it was
    words           the words with single spaces, as the vocabulary parts and lowers them
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from seq2seq.errors import UsageError
from seq2seq.text.characters import SPACE_MARK, from_subwords, to_subwords
from seq2seq.text.decoders import Decoder, WordDecoder
from seq2seq.text.sentencepiece import Tokenizer
from seq2seq.text.vocabulary import UNITS_FILE, Characters, Units, Words, load_units

MODEL_FILES = ("tokenizer.model", "source.model", "target.model")  # in a saved translation model


class Segmenter(Protocol):
    """A vocabulary for lines."""

    def __len__(self) -> int: ...

    def pieces(self, line: str) -> list[str]:
        """Without spaces in any of them."""

    def ids(self, line: str) -> list[int]: ...

    def join_pieces(self, pieces: Sequence[str]) -> str: ...

    def join_ids(self, ids: Sequence[int]) -> str: ...


def load_segmenter(path: Path, side: str | None = None) -> Segmenter:
    """The vocabulary in a .model file, in a folder of ``tokenize train``, or in a saved model; of
    one with two vocabularies that of ``side``, "source" or "target".

    Raises UsageError where there is none, RunError for a damaged one.
    """
    if side is not None and (path.is_file() or (path / UNITS_FILE).exists()):
        raise UsageError(
            f"{path}: --side goes with a saved model of two vocabularies; this is one vocabulary"
        )
    if path.is_file():
        return _Sentences(Tokenizer.load(path))
    if (path / UNITS_FILE).exists():
        return _Units(load_units(path))
    found = [name for name in MODEL_FILES if (path / name).exists()]
    if len(found) > 1:
        if side is None:
            raise UsageError(f"{path}: has two tokenizers; choose one: --side source or target")
        found = [f"{side}.model"]
    if not found:
        raise UsageError(
            f"{path}: no vocabulary; expected a .model file, a folder that 'tokenize train' wrote, "
            "or a saved model"
        )
    return _Sentences(Tokenizer.load(path / found[0]))


class _Sentences:
    """A SentencePiece model of translation."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def __len__(self) -> int:
        return len(self._tokenizer)

    def pieces(self, line: str) -> list[str]:
        return self._tokenizer.encode_pieces(line)

    def ids(self, line: str) -> list[int]:
        return self._tokenizer.encode(line)

    def join_pieces(self, pieces: Sequence[str]) -> str:
        return self._tokenizer.decode_pieces(pieces)

    def join_ids(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids)


class _Units:
    """A vocabulary of text generation and captioning."""

    def __init__(self, units: Units) -> None:
        self._units = units
        self._ids = {units.piece(unit): unit for unit in reversed(range(len(units)))}

    def __len__(self) -> int:
        return len(self._units)

    def pieces(self, line: str) -> list[str]:
        if isinstance(self._units, Characters):
            return [_shown(character) for character in line]
        if isinstance(self._units, Words):
            return self._units.split(line)
        return [self._units.piece(unit) for unit in self._units.encode(line).tolist()]

    def ids(self, line: str) -> list[int]:
        return self._units.encode(line).tolist()

    def join_pieces(self, pieces: Sequence[str]) -> str:
        if isinstance(self._units, Characters):
            return from_subwords("".join(pieces).replace(SPACE_MARK, " "))
        if isinstance(self._units, Words):
            spelt = [piece.encode("utf-8", "replace") for piece in pieces]
            decoder: Decoder = WordDecoder(spelt, (), self._units.split_punctuation)
            return "".join(map(decoder.add, range(len(spelt))))
        unknown = [piece for piece in pieces if piece not in self._ids]
        if unknown:
            raise UsageError(f"piece {unknown[0]!r} is not in the vocabulary")
        return self.join_ids([self._ids[piece] for piece in pieces])

    def join_ids(self, ids: Sequence[int]) -> str:
        written = self._units.decoder()
        return "".join([written.add(unit) for unit in ids]) + written.finish()


def _shown(character: str) -> str:
    return SPACE_MARK if character == " " else to_subwords(character)


def check_ids(ids: Sequence[int], size: int) -> None:
    """Raises UsageError for a number that is no id."""
    for unit in ids:
        if not 0 <= unit < size:
            raise UsageError(f"id {unit}; the vocabulary has the ids 0 to {size - 1}")
