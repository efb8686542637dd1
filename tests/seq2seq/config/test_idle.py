"""Keys that are set and do nothing are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from seq2seq import load_config
from seq2seq.config import config_from_dict
from seq2seq.config.idle import _RULES, idle_keys

RECIPES = sorted((Path(__file__).parents[3] / "recipes").glob("*/*.yaml"))

# values under which each key does nothing, by its section and its name, and the end of the sentence
CASES = {
    "training.average": ("generation", {"average": True}, "'training.keep_best' is 1"),
    "training.betas": (
        "generation",
        {"betas": [0.5, 0.6], "optimizer": "sgd"},
        "'training.optimizer' is sgd",
    ),
    "training.final_learning_rate": (
        "generation",
        {"final_learning_rate": 0.1, "schedule": "constant"},
        "'training.schedule' is constant",
    ),
    "training.plateau_factor": ("tagging", {"plateau_factor": 0.3}, "'training.schedule' is "),
    "training.plateau_patience": ("tagging", {"plateau_patience": 7}, "'training.schedule' is "),
    "training.reward": ("translation", {"reward": "chrf"}, "'training.objective' is cross_entropy"),
    "training.samples": ("translation", {"samples": 9}, "'training.objective' is cross_entropy"),
    "training.cross_entropy_weight": (
        "translation",
        {"cross_entropy_weight": 0.5},
        "'training.objective' is cross_entropy",
    ),
    "training.sharpness": ("translation", {"sharpness": 0.5}, "'training.objective' is cross_"),
    "units.lowercase": ("generation", {"lowercase": True}, "'units.kind' is characters"),
    "units.split_punctuation": ("generation", {"split_punctuation": True}, "is characters"),
    "units.subwords": ("generation", {"subwords": "bpe"}, "'units.kind' is characters"),
    "units.min_count": ("generation", {"min_count": 2, "kind": "subwords"}, "is subwords"),
    "units.vocab_size": ("generation", {"vocab_size": 99, "kind": "bytes"}, "is bytes"),
    "tokenizer.vocab_size": ("translation", {"vocab_size": 99, "model": "a.model"}, "is a.model"),
    "tokenizer.kind": ("translation", {"kind": "bpe", "model": "a.model"}, "is a.model"),
    "data.shuffle_buffer": ("translation", {"shuffle_buffer": 5}, "'data.streaming' is false"),
    "data.column": ("generation", {"column": "words"}, "'data.hub' is null"),
    "data.hub_config": ("generation", {"hub_config": "x"}, "'data.hub' is null"),
    "tokenizer.sampling": ("translation", {"sampling": 0.3, "kind": "char"}, "is char"),
    "data.rename": ("classification", {"rename": ["a=b"], "target": "number"}, "is number"),
    "data.noise_free": ("forecasting", {"noise_free": 0.5}, "'data.noise' is 0.0"),
    "model.hidden_dropout": ("generation", {"hidden_dropout": 0.3, "layers": 1}, "is 1"),
    "model.decoder.attention_size": (
        "translation",
        {"decoder": {"attention_size": 7, "attention": "dot"}},
        "'model.decoder.attention' is dot",
    ),
    "model.segment": (
        "forecasting",
        {"segment": 7, "kind": "attention"},
        "'model.kind' is attention",
    ),
    "model.lags": ("forecasting", {"lags": [3]}, "'model.kind' is segments"),
    "model.attention": ("forecasting", {"attention": "dot"}, "'model.kind' is segments"),
    "model.loss": ("forecasting", {"loss": "mae"}, "'model.head' is quantiles"),
    "model.levels": ("forecasting", {"levels": [0.3], "head": "gaussian"}, "is gaussian"),
    "forecast.recent_steps": ("forecasting", {"recent_steps": 7}, "'forecast.widths' is fixed"),
    "decoding.diversity": ("translation", {"diversity": 0.2}, "'decoding.beam_groups' is 1"),
}


START = {"training": {"start_from": "runs/a"}}
WITH_START = {
    "units.vectors": ("classification", {"units": {"vectors": "a.vec"}}),
    "units.min_count": ("captioning", {"units": {"min_count": 3}}),
    "units.vocab_size": ("generation", {"units": {"kind": "words", "vocab_size": 99}}),
    "tokenizer.vocab_size": ("translation", {"tokenizer": {"vocab_size": 99}}),
    "tokenizer.kind": ("translation", {"tokenizer": {"kind": "bpe"}}),
    "data.season": ("forecasting", {"data": {"season": 7}}),
    "data.calendar": ("forecasting", {"data": {"calendar": ["weekday"]}}),
}


@pytest.mark.parametrize("key", WITH_START)
def test_what_the_model_to_begin_with_decides_is_told(key):
    task, values = WITH_START[key]
    told = idle_keys(config_from_dict({"task": task, **values, **START}))
    assert told == [f"'{key}' does nothing where 'training.start_from' is runs/a"]


def test_every_rule_has_a_case():
    assert {*CASES, *WITH_START} == {key for rule in _RULES for key in rule.keys.split()}


@pytest.mark.parametrize("key", CASES)
def test_a_key_that_does_nothing_is_told(key):
    task, values, end = CASES[key]
    section = key.split(".")[0]
    assert not idle_keys(config_from_dict({"task": task}))
    told = idle_keys(config_from_dict({"task": task, section: values}))
    assert len(told) == 1 and told[0].startswith(f"'{key}' does nothing where "), told
    assert end in told[0]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_set_nothing_that_does_nothing(path):
    assert not idle_keys(load_config(str(path), {}))
