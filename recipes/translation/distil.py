"""Sequence-level distillation: training pairs whose targets trained models wrote.

    python recipes/translation/distil.py runs/multi30k/model
    seq2seq train recipes/translation/multi30k_distilled.yaml

Of the translations that beam search finds for a training source, the one with the most sentence
BLEU against the reference is kept: sequence-level interpolation (Kim & Rush 2016, section 3.3). The
files written hold the pairs that were there, and then each source once more with that translation.
Several models translate as an ensemble. An empty translation makes no pair.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from sacrebleu.metrics import BLEU

from seq2seq import Translator
from seq2seq.command_line.files import same_file
from seq2seq.errors import RunError, UsageError
from seq2seq.precision import DecodingPrecision
from seq2seq.tasks.translation.scores import bleu_tokenizer
from seq2seq.text.files import read_lines

WINDOW = 2048  # sources that are sorted by length and translated together


def closest(candidates: Sequence[str], reference: str, counted: str = "13a") -> str:
    """The candidate with the most sentence BLEU against the reference; of equal ones the first.
    ``counted``: what BLEU counts."""
    bleu = BLEU(tokenize=counted, effective_order=True)
    return max(candidates, key=lambda text: bleu.sentence_score(text, [reference]).score)


def distilled(
    teacher: Translator,
    sources: Sequence[str],
    references: Sequence[str],
    beam: int,
    precision: DecodingPrecision,
) -> Iterator[tuple[str, str]]:
    """The new pairs, in the order of the sources."""
    counted = bleu_tokenizer(teacher.config.data.target)
    for first in range(0, len(sources), WINDOW):
        part = sources[first : first + WINDOW]
        found = teacher.translate_nbest(part, beam_size=beam, precision=precision)
        for source, reference, nbest in zip(part, references[first:], found, strict=False):
            text = closest([one.text for one in nbest], reference, counted)
            if text:
                yield source, text
        print(f"{first + len(part):,} of {len(sources):,} sources", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description="Let trained models write training targets.")
    parser.add_argument("models", nargs="+", help="saved models of one vocabulary: the teachers")
    parser.add_argument(
        "--train",
        default="data/multi30k/train.{lang}.gz",
        help="parallel files; {lang} stands for the languages (data/multi30k/train.{lang}.gz)",
    )
    parser.add_argument("--source", default="en", help="language of the sources (en)")
    parser.add_argument("--target", default="de", help="language of the targets (de)")
    parser.add_argument(
        "--output",
        default="data/multi30k/distilled.{lang}",
        help="files to write (data/multi30k/distilled.{lang})",
    )
    parser.add_argument("--beam-size", type=int, default=5, help="translations to choose from (5)")
    parser.add_argument("--precision", default="fp32", help="fp32, bf16 or int8 (fp32)")
    arguments = parser.parse_args()
    names = [arguments.source, arguments.target]
    try:
        for option in ("train", "output"):
            if "{lang}" not in getattr(arguments, option):
                raise ValueError(
                    f"--{option} {getattr(arguments, option)}: expected {{lang}} in it"
                )
        files = [Path(arguments.output.replace("{lang}", name)) for name in names]
        for name, path in zip(names, files, strict=True):
            if same_file(str(path), arguments.train.replace("{lang}", name)):
                raise ValueError(f"--output {path}: it is what --train names; choose another name")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.open("ab").close()  # said now, not after the translating, if it cannot be written
        sources, references = (
            read_lines(Path(arguments.train.replace("{lang}", n))) for n in names
        )
        if len(sources) != len(references):
            raise ValueError(
                f"{arguments.train}: {len(sources)} lines of {names[0]} and {len(references)} of "
                f"{names[1]}; expected as many"
            )
        teachers = [Translator.from_pretrained(name) for name in arguments.models]
        teacher = teachers[0] if len(teachers) == 1 else Translator.ensemble(teachers)
        pairs = distilled(teacher, sources, references, arguments.beam_size, arguments.precision)
        new = list(pairs)
        columns = [sources, references]
        for side, path in enumerate(files):
            lines = [*columns[side], *(pair[side] for pair in new)]
            data = ("\n".join(lines) + "\n").encode()
            path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    except (OSError, ValueError, UsageError, RunError) as error:
        print(f"distil: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{arguments.output}: {len(sources):,} pairs and {len(new):,} new ones")


if __name__ == "__main__":
    main()
