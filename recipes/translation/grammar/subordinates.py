"""Sentences with a subordinate clause, its verb last in German: conjunctions, relative clauses,
infinitives."""

from __future__ import annotations

from dataclasses import replace

from grammar import lexicon
from grammar.clauses import BE, Clause, english, german, to_infinitive
from grammar.lexicon import Adjective, Noun, Pair
from grammar.phrases import PRONOUNS, add_relative, noun_phrase, relative_pronoun, whose
from grammar.speaker import PERSON, Speaker

_NO_FAMILY = [n for n in lexicon.nouns_of(PERSON) if n.singular not in lexicon.FAMILY]
_PLAIN, _VERY, _TOO = Pair("", ""), Pair("very ", "sehr "), Pair("too ", "zu ")
_CONTROL_VERBS = {
    "try": lexicon.other_verbs["versuchen"],
    "forget": lexicon.by_infinitive["vergessen"],
    "promise": lexicon.other_verbs["versprechen"],
}


def _qualities(noun: Noun) -> list[Adjective]:
    """What can be said of it in degrees: not its colour."""
    return [a for a in lexicon.adjectives if noun.kind in a.kinds and a.german_comparative]


def _graded(adjective: Adjective, degree: Pair) -> Pair:
    return Pair(degree.en + adjective.english, degree.de + adjective.german)


def because_of_person(s: Speaker) -> tuple[Pair, str]:
    """The teacher did not call his sister because he was tired."""
    subject = s.person()
    main = replace(s.done(subject), time=None)
    word = s.draw.one((Pair("because", "weil"), Pair("although", "obwohl")))
    if s.draw.chance(0.4):
        main = replace(main, negated=True)
    who = s.own_pronoun(subject)
    if main.accusative is not None and not (main.accusative.definite or main.accusative.de_none):
        main = replace(main, negated=False)
    sub = s.reason(who)
    while sub.verb is main.verb:
        sub = s.reason(who)
    if s.draw.chance(0.3):
        # The clause in front gets the noun, the other one the pronoun.
        main, sub = replace(main, subject=who), replace(sub, subject=subject)
        en, de = f"{word.en} {english(sub)}", f"{word.de} {german(sub, 'last')}"
        return Pair(f"{en}, {english(main)}", f"{de}, {german(main, 'first')}"), "."
    return Pair(
        f"{english(main)} {word.en} {english(sub)}",
        f"{german(main)}, {word.de} {german(sub, 'last')}",
    ), "."


def because_of_thing(s: Speaker) -> tuple[Pair, str]:
    """He bought the lamp because it was cheap: "it" has the gender of the lamp."""
    subject = s.person()
    verb = lexicon.by_infinitive[s.draw.one(lexicon.JUDGED)]
    noun = s.draw.one([n for n in lexicon.nouns_of(verb.kinds) if _qualities(n)])
    determiner = s.draw.weighted(((4, "the"), (2, "a"), (1, "this")))
    what = noun_phrase(noun, determiner, plural=determiner != "a" and s.draw.chance(0.25))
    adjective = s.draw.one(_qualities(noun))
    negated = s.draw.chance(0.4)
    degrees = (_PLAIN, _VERY, _TOO) if negated else (_PLAIN, _VERY)
    word = _graded(adjective, s.draw.one(degrees))
    sub = Clause(s.own_pronoun(what), BE, "past", complement=word)
    main = Clause(subject, verb, "past", accusative=what, negated=negated)
    conjunction = s.draw.one((Pair("because", "weil"), Pair("although", "obwohl")))
    return Pair(
        f"{english(main)} {conjunction.en} {english(sub)}",
        f"{german(main)}, {conjunction.de} {german(sub, 'last')}",
    ), "."


def _subordinate(main: Clause, sub: Clause, word: Pair, s: Speaker) -> tuple[Pair, str]:
    """Main clause and subordinate clause, in either order."""
    en, de = f"{word.en} {english(sub)}", f"{word.de} {german(sub, 'last')}"
    if s.draw.chance(0.3):
        return Pair(f"{en}, {english(main)}", f"{de}, {german(main, 'first')}"), "."
    return Pair(f"{english(main)} {en}", f"{german(main)}, {de}"), "."


def when(s: Speaker) -> tuple[Pair, str]:
    """When the guest arrived, Mrs Talbach was sleeping ... als, bevor, nachdem."""
    word = s.draw.one((Pair("when", "als"), Pair("before", "bevor"), Pair("after", "nachdem")))
    main, sub = s.done(s.person()), s.done(s.person(pronouns=False))
    main = replace(main, time=None)
    sub = replace(sub, time=None)
    if word.en == "after":
        sub = replace(sub, tense="pluperfect")
    return _subordinate(main, sub, word, s)


def if_clause(s: Speaker) -> tuple[Pair, str]:
    """If it rains tomorrow, we will stay at home."""
    main = replace(s.intended(s.person(), counted=False), tense=s.draw.one(("future", "can")))
    if s.draw.chance(0.4):
        it = replace(PRONOUNS["3s-it-n"], pronoun=False)
        sub = Clause(it, lexicon.other_verbs["regnen"], "present", time=s.future_time())
    else:
        sub = s.state(s.person(pronouns=False), "present")
    return _subordinate(main, sub, Pair("if", "wenn"), s)


