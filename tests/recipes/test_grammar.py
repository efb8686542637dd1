"""Agreement and word order against pairs written by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from grammar import lexicon, numbers
from grammar.clauses import BE, Clause, english, german, to_infinitive
from grammar.lexicon import Pair
from grammar.phrases import (
    PRONOUNS,
    add_relative,
    name_phrase,
    noun_phrase,
    relative_pronoun,
)

NOUNS = {noun.singular: noun for members in lexicon.nouns.values() for noun in members}
ADJECTIVES = {adjective.english: adjective for adjective in lexicon.adjectives}
VERBS = lexicon.by_infinitive

TEACHER = noun_phrase(NOUNS["teacher"], "the")
TALINA = name_phrase("Talina", "", female=True)
CAR = noun_phrase(NOUNS["car"], "the", ADJECTIVES["red"])


def phrase(noun, determiner="the", adjective=None, plural=False):
    chosen = ADJECTIVES[adjective] if adjective else None
    return noun_phrase(NOUNS[noun], determiner, chosen, plural=plural)


@pytest.mark.parametrize(
    ("found", "case", "en", "de"),
    [
        (phrase("car", "the", "red"), "nom", "the red car", "das rote Auto"),
        (phrase("car", "a", "red"), "acc", "a red car", "ein rotes Auto"),
        (phrase("coat", "a", "old"), "nom", "an old coat", "ein alter Mantel"),
        (phrase("coat", "a", "old"), "acc", "an old coat", "einen alten Mantel"),
        (phrase("lamp", "this", "expensive"), "dat", "this expensive lamp", "dieser teuren Lampe"),
        (phrase("book", "my", "long"), "gen", "my long book", "meines langen Buches"),
        (phrase("lamp", "our"), "acc", "our lamp", "unsere Lampe"),
        (phrase("boy"), "acc", "the boy", "den Jungen"),
        (phrase("student"), "gen", "the student", "des Studenten"),
        (phrase("neighbour", "my", "old"), "dat", "my old neighbour", "meinem alten Nachbarn"),
        (phrase("girl", "the", "clever"), "dat", "the clever girl", "dem klugen Mädchen"),
        (phrase("doctor", "the", plural=True), "dat", "the doctors", "den Ärzten"),
        (phrase("car", "the", plural=True), "dat", "the cars", "den Autos"),
        (phrase("key", "many", "small", True), "acc", "many small keys", "viele kleine Schlüssel"),
        (
            phrase("key", "this", "small", True),
            "dat",
            "these small keys",
            "diesen kleinen Schlüsseln",
        ),
        (
            phrase("chair", numbers.words(34), "heavy", True),
            "dat",
            "thirty-four heavy chairs",
            "vierunddreißig schweren Stühlen",
        ),
        (phrase("hat", TALINA, "blue"), "nom", "Talina's blue hat", "Talinas blauer Hut"),
        (phrase("hat", TALINA, "blue"), "acc", "Talina's blue hat", "Talinas blauen Hut"),
        (
            phrase("hat", name_phrase("Holt", "Mr", female=False)),
            "acc",
            "Mr Holt's hat",
            "Herrn Holts Hut",
        ),
        (
            phrase("dog", TEACHER, "big"),
            "dat",
            "the teacher's big dog",
            "dem großen Hund des Lehrers",
        ),
        (
            phrase("dog", phrase("teacher", "the", plural=True)),
            "nom",
            "the teachers' dog",
            "der Hund der Lehrer",
        ),
    ],
)
def test_noun_phrases(found, case, en, de):
    assert found.en == en
    assert found.de[case] == de


def test_names_with_titles():
    mister = name_phrase("Holt", "Mr", female=False)
    assert [mister.de[case] for case in ("nom", "acc", "dat")] == [
        "Herr Holt",
        "Herrn Holt",
        "Herrn Holt",
    ]
    assert name_phrase("Holt", "Mrs", female=True).de["dat"] == "Frau Holt"


REPAIR = Clause(TEACHER, VERBS["reparieren"], accusative=CAR)
SWITCH = Clause(TALINA, VERBS["einschalten"], accusative=phrase("lamp"))
YESTERDAY = Pair("yesterday", "gestern")


@pytest.mark.parametrize(
    ("clause", "en", "second", "last"),
    [
        (
            REPAIR,
            "the teacher repaired the red car",
            "der Lehrer reparierte das rote Auto",
            "der Lehrer das rote Auto reparierte",
        ),
        (
            replace(REPAIR, tense="perfect", adverb=Pair("already", "schon")),
            "the teacher has already repaired the red car",
            "der Lehrer hat das rote Auto schon repariert",
            "der Lehrer das rote Auto schon repariert hat",
        ),
        (
            replace(REPAIR, tense="can", negated=True, time=Pair("tomorrow", "morgen")),
            "the teacher cannot repair the red car tomorrow",
            "der Lehrer kann das rote Auto morgen nicht reparieren",
            "der Lehrer das rote Auto morgen nicht reparieren kann",
        ),
        (
            replace(SWITCH, time=YESTERDAY),
            "Talina turned on the lamp yesterday",
            "Talina schaltete gestern die Lampe ein",
            "Talina gestern die Lampe einschaltete",
        ),
        (
            replace(SWITCH, accusative=PRONOUNS["3s-it-f"], tense="wanted to", negated=True),
            "Talina did not want to turn it on",
            "Talina wollte sie nicht einschalten",
            "Talina sie nicht einschalten wollte",
        ),
        (
            Clause(
                TEACHER,
                VERBS["geben"],
                dative=PRONOUNS["3s-he"],
                accusative=PRONOUNS["3s-it-m"],
                time=YESTERDAY,
            ),
            "the teacher gave it to him yesterday",
            "der Lehrer gab ihn ihm gestern",
            "der Lehrer ihn ihm gestern gab",
        ),
        (
            Clause(PRONOUNS["3p"], VERBS["kaufen"], "future", accusative=phrase("lamp", "a")),
            "they will buy a lamp",
            "sie werden eine Lampe kaufen",
            "sie eine Lampe kaufen werden",
        ),
        (
            replace(
                Clause(PRONOUNS["1s"], VERBS["kaufen"], "perfect", accusative=phrase("coat", "a")),
                negated=True,
                yet=True,
            ),
            "I have not bought a coat yet",
            "ich habe noch keinen Mantel gekauft",
            "ich noch keinen Mantel gekauft habe",
        ),
        (
            Clause(
                TALINA, VERBS["helfen"], "past", dative=phrase("boy", plural=True), negated=True
            ),
            "Talina did not help the boys",
            "Talina half den Jungen nicht",
            "Talina den Jungen nicht half",
        ),
        (
            Clause(
                PRONOUNS["1p"],
                VERBS["fahren"],
                "pluperfect",
                companion=phrase("sister", "my"),
                complement=Pair("to Talburg", "nach Talburg"),
                time=YESTERDAY,
            ),
            "we had driven to Talburg with my sister yesterday",
            "wir waren gestern mit meiner Schwester nach Talburg gefahren",
            "wir gestern mit meiner Schwester nach Talburg gefahren waren",
        ),
        (
            Clause(PRONOUNS["1s"], VERBS["füttern"], "present", accusative=phrase("cat")),
            "I feed the cat",
            "ich füttere die Katze",
            "ich die Katze füttere",
        ),
        (
            Clause(TEACHER, VERBS["waschen"], "progressive", accusative=CAR),
            "the teacher is washing the red car",
            "der Lehrer wäscht gerade das rote Auto",
            "der Lehrer gerade das rote Auto wäscht",
        ),
        (
            Clause(TALINA, BE, "present", complement=Pair("tired", "müde"), negated=True),
            "Talina is not tired",
            "Talina ist nicht müde",
            "Talina nicht müde ist",
        ),
    ],
)
def test_clauses(clause, en, second, last):
    assert english(clause) == en
    assert german(clause, "second") == second
    assert german(clause, "last") == last


def test_questions_and_inversion():
    assert english(REPAIR, question=True) == "did the teacher repair the red car"
    perfect = replace(REPAIR, tense="perfect")
    assert german(perfect, "first") == "hat der Lehrer das rote Auto repariert"
    assert german(SWITCH, "first") == "schaltete Talina die Lampe ein"
    tired = Clause(PRONOUNS["3p"], BE, "past", complement=Pair("tired", "müde"))
    assert english(tired, question=True) == "were they tired"


def test_particles_and_prefixes():
    assert english(replace(SWITCH, accusative=PRONOUNS["3s-it-f"])) == "Talina turned it on"
    search = Clause(TALINA, VERBS["suchen"], accusative=PRONOUNS["3s-he"])
    assert english(search) == "Talina looked for him"
    assert to_infinitive(SWITCH) == Pair("to turn on the lamp", "die Lampe einzuschalten")
    assert to_infinitive(REPAIR) == Pair("to repair the red car", "das rote Auto zu reparieren")


def test_relative_pronouns_follow_gender_and_case():
    assert relative_pronoun(phrase("man" if "man" in NOUNS else "doctor"), "acc") == "den"
    assert relative_pronoun(phrase("girl"), "nom") == "das"
    assert relative_pronoun(phrase("boy", plural=True), "dat") == "denen"
    whole = add_relative(TEACHER, "who slept", "der schlief")
    assert german(Clause(whole, VERBS["arbeiten"])) == "der Lehrer, der schlief, arbeitete"


def test_full_verbs_have_no_second_person():
    with pytest.raises(ValueError, match="kaufen"):
        german(Clause(PRONOUNS["2s"], VERBS["kaufen"], "present", accusative=CAR))


@pytest.mark.parametrize(
    ("found", "en", "de"),
    [
        (numbers.words(21), "twenty-one", "einundzwanzig"),
        (numbers.words(12), "twelve", "zwölf"),
        (numbers.words(30), "thirty", "dreißig"),
        (numbers.words(97), "ninety-seven", "siebenundneunzig"),
        (numbers.digits(1_234_567), "1,234,567", "1.234.567"),
        (numbers.digits(999), "999", "999"),
        (numbers.decimal(125), "12.5", "12,5"),
        (numbers.price(124_905), "€1,249.05", "1.249,05 €"),
        (numbers.date(14, 2, 2019), "on 14 March 2019", "am 14. März 2019"),
        (numbers.date(1, 11, None), "on 1 December", "am 1. Dezember"),
        (numbers.clock(15, 5), "at 3:05 p.m.", "um 15:05 Uhr"),
        (numbers.clock(9, 45), "at 9:45 a.m.", "um 9:45 Uhr"),
        (numbers.clock(12, 30), "at 12:30 p.m.", "um 12:30 Uhr"),
    ],
)
def test_numbers(found, en, de):
    assert found == Pair(en, de)


@pytest.mark.parametrize("number", [1, 100])
def test_numbers_that_are_not_spelled(number):
    with pytest.raises(ValueError, match=str(number)):
        numbers.words(number)


def test_every_english_word_has_one_german_word():
    forms: dict[str, str] = {}
    for noun in NOUNS.values():
        for en, de in ((noun.singular, noun.german), (noun.plural, noun.german_plural)):
            assert forms.setdefault(en, de) == de
    assert all(noun.singular != noun.plural for noun in NOUNS.values())
    assert len(ADJECTIVES) == len(lexicon.adjectives)


def test_verb_tables_name_classes_that_exist():
    for verb in VERBS.values():
        assert verb.kinds <= set(lexicon.nouns), verb.infinitive
    listed = {word for first, later in lexicon.sequences.items() for word in (first, *later)}
    assert listed <= set(VERBS)
