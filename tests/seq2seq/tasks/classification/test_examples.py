"""Dividing a training set: nothing of what is held out is trained on, and no label gets lost."""

from __future__ import annotations

import json

import pytest

from seq2seq.config import config_from_dict
from seq2seq.tasks.classification.examples import load_splits
from seq2seq.tasks.classification.targets import learn_targets


def splits_of(path, **data):
    return load_splits(
        config_from_dict({"task": "classification", "data": {"train": str(path), **data}})
    )


@pytest.mark.parametrize("target", ["label", "labels"])
@pytest.mark.parametrize("division", [{"folds": 3}, {"validation_share": 0.5}])
def test_a_label_with_one_example_stays_in_training(tmp_path, target, division):
    names = ["a", "b"] * 10 + [f"rare {n}" for n in range(6)]
    wrapped = [[name] if target == "labels" else name for name in names]
    rows = [json.dumps({"label": name, "text": f"t{n}"}) for n, name in enumerate(wrapped)]
    path = tmp_path / "rare.jsonl"
    path.write_text("\n".join(rows))
    for fold in range(division.get("folds", 1)):
        splits = splits_of(path, target=target, fold=fold, **division)
        targets = learn_targets(target, splits["train"])
        assert set(targets.names) == set(names)
        for one in splits.values():
            targets.encode(one)  # refuses labels that training lacks
        places = [place for one in splits.values() for place in one.places]
        assert sorted(places) == list(range(1, 27)) and len(splits) > 1


@pytest.mark.parametrize("share", [0.05, 0.15, 0.2, 0.3, 1 / 3, 0.4, 0.66, 0.9])
@pytest.mark.parametrize("target", ["label", "number"])
def test_a_share_is_that_share_of_each_label(tmp_path, share, target):
    path = tmp_path / "a.tsv"
    path.write_text("".join(f"{n % 3 == 0:d}\tt{n}\n" for n in range(600)))
    splits = splits_of(path, target=target, validation_share=share)
    held = splits["validation"]
    assert abs(len(held) - 600 * share) < 3 and len(splits["train"]) + len(held) == 600
    if target == "label":
        assert abs(held.targets.count("1") - 200 * share) < 3


def test_a_rule_without_use_is_told(tmp_path, capsys):
    path = tmp_path / "a.tsv"
    path.write_text("a\tx\nb\ty\n" * 10)
    splits_of(path, rename=["A=b"])
    assert f"warning: 'data.rename': {path} has no label 'A'" in capsys.readouterr().err


def test_phrases_of_held_out_sentences_are_not_trained_on(tmp_path):
    trees = [f"({n % 2} ({n % 2} left{n}) ({n % 2} right{n}))" for n in range(30)]
    path = tmp_path / "trees.txt"
    path.write_text("\n".join(trees))
    splits = splits_of(path, format="trees", phrases=True, folds=3, validation_share=0.2)
    held = {*splits["test"].places, *splits["validation"].places}
    assert len(splits["test"]) == 10 and len(held) > 12
    assert held.isdisjoint(splits["train"].places)
    assert len(splits["train"]) == 3 * (30 - len(held))  # each tree has three phrases
    assert all("left" in text and "right" in text for text in splits["test"].inputs)
