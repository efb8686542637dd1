"""The parts of sentences, drawn at random: people, things, times, and clauses made of them."""

from __future__ import annotations

from dataclasses import replace

from grammar import lexicon, numbers
from grammar.clauses import BE, Clause, infinitive
from grammar.draw import Draw
from grammar.lexicon import Adjective, Noun, Pair, Verb
from grammar.names import Names
from grammar.phrases import PRONOUNS, Phrase, name_phrase, noun_phrase

PERSON = frozenset(("man", "woman"))
_WORK = next(v for v in lexicon.intransitive_verbs if v.base == "work")
_ALREADY = Pair("already", "schon")
_JUST = Pair("just", "gerade")
_SPEAKERS = ("1s", "3s-he", "3s-she", "1p", "3p")


class Speaker:
    """Draws the parts of sentences."""

    def __init__(self, seed: int, split: str) -> None:
        self.draw = Draw(seed)
        self.names = Names(self.draw, split)

    # People

    def name(self, full: bool = True) -> Phrase:
        female = self.draw.chance(0.5)
        first = self.names.female if female else self.names.male
        kind = self.draw.weighted(((5, "first"), (3, "title"), (2 if full else 0, "full")))
        if kind == "title":
            return name_phrase(self.names.family(), "Mrs" if female else "Mr", female)
        if kind == "full":
            return name_phrase(f"{first()} {self.names.family()}", "", female)
        return name_phrase(first(), "", female)

    def described_person(
        self, plural: bool = False, adjectives: float = 0.35, owner: str = ""
    ) -> Phrase:
        """the friendly doctor, my sister, the clever students; ``owner``: rather his sister."""
        noun = self.draw.one(lexicon.nouns_of(PERSON))
        adjective = self.adjective(noun) if self.draw.chance(adjectives) else None
        family = noun.singular in lexicon.FAMILY
        related = family or noun.singular in lexicon.RELATED
        determiner = "the"
        if family or (related and self.draw.chance(0.4)):
            determiner = self.draw.weighted(((2, "my"), (1, "our"), (3 if owner else 0, owner)))
        plural = plural and noun.singular != "grandmother"
        return noun_phrase(noun, determiner, adjective, plural=plural)

    def person(self, pronouns: bool = True) -> Phrase:
        kind = self.draw.weighted(
            ((4, "name"), (4, "noun"), (1.2, "plural"), (1.5 if pronouns else 0, "pronoun"))
        )
        if kind == "name":
            return self.name()
        if kind == "pronoun":
            return PRONOUNS[self.draw.one(_SPEAKERS)]
        return self.described_person(plural=kind == "plural")

    def other_person(self, subject: Phrase) -> Phrase:
        """A person as an object: named, described, a pronoun, or by relation to the subject."""
        kind = self.draw.weighted(((4, "name"), (6, "noun"), (1.5, "pronoun")))
        if kind == "name":
            return self.name()
        if kind == "pronoun":
            keys = [key for key in _SPEAKERS if not _clash(key, subject)]
            return PRONOUNS[self.draw.one(keys)]
        plural = self.draw.chance(0.15)
        return self.described_person(plural, adjectives=0.3, owner=subject.possessive)

    # Things

    def adjective(self, noun: Noun) -> Adjective | None:
        kinds = [a for a in lexicon.adjectives if noun.kind in a.kinds]
        if noun.singular in ("boy", "girl"):
            kinds = [a for a in kinds if a.english != "young"]  # der junge Junge
        return self.draw.one(kinds) if kinds else None

    def noun(self, verb: Verb) -> Noun:
        return self.draw.one(lexicon.nouns_of(verb.kinds))

    def thing(
        self,
        noun: Noun,
        subject: Phrase | None = None,
        counted: bool = True,
        hundreds: bool = False,
    ) -> Phrase:
        """An object with any determiner; ``counted=False``: one of it, no number."""
        adjective = self.adjective(noun) if self.draw.chance(0.4) else None
        kinds = [(8, "the"), (5, "a"), (1.5, "this"), (1, "name"), (1, "possessor")]
        if counted:
            kinds += [(4 if hundreds else 1.2, "number")]
            kinds += [(0.8, "many"), (0.6, "some"), (0.6, "several"), (1, "plural")]
        if subject is not None and subject.possessive:
            kinds.append((2, "own"))
        kind = self.draw.weighted(kinds)
        if kind == "number":
            return noun_phrase(noun, self.count(hundreds), adjective, plural=True)
        if kind in ("many", "some", "several"):
            return noun_phrase(noun, kind, adjective, plural=True)
        if kind == "plural":
            determiner = self.draw.one(("the", "this"))
            return noun_phrase(noun, determiner, adjective, plural=True)
        if kind == "own" and subject is not None:
            return noun_phrase(noun, subject.possessive, adjective)
        if kind == "name":
            return noun_phrase(noun, self.name(full=False), adjective)
        if kind == "possessor":
            return noun_phrase(noun, self.described_person(adjectives=0), adjective)
        very = kind == "a" and self.draw.chance(0.15)
        return noun_phrase(noun, kind, adjective, very)

    def count(self, hundreds: bool = True) -> Pair:
        kind = self.draw.weighted(((2, "small"), (3, "word"), (4, "digits"), (3, "large")))
        if kind == "small" or not hundreds:
            return numbers.words(self.draw.whole(2, 12))
        if kind == "word":
            return numbers.words(self.draw.whole(13, 99))
        if kind == "digits":
            return numbers.digits(self.draw.whole(13, 999))
        return numbers.digits(self.draw.whole(1_000, 9_999))

    # Times and places

    def past_time(self) -> Pair:
        kind = self.draw.weighted(
            ((5, "fixed"), (2, "ago"), (2, "weekday"), (2, "date"), (1, "year"), (1.5, "clock"))
        )
        if kind == "ago":
            return self.ago()
        if kind == "weekday":
            return self.weekday()
        if kind == "date":
            return self.date(self.draw.one((None, self.draw.whole(1950, 2024))))
        if kind == "year":
            return self.year()
        if kind == "clock":
            return self.clock()
        return self.draw.one(lexicon.past_times)

    def future_time(self) -> Pair:
        kind = self.draw.weighted(((5, "fixed"), (2, "in"), (2, "weekday"), (2, "date"), (2, "at")))
        if kind == "in":
            span = self.span(soon=True)
            return Pair(f"in {span.en}", f"in {span.de}")
        if kind == "weekday":
            return self.weekday()
        if kind == "date":
            return self.date(None)
        if kind == "at":
            return self.clock()
        return self.draw.one(lexicon.future_times)

    def span(self, soon: bool = False) -> Pair:
        """three weeks, drei Wochen: with the German plural in the dative."""
        number = numbers.words(self.draw.whole(2, 12 if soon else 30))
        units = (("days", "Tagen"), ("weeks", "Wochen"), ("months", "Monaten"), ("years", "Jahren"))
        unit = Pair(*self.draw.one(units[: 3 if soon else 4]))
        return Pair(f"{number.en} {unit.en}", f"{number.de} {unit.de}")

    def ago(self) -> Pair:
        span = self.span()
        return Pair(f"{span.en} ago", f"vor {span.de}")

    def weekday(self) -> Pair:
        day = self.draw.one(lexicon.weekdays)
        return Pair(f"on {day.en}", f"am {day.de}")

    def date(self, year: int | None) -> Pair:
        return numbers.date(self.draw.whole(1, 28), self.draw.whole(0, 11), year)

    def year(self) -> Pair:
        year = self.draw.whole(1950, 2024)
        return Pair(f"in {year}", f"im Jahr {year}")

    def clock(self) -> Pair:
        hour = self.draw.one((*range(6, 12), *range(13, 23)))
        return numbers.clock(hour, self.draw.whole(0, 59))

    def setting(self, clause: Clause) -> Clause:
        """The clause with a tense, and a time, adverb or negation that suits it."""
        draw, uses = self.draw, clause.verb.uses
        kinds = [(4, "past"), (3, "past time"), (3, "perfect"), (2, "future"), (2.5, "modal")]
        if "h" in uses:
            kinds += [(2.5, "habit"), (2, "often")]
        if "p" in uses:
            kinds += [(2, "progressive")]
        if "s" in uses:
            kinds = [(4, "state"), (1, "past")]
        kind = draw.weighted(kinds)
        what = clause.accusative
        # "did not buy many hats" would leave open how far the negation reaches.
        negated = draw.chance(0.2) and (what is None or what.definite or what.de_none is not None)
        if kind == "state":
            return replace(clause, tense="present", negated=negated)
        if kind == "habit":
            time = draw.one(lexicon.habit_times)
            return replace(clause, tense="present", time=time)
        if kind == "often":
            return replace(clause, tense="present", adverb=draw.one(lexicon.frequencies))
        if kind == "progressive":
            return replace(clause, tense="progressive")
        if kind == "perfect":
            adverb = draw.weighted(((3, None), (2, _ALREADY), (1.5, _JUST)))
            if negated:
                return replace(clause, tense="perfect", negated=True, yet=draw.chance(0.5))
            return replace(clause, tense="perfect", adverb=adverb)
        if kind == "future" and infinitive(clause.verb) not in lexicon.UNINTENDED:
            return replace(clause, tense="future", negated=negated, time=self.future_time())
        if kind == "modal":
            return self.with_modal(clause, negated)
        time = self.past_time() if kind == "past time" else None
        return replace(clause, tense="past", time=time, negated=negated)

    def with_modal(self, clause: Clause, negated: bool) -> Clause:
        if infinitive(clause.verb) in lexicon.UNINTENDED:
            return replace(clause, tense="past", time=self.past_time(), negated=negated)
        past = self.draw.chance(0.4)
        if past:
            tense = self.draw.one(("could", "had to", "wanted to"))
            time = self.past_time()
        else:
            tense = self.draw.one(("can", "must", "should", "want to"))
            time = self.future_time()
        negated = negated and tense not in ("must", "had to")
        if self.draw.chance(0.5):
            time = None
        return replace(clause, tense=tense, negated=negated, time=time)

    # Clauses

    def act(self, subject: Phrase, counted: bool = True, states: bool = True) -> Clause:
        """A clause about what ``subject`` does, without its tense; ``states``: or what it is."""
        while True:
            clause = self._any_act(subject, counted)
            if states or "s" not in clause.verb.uses:
                return clause

    def intended(self, subject: Phrase, counted: bool = True) -> Clause:
        """Something that can be wanted, tried and promised."""
        while True:
            clause = self.act(subject, counted, states=False)
            if infinitive(clause.verb) not in lexicon.UNINTENDED:
                return clause

    def _any_act(self, subject: Phrase, counted: bool) -> Clause:
        kind = self.draw.weighted(
            ((10, "accusative"), (3, "dative"), (4, "ditransitive"), (3, "place"), (2, "event"))
        )
        if kind == "dative":
            verb = self.draw.one(lexicon.dative_verbs)
            return Clause(subject, verb, dative=self.other_person(subject))
        if kind == "ditransitive":
            verb = self.draw.one(lexicon.ditransitive_verbs)
            what = self.thing(self.noun(verb), subject, counted)
            whom = self.other_person(subject)
            return Clause(subject, verb, dative=whom, accusative=what)
        if kind == "place":
            verb = self.draw.one(lexicon.intransitive_verbs)
            companion = self.other_person(subject) if self.draw.chance(0.3) else None
            if verb.base in ("sleep", "wait"):
                companion = None
            place = self.draw.one(lexicon.places)
            return Clause(subject, verb, companion=companion, place=place)
        if kind == "event":
            return Clause(subject, self.draw.one(lexicon.event_verbs))
        verb = self.draw.one(lexicon.accusative_verbs)
        return Clause(subject, verb, accusative=self.object_of(verb, subject, counted))

    def object_of(self, verb: Verb, subject: Phrase, counted: bool = True) -> Phrase:
        noun = self.noun(verb)
        if noun.kind in PERSON:
            return self.other_person(subject)
        if verb.infinitive == "kennen":
            return self.name()
        hundreds = infinitive(verb) in lexicon.IN_HUNDREDS
        return self.thing(noun, subject, counted, hundreds)

    def done(self, subject: Phrase, counted: bool = True) -> Clause:
        """Something in the simple past, with or without its time."""
        clause = self.act(subject, counted, states=False)
        time = self.past_time() if self.draw.chance(0.3) else None
        return replace(clause, tense="past", time=time)

    def state(self, subject: Phrase, tense: str) -> Clause:
        """subject is tired."""
        adjective = self.draw.one([a for a in lexicon.adjectives if "state" in a.kinds])
        word = Pair(adjective.english, adjective.german)
        return Clause(subject, BE, tense=tense, complement=word)

    def home(self, subject: Phrase) -> Clause:
        """subject lives / works in a town."""
        verb = self.draw.one((lexicon.other_verbs["wohnen"], _WORK))
        town = self.names.town()
        where = Pair(f"in {town}", f"in {town}")
        return Clause(subject, verb, self.draw.one(("present", "past")), complement=where)

    def town_trip(self, subject: Phrase) -> Clause:
        """subject travelled to a town."""
        verb = self.draw.one(lexicon.motion_verbs)
        town = self.names.town()
        where = Pair(f"to {town}", f"nach {town}")
        companion = self.other_person(subject) if self.draw.chance(0.3) else None
        time = self.past_time() if self.draw.chance(0.5) else None
        return Clause(subject, verb, "past", time=time, companion=companion, complement=where)

    def reason(self, subject: Phrase) -> Clause:
        """subject was tired / had to work / had lost the key."""
        kind = self.draw.weighted(((4, "state"), (3, "plan"), (2, "mishap")))
        if kind == "state":
            return self.state(subject, "past")
        if kind == "plan":
            verb = lexicon.by_infinitive[self.draw.one(lexicon.PLANS)]
            tense = self.draw.one(("wanted to", "had to"))
            place = None
            if verb in lexicon.intransitive_verbs and self.draw.chance(0.6):
                place = self.draw.one(lexicon.places)
            return Clause(subject, verb, tense, place=place)
        verb = lexicon.by_infinitive[self.draw.one(lexicon.MISHAPS)]
        noun = self.noun(verb)
        return Clause(subject, verb, "pluperfect", accusative=self.thing(noun, subject, False))

    def own_pronoun(self, phrase: Phrase) -> Phrase:
        """The pronoun that stands for a phrase."""
        return PRONOUNS[phrase.pronoun_key]


def _clash(key: str, subject: Phrase) -> bool:
    """A pronoun that would be the subject itself: I ... me, we ... me, he ... him."""
    first = subject.agreement[0] == "1"
    return key == subject.pronoun_key or (first and key[0] == "1")
