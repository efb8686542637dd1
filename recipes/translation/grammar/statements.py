"""Statements of one clause, or of two side by side."""

from __future__ import annotations

from dataclasses import replace

from grammar import lexicon
from grammar.clauses import BE, HAVE, Clause, english, german, infinitive
from grammar.draw import Draw
from grammar.lexicon import Pair
from grammar.phrases import PRONOUNS, noun_phrase
from grammar.speaker import PERSON, Speaker


def statement(clause: Clause, draw: Draw) -> Pair:
    """A main clause, its time in front now and then (and then German inverts)."""
    if clause.time is None or clause.yet or not draw.chance(0.4):
        return Pair(english(clause), german(clause))
    rest = replace(clause, time=None)
    comma = "," if any(c.isdigit() for c in clause.time.en) or len(clause.time.en) > 15 else ""
    return Pair(
        f"{clause.time.en}{comma} {english(rest)}", f"{clause.time.de} {german(rest, 'first')}"
    )


def simple(s: Speaker) -> tuple[Pair, str]:
    return statement(s.setting(s.act(s.person())), s.draw), "."


def pronoun_objects(s: Speaker) -> tuple[Pair, str]:
    """The farmer bought a horse, but he sold it two weeks later."""
    subject = s.person(pronouns=False)
    verb = lexicon.by_infinitive[s.draw.one(sorted(lexicon.sequences))]
    possible = [lexicon.by_infinitive[v] for v in lexicon.sequences[infinitive(verb)]]
    second_verb = s.draw.one(possible)
    both = [n for n in lexicon.nouns_of(verb.kinds & second_verb.kinds) if n.kind not in PERSON]
    what = s.thing(s.draw.one(both), None, counted=s.draw.chance(0.3))
    first = Clause(subject, verb, accusative=what)
    whom = s.other_person(subject) if second_verb in lexicon.ditransitive_verbs else None
    if whom is not None and whom.pronoun and whom.pronoun_key == subject.pronoun_key:
        whom = s.name()
    it = s.own_pronoun(what)
    second = Clause(s.own_pronoun(subject), second_verb, dative=whom, accusative=it)
    unlucky = infinitive(second_verb) in ("verkaufen", "verlieren", "vergessen")
    join = Pair(", but", ", aber") if unlucky else Pair(", and", ", und")
    if s.draw.chance(0.5) or verb.kinds & {"opening"} or infinitive(verb) == "suchen":
        join = Pair(", and then", "")
    time = s.past_time() if s.draw.chance(0.3) else None
    left = statement(replace(first, time=time), s.draw)
    if join.de:
        return Pair(
            f"{left.en}{join.en} {english(second)}", f"{left.de}{join.de} {german(second)}"
        ), "."
    return Pair(
        f"{left.en}, and then {english(second)}", f"{left.de}, und dann {german(second, 'first')}"
    ), "."


def comparison(s: Speaker) -> tuple[Pair, str]:
    """This lamp is more expensive than the red chair."""
    adjective = s.draw.one(
        [a for a in lexicon.adjectives if a.german_comparative and "state" not in a.kinds]
    )
    kinds = sorted(adjective.kinds)
    tense = s.draw.one(("present", "past"))
    kind = s.draw.one(kinds)
    if kind in PERSON:
        left, right = s.person(), s.name()
    else:
        first, second = s.draw.one(lexicon.nouns[kind]), s.draw.one(lexicon.nouns[kind])
        own = () if kind == "building" else ("my",)
        left = noun_phrase(first, s.draw.one(("the", "this", *own)), plural=s.draw.chance(0.2))
        right = noun_phrase(second, s.draw.one(("the", *own)))
        if first is second:
            right = noun_phrase(second, s.name(full=False))
    if s.draw.chance(0.3):
        degree = Pair(f"as {adjective.english} as", f"so {adjective.german} wie")
    else:
        english_form = adjective.comparative or f"more {adjective.english}"
        degree = Pair(f"{english_form} than", f"{adjective.german_comparative} als")
    word = Pair(f"{degree.en} {right.en}", f"{degree.de} {right.de['nom']}")
    negated = s.draw.chance(0.2)
    clause = Clause(left, BE, tense, complement=word, negated=negated)
    return Pair(english(clause), german(clause)), "."


