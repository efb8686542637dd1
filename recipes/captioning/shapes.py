"""The demo's images: scenes drawn with Pillow on noisy backgrounds, written as image folders.

    python recipes/captioning/shapes.py --output runs/demo-caption-data

The same seed gives the same images and captions. Each split is a folder with `metadata.jsonl`,
whose lines also hold the scene, so that captions can be scored by their meaning.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import random
from pathlib import Path

import numpy as np
from phrases import captions_of
from PIL import Image, ImageDraw
from scenes import Group, Scene, draw_scenes

SIDE = 48  # pixels
SPLITS = {"train": 10_000, "validation": 300, "test": 1_000}
_FINER = 4  # shapes are drawn so much larger and then scaled down: smooth edges
_PAINT = {
    "red": (215, 40, 40),
    "green": (40, 175, 65),
    "blue": (50, 80, 225),
    "yellow": (230, 210, 50),
    "purple": (160, 60, 190),
    "white": (240, 240, 240),
}
_RADII = {"small": (4.2, 4.8), "large": (7.4, 8.2)}
_REACH = 1.2  # radii from the middle to the farthest corner
_APART = 1.0  # pixels between two shapes, at least
_TRIES = 30

Spot = tuple[float, float, float]  # x, y, radius


def draw(scene: Scene, source: random.Random) -> Image.Image:
    """An image of the scene: places, radii, angles, shades and background are drawn by chance."""
    small = Image.fromarray(_background(source))
    image = small.resize((SIDE * _FINER, SIDE * _FINER), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(image)
    for group, spots in zip(scene.groups, _places(scene, source), strict=True):
        for x, y, radius in spots:
            paint = tuple(
                min(255, max(0, v + source.randint(-18, 18))) for v in _PAINT[group.colour]
            )
            _draw_shape(pen, group.shape, (x, y, radius), paint, source)
    image = image.resize((SIDE, SIDE), Image.Resampling.BOX)
    grain = np.random.default_rng(source.getrandbits(32)).normal(0, 7, (SIDE, SIDE, 3))
    return Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))


def write(
    folder: Path, seed: int = 1, splits: dict[str, int] | None = None
) -> dict[str, list[Scene]]:
    """Write the splits as folders of PNG files with metadata.jsonl; returns their scenes."""
    made = {}
    for split, number in (splits or SPLITS).items():
        source = random.Random(f"{seed} {split}")
        made[split] = draw_scenes(number, split == "test", source)
        place = folder / split
        place.mkdir(parents=True, exist_ok=True)
        lines = []
        for i, scene in enumerate(made[split]):
            name = f"{i:05d}.png"
            draw(scene, source).save(place / name, compress_level=1)
            row = {"file_name": name, "captions": captions_of(scene, source)}
            lines.append(json.dumps({**row, "scene": dataclasses.asdict(scene)}) + "\n")
        (place / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")
    return made


def read_scenes(folder: Path) -> list[Scene]:
    """The scenes of one split, in the order of its metadata."""
    lines = (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line)["scene"] for line in lines]
    return [
        Scene(
            Group(**row["first"]),
            row["relation"],
            row["second"] and Group(**row["second"]),
        )
        for row in rows
    ]


def _background(source: random.Random) -> np.ndarray:
    """Dark, tinted, brighter towards one side, with coarse noise: (P, P, 3) bytes."""
    noise = np.random.default_rng(source.getrandbits(32))
    base = source.uniform(25, 95) + noise.uniform(-15, 15, 3)  # (3,)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE - 0.5  # (P, P) each
    angle = source.uniform(0, 2 * math.pi)
    slope = source.uniform(0, 40) * (math.cos(angle) * columns + math.sin(angle) * rows)
    coarse = noise.normal(0, 10, (SIDE // 4, SIDE // 4, 3)).repeat(4, 0).repeat(4, 1)
    return (base + slope[..., None] + coarse).clip(0, 255).astype(np.uint8)


def _places(scene: Scene, source: random.Random) -> list[list[Spot]]:
    """Where the shapes of each group stand: none touches another, the relation is plain."""
    while True:
        spots: list[list[Spot]] = []
        for number, group in enumerate(scene.groups):
            found = _spread(group, _region(scene, number), source)
            if found is None:
                break
            spots.append(found)
        else:
            if scene.second is None or _plain(spots, scene.relation):
                return spots


def _region(scene: Scene, number: int) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of what belongs to a group: its half, or the whole image."""
    if scene.second is None:
        return (0, 0, SIDE, SIDE)
    half = SIDE / 2
    if scene.relation == "left":
        return (0, 0, half, SIDE) if number == 0 else (half, 0, SIDE, SIDE)
    return (0, 0, SIDE, half) if number == 0 else (0, half, SIDE, SIDE)


def _spread(
    group: Group, region: tuple[float, float, float, float], source: random.Random
) -> list[Spot] | None:
    left, top, right, bottom = region
    spots: list[Spot] = []
    radius = source.uniform(*_RADII[group.size])
    reach = _REACH * radius
    edge = reach + 0.5
    for _ in range(_TRIES):
        x, y = source.uniform(left + edge, right - edge), source.uniform(top + edge, bottom - edge)
        if all(math.dist((x, y), spot[:2]) >= 2 * reach + _APART for spot in spots):
            spots.append((x, y, radius))
        if len(spots) == group.count:
            return spots
    return None


def _plain(spots: list[list[Spot]], relation: str | None) -> bool:
    """Whether the groups lie along the relation's axis, and not slantwise."""
    centres = [np.mean([spot[:2] for spot in group], axis=0) for group in spots]
    across, down = np.abs(centres[1] - centres[0])
    return across > 2 * down if relation == "left" else down > 2 * across


def _draw_shape(
    pen: ImageDraw.ImageDraw,
    shape: str,
    spot: Spot,
    paint: tuple[int, ...],
    source: random.Random,
) -> None:
    x, y, radius = (value * _FINER for value in spot)
    if shape in ("circle", "ring"):
        box = (x - radius, y - radius, x + radius, y + radius)
        if shape == "circle":
            pen.ellipse(box, fill=paint)
        else:
            pen.ellipse(box, outline=paint, width=round(0.42 * radius))
        return
    turn = source.uniform(-0.2, 0.2)
    pen.polygon([_point(x, y, radius * r, a + turn) for r, a in _OUTLINES[shape]], fill=paint)


def _point(x: float, y: float, radius: float, angle: float) -> tuple[float, float]:
    return x + radius * math.sin(angle), y - radius * math.cos(angle)


def _cross() -> list[tuple[float, float]]:
    """Twelve corners of a plus sign with arms 0.6 wide, as radius and angle."""
    corners = []
    for quarter in range(4):
        for x, y in ((-0.3, 1.0), (0.3, 1.0), (0.3, 0.3)):
            corners.append((math.hypot(x, y), math.atan2(x, y) + quarter * math.pi / 2))
    return corners


# Corners in units of the radius, with angles from the top.
_OUTLINES = {
    "square": [(_REACH, math.pi * (1 + 2 * i) / 4) for i in range(4)],
    "triangle": [(_REACH, 2 * math.pi * i / 3) for i in range(3)],
    "cross": _cross(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the demo's images and captions.")
    parser.add_argument("--output", type=Path, default=Path("runs/demo-caption-data"))
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    made = write(arguments.output, arguments.seed)
    for split, scenes in made.items():
        print(f"{arguments.output / split}: {len(scenes):,} images")


if __name__ == "__main__":
    main()
