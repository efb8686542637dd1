"""Keys that are set and do nothing are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from seq2seq import load_config
from seq2seq.config import config_from_dict
from seq2seq.config.idle import _RULES, idle_keys

RECIPES = sorted((Path(__file__).parents[3] / "recipes").glob("*/*.yaml"))

SERIES = {"data": {"kind": "series"}}
# values under which each key does nothing, by its section and its name, the end of the sentence,
# and other sections where they matter
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
    "training.temperature": ("translation", {"temperature": 0.3}, "is cross_entropy"),
    "training.baseline": ("captioning", {"baseline": "samples"}, "is cross_entropy"),
    "training.asgd_patience": ("generation", {"asgd_patience": 2}, "'training.optimizer' is adam"),
    "training.teacher_weight": ("classification", {"teacher_weight": 0.9}, "is []"),
    "training.sentence_weight": ("tagging", {"sentence_weight": 0.7}, "sentence_label' is null"),
    "model.pooling": ("tagging", {"pooling": ["mean"]}, "'data.sentence_label' is null"),
    "training.validation_paths": ("forecasting", {"validation_paths": 9}, "is segments"),
    "units.kept_words": ("classification", {"kept_words": 9}, "'units.vectors' is null"),
    "model.kept_words": ("tagging", {"kept_words": 9}, "'model.vectors' is null"),
    "data.validation_share": ("generation", {"validation_share": 0.3, "validation": "v"}, "is v"),
    "data.fold": ("classification", {"fold": 1}, "'data.folds' is 0"),
    "decoding.threshold": ("classification", {"threshold": 0.2}, "'data.target' is label"),
    "data.id": ("classification", {"id": "who"}, "'data.kind' is text"),
    "data.time": ("classification", {"time": "when"}, "'data.kind' is text"),
    "data.static": ("classification", {"static": ["age"]}, "'data.kind' is text"),
    "data.bin": ("classification", {"bin": 2.0}, "'data.kind' is text"),
    "data.clip": ("classification", {"clip": 0.1}, "'data.kind' is text"),
    "data.image.size": ("classification", {"image": {"size": 9}}, "'data.kind' is text"),
    "data.image.steps": ("classification", {"image": {"steps": "pixels"}}, "'data.kind' is text"),
    "data.image.permutation": ("classification", {"image": {"permutation": 2}}, "is text"),
    "data.image.shift": ("classification", {"image": {"shift": 2}}, "'data.kind' is text"),
    "data.format": ("classification", {"format": "csv", "kind": "series"}, "is series"),
    "data.text": ("classification", {"text": "words", "kind": "series"}, "is series"),
    "data.lowercase": ("classification", {"lowercase": True, "kind": "series"}, "is series"),
    "data.split": ("classification", {"split": "simple", "kind": "image"}, "is image"),
    "units.kind": ("classification", {"kind": "bytes"}, "is series", SERIES),
    "model.embedding_size": ("classification", {"embedding_size": 9}, "is series", SERIES),
    "model.word_dropout": ("classification", {"word_dropout": 0.1}, "is series", SERIES),
    "model.feature_size": ("tagging", {"feature_size": 9}, "'data.features' is []"),
    "model.feature_dropout": ("tagging", {"feature_dropout": 0.1}, "'data.features' is []"),
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
    task, values, end, *others = CASES[key]
    section, other = key.split(".")[0], others[0] if others else {}
    assert not idle_keys(config_from_dict({"task": task, **other}))
    told = idle_keys(config_from_dict({"task": task, **other, section: values}))
    assert len(told) == 1 and told[0].startswith(f"'{key}' does nothing where "), told
    assert end in told[0]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_set_nothing_that_does_nothing(path):
    assert not idle_keys(load_config(str(path), {}))