def trip(s: Speaker) -> tuple[Pair, str]:
    clause = s.town_trip(s.person())
    if clause.tense == "past" and s.draw.chance(0.5):
        clause = replace(s.setting(replace(clause, time=None)))
    return statement(clause, s.draw), "."


def residence(s: Speaker) -> tuple[Pair, str]:
    """Talina has lived in Talburg since 1987: German uses the present."""
    subject = s.person()
    if s.draw.chance(0.4):
        return statement(s.home(subject), s.draw), "."
    year = s.draw.whole(1950, 2024)
    town = s.names.town()
    live = lexicon.other_verbs["wohnen"]
    en = Clause(subject, live, "perfect", complement=Pair(f"in {town} since {year}", ""))
    de = Clause(subject, live, "present", complement=Pair("", f"seit {year} in {town}"))
    return Pair(english(en), german(de)), "."


def birth(s: Speaker) -> tuple[Pair, str]:
    subject = s.person()
    date = s.date(s.draw.whole(1950, 2015))
    town = s.names.town()
    complement = Pair(f"born in {town} {date.en}", f"{date.de} in {town} geboren")
    clause = Clause(subject, BE, "past", complement=complement)
    finite = "wurden" if subject.agreement.endswith("p") else "wurde"
    return Pair(english(clause), f"{subject.de['nom']} {finite} {complement.de}"), "."


def passive(s: Speaker) -> tuple[Pair, str]:
    """The bridge was painted by Mr Holt in 1987 ... wurde ... gestrichen."""
    verb = s.draw.one(
        [v for v in lexicon.accusative_verbs if not v.uses & {"s"} and not v.kinds & PERSON]
    )
    if verb.base in ("forget", "own"):
        return simple(s)
    subject = s.thing(s.noun(verb))
    time = s.past_time() if s.draw.chance(0.7) else None
    agent = s.name() if time is None or s.draw.chance(0.4) else None
    particle = f" {verb.particle}" if verb.particle else ""
    by = Pair(f"by {agent.en_object}", f"von {agent.de['dat']}") if agent else Pair("", "")
    when_ = time or Pair("", "")
    be = "were" if subject.agreement == "3p" else "was"
    werden = "wurden" if subject.agreement == "3p" else "wurde"
    en = f"{subject.en} {be} {verb.participle}{particle} {by.en} {when_.en}"
    de_end = f"{by.de} {verb.german_participle}"
    return Pair(en, f"{subject.de['nom']} {werden} {when_.de} {de_end}"), "."


def belongs(s: Speaker) -> tuple[Pair, str]:
    """Likes turn round: the lamp pleases the teacher."""
    noun = s.draw.one(lexicon.nouns_of(("thing", "animal", "building")))
    person = s.person()
    if s.draw.chance(0.5):
        adjective = s.adjective(noun) if s.draw.chance(0.5) else None
        plural = s.draw.chance(0.25)
        what = noun_phrase(noun, s.draw.one(("the", "this")), adjective, plural=plural)
        tense = "past" if s.draw.chance(0.3) else "present"
        verb = lexicon.other_verbs["gehören"]
        if noun.kind == "building":
            return simple(s)
        clause = Clause(what, verb, tense, dative=person, negated=s.draw.chance(0.2))
        return Pair(english(clause), german(clause)), "."
    adjective = s.adjective(noun) if s.draw.chance(0.5) else None
    what = noun_phrase(noun, s.draw.one(("the", "this")), adjective, plural=s.draw.chance(0.25))
    like = Clause(
        person, lexicon.other_verbs["mögen"], "present", accusative=what, negated=s.draw.chance(0.2)
    )
    pleases = "gefallen" if what.agreement == "3p" else "gefällt"
    negation = "nicht" if like.negated else ""
    de = f"{person.de['dat']} {pleases} {what.de['nom']} {negation}"
    return Pair(english(like), de), "."


# (lying, past, plural) -> the German verb
_POSITIONS = {
    (True, False, False): "liegt",
    (True, False, True): "liegen",
    (True, True, False): "lag",
    (True, True, True): "lagen",
    (False, False, False): "steht",
    (False, False, True): "stehen",
    (False, True, False): "stand",
    (False, True, True): "standen",
}


