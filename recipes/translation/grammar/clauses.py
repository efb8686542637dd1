"""A clause and its two realisations: English order and verbs, German brackets and verbs.

German, by position of the finite verb: second (statements, with the subject or an adverbial in
front), first (yes/no questions, and behind whatever else stands in front), last (subordinate
clauses). Participle, infinitive and separable prefix close the clause.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from grammar.lexicon import Pair, Verb
from grammar.phrases import Phrase

_AGREEMENT = ("1s", "2s", "3s", "1p", "2p", "3p")


def _table(forms: str) -> dict[str, str]:
    return dict(zip(_AGREEMENT, forms.split(), strict=True))


_HABEN = _table("habe hast hat haben habt haben")
_HATTE = _table("hatte hattest hatte hatten hattet hatten")
_SEIN = _table("bin bist ist sind seid sind")
_WAR = _table("war warst war waren wart waren")
_WERDEN = _table("werde wirst wird werden werdet werden")
_MODALS = {
    "can": _table("kann kannst kann können könnt können"),
    "could": _table("konnte konntest konnte konnten konntet konnten"),
    "must": _table("muss musst muss müssen müsst müssen"),
    "had to": _table("musste musstest musste mussten musstet mussten"),
    "should": _table("sollte solltest sollte sollten solltet sollten"),
    "want to": _table("will willst will wollen wollt wollen"),
    "wanted to": _table("wollte wolltest wollte wollten wolltet wollten"),
}
_BE_PRESENT = _table("am are is are are are")
_BE_PAST = _table("was were was were were were")
_ODD_FIRST_PERSON = {"wissen": "weiß", "sein": "bin"}

BE = Verb(
    "be", "was", "been", "being", "", False,
    "sein", "ist", "war", "gewesen", "", True, frozenset(), frozenset("s"),
)  # fmt: skip
HAVE = Verb(
    "have", "had", "had", "having", "", False,
    "haben", "hat", "hatte", "gehabt", "", False, frozenset(), frozenset("s"),
)  # fmt: skip


@dataclass(frozen=True)
class Clause:
    subject: Phrase
    verb: Verb
    tense: str = "past"  # present progressive past perfect pluperfect future, or a modal
    dative: Phrase | None = None
    accusative: Phrase | None = None
    time: Pair | None = None
    adverb: Pair | None = None  # before the main verb in English: often, already
    place: Pair | None = None
    companion: Phrase | None = None  # with ...
    complement: Pair | None = None  # bound to the verb: to Talburg, on the table, very old
    negated: bool = False
    yet: bool = False  # with negated: not ... yet, noch nicht


def english(clause: Clause, question: bool = False, subject: bool = True) -> str:
    """Subject first, or the auxiliary first in a question; ``subject=False`` leaves it out."""
    auxiliary, main = _english_verb(clause, question)
    negation = "not" if clause.negated else ""
    if auxiliary == "can" and negation and not question:
        auxiliary, negation = "cannot", ""
    who = clause.subject.en if subject else ""
    start = (auxiliary, who) if question else (who, auxiliary)
    adverb = clause.adverb.en if clause.adverb else ""
    if clause.verb is BE and main in (*_BE_PRESENT.values(), *_BE_PAST.values()):
        middle = (main, negation, adverb)  # "is not tired", "is often tired"
    else:
        middle = (negation, adverb, main)
    return _join(*start, *middle, *_english_rest(clause))


def german(clause: Clause, order: str = "second", subject: bool = True) -> str:
    """The clause with its finite verb "second", "first" or "last".

    ``subject=False`` leaves the subject out, for one that stands in front (questions with
    "wer", relative clauses).
    """
    finite, closing = _german_verb(clause)
    who = clause.subject.de["nom"] if subject else ""
    middle = _german_middle(clause)
    if order == "second":
        return _join(who, finite, *middle, closing)
    if order == "first":
        return _join(finite, who, *middle, closing)
    prefix = clause.verb.prefix if clause.tense in ("present", "progressive", "past") else ""
    if prefix:
        return _join(who, *middle, prefix + finite)
    return _join(who, *middle, closing, finite)


def to_infinitive(clause: Clause) -> Pair:
    """to close the door, die Tür zu schließen; die Tür zuzumachen with a separable verb."""
    verb = clause.verb
    de = f"{verb.prefix}zu{verb.infinitive}" if verb.prefix else f"zu {verb.infinitive}"
    en = _join("to", verb.base, *_english_rest(clause))
    return Pair(en, _join(*_german_middle(clause), de))


def infinitive(verb: Verb) -> str:
    return verb.prefix + verb.infinitive


def without_time(clause: Clause) -> Clause:
    return replace(clause, time=None)


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)


# English


def _third(verb: Verb) -> str:
    base = verb.base
    if base == "have":
        return "has"
    if base.endswith(("s", "sh", "ch", "x", "o")):
        return base + "es"
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ies"
    return base + "s"


def _english_verb(clause: Clause, question: bool) -> tuple[str, str]:
    """The auxiliary ("" for none) and the main verb."""
    verb, tense, agreement = clause.verb, clause.tense, clause.subject.agreement
    third = agreement == "3s"
    if verb is BE and tense in ("present", "past"):
        form = (_BE_PRESENT if tense == "present" else _BE_PAST)[agreement]
        return (form, "") if question else ("", form)
    if tense == "progressive":
        return _BE_PRESENT[agreement], verb.ing
    if tense in ("perfect", "pluperfect"):
        have = "had" if tense == "pluperfect" else "has" if third else "have"
        return have, verb.participle
    if tense in ("future", "can", "could", "must", "should"):
        return ("will" if tense == "future" else tense), verb.base
    past = tense in ("past", "had to", "wanted to")
    modal = tense.removesuffix(" to") if tense in _MODALS else ""
    if question or clause.negated:
        support = "did" if past else "does" if third else "do"
        base = {"had": "have to", "wanted": "want to", "want": "want to"}.get(modal, "")
        return support, _join(base, verb.base)
    if modal:
        first = "wants" if modal == "want" and third else modal
        return "", f"{first} to {verb.base}"
    return "", verb.past if past else _third(verb) if third else verb.base


def _english_rest(clause: Clause) -> list[str]:
    verb, accusative, dative = clause.verb, clause.accusative, clause.dative
    particle = verb.particle
    parts = []
    if accusative is None and dative is None:
        parts = [particle]
    elif accusative is not None and dative is not None:
        if accusative.pronoun:  # gave it to him
            parts = [accusative.en_object, "to", dative.en_object]
        else:
            parts = [dative.en_object, accusative.en_object]
    else:
        target = accusative or dative
        moved = verb.particle_moves and target.pronoun
        parts = [target.en_object, particle] if moved else [particle, target.en_object]
    if clause.complement:
        parts.append(clause.complement.en)
    if clause.companion:
        parts.append(f"with {clause.companion.en_object}")
    if clause.place:
        parts.append(clause.place.en)
    if clause.time:
        parts.append(clause.time.en)
    if clause.yet:
        parts.append("yet")
    return parts


# German


def _conjugate(verb: Verb, past: bool, agreement: str) -> str:
    """Simple forms of a full verb; the 2nd person is never needed."""
    if verb is BE:
        return (_WAR if past else _SEIN)[agreement]
    if verb is HAVE:
        return (_HATTE if past else _HABEN)[agreement]
    if agreement in ("2s", "2p"):
        raise ValueError(f"{verb.infinitive}: no 2nd person of full verbs; use an auxiliary")
    third = verb.german_past if past else verb.third
    if agreement == "3s":
        return third
    if past:
        plural = third + ("n" if third.endswith("e") else "en")
        return third if agreement == "1s" else plural
    if agreement != "1s":
        return verb.infinitive
    if verb.infinitive in _ODD_FIRST_PERSON:
        return _ODD_FIRST_PERSON[verb.infinitive]
    # kaufen -> kaufe, füttern -> füttere
    return verb.infinitive[:-1] + ("" if verb.infinitive.endswith("en") else "e")


def _german_verb(clause: Clause) -> tuple[str, str]:
    """The finite verb and what closes the clause."""
    verb, tense, agreement = clause.verb, clause.tense, clause.subject.agreement
    participle = verb.german_participle
    if tense in ("present", "progressive"):
        return _conjugate(verb, False, agreement), verb.prefix
    if tense == "past":
        return _conjugate(verb, True, agreement), verb.prefix
    if tense == "perfect":
        return (_SEIN if verb.with_sein else _HABEN)[agreement], participle
    if tense == "pluperfect":
        return (_WAR if verb.with_sein else _HATTE)[agreement], participle
    if tense == "future":
        return _WERDEN[agreement], infinitive(verb)
    return _MODALS[tense][agreement], infinitive(verb)


def _german_middle(clause: Clause) -> list[str]:
    """What stands between the brackets, behind the subject.

    Pronouns first (accusative before dative), then what is known, then what is new: a definite
    object stands before "nicht" and "oft", an indefinite one behind the time.
    """
    accusative, dative = clause.accusative, clause.dative
    time = clause.time.de if clause.time else ""
    if clause.tense == "progressive":
        time = _join(time, "gerade")
    adverb = clause.adverb.de if clause.adverb else ""
    companion = f"mit {clause.companion.de['dat']}" if clause.companion else ""
    place = clause.place.de if clause.place else ""
    complement = clause.complement.de if clause.complement else ""
    negation = ("noch " if clause.yet else "") + "nicht" if clause.negated else ""

    pronouns = [
        phrase.de[case]
        for phrase, case in ((accusative, "acc"), (dative, "dat"))
        if phrase is not None and phrase.pronoun
    ]
    whom = dative.de["dat"] if dative is not None and not dative.pronoun else ""
    what = accusative.de["acc"] if accusative is not None and not accusative.pronoun else ""
    if negation and accusative is not None and accusative.de_none is not None:
        what = _join("noch" if clause.yet else "", accusative.de_none["acc"])
        negation = ""
    known_first = bool(negation or adverb)
    if known_first and (accusative is None or accusative.definite):
        objects = [whom, what, time, adverb, negation, companion, place]
    else:
        objects = [time, adverb, whom, negation, companion, place, what]
    return [*pronouns, *objects, complement]
