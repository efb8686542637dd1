"""Vocabularies of units: the characters, bytes, subwords or words that a model reads and writes.

Ids 0 and 1 are ``<unk>``, for what the vocabulary lacks, and ``<end>``, the end of a document.
Every kind turns ids back into bytes piece by piece, so that text can be written while it is
generated: a character may be spread over several pieces.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from seq2seq.config.vocabulary import VocabularyConfig
from seq2seq.errors import RunError, UsageError
from seq2seq.json_files import read_json
from seq2seq.text.characters import SPACE_MARK, to_subwords
from seq2seq.text.decoders import Decoder, SubwordDecoder, WordDecoder
from seq2seq.text.sample import sample
from seq2seq.text.words import LINE_END, split_words

UNK, END = 0, 1
SPECIALS = ("<unk>", "<end>")

UNITS_FILE, SUBWORDS_FILE = "units.json", "subwords.model"
UNIT_FILES = (UNITS_FILE, SUBWORDS_FILE)
_STYLE = ("lowercase", "split_punctuation", "combining")  # of words; what a file lacks is false


class Units(Protocol):
    """A vocabulary and the way from text to its ids and back."""

    kind: str
    ignored: set[int]  # never to be generated
    knows_unknown: bool  # <unk> stood in the training text, so that the model knows it

    def __len__(self) -> int: ...

    def encode(self, text: str | bytes) -> np.ndarray:
        """Ids of ``text``, (N,) int32."""

    def unknown(self, text: str) -> list[str]:
        """The parts of ``text`` that become <unk>, each once, in order."""

    def decoder(self) -> Decoder:
        """A decoder from ids to text, one id at a time."""

    def piece(self, unit: int) -> str:
        """The unit as text for people to read."""

    def files(self) -> dict[str, bytes]:
        """The files that ``load_units`` reads, by name."""


class Characters:
    """One id for each character of the training text."""

    kind = "characters"

    def __init__(self, characters: Sequence[str], knows_unknown: bool) -> None:
        self.characters, self.knows_unknown = list(characters), knows_unknown
        self.ignored = {UNK}
        self._pieces = [b"\xef\xbf\xbd", b"", *(c.encode("utf-8") for c in self.characters)]
        codes = np.array([ord(c) for c in self.characters], dtype=np.uint32)
        self._ids = np.full(int(codes.max(initial=0)) + 2, UNK, np.int32)  # by code; last: all else
        self._ids[codes] = np.arange(len(codes), dtype=np.int32) + len(SPECIALS)

    @classmethod
    def train(cls, texts: Iterable[str], config: VocabularyConfig) -> Characters:
        counts: Counter[str] = Counter()
        for text in texts:
            pairs = zip(*(part.tolist() for part in _counted(_codes(text))), strict=True)
            counts.update({chr(c): n for c, n in pairs})
        kept = _frequent(counts, config)
        return cls(sorted(kept), knows_unknown=len(kept) < len(counts))

    def __len__(self) -> int:
        return len(self._pieces)

    def encode(self, text: str | bytes) -> np.ndarray:
        codes = _codes(_text(text))
        return self._ids[np.minimum(codes, np.uint32(len(self._ids) - 1))]

    def unknown(self, text: str) -> list[str]:
        known = set(self.characters)
        return [c for c in dict.fromkeys(text) if c not in known]

    def decoder(self) -> Decoder:
        return Decoder(self._pieces)

    def piece(self, unit: int) -> str:
        known = len(SPECIALS)
        return SPECIALS[unit] if unit < known else self.characters[unit - known]

    def files(self) -> dict[str, bytes]:
        values = {"kind": self.kind, "characters": "".join(self.characters)}
        return {UNITS_FILE: _json({**values, "knows_unknown": self.knows_unknown})}


class Bytes:
    """The 256 bytes: any text, any file, nothing unknown."""

    kind = "bytes"
    knows_unknown = False
    _pieces = (b"", b"", *(bytes([byte]) for byte in range(256)))

    def __init__(self) -> None:
        self.ignored = {UNK}

    def __len__(self) -> int:
        return len(self._pieces)

    def encode(self, text: str | bytes) -> np.ndarray:
        raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        return np.frombuffer(raw, np.uint8).astype(np.int32) + len(SPECIALS)

    def unknown(self, text: str) -> list[str]:
        return []

    def decoder(self) -> Decoder:
        return Decoder(self._pieces)

    def piece(self, unit: int) -> str:
        return SPECIALS[unit] if unit < len(SPECIALS) else f"<0x{unit - len(SPECIALS):02X}>"

    def files(self) -> dict[str, bytes]:
        return {UNITS_FILE: _json({"kind": self.kind})}


class Words:
    """The words of a text as ``split_words`` parts it; each line's end is a word, too."""

    kind = "words"
    knows_unknown = True

    def __init__(
        self,
        words: Sequence[str],
        lowercase: bool = False,
        split_punctuation: bool = False,
        combining: bool = True,
    ) -> None:
        self.words = list(words)
        self.lowercase, self.split_punctuation = lowercase, split_punctuation
        self.combining = combining  # words hold their combining marks: not so in old files
        self.ignored = {UNK}
        self._ids = {word: n for n, word in enumerate(self.words, start=len(SPECIALS))}
        self._ids[SPECIALS[UNK]] = UNK  # as it stands in Penn Treebank and WikiText-2
        pieces = [b"<unk>", b"", *(word.encode("utf-8", "replace") for word in self.words)]
        self.line_end = self._ids[LINE_END]
        pieces[self.line_end] = b"\n"
        self._pieces = pieces

    @classmethod
    def train(cls, texts: Iterable[str], config: VocabularyConfig) -> Words:
        counts: Counter[str] = Counter()
        style = (config.lowercase, config.split_punctuation)
        for text in texts:
            counts.update(split_words(text, *style))
        counts.pop(SPECIALS[UNK], None)
        counts.pop(LINE_END, None)
        return cls([LINE_END, *_frequent(counts, config)], *style)

    def split(self, text: str) -> list[str]:
        """The words of a text, known or not."""
        return split_words(text, self.lowercase, self.split_punctuation, self.combining)

    def extended(self, words: Iterable[str]) -> Words:
        """The same ids, and after them one for each of ``words`` that has none: words without
        training text, whose vectors come from a file."""
        new = dict.fromkeys(w for w in words if w not in self._ids and w.split() == [w])
        return Words([*self.words, *new], self.lowercase, self.split_punctuation, self.combining)

    def __len__(self) -> int:
        return len(self._pieces)

    def encode(self, text: str | bytes) -> np.ndarray:
        words = self.split(_text(text))
        return np.fromiter((self._ids.get(w, UNK) for w in words), np.int32)

    def unknown(self, text: str) -> list[str]:
        return [w for w in dict.fromkeys(self.split(text)) if w not in self._ids]

    def decoder(self) -> Decoder:
        return WordDecoder(self._pieces, {self.line_end, END}, self.split_punctuation)

    def piece(self, unit: int) -> str:
        return SPECIALS[unit] if unit < len(SPECIALS) else self.words[unit - len(SPECIALS)]

    def files(self) -> dict[str, bytes]:
        values: dict[str, object] = {"kind": self.kind, "words": self.words}
        style = {name: getattr(self, name) for name in _STYLE}
        return {UNITS_FILE: _json(values | {name: True for name, on in style.items() if on})}


