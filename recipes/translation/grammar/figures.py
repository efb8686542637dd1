"""Sentences about figures, which the two languages write differently."""

from __future__ import annotations

from grammar import lexicon, numbers
from grammar.clauses import Clause, english, german
from grammar.lexicon import Pair
from grammar.phrases import noun_phrase
from grammar.speaker import Speaker

_PRICES = {  # in euros, from and to
    "food": (1, 9),
    "fruit": (1, 4),
    "clothing": (10, 400),
    "container": (2, 300),
    "furniture": (20, 3_000),
    "device": (15, 2_500),
    "instrument": (50, 9_000),
    "vehicle": (90, 60_000),
}


def costs(s: Speaker) -> tuple[Pair, str]:
    noun = s.draw.one(lexicon.nouns_of(("buyable", "edible")))
    what = s.thing(noun, counted=False)
    low, high = _PRICES[noun.kind]
    cents = s.draw.one((0, 50, 99, s.draw.whole(0, 99)))
    amount = numbers.price(100 * s.draw.whole(low, high) + cents)
    verb = lexicon.other_verbs["kosten"]
    tense = s.draw.one(("present", "past"))
    clause = Clause(what, verb, tense, complement=amount)
    if s.draw.chance(0.3):
        buyer = s.person()
        buy = lexicon.accusative_verbs[s.draw.whole(0, 1)]
        preposition = Pair(f"for {amount.en}", f"für {amount.de}")
        clause = Clause(buyer, buy, "past", accusative=what, complement=preposition)
    return Pair(english(clause), german(clause)), "."


def facts(s: Speaker) -> tuple[Pair, str]:
    """Numbers that change their form."""
    draw, town = s.draw, s.names.town()
    kind = draw.weighted(
        ((3, "people"), (2, "train"), (2, "tall"), (2, "distance"), (2, "percent"))
    )
    if kind == "people":
        people = numbers.digits(draw.whole(1_200, 900_000))
        return Pair(f"{town} has {people.en} inhabitants", f"{town} hat {people.de} Einwohner"), "."
    if kind == "train":
        time = s.clock()
        if draw.chance(0.5):
            return Pair(
                f"the train to {town} leaves {time.en}", f"der Zug nach {town} fährt {time.de} ab"
            ), "."
        return Pair(
            f"the train from {town} will arrive {time.en}",
            f"der Zug aus {town} wird {time.de} ankommen",
        ), "."
    if kind == "tall":
        height = numbers.decimal(draw.whole(51, 999))
        noun = draw.one([n for n in lexicon.nouns["building"] if n.singular != "bridge"])
        what = noun_phrase(noun, draw.one(("the", "this")))
        return Pair(
            f"{what.en} in {town} is {height.en} metres high",
            f"{what.de['nom']} in {town} ist {height.de} Meter hoch",
        ), "."
    if kind == "distance":
        far, other = numbers.digits(draw.whole(13, 2500)), s.names.town()
        return Pair(
            f"it is {far.en} kilometres from {town} to {other}",
            f"von {town} nach {other} sind es {far.de} Kilometer",
        ), "."
    share = numbers.decimal(draw.whole(11, 999))
    workers = [n for n in lexicon.nouns["man"] if n.singular in lexicon.PROFESSIONS]
    who = noun_phrase(draw.one(workers), "the", plural=True)
    return Pair(
        f"{share.en} percent of {who.en} in {town} are women",
        f"{share.de} Prozent {who.de['gen']} in {town} sind Frauen",
    ), "."
