"""Noun phrases in both languages: agreement of article, adjective and noun."""

from __future__ import annotations

from dataclasses import dataclass, replace

from grammar.lexicon import Adjective, Noun, Pair

CASES = ("nom", "acc", "dat", "gen")

# Rows: masculine, feminine, neuter, plural. Columns: nominative, accusative, dative, genitive.
_DEFINITE = {
    "m": ("der", "den", "dem", "des"),
    "f": ("die", "die", "der", "der"),
    "n": ("das", "das", "dem", "des"),
    "p": ("die", "die", "den", "der"),
}
_RELATIVE = {**_DEFINITE, "p": ("die", "die", "denen", "deren")}
_THIS_ENDINGS = {
    "m": ("er", "en", "em", "es"),
    "f": ("e", "e", "er", "er"),
    "n": ("es", "es", "em", "es"),
    "p": ("e", "e", "en", "er"),
}
_EIN_ENDINGS = {**_THIS_ENDINGS, "m": ("", "en", "em", "es"), "n": ("", "", "em", "es")}
_WEAK = {
    "m": ("e", "en", "en", "en"),
    "f": ("e", "e", "en", "en"),
    "n": ("e", "e", "en", "en"),
    "p": ("en", "en", "en", "en"),
}
_MIXED = {**_WEAK, "m": ("er", "en", "en", "en"), "n": ("es", "es", "en", "en")}
_STRONG = {
    "m": ("er", "en", "em", "en"),
    "f": ("e", "e", "er", "er"),
    "n": ("es", "es", "em", "en"),
    "p": ("e", "e", "en", "er"),
}
# English possessive -> German stem; "its" depends on the gender of what it stands for.
POSSESSIVES = {"my": "mein", "your": "dein", "his": "sein", "her": "ihr", "our": "unser"}
POSSESSIVES["their"] = "ihr"
_QUANTIFIERS = {"many": "viele", "some": "einige", "several": "mehrere"}

# Adjectives whose first letter does not tell the sound: "a used car".
_NO_AN = ("use", "uni", "one")


@dataclass(frozen=True)
class Phrase:
    """A noun phrase: what it is called in each language and what agrees with it."""

    en: str  # as a subject
    en_object: str
    de: dict[str, str]  # by case
    agreement: str  # 1s 2s 3s 1p 2p 3p, of the verb
    gender: str = "m"  # German m, f, n, or p for any plural
    definite: bool = True
    pronoun: bool = False
    name: bool = False
    possessive: str = ""  # the English possessive that stands for it: his, her, their
    pronoun_key: str = ""  # the row of PRONOUNS that stands for it
    de_none: dict[str, str] | None = None  # with "kein", of an indefinite phrase

    def genitive(self) -> str:
        """The English possessive form: the teacher's, the teachers'."""
        return self.en + ("'" if self.agreement == "3p" and self.en.endswith("s") else "'s")


def _pronoun(key: str, en: str, gender: str, possessive: str, de: str) -> Phrase:
    subject, other = en.split()
    nominative, accusative, dative = de.split()
    forms = {"nom": nominative, "acc": accusative, "dat": dative}
    return Phrase(
        subject,
        other,
        forms,
        key[:2],
        gender,
        pronoun=True,
        possessive=possessive,
        pronoun_key=key,
    )


PRONOUNS = {
    phrase.pronoun_key: phrase
    for phrase in (
        _pronoun("1s", "I me", "m", "my", "ich mich mir"),
        _pronoun("2s", "you you", "m", "your", "du dich dir"),
        _pronoun("3s-he", "he him", "m", "his", "er ihn ihm"),
        _pronoun("3s-she", "she her", "f", "her", "sie sie ihr"),
        _pronoun("3s-it-m", "it it", "m", "", "er ihn ihm"),
        _pronoun("3s-it-f", "it it", "f", "", "sie sie ihr"),
        _pronoun("3s-it-n", "it it", "n", "", "es es ihm"),
        _pronoun("1p", "we us", "p", "our", "wir uns uns"),
        _pronoun("3p", "they them", "p", "their", "sie sie ihnen"),
    )
}