class Subwords:
    """SentencePiece subwords (Kudo & Richardson 2018) that keep every space and line break;
    characters that the vocabulary lacks are spelled in bytes."""

    kind = "subwords"
    knows_unknown = False

    def __init__(self, model: bytes, name: str = SUBWORDS_FILE) -> None:
        from seq2seq.text.sentencepiece import processor_of

        processor = processor_of(model)
        if processor is None:
            raise RunError(
                f"units {name}: not a SentencePiece model, or a truncated one ({len(model)} "
                "bytes); copy it again"
            )
        self.model, self._model = model, processor
        size = self._model.get_piece_size()
        special = (self._model.is_control, self._model.is_unknown, self._model.is_unused)
        self.ignored = {i for i in range(size) if i != END and any(test(i) for test in special)}
        self._pieces = [self._bytes(i) for i in range(size)]

    @classmethod
    def train(cls, texts: Iterable[str], config: VocabularyConfig) -> Subwords:
        import sentencepiece

        from seq2seq.text.sentencepiece import MAX_LINE, training_error

        model = io.BytesIO()
        every = (line for text in texts for line in text.split("\n") if line)
        lines = map(to_subwords, sample(every, config.sample_sentences))
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=lines,
                model_writer=model,
                model_type=config.subwords,
                vocab_size=config.vocab_size,
                character_coverage=1.0,
                byte_fallback=True,
                normalization_rule_name="identity",
                remove_extra_whitespaces=False,
                add_dummy_prefix=False,
                user_defined_symbols=["\n"],
                unk_id=UNK,
                eos_id=END,
                eos_piece=SPECIALS[END],
                bos_id=-1,
                pad_id=-1,
                # Sums of several threads depend on who comes first; one thread repeats itself.
                num_threads=1,
                max_sentence_length=MAX_LINE,
                minloglevel=2,
            )
        except RuntimeError as error:
            least = len(SPECIALS) + 1 + 256  # the line's end, and the bytes
            raise training_error(
                str(error), "units", config.vocab_size, least, "'units.kind: characters'"
            ) from error
        return cls(model.getvalue())

    def _bytes(self, unit: int) -> bytes:
        if unit in self.ignored or unit == END:
            return b""
        piece = self._model.id_to_piece(unit)
        if self._model.is_byte(unit):
            return bytes([int(piece[3:5], 16)])
        return piece.replace(SPACE_MARK, " ").encode("utf-8")

    def __len__(self) -> int:
        return len(self._pieces)

    def encode(self, text: str | bytes) -> np.ndarray:
        """Line by line: SentencePiece's time and memory grow with the length of what it is given,
        and no subword spans a line's end."""
        text = _text(text).encode("utf-8", "replace").decode("utf-8")
        lines = to_subwords(text).split("\n")
        newline = self._model.piece_to_id("\n")
        ids: list[int] = []
        for number, found in enumerate(self._model.encode(lines)):
            if number:
                ids.append(newline)
            ids += found
        return np.array(ids, np.int32)

    def unknown(self, text: str) -> list[str]:
        return []

    def decoder(self) -> Decoder:
        return SubwordDecoder(self._pieces)

    def piece(self, unit: int) -> str:
        return self._model.id_to_piece(unit)

    def files(self) -> dict[str, bytes]:
        return {UNITS_FILE: _json({"kind": self.kind}), SUBWORDS_FILE: self.model}