def that_clause(s: Speaker) -> tuple[Pair, str]:
    """Talina says that the teacher has already read the letter."""
    verb = lexicon.other_verbs[s.draw.one(("sagen", "glauben", "hoffen", "wissen"))]
    tense = "past" if s.draw.chance(0.3) else "present"
    main = Clause(s.person(), verb, tense)
    subject = s.person()
    sub = s.setting(s.act(subject)) if s.draw.chance(0.8) else s.state(subject, "present")
    return Pair(
        f"{english(main)} that {english(sub)}", f"{german(main)}, dass {german(sub, 'last')}"
    ), "."


def whether(s: Speaker) -> tuple[Pair, str]:
    """We do not know whether / why / when / where ..."""
    main = Clause(s.person(), lexicon.other_verbs["wissen"], "present", negated=True)
    sub = s.setting(s.act(s.person()))
    words = [Pair("whether", "ob"), Pair("why", "warum")]
    plain = sub.adverb is None and not sub.negated
    if plain and sub.time is None:
        words.append(Pair("when", "wann"))
    if plain and sub.place is None and "s" not in sub.verb.uses:
        words.append(Pair("where", "wo"))
    word = s.draw.one(words)
    return Pair(
        f"{english(main)} {word.en} {english(sub)}",
        f"{german(main)}, {word.de} {german(sub, 'last')}",
    ), "."


def infinitive_clause(s: Speaker) -> tuple[Pair, str]:
    """The pilot forgot to close the window / called us in order to ..."""
    subject = s.person()
    inner = s.intended(subject)
    goal = to_infinitive(inner)
    kind = s.draw.one(("try", "forget", "promise", "order"))
    if kind == "order":
        first = s.town_trip(subject)
        return Pair(f"{english(first)} in order {goal.en}", f"{german(first)}, um {goal.de}"), "."
    verb = _CONTROL_VERBS[kind]
    if kind == "promise":
        main = Clause(subject, verb, "past", dative=s.other_person(subject))
    else:
        main = Clause(subject, verb, s.draw.one(("past", "perfect")))
    return Pair(f"{english(main)} {goal.en}", f"{german(main)}, {goal.de}"), "."


def relative_subject(s: Speaker) -> tuple[Pair, str]:
    """The man who sold the car lives in Talburg."""
    noun = s.draw.one(_NO_FAMILY)
    adjective = s.adjective(noun) if s.draw.chance(0.2) else None
    person = noun_phrase(noun, "the", adjective, plural=s.draw.chance(0.25))
    kind = s.draw.weighted(((4, "who"), (2, "whom"), (1.5, "whose")))
    if kind == "who":
        inner = replace(s.act(person, counted=False), tense="past")
        en = "who " + english(inner, subject=False)
        de = f"{relative_pronoun(person, 'nom')} {german(inner, 'last', subject=False)}"
    elif kind == "whom":
        verb = s.draw.one([v for v in lexicon.accusative_verbs if v.kinds & PERSON])
        inner = Clause(s.person(), verb, "past")
        particle = f" {verb.particle}" if verb.particle else ""
        en = f"whom {inner.subject.en} {verb.past}{particle}"
        de = f"{relative_pronoun(person, 'acc')} {german(inner, 'last')}"
    else:
        animal = s.draw.one(lexicon.nouns["animal"])
        # Bare noun: "whose" stands in the place of its article.
        inner = Clause(noun_phrase(animal, ""), BE, "past", complement=Pair("sick", "krank"))
        inner = s.draw.one((inner, replace(inner, complement=Pair("very old", "sehr alt"))))
        en, de = f"whose {english(inner)}", f"{whose(person)} {german(inner, 'last')}"
    subject = add_relative(person, en, de)
    main = s.draw.weighted(
        (
            (3, s.home(subject)),
            (3, replace(s.done(subject), time=None)),
            (2, s.state(subject, s.draw.one(("past", "present")))),
        )
    )
    return Pair(english(main), german(main)), "."


def relative_thing(s: Speaker) -> tuple[Pair, str]:
    """The book that the teacher bought was very expensive."""
    verb = s.draw.one(
        [v for v in lexicon.accusative_verbs if not v.kinds & PERSON and "s" not in v.uses]
    )
    noun = s.draw.one([n for n in lexicon.nouns_of(verb.kinds) if s.adjective(n)])
    plural = s.draw.chance(0.25)
    what = noun_phrase(noun, "the", plural=plural)
    time = s.past_time() if s.draw.chance(0.4) else None
    inner = Clause(s.person(), verb, "past", time=time)
    when_text = f" {time.en}" if time else ""
    particle = f" {verb.particle}" if verb.particle else ""
    en = f"that {inner.subject.en} {verb.past}{particle}{when_text}"
    de = f"{relative_pronoun(what, 'acc')} {german(inner, 'last')}"
    quality = s.adjective(noun)
    word = _graded(
        quality, s.draw.one((_PLAIN, _VERY) if quality.german_comparative else (_PLAIN,))
    )
    subject = add_relative(what, en, de)
    main = Clause(subject, BE, s.draw.one(("past", "present")), complement=word)
    return Pair(english(main), german(main)), "."
