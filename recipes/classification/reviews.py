"""Reviews of restaurants, made up by rules, so that it is known which words decide.

A review judges one or two things, each in a clause: "the soup was not very good". A negation turns
the judgement round; "but" says that the clause behind it counts, "although" that the other one
does; clauses joined by "and" agree. So neither counting words nor the first or last of them is
enough.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

THINGS = (
    "food soup service waiter place music wine bread dessert fish menu price room coffee".split()
)
GOOD = "good great lovely friendly fresh perfect warm excellent wonderful pleasant".split()
BAD = "bad awful cold slow stale horrible noisy dull terrible rude".split()
DEGREES = ["", "", "", "very", "really", "quite", "so"]
NEGATIONS = ["was not", "was n't", "was never", "was hardly"]
OPENINGS = [
    "", "", "we came on a sunday :", "as my sister said ,", "well ,", "after an hour of waiting ,",
    "to be honest ,", "with friends from the good old days ,", "on a cold evening ,",
]  # fmt: skip
CLOSINGS = ["", "", ".", ". we paid and left .", "in the end .", ". that is all ."]


@dataclass(frozen=True)
class Review:
    label: str
    words: tuple[str, ...]
    decisive: frozenset[int]  # places of the judgement that counts: its adjective and negation


def clause(draw: random.Random, positive: bool) -> tuple[list[str], list[int]]:
    """Words of a judgement, and the places of those that make it."""
    negated = draw.random() < 0.4
    words = ["the", draw.choice(THINGS)]
    verb = draw.choice(NEGATIONS) if negated else draw.choice(["was", "is", "seemed"])
    places = []
    words += verb.split()
    if negated:
        places.append(len(words) - 1)
    degree = draw.choice(DEGREES)
    words += [degree] if degree else []
    places.append(len(words))
    words.append(draw.choice(GOOD if positive != negated else BAD))
    return words, places


def review(draw: random.Random) -> Review:
    positive = draw.random() < 0.5
    kind = draw.choice(["single", "but", "although", "and", "although after"])
    opening = draw.choice(OPENINGS).split()
    deciding, other = clause(draw, positive), clause(draw, not positive)
    words, decisive = list(opening), []

    def add(part: tuple[list[str], list[int]], counts: bool) -> None:
        if counts:
            decisive.extend(len(words) + place for place in part[1])
        words.extend(part[0])

    if kind == "single":
        add(deciding, True)
    elif kind == "and":
        add(deciding, True)
        words.append("and")
        add(clause(draw, positive), True)
    elif kind == "but":
        add(other, False)
        words += [",", "but"]
        add(deciding, True)
    elif kind == "although":
        words.append("although")
        add(other, False)
        words.append(",")
        add(deciding, True)
    else:
        add(deciding, True)
        words.append("although")
        add(other, False)
    words += draw.choice(CLOSINGS).split()
    return Review("positive" if positive else "negative", tuple(words), frozenset(decisive))


def reviews(count: int, seed: int) -> list[Review]:
    """So many reviews, no two of the same words."""
    draw, found = random.Random(seed), dict[tuple[str, ...], Review]()
    while len(found) < count:
        one = review(draw)
        found.setdefault(one.words, one)
    return list(found.values())
