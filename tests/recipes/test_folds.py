"""Cross validation of a classification: {fold} in options, and what is said of wrong ones."""

from __future__ import annotations

import folds
import yaml

from seq2seq.config import config_from_dict
from seq2seq.training.loop import train
from tests.seq2seq.tasks.classification.conftest import sentences, text_settings, write


def configure(tmp_path):
    """Writes folds.yaml and its data; gives its values."""
    write(tmp_path / "train.tsv", sentences(60, 5))
    values = text_settings(tmp_path, tmp_path / "unused", max_steps=2, validate_every=2)
    values["data"] = {"train": str(tmp_path / "train.tsv"), "folds": 2, "parts_seed": 4}
    (tmp_path / "folds.yaml").write_text(yaml.safe_dump(values))
    return values


def test_each_fold_has_its_own_teacher(tmp_path, call, start):
    values = configure(tmp_path)

    def run(name, *options, how=call):
        return how(folds, tmp_path / "folds.yaml", tmp_path / name, *options)

    assert run("teacher").returncode == 0
    teachers = f"[{tmp_path}/teacher-{{fold}}/model]"
    done = run("student", "--training.teachers", teachers, "--seed", "2")
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    for fold in (0, 1):
        saved = (tmp_path / f"student-{fold}" / "config.json").read_text()
        assert f"teacher-{fold}/model" in saved
    joined = (tmp_path / "teacher.answers.tsv").read_text().splitlines()
    assert joined[0].startswith("place\ttruth\t")
    places = sorted(int(line.split("\t")[0]) for line in joined[1:])
    assert places == list(range(1, 61))  # each example once
    answers = f"[{tmp_path}/teacher.answers.tsv]"  # of models that have seen each test fold
    done = run("taught", "--training.teachers", answers, "--seed", "3")
    assert done.returncode == 2 and "which this run holds out" in done.stderr
    write(tmp_path / "test.tsv", sentences(20, 6))
    values["data"] = {"train": str(tmp_path / "train.tsv"), "test": str(tmp_path / "test.tsv")}
    values["data"]["validation_share"] = 0
    values["training"]["teachers"] = [f"{tmp_path}/teacher.answers.tsv"]
    values["output"] = str(tmp_path / "own-test-set")
    train(config_from_dict(values), quiet=True)
    for option, value, why, how in (
        ("--training.teachers", f"[{tmp_path}/none-{{fold}}/model]", "no such directory", start),
        ("--training.teachers", "one", "expected a list", call),
        ("--data.folds", "0", "'data.folds' is 0", call),
    ):
        done = run("wrong", option, value, how=how)
        assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("folds: ")
        assert why in done.stderr and "Traceback" not in done.stderr


def test_finished_folds_of_another_configuration_are_refused(tmp_path, call):
    configure(tmp_path)

    def run(name, *options):
        return call(folds, tmp_path / "folds.yaml", tmp_path / name, *options)

    assert run("a").returncode == 0
    again = run("a", "--training.log_every", "7")  # nothing that a model learns from
    assert again.returncode == 0 and "accuracy" in again.stdout
    for key, value, why in (
        ("--data.folds", "3", "'data.folds' is 2 there and 3 here"),
        ("--model.dropout", "0.4", "'model.dropout' is 0.1 there and 0.4 here"),
        ("--training.max_steps", "3", "'training.max_steps' is 2 there and 3 here"),
    ):
        done = run("a", key, value)
        assert done.returncode == 2 and not done.stdout
        assert f"a-0: a finished fold of another configuration: {why}; remove " in done.stderr
        assert "or give another output folder" in done.stderr
        assert not (tmp_path / "a-2").exists()


def test_finished_folds_must_say_how_they_were_trained(tmp_path, call):
    configure(tmp_path)
    folder = tmp_path / "a-1"
    folder.mkdir()
    (folder / "test.scores.json").write_text("{}")
    for content in (None, "{", "[]"):
        if content:
            (folder / "config.json").write_text(content)
        done = call(folds, tmp_path / "folds.yaml", tmp_path / "a")
        assert done.returncode == 2 and "a-1/config.json: cannot be read" in done.stderr
        assert not (tmp_path / "a-0").exists()  # told before the first fold is trained
