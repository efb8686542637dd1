"""Documents: split into sentences, and put together again from their translations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from seq2seq.errors import UsageError
from seq2seq.text.files import check_unicode

# Languages that are written without spaces between sentences, by their two- or three-letter codes.
_NO_SPACES = frozenset("zh ja th lo my km bo yue zho jpn cmn".split())


def by_sentences(
    documents: Sequence[str],
    translate: Callable[[list[str]], list[str]],
    source: str,
    target: str,
) -> list[str]:
    """Each document put together again from the translations of its sentences, which
    ``translate`` gives for those of all; ``source`` and ``target`` are languages."""
    parts = [split_document(text, source) for text in documents]
    translated = iter(translate([sentence for part in parts for sentence, _ in part if sentence]))
    return [join_document(part, translated, target) for part in parts]


def split_document(text: str, language: str) -> list[tuple[str, str]]:
    """The sentences of a text, each with the white space after it; that before the first stands
    after an empty one.

    ``language`` is a code such as "en" or "de-AT", the name that the model's configuration has; an
    unknown one is split by the rules that most languages share. Line breaks end sentences.
    Raises UsageError where the library is missing, and for half a character.
    """
    check_unicode(text, "a document")
    try:
        import sentencex
    except ImportError:
        raise UsageError(
            "splitting into sentences needs the package sentencex; install it with "
            "pip install 'recurrent-seq2seq[sentences]'"
        ) from None
    parts: list[tuple[str, str]] = []
    for line in text.splitlines(keepends=True):
        bare = line.strip()
        if not bare:
            parts.append(("", line))
            continue
        if line[0].isspace():
            parts.append(("", line[: len(line) - len(line.lstrip())]))
        code = language.replace("_", "-").partition("-")[0].lower()
        for sentence in sentencex.segment(code, bare):
            kept = sentence.rstrip()
            if kept:
                parts.append((kept, sentence[len(kept) :]))
        last, _ = parts[-1]
        parts[-1] = (last, line[len(line.rstrip()) :])
    return parts


def join_document(
    parts: Sequence[tuple[str, str]], translations: Iterator[str], language: str
) -> str:
    """``parts`` of ``split_document`` with the next of ``translations`` for each sentence. Spaces
    between sentences are those that ``language`` has: one where the source has none, and none in
    a language without them."""
    spaced = language.replace("_", "-").partition("-")[0].lower() not in _NO_SPACES
    written = []
    for number, (sentence, after) in enumerate(parts):
        last = number + 1 == len(parts)
        if sentence:
            written.append(next(translations))
            if "\n" not in after and "\r" not in after and not last:
                after = (after or " ") if spaced else ""
        written.append(after)
    return "".join(written)
