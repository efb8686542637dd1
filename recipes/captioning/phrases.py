"""Captions of a scene: five ways to say it, put together by a small grammar."""

from __future__ import annotations

import random

from scenes import OPPOSITE, Group, Scene

# The first of several synonyms is the usual one. A caption uses only usual words or only others.
NUMBERS = {1: ("a", "one"), 2: ("two",), 3: ("three",)}
SIZE_WORDS = {"small": ("small", "little"), "large": ("large", "big")}
RELATION_WORDS = {
    "left": ("to the left of",),
    "right": ("to the right of",),
    "above": ("above", "over"),
    "below": ("below", "under"),
}
_USUAL = 0.75  # share of the captions in usual words


def captions_of(scene: Scene, source: random.Random) -> list[str]:
    """Five captions of different build; the words in them are drawn."""
    return _of_one(scene, source) if scene.second is None else _of_two(scene, source)


def _of_one(scene: Scene, source: random.Random) -> list[str]:
    group = scene.first
    builds = [
        "{number} {size} {colour} {noun}",
        "there {be} {number} {size} {colour} {noun}",
        "the picture shows {number} {size} {colour} {noun}",
        "{number} {size} {colour} {noun} and nothing else",
        "{number} {colour} {noun} that {be} {size}",
    ]
    return [build.format(**_words_of(group, _style(source))) for build in builds]


def _of_two(scene: Scene, source: random.Random) -> list[str]:
    # Four begin with what is on the left or above, one with the other group.
    builds = [
        (False, "{a} {relation} {b}"),
        (False, "there {be} {a} {relation} {b}"),
        (False, "{a} {be} {relation} {b}"),
        (True, "{relation} {b} there {be} {a}"),
        (True, "{a} {relation} {b}"),
    ]
    return [_build(scene, turned, build, _style(source)) for turned, build in builds]


def _build(scene: Scene, turned: bool, build: str, style: int) -> str:
    a, b = scene.groups[::-1] if turned else scene.groups
    relation = OPPOSITE[scene.relation] if turned else scene.relation
    phrase = "{number} {size} {colour} {noun}"
    return build.format(
        a=phrase.format(**_words_of(a, style)),
        b=phrase.format(**_words_of(b, style)),
        be=_words_of(a, style)["be"],
        relation=_pick(RELATION_WORDS[relation], style),
    )


def _words_of(group: Group, style: int) -> dict[str, str]:
    ending = "es" if group.shape.endswith("s") else "s"
    return {
        "number": _pick(NUMBERS[group.count], style),
        "size": _pick(SIZE_WORDS[group.size], style),
        "colour": group.colour,
        "noun": group.shape if group.count == 1 else group.shape + ending,
        "be": "is" if group.count == 1 else "are",
    }


def _style(source: random.Random) -> int:
    """Usual words (0) or others (1)."""
    return int(source.random() >= _USUAL)


def _pick(words: tuple[str, ...], style: int) -> str:
    return words[min(style, len(words) - 1)]
