"""What the demo's images show: one group of shapes, or two in a spatial relation.

Combinations are dealt out between training and test. Of every 6 combinations of colour, shape and
place (left, right, above, below) one is held out, and so is one of every 6 of colour, shape and
number among the scenes of a single group: training has none of them, and every test scene has one.
Colours, shapes, places and numbers by themselves are all seen, about equally often.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
SHAPES = ("circle", "square", "triangle", "cross", "ring")
SIZES = ("small", "large")
COUNTS = (1, 2, 3)
RELATIONS = ("left", "above")  # of the first group to the second
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
PLACES = tuple(OPPOSITE)
_SINGLE = 0.3  # share of the scenes with one group alone


@dataclass(frozen=True)
class Group:
    """Equal shapes that stand together."""

    count: int
    size: str
    colour: str
    shape: str


@dataclass(frozen=True)
class Scene:
    """``first`` alone, or ``first`` left of or above ``second``."""

    first: Group
    relation: str | None = None
    second: Group | None = None

    @property
    def groups(self) -> tuple[Group, ...]:
        return (self.first,) if self.second is None else (self.first, self.second)


def draw_scenes(number: int, held_out: bool, source: random.Random) -> list[Scene]:
    """Scenes by chance: each with a combination that is held out, or all without one."""
    scenes: list[Scene] = []
    while len(scenes) < number:
        scene = _draw(source)
        if has_held_out(scene) == held_out:
            scenes.append(scene)
    return scenes


def combinations(scene: Scene) -> set[tuple[str, str, str | int]]:
    """Colour and shape of each group with its place, or with its number where it is alone."""
    if scene.second is None:
        return {(scene.first.colour, scene.first.shape, scene.first.count)}
    places = (scene.relation, OPPOSITE[scene.relation])
    return {(g.colour, g.shape, place) for g, place in zip(scene.groups, places, strict=True)}


def has_held_out(scene: Scene) -> bool:
    return any(_held_out(*one) for one in combinations(scene))


def _held_out(colour: str, shape: str, third: str | int) -> bool:
    """A Latin square: of each shape with each place or number, one colour."""
    column = 2 * third if isinstance(third, int) else PLACES.index(third)
    return (COLOURS.index(colour) + SHAPES.index(shape) + column) % len(COLOURS) == 0


def _draw(source: random.Random) -> Scene:
    if source.random() < _SINGLE:
        return Scene(_group(source, COUNTS))
    first, second = _group(source), _group(source)
    while (first.colour, first.shape) == (second.colour, second.shape):
        second = _group(source)  # two groups of the same kind could be taken for one
    return Scene(first, source.choice(RELATIONS), second)


def _group(source: random.Random, counts: tuple[int, ...] | None = None) -> Group:
    size = source.choice(SIZES)
    # Half an image holds three small shapes, but two large ones.
    counts = counts or (COUNTS if size == "small" else COUNTS[:2])
    return Group(source.choice(counts), size, source.choice(COLOURS), source.choice(SHAPES))
