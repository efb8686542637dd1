"""One sentence after the other: which kinds there are, how often, and how they are written.

A kind is a function that draws its parts and returns an English and a German text, without
capital and full stop, and the closing mark.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from grammar import figures, lexicon, questions, statements, subordinates
from grammar.lexicon import Pair
from grammar.speaker import Speaker

KINDS: tuple[tuple[float, Callable[[Speaker], tuple[Pair, str]]], ...] = (
    (16, statements.simple),
    (5, statements.pronoun_objects),
    (6, subordinates.because_of_person),
    (4, subordinates.because_of_thing),
    (5, subordinates.when),
    (3, subordinates.if_clause),
    (5, subordinates.that_clause),
    (3, subordinates.whether),
    (4, subordinates.infinitive_clause),
    (4, subordinates.relative_subject),
    (3, subordinates.relative_thing),
    (3, statements.comparison),
    (5, statements.trip),
    (2, statements.residence),
    (1.5, statements.birth),
    (3, statements.passive),
    (3, statements.belongs),
    (3, figures.costs),
    (3, figures.facts),
    (3, statements.position),
    (2, statements.there_is),
    (4, questions.question),
    (2, questions.who_question),
    (2, questions.when_question),
    (1.5, questions.how_many),
    (2, statements.request),
    (2, statements.possession),
)

_NOUN_OF = {
    form: noun
    for members in lexicon.nouns.values()
    for noun in members
    for form in (noun.singular, noun.plural)
}


def sentence(speaker: Speaker) -> Pair:
    """One sentence and its translation."""
    while True:
        kind = speaker.draw.weighted(KINDS)
        texts, mark = kind(speaker)
        # "The actress does not know where the actress was": nobody talks like that.
        if kind is statements.comparison or not _repeats(texts.en):
            break
    return Pair(_finish(texts.en, mark), _finish(texts.de, mark))


def _repeats(en: str) -> bool:
    """Does a noun occur twice?"""
    words = (word.rstrip(",").removesuffix("'").removesuffix("'s") for word in en.split())
    found = [_NOUN_OF[word] for word in words if word in _NOUN_OF]
    return len(found) != len(set(found))


def _finish(text: str, mark: str) -> str:
    text = " ".join(text.split()) + mark
    text = re.sub(r",+ ?([,.?])", r"\1", text)  # a relative clause ended here
    text = re.sub(r"\.\.$", ".", text)  # p.m. ends the sentence
    return text[0].upper() + text[1:]
