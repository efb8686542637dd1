"""Thrown, bouncing balls, made by code: positions in a vertical plane, with noise.

A ball flies under gravity and the drag of the air, and bounces off the ground at z = 0. Throws,
balls and the noise of the camera differ; the ground, gravity and the laws are always the same.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas

RATE = 25  # positions a second
POSITIONS = 60  # of a path
NOISE = 0.01  # metres, standard deviation of each coordinate
PATHS = {"train": 600, "validation": 80, "test": 200}

_GRAVITY = 9.81  # m/s^2
_INNER = 40  # steps of the simulation between two positions


def write(folder: Path, seed: int = 1) -> dict[str, Path]:
    """Write a table of paths for each split; -> the files."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for split, count in PATHS.items():
        paths = throw(count, random)
        rows = {
            "series": np.repeat([f"{split}{n}" for n in range(count)], POSITIONS),
            "time": np.tile(np.arange(POSITIONS), count),
            "x": paths[:, :, 0].ravel(),
            "z": paths[:, :, 1].ravel(),
        }
        files[split] = folder / f"{split}.csv"
        pandas.DataFrame(rows).round(4).to_csv(files[split], index=False)
    return files


def throw(count: int, random: np.random.Generator) -> np.ndarray:
    """Positions (count, POSITIONS, 2) in metres, as a camera sees them."""
    x = np.zeros(count)
    z = random.uniform(0.5, 2.0, count)
    speed, angle = random.uniform(2, 6, count), random.uniform(-0.3, 1.2, count)
    velocity = np.stack([speed * np.cos(angle), speed * np.sin(angle)])  # (2, count)
    velocity[0] *= random.choice([-1, 1], count)
    drag = random.uniform(0.01, 0.06, count)  # 1/m: deceleration = drag * speed^2
    bounce, grip = random.uniform(0.65, 0.85, count), random.uniform(0.85, 1.0, count)
    seen, step = [], 1 / (RATE * _INNER)
    for number in range(POSITIONS * _INNER):
        if number % _INNER == 0:
            seen.append(np.stack([x, z], -1))
        fast = np.sqrt((velocity**2).sum(0))
        velocity -= step * drag * fast * velocity
        velocity[1] -= step * _GRAVITY
        x, z = x + step * velocity[0], z + step * velocity[1]
        hit = (z < 0) & (velocity[1] < 0)
        velocity[1] = np.where(hit, -bounce * velocity[1], velocity[1])
        velocity[0] = np.where(hit, grip * velocity[0], velocity[0])
        z = np.where(hit, -z, z)
    paths = np.stack(seen, 1)
    return paths + random.normal(0, NOISE, paths.shape)
