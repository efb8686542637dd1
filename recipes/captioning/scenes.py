"""What the demo's images show: one group of shapes, or two in a spatial relation.

Combinations are dealt out between training and test. Of the combinations of two groups' colours and
shapes with the relation between them one in six is held out, and so is one in six of number, size,
colour and shape among the scenes of a single group: training has none of them, test nothing else.
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
    """Scenes by chance, with combinations that are held out or with such as are not."""
    scenes: list[Scene] = []
    while len(scenes) < number:
        scene = _draw(source)
        if is_held_out(scene) == held_out:
            scenes.append(scene)
    return scenes


def combination(scene: Scene) -> tuple[str | int, ...]:
    """Colours and shapes with the relation; of a single group, all there is to it."""
    first, second = scene.first, scene.second
    if second is None:
        return (first.count, first.size, first.colour, first.shape)
    return (first.colour, first.shape, scene.relation, second.colour, second.shape)


def is_held_out(scene: Scene) -> bool:
    """A Latin square: given all parts but one, at most one choice of that one is held out."""
    groups = sum(COLOURS.index(g.colour) + SHAPES.index(g.shape) for g in scene.groups)
    if scene.second is None:
        other = scene.first.count + 3 * SIZES.index(scene.first.size)
    else:
        other = 3 * RELATIONS.index(scene.relation)
    return (groups + other) % len(COLOURS) == 0


def _draw(source: random.Random) -> Scene:
    if source.random() < _SINGLE:
        return Scene(_group(source, COUNTS))
    first, second = _group(source), _group(source)
    while (first.colour, first.shape) == (second.colour, second.shape):
        second = _group(source)  # two groups of the same kind could be taken for one
    return Scene(first, source.choice(RELATIONS), second)


def _group(source: random.Random, counts: tuple[int, ...] = COUNTS[:2]) -> Group:
    return Group(
        source.choice(counts), source.choice(SIZES), source.choice(COLOURS), source.choice(SHAPES)
    )
