"""Numbers, prices, dates and times of day, as each language writes them."""

from __future__ import annotations

from grammar.lexicon import Pair, months

_EN_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
_DE_SMALL = (
    "null ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn "
    "fünfzehn sechzehn siebzehn achtzehn neunzehn"
).split()
_EN_TENS = "- - twenty thirty forty fifty sixty seventy eighty ninety".split()
_DE_TENS = "- - zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split()


def words(number: int) -> Pair:
    """A number from 2 to 99 in words: thirty-four, vierunddreißig."""
    if not 2 <= number <= 99:
        raise ValueError(f"number in words: {number}; expected 2 to 99")
    if number < 20:
        return Pair(_EN_SMALL[number], _DE_SMALL[number])
    tens, ones = divmod(number, 10)
    if not ones:
        return Pair(_EN_TENS[tens], _DE_TENS[tens])
    return Pair(f"{_EN_TENS[tens]}-{_EN_SMALL[ones]}", f"{_DE_SMALL[ones]}und{_DE_TENS[tens]}")


def digits(number: int) -> Pair:
    """3,450 and 3.450."""
    en = f"{number:,}"
    return Pair(en, en.replace(",", "."))


def decimal(tenths: int) -> Pair:
    """A number of tenths: 12.5 and 12,5."""
    return Pair(f"{tenths // 10}.{tenths % 10}", f"{tenths // 10},{tenths % 10}")


def price(cents: int) -> Pair:
    """€1,249.50 and 1.249,50 €."""
    whole = digits(cents // 100)
    return Pair(f"€{whole.en}.{cents % 100:02d}", f"{whole.de},{cents % 100:02d} €")


def date(day: int, month: int, year: int | None) -> Pair:
    """on 14 March 2019, am 14. März 2019; ``month`` counts from 0."""
    name = months[month]
    after = "" if year is None else f" {year}"
    return Pair(f"on {day} {name.en}{after}", f"am {day}. {name.de}{after}")


def clock(hour: int, minute: int) -> Pair:
    """at 3:45 p.m., um 15:45 Uhr; ``hour`` of 24, neither midnight nor noon."""
    half = "a.m." if hour < 12 else "p.m."
    return Pair(f"at {hour % 12 or 12}:{minute:02d} {half}", f"um {hour}:{minute:02d} Uhr")
