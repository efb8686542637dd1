"""``seq2seq tokenize``: train a vocabulary, split lines of text by it, join them again."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.command_line.command import Command
from seq2seq.command_line.files import (
    check_input,
    chunks,
    open_input,
    open_output,
    progress,
    same_file,
)
from seq2seq.command_line.options import (
    input_file,
    number,
    option_name,
    output_file,
    whole,
)
from seq2seq.errors import UsageError

if TYPE_CHECKING:
    from seq2seq.text.segmenting import Segmenter

_SENTENCEPIECE = ("unigram", "bpe", "char")
_UNITS = ("subwords", "words", "characters", "bytes")
_COUNTED = ("words", "characters")  # kinds whose units are counted

_EXAMPLES = """\
  seq2seq tokenize train joint.model --input train.en train.de --kind bpe --vocab-size 8000
  seq2seq tokenize encode joint.model < test.en > test.pieces.en
  seq2seq tokenize decode joint.model < test.pieces.de > test.de
  seq2seq tokenize encode runs/multi30k/model --ids < test.en > test.ids.en

VOCABULARY is a .model file (unigram, bpe, char: SentencePiece, as translation has it), a folder
(subwords, words, characters, bytes: as text generation and captioning have them), or, to encode
and decode, a saved model. encode and decode write one line for each line, as they read: files may
be of any length. A line of pieces has a space between two pieces; U+2581 stands for a space of
the text. decode gives back the text: as it was (subwords, characters, bytes), in Unicode NFC with
single spaces and without control characters (.model), or with single spaces (words). In all of them
a carriage return becomes a space, or is left out at the end of a line.

Text translated elsewhere: recipes/translation/README.md goes from raw text through tokenize to
seq2seq evaluate --hypotheses.
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action", choices=["train", "encode", "decode"], help="what to do", metavar="ACTION"
    )
    parser.add_argument("vocabulary", metavar="VOCABULARY", help="to write (train) or to read")
    parser.add_argument(
        "--input",
        type=input_file,
        metavar="FILE",
        nargs="+",
        help="read these, not standard input; .gz too",
    )
    parser.add_argument(
        "--output", type=output_file, metavar="FILE", help="write this file, not standard output"
    )
    parser.add_argument("--ids", action="store_true", help="numbers instead of pieces")
    parser.add_argument(
        "--side", choices=["source", "target"], help="of a saved model with two vocabularies"
    )
    group = parser.add_argument_group("train")
    group.add_argument(
        "--kind",
        choices=[*_SENTENCEPIECE, *_UNITS],
        help="(default: unigram for a name that ends in .model, else subwords)",
    )
    group.add_argument(
        "--vocab-size",
        type=whole(1),
        metavar="N",
        help="pieces at most; words and characters: beside <unk>, <end> and the "
        "end of a line (default: 8000)",
    )
    group.add_argument(
        "--no-byte-fallback",
        action="store_true",
        help="unigram, bpe, char: characters never seen are unknown, not spelt in bytes",
    )
    group.add_argument(
        "--character-coverage",
        type=number,
        metavar="X",
        help="unigram, bpe, char: share of the text whose characters get a piece (default: 1)",
    )
    group.add_argument(
        "--min-count", type=whole(1), metavar="N", help="words, characters: rarer ones are unknown"
    )


def _run(options: argparse.Namespace) -> int:
    for name in options.input or ():
        check_input(name, "--input")
        if same_file(name, options.vocabulary):
            raise UsageError(f"--input {name}: is what would be written")
    training = ("kind", "vocab_size", "character_coverage", "min_count")
    given = [name for name in training if getattr(options, name) is not None]
    given += ["no_byte_fallback"] * options.no_byte_fallback
    if options.action == "train":
        if options.ids or options.side or options.output:
            raise UsageError("tokenize train: --ids, --side and --output go with encode and decode")
        try:
            return _train(options)
        except UsageError as error:
            raise UsageError(_KEY.sub(_as_option, str(error))) from None
    if given:
        raise UsageError(f"tokenize {options.action}: {option_name(given[0])} goes with train")
    from seq2seq.text.segmenting import load_segmenter

    segmenter = load_segmenter(Path(options.vocabulary), options.side)
    convert = _encoder(segmenter, options.ids)
    if options.action == "decode":
        convert = _decoder(segmenter, options.ids)
    with open_output(options.output) as sink, progress(None, options.output is not None) as advance:
        for (name, first), lines in _all_lines(options.input):
            places = (f"{name}, line {number}" for number in range(first, first + len(lines)))
            written = [convert(line, place) for line, place in zip(lines, places, strict=True)]
            sink.write("".join(f"{line}\n" for line in written).encode("utf-8", "replace"))
            sink.flush()
            advance(len(lines))
    return 0


