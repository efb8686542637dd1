"""Cross validation: trains a configuration with data.folds once for each fold.

    python recipes/classification/folds.py recipes/classification/physionet2012.yaml runs/physionet

Writes runs/physionet-0, -1, ..., prints each figure of the test folds, its mean and deviation, and
puts the answers to all test folds into one file, runs/physionet.answers.tsv: each by a model that
has not seen the example. From it `training.teachers` can teach a model of all examples, which has
a test set of its own. (Only an example whose label no other has is in no test fold.)
Options behind the two are keys of the configuration, as for `seq2seq train`; {fold} in a value
stands for the fold, so that each has teachers that have not seen its test set:

    ... --training.teachers '[runs/seed2-{fold}/model, runs/seed3-{fold}/model]'

Finished folds are not trained again. One that was trained by another configuration is an error: its
figures and answers would be mixed with those of this one.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

from seq2seq import load_config
from seq2seq.command_line.overrides import split_overrides
from seq2seq.config import RunConfig, config_from_dict, config_to_dict
from seq2seq.errors import RunError, UsageError
from seq2seq.json_files import read_json
from seq2seq.training.loop import train
from seq2seq.training.resuming import first_difference

# what says where a run writes and how fast it goes, but not what it learns
NOT_COMPARED = {"output", "log_every", "threads", "tensorboard", "trackers"}


def of_fold(overrides: dict[str, str], fold: int) -> dict[str, str]:
    return {key: value.replace("{fold}", str(fold)) for key, value in overrides.items()}


def join_answers(folders: list[Path], output: Path) -> None:
    """One file of the answers to all test folds: the heads are the same."""
    files = [(one / "test.answers.tsv").read_text("utf-8").splitlines() for one in folders]
    lines = files[0][:1] + [line for file in files for line in file[1:]]
    output.write_text("\n".join(lines) + "\n", encoding="utf-8")


def is_finished(folder: Path) -> bool:
    return (folder / "test.scores.json").exists()


def check_same(folder: Path, config: RunConfig) -> None:
    """Raise UsageError where the finished fold in ``folder`` was trained by another configuration
    than ``config``, or does not say by which one."""
    path = folder / "config.json"
    remedy = f"remove {folder}, or give another output folder"
    try:
        read = read_json(path)
        if not isinstance(read, dict):
            raise ValueError("expected an object")
        before = config_to_dict(config_from_dict(read, str(path)))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path}: cannot be read ({reason}); {remedy}") from None
    found = first_difference("", before, config_to_dict(config), NOT_COMPARED)
    if found is not None:
        key, old, new = found
        raise UsageError(
            f"{folder}: a finished fold of another configuration: '{key}' is {old!r} there and "
            f"{new!r} here; {remedy}"
        )


def main() -> None:
    if len(sys.argv) < 3 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    try:
        run(sys.argv[1], sys.argv[2], sys.argv[3:])
    except (UsageError, RunError, OSError) as error:
        print(f"folds: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)


def run(path: str, output: str, options: list[str]) -> None:
    rest, overrides = split_overrides(options)
    if rest:
        raise UsageError(f"{rest[0]}: expected --key value")
    count = load_config(path, of_fold(overrides, 0)).data.folds
    if not count:
        raise UsageError(f"{path}: 'data.folds' is 0; set it, or add --data.folds 5")
    folders = [Path(f"{output}-{fold}") for fold in range(count)]
    configs = []
    for fold, folder in enumerate(folders):
        keys = {**of_fold(overrides, fold), "output": str(folder), "data.fold": str(fold)}
        configs.append(load_config(path, keys))
        if is_finished(folder):
            check_same(folder, configs[-1])
    found: dict[str, list[float]] = {}
    for folder, config in zip(folders, configs, strict=True):
        if not is_finished(folder):
            train(config, quiet=True)
        for name, value in json.loads((folder / "test.scores.json").read_text("utf-8")).items():
            found.setdefault(name, []).append(value)
    for name, values in found.items():
        shown = " ".join(f"{value:.4f}" for value in values)
        mean, spread = statistics.mean(values), statistics.stdev(values)
        print(f"{name:18} {mean:.4f} +- {spread:.4f}  ({shown})")
    join_answers(folders, Path(f"{output}.answers.tsv"))


if __name__ == "__main__":
    main()
