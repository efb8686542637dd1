"""A run that is resumed has the configuration it was started with."""

import json

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
