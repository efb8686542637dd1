"""Trajectories as tables that `seq2seq train` reads: one series a path, coordinates as targets.

    python recipes/forecasting/prepare_trajectories.py balls spindoe_table_tennis.zip
    python recipes/forecasting/prepare_trajectories.py pedestrians eth_ucy.tar.xz

A ball's path is measured at irregular times, about 7 ms apart; it is interpolated to 100 a second.
The paths are dealt into five folds: fold k is tested by a model of `balls/k`, whose training and
validation files hold the other folds' paths.

Pedestrians of five scenes, 0.4 s a step: `pedestrians/SCENE` tests on a scene that its training
files do not have (leave one out, Pellegrini et al. 2009; files as Gupta et al. 2018). A test
series is one window of 20 steps in which the pedestrian is seen throughout, and at least one
other, too.
"""

from __future__ import annotations

import argparse
import io
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas
from prepare_series import write

from seq2seq.errors import RunError, UsageError

RATE = 100  # a ball's positions a second
FOLDS = 5
WINDOW = 20  # a pedestrian's positions: 8 seen, 12 forecast
SCENES = ("eth", "hotel", "univ", "zara1", "zara2")


def main() -> None:
    parser = argparse.ArgumentParser(description="Prepare trajectories for forecasting.")
    parser.add_argument("name", choices=list(SETS))
    parser.add_argument("source", type=Path, help="the archive as published")
    parser.add_argument("--output", type=Path, default=Path("data/forecasting"), metavar="DIR")
    arguments = parser.parse_args()
    try:
        for name, table in SETS[arguments.name](arguments.source):
            print(write(table, arguments.output / arguments.name / f"{name}.csv"))
    except (UsageError, RunError) as error:
        print(f"prepare_trajectories: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)


def balls(source: Path) -> Iterator[tuple[str, pandas.DataFrame]]:
    paths = read_balls(source)
    folds = np.random.default_rng(1).permutation(len(paths)) % FOLDS
    names = np.array(list(paths))
    for fold in range(FOLDS):
        validation = (fold + 1) % FOLDS
        splits = {
            "test": folds == fold,
            "validation": folds == validation,
            "train": (folds != fold) & (folds != validation),
        }
        for split, chosen in splits.items():
            yield f"{fold}/{split}", table({name: paths[name] for name in names[chosen]}, "xyz")


def read_balls(source: Path) -> dict[str, np.ndarray]:
    """The paths of an archive of `time;x;y;z` files, in seconds and metres, as (T, 3) at RATE."""
    paths = {}
    try:
        with zipfile.ZipFile(source) as archive:
            for name in sorted(archive.namelist()):
                if Path(name).suffix == ".csv" and Path(name).stem.isdecimal():
                    points = np.loadtxt(io.BytesIO(archive.read(name)), delimiter=";", ndmin=2)
                    paths[Path(name).stem] = regular(points)
    except (OSError, ValueError, IndexError, zipfile.BadZipFile) as error:
        raise UsageError(f"{source}: cannot be read as an archive of paths ({error})") from None
    if len(paths) < FOLDS:
        raise UsageError(f"{source}: {len(paths)} paths; expected files 000.csv, 001.csv, ...")
    return paths


def regular(points: np.ndarray) -> np.ndarray:
    """Points (N, 4) of time, x, y, z -> positions (T, 3) at regular times from the first on."""
    time = points[:, 0] - points[0, 0]
    at = np.arange(int(time[-1] * RATE + 1e-6) + 1) / RATE
    return np.stack([np.interp(at, time, points[:, c]) for c in (1, 2, 3)], 1)


def pedestrians(source: Path) -> Iterator[tuple[str, pandas.DataFrame]]:
    try:
        with tarfile.open(source) as archive:
            members = [one for one in archive.getmembers() if one.name.endswith(".txt")]
            files = {
                "/".join(Path(one.name).parts[-3:]): archive.extractfile(one).read()
                for one in members
            }
    except (OSError, tarfile.TarError) as error:
        raise UsageError(f"{source}: cannot be read as an archive ({error})") from None
    for scene in SCENES:
        for split in ("train", "validation", "test"):
            folder = f"{scene}/{'val' if split == 'validation' else split}/"
            parts = {n: text for n, text in sorted(files.items()) if n.startswith(folder)}
            if not parts:
                raise UsageError(f"{source}: nothing in {folder}; expected files of positions")
            paths = {}
            for name, text in parts.items():
                cut = windows if split == "test" else tracks
                found = cut(np.loadtxt(io.BytesIO(text), ndmin=2))
                paths |= {f"{Path(name).stem}/{key}": path for key, path in found.items()}
            yield f"{scene}/{split}", table(paths, "xy")


def windows(rows: np.ndarray) -> dict[str, np.ndarray]:
    """Rows (frame, pedestrian, x, y) -> all windows of WINDOW frames that follow one another in the
    file, of each pedestrian that is in all of them, where more than one is."""
    frames = np.unique(rows[:, 0])
    at = {f: {int(p): (x, y) for _, p, x, y in rows[rows[:, 0] == f]} for f in frames}
    found = {}
    for start in range(len(frames) - WINDOW + 1):
        inside = frames[start : start + WINDOW]
        whole = [p for p in at[inside[0]] if all(p in at[frame] for frame in inside)]
        if len(whole) > 1:
            for p in whole:
                found[f"{inside[0]:g}/{p}"] = np.array([at[frame][p] for frame in inside])
    return found


def tracks(rows: np.ndarray) -> dict[str, np.ndarray]:
    """Rows (frame, pedestrian, x, y) -> the path of each pedestrian, cut where frames are
    missing."""
    frames = np.unique(rows[:, 0])
    found = {}
    for p in np.unique(rows[:, 1]):
        own = rows[rows[:, 1] == p]
        own = own[np.argsort(own[:, 0])]
        number = np.searchsorted(frames, own[:, 0])
        pieces = np.split(own[:, 2:], np.flatnonzero(np.diff(number) != 1) + 1)
        found |= {f"{p:g}/{n}": piece for n, piece in enumerate(pieces) if len(piece) > 2}
    return found


def table(paths: dict[str, np.ndarray], axes: str) -> pandas.DataFrame:
    parts = []
    for name, path in paths.items():
        part = pandas.DataFrame(path.round(5), columns=list(axes))
        part.insert(0, "time", range(len(path)))
        part.insert(0, "series", name)
        parts.append(part)
    return pandas.concat(parts, ignore_index=True)


SETS = {"balls": balls, "pedestrians": pedestrians}

if __name__ == "__main__":
    main()