def noun_phrase(
    noun: Noun,
    determiner: str | Pair | Phrase,
    adjective: Adjective | None = None,
    very: bool = False,
    plural: bool = False,
) -> Phrase:
    """A noun with its determiner and adjective.

    ``determiner`` is "the", "a", "this", a possessive ("my"), a quantifier ("many"), "" (bare
    plural), a number in both languages (then plural), or the possessor: a noun phrase (the
    teacher's car, das Auto des Lehrers) or a name (Talina's car, Talinas Auto).
    """
    row = "p" if plural else noun.gender
    en_words = [_english_adjective(adjective, very), noun.plural if plural else noun.singular]
    en_rest = " ".join(word for word in en_words if word)
    de = {case: _german(noun, determiner, adjective, very, row, case) for case in CASES}
    none = None
    if determiner == "a":
        none = {case: _german(noun, "no", adjective, very, row, case) for case in CASES}
    en = " ".join(word for word in (_english_determiner(determiner, en_rest, plural), en_rest))
    person = {"man": "he", "woman": "she"}.get(noun.kind)
    possessive = {"he": "his", "she": "her", None: ""}[person]
    key = f"3s-{person}" if person else f"3s-it-{noun.gender}"
    return Phrase(
        en.strip(),
        en.strip(),
        de,
        "3p" if plural else "3s",
        row,
        definite=not (determiner in ("a", "", *_QUANTIFIERS) or isinstance(determiner, Pair)),
        possessive="their" if plural else possessive,
        pronoun_key="3p" if plural else key,
        de_none=none,
    )


def name_phrase(name: str, title: str, female: bool) -> Phrase:
    """A name; ``title`` is "" or "Mr" / "Mrs"."""
    en = f"{title} {name}".strip()
    nominative = {"": "", "Mr": "Herr ", "Mrs": "Frau "}[title] + name
    other = ("Herrn " if title == "Mr" else "Frau " if title else "") + name
    de = {"nom": nominative, "acc": other, "dat": other, "gen": other + "s"}
    gender, key, possessive = ("f", "3s-she", "her") if female else ("m", "3s-he", "his")
    return Phrase(en, en, de, "3s", gender, name=True, possessive=possessive, pronoun_key=key)


def relative_pronoun(phrase: Phrase, case: str) -> str:
    return _RELATIVE[phrase.gender][CASES.index(case)]


def whose(phrase: Phrase) -> str:
    return {"m": "dessen", "n": "dessen", "f": "deren", "p": "deren"}[phrase.gender]


def add_relative(phrase: Phrase, en: str, de: str) -> Phrase:
    """The phrase with a relative clause behind it; German sets it between commas."""
    forms = {case: f"{form}, {de}," for case, form in phrase.de.items()}
    return replace(phrase, en=f"{phrase.en} {en}", en_object=f"{phrase.en_object} {en}", de=forms)


def _english_adjective(adjective: Adjective | None, very: bool) -> str:
    return "" if adjective is None else ("very " if very else "") + adjective.english


def _english_determiner(determiner: str | Pair | Phrase, following: str, plural: bool) -> str:
    if isinstance(determiner, Phrase):
        return determiner.genitive()
    if isinstance(determiner, Pair):
        return determiner.en
    if determiner == "a":
        return "an" if following[0] in "aeiou" and not following.startswith(_NO_AN) else "a"
    if determiner == "this" and plural:
        return "these"
    return determiner


def _german(
    noun: Noun,
    determiner: str | Pair | Phrase,
    adjective: Adjective | None,
    very: bool,
    row: str,
    case: str,
) -> str:
    column = CASES.index(case)
    before, after, endings = "", "", _STRONG
    if isinstance(determiner, Pair):
        before = determiner.de
    elif isinstance(determiner, Phrase) and determiner.name:
        before = determiner.de["gen"]
    elif isinstance(determiner, Phrase):
        before, after, endings = _DEFINITE[row][column], determiner.de["gen"], _WEAK
    elif determiner == "the":
        before, endings = _DEFINITE[row][column], _WEAK
    elif determiner == "this":
        before, endings = "dies" + _THIS_ENDINGS[row][column], _WEAK
    elif determiner in _QUANTIFIERS:
        before = _QUANTIFIERS[determiner][:-1] + _THIS_ENDINGS[row][column]
    elif determiner:
        stem = {"a": "ein", "no": "kein"}.get(determiner) or POSSESSIVES[determiner]
        before, endings = stem + _EIN_ENDINGS[row][column], _MIXED
    word = ""
    if adjective is not None:
        word = ("sehr " if very else "") + str(adjective.stem) + endings[row][column]
    return " ".join(part for part in (before, word, _decline(noun, row, case), after) if part)


def _decline(noun: Noun, row: str, case: str) -> str:
    if row == "p":
        add_n = case == "dat" and not noun.german_plural.endswith(("n", "s"))
        return noun.german_plural + ("n" if add_n else "")
    if case == "gen" or (noun.weak and case != "nom"):
        return noun.german + noun.genitive
    return noun.german
