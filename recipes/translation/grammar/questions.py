"""Questions: the verb first, or behind the question word. The past is asked for in the perfect."""

from __future__ import annotations

from dataclasses import replace

from grammar import lexicon
from grammar.clauses import Clause, english, german
from grammar.lexicon import Pair
from grammar.phrases import PRONOUNS, Phrase, noun_phrase
from grammar.speaker import PERSON, Speaker


def question(s: Speaker) -> tuple[Pair, str]:
    """Yes/no questions; the past is asked for in the German perfect."""
    subject = PRONOUNS["2s"] if s.draw.chance(0.4) else s.person()
    clause = s.act(subject, states=False)
    tense = s.draw.weighted(((4, "past"), (2, "perfect"), (1.5, "future"), (1, "can"), (1, "must")))
    time = None
    if tense == "past" and s.draw.chance(0.5):
        time = s.past_time()
    if tense in ("future", "can", "must") and s.draw.chance(0.5):
        time = s.future_time()
    clause = replace(clause, tense=tense, time=time)
    return Pair(english(clause, question=True), german(_spoken(clause), "first")), "?"


def state_question(s: Speaker) -> tuple[Pair, str]:
    clause = s.state(s.person(), s.draw.one(("present", "past")))
    return Pair(english(clause, question=True), german(clause, "first")), "?"


def who_question(s: Speaker) -> tuple[Pair, str]:
    """Who helped the teacher, whom did the teacher help: wer, wen, wem."""
    draw = s.draw
    nobody = Phrase("", "", {"nom": ""}, "3s")
    if draw.chance(0.5):
        clause = replace(s.act(nobody, states=False), tense="past")
        time = s.past_time() if draw.chance(0.3) else None
        clause = replace(clause, time=time)
        en = "who " + english(clause, subject=False)
        return Pair(en, "wer " + german(_spoken(clause), subject=False)), "?"
    accusative = [v for v in lexicon.accusative_verbs if v.kinds & PERSON and "s" not in v.uses]
    dative = [v for v in lexicon.dative_verbs if "s" not in v.uses]
    verb = draw.one((draw.one(accusative), draw.one(dative)))
    time = s.past_time() if draw.chance(0.4) else None
    clause = Clause(s.person(), verb, "past", time=time)
    asked = "wem" if verb in dative else "wen"
    return Pair(
        f"whom {english(clause, question=True)}", f"{asked} {german(_spoken(clause), 'first')}"
    ), "?"


def when_question(s: Speaker) -> tuple[Pair, str]:
    word = s.draw.one((Pair("when", "wann"), Pair("why", "warum"), Pair("where", "wo")))
    subject = PRONOUNS["2s"] if s.draw.chance(0.3) else s.person()
    tense = s.draw.one(("past", "past", "future", "can"))
    clause = replace(
        s.intended(subject) if tense == "can" else s.act(subject, states=False), tense=tense
    )
    if word.en == "where":
        if clause.verb in lexicon.event_verbs:
            return state_question(s)
        clause = replace(clause, place=None)
    return Pair(
        f"{word.en} {english(clause, question=True)}",
        f"{word.de} {german(_spoken(clause), 'first')}",
    ), "?"


def how_many(s: Speaker) -> tuple[Pair, str]:
    draw = s.draw
    if draw.chance(0.4):
        noun = draw.one(lexicon.nouns_of(("buyable",)))
        what = noun_phrase(noun, draw.one(("the", "this")), s.adjective(noun))
        return Pair(f"how much does {what.en} cost", f"wie viel kostet {what.de['nom']}"), "?"
    verb = draw.one([v for v in lexicon.accusative_verbs if not v.kinds & PERSON])
    if "s" in verb.uses:
        return state_question(s)
    noun = s.noun(verb)
    subject = PRONOUNS["2s"] if draw.chance(0.3) else s.person()
    time = s.past_time() if draw.chance(0.4) else None
    clause = Clause(subject, verb, "past", time=time)
    return Pair(
        f"how many {noun.plural} {english(clause, question=True)}",
        f"wie viele {noun.german_plural} {german(_spoken(clause), 'first')}",
    ), "?"


def _spoken(clause: Clause) -> Clause:
    """Questions about the past: did he read it, hat er es gelesen."""
    return replace(clause, tense="perfect") if clause.tense == "past" else clause
