"""The next word of a text, or the end of the word that it ends in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import regex
import torch
from torch import Tensor

from seq2seq.arguments import check_text, check_whole
from seq2seq.precision import AutoPrecision
from seq2seq.text.letters import LETTER, LETTERS
from seq2seq.text.vocabulary import END, Units, Words

if TYPE_CHECKING:
    from seq2seq.tasks.generation.generator import TextGenerator

_BEAM = 32  # beginnings of words that are followed up at a time
_LONGEST = 40  # units of a word
# letters with what combines with them, digits, apostrophes, hyphens
_LETTERS = rf"(?:{LETTERS}|['\u2019-])"
_LETTER = regex.compile(rf"{LETTER}|['\u2019-]|\ufffd")  # a unit may begin with a vowel sign
_IN_PROGRESS = regex.compile(rf"{_LETTERS}*\Z")
_PART = regex.compile(rf"{_LETTERS}*")
_WORD = regex.compile(rf"(?=.*[\p{{L}}\p{{N}}_]){_LETTERS}+")


@dataclass(frozen=True)
class Suggestion:
    """``probability``: that this word comes next; where the text has its beginning, among the words
    that begin so."""

    text: str
    probability: float


def suggest(
    generator: TextGenerator, text: str, top: int = 5, precision: AutoPrecision = "fp32"
) -> list[Suggestion]:
    """The likeliest words after ``text``; where it ends in a letter, the likeliest words that begin
    with what stands after its last space. Marks such as commas are not suggested.

    A model of words knows the probability of each. For other units words are spelled unit by
    unit, ``_BEAM`` beginnings at a time, until what follows is no letter: rare ones may be missed.
    Units that are no whole characters are not used: a model of bytes suggests ASCII words alone.

    Raises UsageError for a text that is no str and a ``top`` below 1.
    """
    check_text("text", text)
    check_whole("top", top, 1)
    match = _IN_PROGRESS.search(text)
    assert match is not None  # it matches the empty text at the end
    begun = match[0]
    before = text[: len(text) - len(begun)]
    with torch.inference_mode():
        if isinstance(generator.units, Words):
            found = _next_words(generator, generator.units, before, begun, precision)
        else:
            found = _spelled_words(generator, before, begun, precision)
    total = sum(found.values()) if begun else 1.0
    order = sorted(found, key=lambda word: (-found[word], word))[:top]
    return [Suggestion(word, found[word] / total) for word in order if found[word]]


def _next_words(
    generator: TextGenerator, units: Words, before: str, begun: str, precision: AutoPrecision
) -> dict[str, float]:
    """Each word of the vocabulary that begins so, with its probability after ``before``."""
    logits, _ = generator.steps(precision).start([generator.prompt_units(before)])
    beginning = begun.lower() if units.lowercase else begun
    skipped = {*generator.banned, END, units.line_end}
    return {
        word: share
        for n, share in enumerate(logits[0].double().softmax(0).tolist())
        if n not in skipped
        and (word := units.piece(n)).startswith(beginning)
        and _WORD.fullmatch(word)
    }


def _spelled_words(
    generator: TextGenerator, before: str, begun: str, precision: AutoPrecision
) -> dict[str, float]:
    """The same of words that are spelled in several units."""
    steps, pieces = generator.steps(precision), _pieces(generator.units)
    # a space may be one unit with the word that follows it: it is spelled with the word
    space = " " if before.endswith(" ") else ""
    context = generator.prompt_units(before.removesuffix(space) if space else before)
    ends = torch.tensor([not _LETTER.match(piece) for piece in pieces])  # (V,)
    never = sorted(generator.banned)
    logits, state = steps.start([context])
    begins = torch.tensor([piece.startswith(space) for piece in pieces])  # (V,)
    # given that a space comes, where one does
    log_p = -logits.double().cpu().log_softmax(1)[:, begins].logsumexp(1)  # (1,)
    spelled = [""]
    words: dict[str, float] = {}
    for _ in range(_LONGEST):
        next_p = logits.double().cpu().log_softmax(1)  # (N, V)
        next_p[:, never] = -torch.inf
        ended = (log_p + next_p[:, ends].logsumexp(1)).exp().tolist()
        for text, share in zip(spelled, ended, strict=True):
            word = text.removeprefix(space)
            if len(word) >= len(begun) and _WORD.fullmatch(word):
                words[word] = words.get(word, 0.0) + share
        longer = _longer(spelled, log_p, next_p, pieces, space, begun)
        if not longer:
            break
        rows, units = ([one[n] for one in longer] for n in (1, 2))
        log_p = torch.tensor([one[0] for one in longer], dtype=torch.float64)
        spelled = [spelled[row] + pieces[unit] for _, row, unit in longer]
        index, tokens = (torch.tensor(part, device=steps.device) for part in (rows, units))
        logits, state = steps.step(tokens, steps.reorder(state, index))
    return words


def _longer(
    spelled: list[str],
    log_p: Tensor,
    next_p: Tensor,
    pieces: list[str],
    space: str,
    begun: str,
) -> list[tuple[float, int, int]]:
    """The ``_BEAM`` likeliest beginnings that are one unit longer: log p, row, unit."""
    given, found = space + begun, []
    for row, text in enumerate(spelled):
        # past what is given, units that are not among the likeliest are not among the best
        count = 4 * _BEAM if len(text) >= len(given) else len(pieces)
        values, units = next_p[row].topk(min(count, len(pieces)))
        for value, unit in zip(values.tolist(), units.tolist(), strict=True):
            whole = text + pieces[unit]
            begins = given.startswith(whole) or whole.startswith(given)
            if not pieces[unit] or not begins or value == -float("inf"):
                continue
            if len(whole) <= len(space) or _PART.fullmatch(whole.removeprefix(space)):
                found.append((float(log_p[row]) + value, row, unit))
    return sorted(found, reverse=True)[:_BEAM]


def _pieces(units: Units) -> list[str]:
    """Each unit as it is written; U+FFFD in place of bytes that are no whole characters."""
    pieces = []
    for unit in range(len(units)):
        decoder = units.decoder()
        pieces.append(decoder.add(unit) + decoder.finish())
    return pieces
