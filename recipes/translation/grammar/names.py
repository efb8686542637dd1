"""Names put together from syllables: an open vocabulary, the same word in both languages.

A name belongs to one split for good, by its checksum: those of the test set are never seen in
training and can be translated only by being copied.
"""

from __future__ import annotations

import zlib

from grammar.draw import Draw

# fmt: off
ONSETS = (
    "Ba", "Be", "Bo", "Bra", "Bri", "Ca", "Ce", "Co", "Da", "De", "Do", "Dra", "Du", "E", "Fa",
    "Fe", "Fi", "Flo", "Ga", "Gi", "Gre", "Gu", "Ha", "He", "Ho", "I", "Ja", "Je", "Jo", "Ka",
    "Ke", "Ki", "Kro", "La", "Le", "Li", "Lo", "Lu", "Ma", "Me", "Mi", "Mo", "Na", "Ne", "No",
    "O", "Pa", "Pe", "Pi", "Pra", "Ra", "Re", "Ro", "Ru", "Sa", "Se", "Si", "Ste", "Ta", "Te",
    "To", "Tri", "U", "Va", "Ve", "Vi", "Wa", "We", "Wi", "Ya", "Yo", "Za", "Ze", "Zu",
)
MIDDLES = (
    "", "be", "da", "di", "fa", "ga", "go", "ka", "la", "le", "li", "lo", "ma", "me", "mi", "na",
    "ni", "no", "pa", "ra", "re", "ri", "ro", "sa", "se", "ta", "te", "ti", "va", "ve", "vo",
)
MALE_ENDINGS = (
    "bert", "do", "dor", "fred", "kar", "lan", "lo", "lom", "mir", "mund", "nar", "nik", "no",
    "rek", "rik", "ro", "ron", "tan", "tin", "to",
)
FEMALE_ENDINGS = (
    "bea", "da", "dia", "la", "lea", "lia", "lina", "lisa", "ma", "mara", "na", "nea", "nia",
    "ra", "rena", "ria", "ta", "tea", "tina", "via",
)
FAMILY_ENDINGS = (
    "bach", "beck", "brook", "dahl", "feld", "field", "gard", "hart", "holt", "kamp", "lund",
    "man", "mark", "mer", "nell", "ner", "rell", "sen", "son", "vall", "well", "worth",
)
TOWN_ENDINGS = (
    "berg", "bridge", "bruck", "burg", "dorf", "fels", "ford", "furt", "grad", "ham", "haven",
    "heim", "mont", "mouth", "port", "stadt", "stein", "ton", "ville", "wick",
)
# fmt: on

TRAIN, VALIDATION, TEST = "train", "validation", "test"


def split_of(name: str) -> str:
    """The one split that a name may stand in: 1/16 test, 1/32 validation, the rest training."""
    point = zlib.crc32(name.encode()) % 32
    return TEST if point < 2 else VALIDATION if point == 2 else TRAIN


class Names:
    """Draws names of one split. No name ends in a sound that would lose its genitive -s."""

    def __init__(self, draw: Draw, split: str) -> None:
        self._draw = draw
        self._split = split

    def male(self) -> str:
        return self._name(MALE_ENDINGS)

    def female(self) -> str:
        return self._name(FEMALE_ENDINGS)

    def family(self) -> str:
        return self._name(FAMILY_ENDINGS)

    def town(self) -> str:
        return self._name(TOWN_ENDINGS)

    def _name(self, endings: tuple[str, ...]) -> str:
        while True:
            name = self._draw.one(ONSETS) + self._draw.one(MIDDLES) + self._draw.one(endings)
            if len(name) >= 4 and split_of(name) == self._split:
                return name