def _all_lines(inputs: list[str] | None) -> Iterator[tuple[tuple[str, int], list[str]]]:
    """((file, number of the first line), lines), some lines at a time."""
    names: list[str | None] = [None] if inputs is None else [*inputs]
    for name in names:
        with open_input(name) as stream:
            size = 1 if stream.isatty() else 1024
            for first, lines in chunks(stream, name or "standard input", size):
                yield (name or "standard input", first), lines


def _encoder(segmenter: Segmenter, ids: bool) -> Callable[[str, str], str]:
    def encode(line: str, where: str) -> str:
        if ids:
            return " ".join(map(str, segmenter.ids(line)))
        return " ".join(segmenter.pieces(line))

    return encode


def _decoder(segmenter: Segmenter, ids: bool) -> Callable[[str, str], str]:
    from seq2seq.text.segmenting import check_ids

    def decode(line: str, where: str) -> str:
        try:
            if not ids:
                return _one_line(segmenter.join_pieces([p for p in line.split(" ") if p]))
            numbers = [_number(word) for word in line.split()]
            check_ids(numbers, len(segmenter))
            return _one_line(segmenter.join_ids(numbers))
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
        except ValueError:
            raise UsageError(f"{where}: expected numbers, found {line[:60]!r}") from None

    return decode


def _number(word: str) -> int:
    if not (word.isascii() and word.isdigit()):  # int() reads "1_0", "+5" and other digits, too
        raise ValueError(word)
    return int(word)


def _one_line(text: str) -> str:
    """Pieces can spell a line's end, which would shift all lines that follow."""
    return text.replace("\r", " ").replace("\n", " ")


# A key of a configuration in an error, with its value or without: 'tokenizer.vocab_size: 80'.
_KEY = re.compile(r"'(?:tokenizer|units)\.(\w+)(?:: ([^']+))?'")


def _as_option(key: re.Match[str]) -> str:
    value = "" if key[2] is None else f" {key[2]}"
    return f"{option_name(key[1])}{value}"


def _train(options: argparse.Namespace) -> int:
    from seq2seq.config.vocabulary import TokenizerConfig, VocabularyConfig
    from seq2seq.text.sentencepiece import Tokenizer
    from seq2seq.text.vocabulary import save_units, train_units

    path = Path(options.vocabulary)
    kind: Any = options.kind or ("unigram" if path.suffix == ".model" else "subwords")
    size = options.vocab_size or 8000
    lines = (line for _, part in _all_lines(options.input) for line in part)
    if kind in _SENTENCEPIECE:
        if path.suffix != ".model":
            raise UsageError(f"{path}: {kind} is written into one file; name it {path}.model")
        if options.min_count is not None:
            raise UsageError(f"tokenize train: --min-count goes with {' and '.join(_COUNTED)}")
        coverage = options.character_coverage
        config = TokenizerConfig(
            kind=kind,
            vocab_size=size,
            byte_fallback=not options.no_byte_fallback,
            character_coverage=1.0 if coverage is None else coverage,
        )
        tokenizer = Tokenizer.train(lines, config)
        tokenizer.save(path)
        count = len(tokenizer)
    else:
        if path.suffix == ".model" or path.is_file():
            raise UsageError(f"{path}: {kind} are written into a folder; give the name of one")
        if options.no_byte_fallback or options.character_coverage is not None:
            raise UsageError(
                "tokenize train: --no-byte-fallback and --character-coverage go with "
                f"{', '.join(_SENTENCEPIECE)}"
            )
        if options.min_count is not None and kind not in _COUNTED:
            raise UsageError(
                f"tokenize train: --min-count goes with --kind {' or '.join(_COUNTED)}, not {kind}"
            )
        units = train_units(
            (line + "\n" for line in lines),
            VocabularyConfig(kind=kind, vocab_size=size, min_count=options.min_count or 1),
        )
        if kind == "bytes" and size < len(units):
            raise UsageError(
                f"tokenize train: --vocab-size {size} does not go with --kind bytes, which has "
                f"{len(units)} pieces"
            )
        save_units(units, path)
        count = len(units)
    print(f"{path}: {count:,} pieces ({kind})")
    return 0


COMMAND = Command(
    "tokenize", "split text into subwords or other units, and join", _add_options, _run, _EXAMPLES
)
