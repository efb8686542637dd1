"""Messages to a travel desk, made by code, whose entities and kinds are known.

Names are made up of syllables, and the same kinds of words name persons, places, companies and
plain things: only the words around a name say which it is. Some messages are typed in small
letters. The made-up words of the three splits are different.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

Row = tuple[str, str]  # a word and its label in BIO
Message = tuple[str, list[Row]]  # its kind, and its words

ONSETS = "b br c ch d dr f g gr h j k l m n p r s st t tr v w".split()
VOWELS = "a e i o u ai ea oo".split()
CODAS = "l m n nd r rn s st t ck x".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January March May June August October December".split()

TEMPLATES = {
    "report": (
        "{PER} of {ORG} flew to {LOC} on {DATE} .",
        "{ORG} , based in {LOC} , hired {PER} .",
        "the mayor of {LOC} met {PER} on {DATE} .",
        "{PER} said that {ORG} will open an office in {LOC} .",
        "shares of {ORG} fell after {PER} left .",
        "heavy snow closed the airport of {LOC} on {DATE} .",
        "{PER} , who grew up in {LOC} , now runs {ORG} .",
        "{ORG} stopped making the {THING} , {PER} said .",
        "{PER} left a {THING} and a {THING} in {LOC} .",
        "in {LOC} every {THING} costs more than at {ORG} .",
    ),
    "question": (
        "when does {PER} arrive in {LOC} ?",
        "who runs {ORG} ?",
        "did {ORG} sell its plant in {LOC} ?",
        "is {PER} still with {ORG} ?",
        "which trains leave {LOC} on {DATE} ?",
        "has {PER} found the {THING} ?",
        "can {ORG} mend a {THING} before {DATE} ?",
    ),
    "request": (
        "please book a train to {LOC} for {PER} on {DATE} .",
        "send the contract to {PER} at {ORG} .",
        "cancel the room in {LOC} , {PER} is ill .",
        "move the meeting with {ORG} to {DATE} , please .",
        "ask {PER} to call {ORG} before {DATE} .",
        "bring the {THING} to {LOC} , {PER} will pay .",
    ),
}
KINDS = tuple(TEMPLATES)
SMALL = 0.3  # of the messages are typed in small letters


def messages(count: int, seed: int) -> Iterator[Message]:
    """So many messages; another ``seed`` has other names. The same arguments give the same text."""
    draw = random.Random(seed)
    names = Names(seed)
    for _ in range(count):
        kind, small = draw.choice(KINDS), draw.random() < SMALL
        rows: list[Row] = []
        for part in draw.choice(TEMPLATES[kind]).split():
            if part.startswith("{"):
                type_ = part.strip("{}")
                words = names.entity(type_, draw)
                tags = [f"B-{type_}"] + [f"I-{type_}"] * (len(words) - 1)
                rows += zip(words, tags if type_ != "THING" else ["O"], strict=True)
            else:
                rows.append((part, "O"))
        yield kind, [(word.lower() if small else word, label) for word, label in rows]


class Names:
    """Names made of syllables; two generators of unlike parity never make the same one."""

    def __init__(self, parity: int) -> None:
        self._odd = parity % 3

    def entity(self, kind: str, draw: random.Random) -> list[str]:
        """The words of one entity."""
        if kind == "DATE":
            day = [draw.choice(DAYS)]
            return day if draw.random() < 0.5 else [str(draw.randint(1, 28)), draw.choice(MONTHS)]
        name = self._word(draw)
        if kind == "THING":
            return [name.lower()]
        chance = draw.random()
        if kind == "PER":
            return [name] if chance < 0.4 else [self._word(draw), name]
        if kind == "LOC":
            return [name] if chance < 0.7 else [draw.choice(("New", "Upper")), name]
        return [name] if chance < 0.5 else [name, draw.choice(("Brothers", "Group", "Partners"))]

    def _word(self, draw: random.Random) -> str:
        while True:
            parts = [draw.choice(ONSETS) + draw.choice(VOWELS) for _ in range(draw.randint(1, 2))]
            word = "".join(parts) + draw.choice(CODAS)
            if sum(map(ord, word)) % 3 == self._odd:
                return word.capitalize()


def columns(made: Iterator[Message] | list[Message]) -> str:
    """Messages in columns: a word and its label on each line, the kind in a comment above."""
    blocks = []
    for kind, rows in made:
        lines = "".join(f"{word}\t{label}\n" for word, label in rows)
        blocks.append(f"# kind = {kind}\n{lines}")
    return "\n".join(blocks)
