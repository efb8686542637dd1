"""Model cards as huggingface_hub reads them."""

from __future__ import annotations

import math

import pytest
from huggingface_hub import ModelCard

from seq2seq import registry
from seq2seq.config import config_from_dict
from seq2seq.errors import UsageError
from seq2seq.saved.card import write_card
from tests.seq2seq.saved.models import make

HEAD = {"pipeline_tag": "text-classification", "tags": ["text-classification", "recurrent"]}


@pytest.mark.parametrize("task", registry.TASKS)
def test_every_task_writes_its_metrics_for_the_hub(task, tmp_path):
    user = make(task)
    card = {"metrics": {"bleu": 12.5, "f1": 0.5}, "test_set": "data/Some Set/test.txt"}
    user.save_pretrained(tmp_path, card={**card, "title": "Ünder a name", "license": "mit"})
    data = ModelCard.load(tmp_path / "README.md").data
    assert data.library_name == "seq2seq" and data.license == "mit" and "recurrent" in data.tags
    assert data.model_name == "Ünder a name" and data.metrics == ["bleu", "f1"]
    found = {one.metric_type: one for one in data.eval_results}
    assert {name: one.metric_value for name, one in found.items()} == card["metrics"]
    assert found["bleu"].metric_name == "BLEU"
    assert found["f1"].dataset_name == card["test_set"]
    assert found["f1"].dataset_type == "some-set"
    user.save_pretrained(tmp_path, card={})  # nothing measured: no index
    assert ModelCard.load(tmp_path / "README.md").data.eval_results is None


def test_a_data_set_of_the_hub_is_named():
    data = config_from_dict(
        {"data": {"hub": "some/set", "hub_config": "de-en", "train": "train", "test": "test"}}
    ).data
    card = {"metrics": {"bleu": 1.0, "ter": math.nan}}
    text = write_card(HEAD, "A title", card, data=data)
    found = ModelCard(text).data
    (result,) = found.eval_results
    assert found.datasets == ["some/set"]
    assert (result.dataset_type, result.dataset_config) == ("some/set", "de-en")
    assert (result.dataset_split, result.task_type) == ("test", "text-classification")


def test_metrics_are_numbers():
    with pytest.raises(UsageError, match="metric 'bleu' is 'high'; expected a number"):
        make("generation").save_pretrained("nowhere", card={"metrics": {"bleu": "high"}})
