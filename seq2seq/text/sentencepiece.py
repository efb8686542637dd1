"""Subword tokenisation: text to ids and back, with SentencePiece (Kudo & Richardson 2018).

Ids 0 to 3 are the special tokens: padding, unknown, beginning and end of sentence.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import sentencepiece

from seq2seq.config.vocabulary import TokenizerConfig
from seq2seq.errors import RunError, UsageError
from seq2seq.text.characters import SPACE_MARK, from_subwords, is_blank, to_subwords
from seq2seq.text.phrases import Spelling
from seq2seq.text.subword_sampling import DropoutSampler, Subwords, UnigramSampler, model_kind

PAD, UNK, BOS, EOS = 0, 1, 2, 3
MAX_LINE = 1 << 16  # bytes; subwords are not trained on longer lines
_MOST_PIECES = 10**7  # far beyond any use; SentencePiece keeps them in memory

# Control characters are layout, not language; lone surrogates are no characters at all.
_CONTROLS = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), " ")
_SURROGATES = re.compile("[\ud800-\udfff]")

_SPACE = SPACE_MARK
_WORD = re.compile(f"{_SPACE}?[^{_SPACE}]+|{_SPACE}")


def processor_of(model: bytes) -> sentencepiece.SentencePieceProcessor | None:
    """What SentencePiece makes of the bytes of a model file; None where they are no whole model."""
    try:
        # Without this check SentencePiece takes no bytes at all for "to be loaded later".
        processor = sentencepiece.SentencePieceProcessor(model_proto=model) if model else None
        # a flipped bit may leave pieces that are no text: they would come up with the first line
        pieces = [] if processor is None else processor.id_to_piece([*range(len(processor))])
    except (RuntimeError, UnicodeDecodeError):
        return None
    return processor if pieces else None


class Tokenizer:
    """A trained SentencePiece model with the special ids ``pad``, ``unk``, ``bos``, ``eos``.

    Text is brought to Unicode NFC and its white space to single spaces; apart from that,
    decoding gives back what was encoded. A text of which nothing can be seen (zero-width spaces,
    direction marks) is a blank one. SentencePiece's usual NFKC rules are not used because
    they rewrite what readers and scorers see: the ellipsis becomes three dots, a fraction
    three characters, superscripts plain digits.
    """

    pad, unk, bos, eos = PAD, UNK, BOS, EOS

    def __init__(self, model: bytes, name: str = "tokenizer") -> None:
        """Take the bytes of a .model file; ``name`` stands for it in errors.

        Raises RunError when the bytes are no model or its special ids are others.
        """
        processor = processor_of(model)
        if processor is None:
            raise RunError(
                f"tokenizer {name}: not a SentencePiece model, or a truncated one "
                f"({len(model)} bytes); copy it again or train a new one"
            )
        self._model = processor
        found = tuple(
            getattr(self._model, f"{token}_id")() for token in ("pad", "unk", "bos", "eos")
        )
        if found != (PAD, UNK, BOS, EOS):
            raise RunError(
                f"tokenizer {name}: its ids of padding, unknown, beginning and end are {found}; "
                f"expected {(PAD, UNK, BOS, EOS)}; train it with --pad_id=0 --unk_id=1 "
                "--bos_id=2 --eos_id=3"
            )
        self.model = model  # the bytes of the .model file
        self._samplers: dict[float, UnigramSampler | DropoutSampler] = {}

    @classmethod
    def train(cls, sentences: Iterable[str], config: TokenizerConfig) -> Tokenizer:
        """Train on ``sentences`` (held in memory); the same sentences give the same bytes.

        Raises UsageError when there is no text, when ``vocab_size`` is larger or smaller than what
        the text allows, and for a coverage that SentencePiece does not take.
        """
        if not 0.98 <= config.character_coverage <= 1:
            raise UsageError(
                f"'tokenizer.character_coverage' is {config.character_coverage}; expected 0.98 to 1"
            )
        if config.vocab_size > _MOST_PIECES:
            raise UsageError(
                f"'tokenizer.vocab_size' is {config.vocab_size}; expected at most {_MOST_PIECES:,}"
            )
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=map(_clean, sentences),
                model_writer=model,
                model_type=config.kind,
                vocab_size=config.vocab_size,
                character_coverage=config.character_coverage,
                byte_fallback=config.byte_fallback,
                normalization_rule_name="identity",
                pad_id=PAD,
                unk_id=UNK,
                bos_id=BOS,
                eos_id=EOS,
                # Sums of several threads depend on who comes first; one thread repeats itself.
                num_threads=1,
                # Longer lines are skipped, in bytes: whole paragraphs still count.
                max_sentence_length=MAX_LINE,
                minloglevel=2,
            )
        except RuntimeError as error:
            raise training_error(
                str(error),
                "tokenizer",
                config.vocab_size,
                4 + 256 * config.byte_fallback,
                "lower 'tokenizer.character_coverage'",
            ) from error
        return cls(model.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read a .model file; raises RunError when it is missing, truncated or none."""
        try:
            model = Path(path).read_bytes()
        except OSError as error:
            raise RunError(f"tokenizer {path}: cannot be read ({error.strerror})") from None
        return cls(model, str(path))

    def save(self, path: str | Path) -> None:
        """Write the .model file, whole or not at all; raises RunError when that fails."""
        path = Path(path)
        partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(self.model)
            partial.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise RunError(f"tokenizer {path}: cannot be written ({error.strerror})") from None

    def __len__(self) -> int:
        """Number of ids, the special ones included."""
        return self._model.get_piece_size()

    def encode(self, text: str) -> list[int]:
        """Ids of ``text``, without beginning and end; blank text gives an empty list."""
        return self._model.encode(_clean(text))

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def sample_batch(self, texts: Sequence[str], strength: float, seed: int) -> list[list[int]]:
        """Ids of segmentations drawn at random, determined by the arguments alone.

        A unigram model draws a segmentation x of the text from P(x)^strength over all that
        there are (subword regularisation: Kudo 2018, eq. 8, with l = infinity); a BPE model
        leaves out each merge with probability ``strength`` (BPE-dropout: Provilkov et al. 2020,
        algorithm 1). A character model has one segmentation, and 0 turns sampling off.

        Raises UsageError for a negative strength.
        """
        if strength < 0:
            raise UsageError(f"'tokenizer.sampling' is {strength}; expected 0 or more")
        sampler = self._sampler(strength)
        if sampler is None:
            return self.encode_batch(texts)
        generator = random.Random(seed)
        return [self._sample(text, sampler, generator) for text in texts]

    def _sample(
        self, text: str, sampler: UnigramSampler | DropoutSampler, generator: random.Random
    ) -> list[int]:
        normalized = self._model.normalize(_clean(text))
        words = _WORD.findall(normalized) if self._words_apart else [normalized]
        ids = [i for word in words for i in sampler.draw(word, generator)]
        if self._subwords.byte_ids:
            return ids
        # Like SentencePiece, a run of unknown characters is one unknown token.
        return [i for n, i in enumerate(ids) if i != UNK or n == 0 or ids[n - 1] != UNK]

    def _sampler(self, strength: float) -> UnigramSampler | DropoutSampler | None:
        """The sampler of this model's kind (with its cache), None where there is no choice."""
        kinds: dict[str, type[UnigramSampler] | type[DropoutSampler]]
        kinds = {"unigram": UnigramSampler, "bpe": DropoutSampler}
        kind = kinds.get(model_kind(self.model))
        if strength == 0 or kind is None:
            return None
        if strength not in self._samplers:
            self._samplers = {strength: kind(self._subwords, strength)}
        return self._samplers[strength]

    @cached_property
    def _subwords(self) -> Subwords:
        model, size = self._model, len(self)
        skip = (model.is_control, model.is_unknown, model.is_byte, model.is_unused)
        return Subwords(
            ids={model.id_to_piece(i): i for i in range(size) if not any(test(i) for test in skip)},
            scores=[model.get_score(i) for i in range(size)],
            byte_ids=[model.piece_to_id(f"<0x{byte:02X}>") for byte in range(256)]
            if any(map(model.is_byte, range(size)))
            else [],
            unknown=UNK,
        )

    @property
    def spells_all(self) -> bool:
        """Whether what has no subword is spelt in bytes, so that nothing is unknown."""
        return bool(self._subwords.byte_ids)

    @cached_property
    def _words_apart(self) -> bool:
        """Whether no subword spans a space, so that words can be segmented one by one."""
        return not any(_SPACE in subword[1:] for subword in self._subwords.ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ``ids``; special ids are left out, ids beyond the vocabulary are an error."""
        return from_subwords(self._model.decode([int(i) for i in ids if i > EOS]))

    def decode_batch(self, batch: Sequence[Sequence[int]]) -> list[str]:
        return [self.decode(ids) for ids in batch]

    def encode_pieces(self, text: str) -> list[str]:
        """Subwords of ``text``; characters that the vocabulary lacks as they are."""
        return self._model.encode(_clean(text), out_type=str)

    def decode_pieces(self, pieces: Sequence[str]) -> str:
        """Text of subwords as ``encode_pieces`` gives them."""
        return from_subwords(self._model.decode_pieces(list(pieces)))

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The subword of each id as written in the model (a leading U+2581 is a space)."""
        return [self._model.id_to_piece(int(i)) for i in ids]

    def same_text(self, text: str) -> str:
        """The text as ``decode`` gives it back: NFC, single spaces."""
        return from_subwords(_clean(text))

    @cached_property
    def spelling(self) -> Spelling:
        """What each id writes inside a text."""
        model, pieces = self._model, []
        for i in range(len(self)):
            piece = model.id_to_piece(i)
            if model.is_byte(i):
                pieces.append(bytes([int(piece[3:5], 16)]))
            elif model.is_control(i) or model.is_unknown(i) or model.is_unused(i):
                pieces.append(b"")
            else:
                pieces.append(piece.replace(_SPACE, " ").encode())
        return Spelling(pieces)

    def phrase_ids(self, phrase: str) -> list[int]:
        """Ids of a phrase inside a text: after a space, or after no space where the phrase begins
        with punctuation that closes what stands before it, as "." or ")" does."""
        ids = self.encode(phrase)
        first = self.same_text(phrase)[:1]
        opens = unicodedata.category(first) in ("Ps", "Pi") if first else True
        if not ids or first.isalnum() or opens:
            return ids
        piece = self._model.id_to_piece(ids[0])
        if piece == _SPACE:
            return ids[1:]
        bare = self._model.piece_to_id(piece.removeprefix(_SPACE))
        return ids if bare == UNK else [bare, *ids[1:]]


def _clean(text: str) -> str:
    """NFC, single spaces, no control characters: one spelling of what looks the same."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text))
        text = "" if is_blank(text) else to_subwords(text)
    if not text.isprintable():
        text = text.translate(_CONTROLS)
    return " ".join(text.split())


def training_error(message: str, section: str, size: int, least: int, remedy: str) -> Exception:
    """Say in terms of the configuration what SentencePiece says in terms of its source code.

    ``section`` is that of the keys, "tokenizer"; ``size`` the vocabulary asked for; ``least`` what
    special tokens and bytes need; ``remedy`` what else helps where it is too small."""
    key = f"{section}.vocab_size"
    told = f"'{key}' is {size}"
    if found := re.search(r"too high .* value <= (\d+)", message):
        return UsageError(
            f"{told}; the training text yields at most {found[1]} subwords; "
            f"set '{key}: {found[1]}' or less"
        )
    if found := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return UsageError(
            f"{told}; the characters, bytes and special tokens alone need {found[1]}; set at "
            f"least '{key}: {found[1]}' or {remedy}"
        )
    if "(vocab_size) >= (0)" in message or "insert_id(" in message:
        return UsageError(f"{told}; special tokens and bytes alone need {least}; set it above that")
    if "sentences_.empty()" in message or "all_chars_count" in message:
        return UsageError(
            f"the subwords have no text to train on: every line is blank, or longer than "
            f"{MAX_LINE:,} bytes, and so not read; break such lines"
        )
    return RunError(f"the subwords could not be trained: {message}")
