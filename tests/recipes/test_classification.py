"""The classification recipes' configurations, the demo end to end at a fraction of its size, and
the preparation of PhysioNet's records."""

from __future__ import annotations

import importlib
import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from seq2seq.config import config_to_dict, load_config
from seq2seq.tasks.classification.config import ClassificationConfig
from seq2seq.tasks.classification.series_files import read_series
from seq2seq.tasks.classification.targets import Targets

FOLDER = Path(__file__).parents[2] / "recipes" / "classification"


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if name in ("demo_classify", "reviews", "folds", "prepare_physionet", "two_of_five"):
            del sys.modules[name]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_every_recipe_is_a_valid_configuration(path):
    config = load_config(path)
    assert isinstance(config, ClassificationConfig)
    assert config.data.train and config.output.startswith("runs/")


def keys(values, prefix=""):
    for key, value in values.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{key}.")


def test_sst2_documents_every_key():
    written = yaml.safe_load((FOLDER / "sst2.yaml").read_text(encoding="utf-8"))
    assert set(keys(written)) == set(keys(config_to_dict(ClassificationConfig())))


def test_the_truth_of_made_up_reviews(module):
    reviews = module("reviews")
    made = reviews.reviews(400, seed=2)
    assert made == reviews.reviews(400, seed=2)
    assert len({one.words for one in made}) == 400
    assert 150 < sum(one.label == "positive" for one in made) < 250
    for one in made:
        places = sorted(one.decisive)
        decisive = [one.words[place] for place in places]
        judged = [word for word in decisive if word in reviews.GOOD + reviews.BAD]
        assert judged and len(decisive) in (len(judged), len(judged) + 1, len(judged) + 2)
        for place in places:
            if one.words[place] not in judged:
                continue
            negations = {"not", "n't", "never", "hardly"}
            negated = bool(negations & {one.words[p] for p in places if place - 3 < p < place})
            good = one.words[place] in reviews.GOOD
            assert (good != negated) == (one.label == "positive")


def test_the_demo_end_to_end(module, tmp_path, monkeypatch, capsys):
    demo = module("demo_classify")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "SIZES", {"train": 60, "validation": 20, "test": 30})
    load = demo.load_config
    small = {"training.max_steps": "4", "training.device": "cpu", "training.precision": "fp32"}
    monkeypatch.setattr(demo, "load_config", lambda path, keys: load(path, {**keys, **small}))
    for _ in range(2):  # an earlier demo is replaced
        demo.run(Path("runs/demo"))
    out = capsys.readouterr().out
    assert "data: 110 different reviews" in out and "of 30 new reviews" in out
    assert "counting words alone" in out and "if it were spread evenly" in out
    assert (tmp_path / "runs/demo/attention.png").stat().st_size > 1000


RECORDS = {
    "132540": "Time,Parameter,Value\n00:00,RecordID,132540\n00:00,Age,76\n00:00,Gender,1\n"
    "00:00,Height,-1\n00:00,ICUType,2\n00:00,Weight,80.5\n00:30,HR,70\n00:30,HR,74\n"
    "01:15,Temp,36.5\n",
    "132539": "Time,Parameter,Value\n00:00,RecordID,132539\n00:00,Age,54\n00:00,Gender,0\n"
    "00:00,Height,160\n00:00,ICUType,4\n00:00,Weight,-1\n",
}


def test_records_become_series(module, tmp_path, monkeypatch, capsys):
    prepare = module("prepare_physionet")
    archive, outcomes, target = (tmp_path / n for n in ("a.tar.xz", "outcomes.txt", "a.npz"))
    with tarfile.open(archive, "w:xz") as tar:
        for name, text in RECORDS.items():
            info = tarfile.TarInfo(f"set-a/{name}.txt")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    outcomes.write_text("RecordID,SAPS-I,In-hospital_death\n132539,6,0\n132540,16,1\n")
    monkeypatch.setattr(sys, "argv", ["prepare", str(archive), str(outcomes), str(target)])
    prepare.main()
    assert "2 patients" in capsys.readouterr().err
    found = read_series(str(target), load_config(FOLDER / "physionet2012.yaml").data)
    assert found.targets == ["survives", "dies"] and found.places == ["132539", "132540"]
    first, second = found.inputs
    assert first.values.shape == (1, 37) and np.isnan(first.values).all()
    rate, temperature = prepare.FEATURES.index("HR"), prepare.FEATURES.index("Temp")
    assert second.values[0, prepare.FEATURES.index("Weight")] == pytest.approx(80.5)
    assert second.values[0, rate] == 72 and second.values[1, temperature] == 36.5
    np.testing.assert_array_equal(second.static, np.float32([76, 1, np.nan, 80.5, 0, 1, 0, 0]))
    outcomes.write_text("RecordID,SAPS-I,In-hospital_death\n132539,6,0\n")
    with pytest.raises(SystemExit, match="no outcome for record 132540"):
        prepare.main()


def test_five_labels_judge_two(module, tmp_path, monkeypatch, capsys):
    script = module("two_of_five")

    class Five:
        targets = Targets("label", ("0", "1", "2", "3", "4"))
        config = load_config(FOLDER / "sst5.yaml", {"data.format": "tsv", "data.phrases": "no"})

        def read(self, texts):
            return texts

        def answers(self, texts):
            chances = {"good": [0.1, 0.1, 0.5, 0.15, 0.15], "bad": [0.3, 0.2, 0.1, 0.4, 0.0]}
            return np.array([chances[text] for text in texts])

    (tmp_path / "five.tsv").write_text("4\tgood\n0\tbad\n3\tbad\n2\tgood\n")
    monkeypatch.setattr(script.Classifier, "from_pretrained", lambda name, device: Five())
    monkeypatch.setattr(sys, "argv", ["two", "model", str(tmp_path / "five.tsv")])
    script.main()
    assert capsys.readouterr().out == "3 inputs: accuracy 0.6667\n"
    Five.targets = Targets("label", ("no", "yes"))
    with pytest.raises(SystemExit, match="expected 0 to 4"):
        script.main()


def test_folds_are_trained_one_after_the_other(module, tmp_path, monkeypatch, capsys):
    folds = module("folds")
    rows = [f"{label}\t{label} {n}" for n in range(6) for label in ("up", "down")]
    (tmp_path / "train.tsv").write_text("\n".join(rows) + "\n")
    values = {
        "task": "classification",
        "data": {"train": str(tmp_path / "train.tsv"), "folds": 2, "validation_share": 0.25},
        "model": {"embedding_size": 4, "encoder": {"hidden_size": 4}},
        "training": {"max_steps": 1, "device": "cpu", "threads": 1, "precision": "fp32"},
    }
    (tmp_path / "folds.yaml").write_text(yaml.safe_dump(values))
    command = ["folds", str(tmp_path / "folds.yaml"), str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", command)
    folds.main()
    first = capsys.readouterr().out
    assert [line.split()[0] for line in first.splitlines()][:2] == ["examples", "loss"]
    assert "6.0000 +- 0.0000" in first
    folds.main()  # finished folds are not trained again
    assert capsys.readouterr().out == first