def position(s: Speaker) -> tuple[Pair, str]:
    """Books lie and lamps stand: put and be, by the noun."""
    draw = s.draw
    target = noun_phrase(draw.one(lexicon.nouns["furniture"]), "the")
    on = draw.one((Pair("on", "auf"), Pair("under", "unter"), Pair("next to", "neben")))
    on = draw.one((on, Pair("behind", "hinter"), Pair("in front of", "vor")))
    lying = draw.chance(0.5)
    noun = draw.one(lexicon.nouns_of(lexicon.LYING if lying else lexicon.STANDING))
    if draw.chance(0.5):
        subject = s.person()
        verb = lexicon.other_verbs["legen" if lying else "stellen"]
        where = Pair(f"{on.en} {target.en}", f"{on.de} {target.de['acc']}")
        tense = draw.weighted(((3, "past"), (2, "perfect"), (1, "must"), (1, "should")))
        what = s.thing(noun, subject)
        clause = Clause(subject, verb, tense, accusative=what, complement=where)
        return Pair(english(clause), german(clause)), "."
    adjective = s.adjective(noun) if s.draw.chance(0.3) else None
    owner = s.draw.one(("the", "the", "this", "my", s.name()))
    what = noun_phrase(noun, owner, adjective, plural=s.draw.chance(0.25))
    where = Pair(f"{on.en} {target.en}", f"{on.de} {target.de['dat']}")
    past = draw.chance(0.5)
    plural = what.agreement == "3p"
    finite = _POSITIONS[lying, past, plural]
    be = Clause(what, BE, "past" if past else "present", complement=where)
    return Pair(english(be), f"{what.de['nom']} {finite} {where.de}"), "."


def there_is(s: Speaker) -> tuple[Pair, str]:
    """There are 34 chairs in the kitchen: German puts the place in front."""
    noun = s.draw.one(lexicon.nouns_of(("furniture", "device", "container", "text")))
    adjective = s.adjective(noun) if s.draw.chance(0.4) else None
    if s.draw.chance(0.25):
        what = noun_phrase(noun, "a", adjective)
    else:
        what = noun_phrase(noun, s.draw.one((s.count(), "many", "some")), adjective, plural=True)
    place = s.draw.one(lexicon.indoors)
    be = "are" if what.agreement == "3p" else "is"
    return Pair(f"there {be} {what.en} {place.en}", f"{place.de} gibt es {what.de['acc']}"), "."


def possession(s: Speaker) -> tuple[Pair, str]:
    """have: she has two brothers and a very old dog."""
    subject = s.person()
    kinds = ("animal", "vehicle", "instrument", "furniture", "small", "clothing")
    noun = s.draw.one(lexicon.nouns_of(kinds))
    adjective = s.adjective(noun) if s.draw.chance(0.6) else None
    if s.draw.chance(0.5):
        what = noun_phrase(noun, "a", adjective, very=s.draw.chance(0.2))
    else:
        what = noun_phrase(noun, s.count(s.draw.chance(0.4)), adjective, plural=True)
    tense = "past" if s.draw.chance(0.3) else "present"
    clause = Clause(subject, HAVE, tense, accusative=what)
    if s.draw.chance(0.4) and what.de_none:
        clause = replace(clause, negated=True)
    return Pair(english(clause), german(clause)), "."


def request(s: Speaker) -> tuple[Pair, str]:
    """Please close the red door: bitte machen Sie ..."""
    verb = s.draw.one(
        [v for v in (*lexicon.accusative_verbs, *lexicon.ditransitive_verbs) if "s" not in v.uses]
    )
    if infinitive(verb) in lexicon.UNINTENDED:
        verb = lexicon.accusative_verbs[0]
    you = replace(PRONOUNS["3p"], de={"nom": "Sie"}, possessive="")
    whom = None
    if verb in lexicon.ditransitive_verbs:
        whom = s.other_person(PRONOUNS["3p"])
    noun = s.noun(verb)
    what = s.name() if noun.kind in PERSON else s.thing(noun)
    clause = Clause(you, verb, "present", dative=whom, accusative=what)
    if s.draw.chance(0.3):
        clause = replace(clause, time=s.draw.one((*lexicon.future_times[:3], s.weekday())))
    en = english(clause, subject=False)
    return Pair(f"please {en}", f"bitte {german(clause, 'first')}"), "."