def train_units(texts: Iterable[str], config: VocabularyConfig) -> Units:
    """The vocabulary of the training text. Raises UsageError where the text yields none."""
    if config.kind == "bytes":
        return Bytes()
    kinds: dict[str, type[Characters] | type[Words] | type[Subwords]]
    kinds = {"characters": Characters, "words": Words, "subwords": Subwords}
    return kinds[config.kind].train(texts, config)


def save_units(units: Units, directory: Path) -> None:
    """Write the files of ``units``; RunError when that fails."""
    for name, content in units.files().items():
        path, partial = directory / name, directory / f".{name}.partial-{os.getpid()}"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content)
            partial.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise RunError(f"units {path}: cannot be written ({error.strerror})") from None


def load_units(directory: Path) -> Units:
    """Read what ``save_units`` wrote; raises RunError for a missing or damaged file."""
    path = directory / UNITS_FILE
    try:
        values = read_json(path)
        if values["kind"] == "characters":
            characters = values["characters"]
            if len(set(characters)) < len(characters):
                raise ValueError("a character stands in it twice")
            return Characters(characters, bool(values.get("knows_unknown", False)))
        if values["kind"] == "bytes":
            return Bytes()
        if values["kind"] == "words":
            return Words(values["words"], *(bool(values.get(name)) for name in _STYLE))
        if values["kind"] == "subwords":
            model = directory / SUBWORDS_FILE
            return Subwords(model.read_bytes(), str(model))
    except OSError as error:
        raise RunError(f"units {error.filename}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"units {path}: damaged ({error}); copy the file again") from None
    raise RunError(f"units {path}: unknown kind {values['kind']!r}; install a newer version")


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _counted(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different codes, ascending, and how often each comes."""
    if len(codes) < 1 << 16:
        return np.unique(codes, return_counts=True)
    counts = np.bincount(codes)  # a fifth of the time of sorting
    found = np.flatnonzero(counts)
    return found, counts[found]


def _text(text: str | bytes) -> str:
    return text if isinstance(text, str) else text.decode("utf-8", "replace")


def _frequent(counts: Counter[str], config: VocabularyConfig) -> list[str]:
    """By count, then alphabetically: the same text gives the same ids."""
    kept = [(text, n) for text, n in counts.items() if n >= config.min_count]
    if not counts:
        raise UsageError("the training text is blank: there is nothing to make a vocabulary of")
    if not kept:
        raise UsageError(
            f"'units.min_count' is {config.min_count}: nothing in the training text comes so "
            "often; set a lower one, or give it more text"
        )
    kept.sort(key=lambda pair: (-pair[1], pair[0]))
    return [text for text, _ in kept[: config.vocab_size]]


def _json(values: dict[str, object]) -> bytes:
    return json.dumps(values, ensure_ascii=True, indent=0).encode("ascii")
