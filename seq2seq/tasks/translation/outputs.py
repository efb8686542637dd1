"""What ``translate`` writes: lines, JSON objects, alignments."""

from __future__ import annotations

import argparse
import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from seq2seq.command_line.files import packer_of
from seq2seq.errors import UsageError
from seq2seq.json_files import to_json
from seq2seq.text.characters import is_blank

if TYPE_CHECKING:
    from seq2seq.tasks.translation.translations import Translation

_FIELDS = ("text", "score", "log_probability", "finished", "tokens", "token_scores")


def output_lines(
    number: int, source: str, translations: list[Translation], options: argparse.Namespace
) -> str:
    """The line or lines for one line read."""
    if options.json:
        found = [{name: getattr(one, name) for name in _FIELDS} for one in translations]
        for values, one in zip(found, translations, strict=True):
            if one.missing:
                values["missing"] = one.missing
        line = {"line": number, "source": source, "translations": found}
        return to_json(line) + "\n"
    if max(options.n_best, options.samples or 1) > 1:
        return "".join(f"{number}\t{found.score:.4f}\t{found.text}\n" for found in translations)
    score = f"{translations[0].score:.4f}\t" if options.scores else ""
    return f"{score}{translations[0].text}\n"


def warn_of_missing(number: int, text: str, translations: list[Translation]) -> None:
    """Say which phrases the best translation of a line was to hold and does not. A blank line has
    an empty translation, as it should."""
    if translations[0].missing and not is_blank(text):
        names = ", ".join(map(repr, translations[0].missing))
        logging.getLogger("seq2seq").warning(
            "line %d: the translation does not hold %s, which it was to; a longer one may "
            "(--max-length-ratio)",
            number,
            names,
        )


@contextlib.contextmanager
def alignment_file(path: str | None) -> Iterator[Callable[[list[list[Translation]]], None]]:
    """Gives what writes the alignments of translations into ``path``; nothing where it is None."""
    if path is None:
        yield lambda translated: None
        return
    from seq2seq.tasks.translation.alignments import pharaoh, word_alignment

    try:
        stream = packer_of(path)(path, "wt", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--alignments {path}: cannot be written ({error.strerror})") from None
    with stream:
        yield lambda translated: stream.writelines(
            f"{pharaoh(word_alignment(one))}\n" for found in translated for one in found
        )
