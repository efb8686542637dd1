"""A run that is resumed has the configuration it was started with."""

import json
import re

import pytest

from seq2seq.config import config_from_dict, config_to_dict
from seq2seq.errors import UsageError
from seq2seq.training.resuming import check_same_run

TRANSLATION = {"task": "translation", "data": {"train": "pairs.tsv"}}
GENERATION = {"task": "generation", "data": {"train": "text.txt"}}


@pytest.mark.parametrize(
    ("first", "second"), [(TRANSLATION, GENERATION), (GENERATION, TRANSLATION)]
)
def test_another_task_is_named_whatever_keys_it_has(tmp_path, first, second):
    (tmp_path / "checkpoints" / "last").mkdir(parents=True)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config_to_dict(config_from_dict(first))), encoding="utf-8")
    before = path.read_bytes()
    with pytest.raises(UsageError, match=f"'task' is '{second['task']}'.*'{first['task']}'"):
        check_same_run(path, config_from_dict(second))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"encoder": {"layers": 3}}}, "'model.encoder.layers' is 3, .* with 2"),
        (
            {"model": {"decoder": {"cell": "gru"}}, "training": {"learning_rate": 1.0}},
            "'model.decoder.cell' is 'gru', .* with 'lstm'",
        ),
        ({"training": {"betas": [0.5, 0.9]}}, r"'training.betas' is \[0.5, 0.9\]"),
        ({"seed": 9}, "'seed' is 9"),
    ],
)
def test_the_key_itself_is_named_however_deep_it_lies(tmp_path, change, message):
    first = TRANSLATION | {"model": {"encoder": {"layers": 2}, "decoder": {"cell": "lstm"}}}
    path = tmp_path / "config.json"
    check_same_run(path, config_from_dict(first))
    (tmp_path / "checkpoints" / "last").mkdir(parents=True)
    before = path.read_bytes()
    model = {key: own | change.get("model", {}).get(key, {}) for key, own in first["model"].items()}
    with pytest.raises(UsageError, match=message):
        check_same_run(path, config_from_dict(first | change | {"model": model}))
    assert path.read_bytes() == before
    free = {"training": {"max_epochs": 99, "threads": 2}, "output": "elsewhere"}
    check_same_run(path, config_from_dict(first | free))
    assert path.read_bytes() != before


def test_another_search_goes_on_where_changes_are_allowed(tmp_path, capsys):
    """Validation reads it: which checkpoint is best follows from it."""
    path = tmp_path / "config.json"
    check_same_run(path, config_from_dict(TRANSLATION))
    (tmp_path / "checkpoints" / "last").mkdir(parents=True)
    check_same_run(path, config_from_dict(TRANSLATION | {"decoding": {"beam_size": 9}}))
    search = {"length_penalty": 0.3, "coverage_penalty": 0.2, "beam_size": 7}
    changed = config_from_dict(TRANSLATION | {"decoding": search})
    told = "'decoding.length_penalty' is 0.3, the run in "
    with pytest.raises(UsageError, match=re.escape(told) + ".*--allow-changes"):
        check_same_run(path, changed)
    check_same_run(path, changed, allow=True)
    said = capsys.readouterr().err
    assert f"warning: {told}" in said and "'decoding.coverage_penalty' is 0.2" in said
    assert json.loads(path.read_text())["decoding"]["length_penalty"] == 0.3
