"""Keys that are set and do nothing beside the others of their configuration."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple


class _Rule(NamedTuple):
    """``keys`` do nothing where the value of ``other`` is not one that they are ``read`` with."""

    keys: str  # with spaces between
    other: str
    read: Callable[[Any], bool]


def _one_of(*values: Any) -> Callable[[Any], bool]:
    return lambda value: value in values


# A rule whose keys a task does not have says nothing about it.
_RULES = (
    _Rule("training.average", "training.keep_best", lambda kept: kept > 1),
    _Rule("training.betas", "training.optimizer", _one_of("adam", "adamw")),
    _Rule("training.final_learning_rate", "training.schedule", _one_of("cosine")),
    _Rule(
        "training.plateau_factor training.plateau_patience",
        "training.schedule",
        _one_of("plateau"),
    ),
    _Rule(
        "training.reward training.samples training.cross_entropy_weight training.temperature "
        "training.baseline",
        "training.objective",
        _one_of("self_critical", "minimum_risk"),
    ),
    _Rule("training.sharpness", "training.objective", _one_of("minimum_risk")),
    _Rule("training.asgd_patience", "training.optimizer", _one_of("asgd")),
    _Rule("training.teacher_weight", "training.teachers", bool),
    _Rule("training.sentence_weight model.pooling", "data.sentence_label", bool),
    _Rule("training.validation_paths", "model.kind", _one_of("autoregressive")),
    _Rule("units.lowercase units.split_punctuation", "units.kind", _one_of("words")),
    _Rule("units.subwords", "units.kind", _one_of("subwords")),
    _Rule("units.kept_words", "units.vectors", bool),
    _Rule("model.kept_words", "model.vectors", bool),
    _Rule("units.min_count", "units.kind", _one_of("words", "characters")),
    _Rule("units.vocab_size", "units.kind", lambda kind: kind != "bytes"),
    # the vocabulary is that of the model to begin with
    _Rule(
        "units.vectors units.min_count units.vocab_size tokenizer.vocab_size tokenizer.kind",
        "training.start_from",
        lambda path: path is None,
    ),
    # and so are the season and the calendar of a forecasting model
    _Rule("data.season data.calendar", "training.start_from", lambda path: path is None),
    _Rule("tokenizer.sampling", "tokenizer.kind", _one_of("unigram", "bpe")),
    _Rule("data.validation_share", "data.validation", lambda path: path is None),
    _Rule("data.fold", "data.folds", bool),
    _Rule("data.rename", "data.target", _one_of("label", "labels")),
    _Rule("decoding.threshold", "data.target", _one_of("labels")),
    _Rule("data.id data.time data.static data.bin data.clip", "data.kind", _one_of("series")),
    _Rule(
        "data.image.size data.image.steps data.image.permutation data.image.shift",
        "data.kind",
        _one_of("image"),
    ),
    _Rule(
        "data.format data.text data.lowercase data.split units.kind "
        "model.embedding_size model.word_dropout",
        "data.kind",
        _one_of("text"),
    ),
    _Rule("model.feature_size model.feature_dropout", "data.features", bool),
    _Rule("tokenizer.vocab_size tokenizer.kind", "tokenizer.model", lambda path: path is None),
    _Rule("data.shuffle_buffer", "data.streaming", bool),
    _Rule("data.column data.hub_config", "data.hub", bool),
    _Rule("data.noise_free", "data.noise", bool),
    _Rule("model.hidden_dropout", "model.layers", lambda layers: layers > 1),
    # "none" switches attention off by one key, as an ablation does, whatever its width was
    _Rule(
        "model.decoder.attention_size",
        "model.decoder.attention",
        _one_of("additive", "concat", "none"),
    ),
    _Rule("model.segment", "model.kind", _one_of("segments")),
    _Rule("model.lags", "model.kind", _one_of("autoregressive")),
    _Rule("model.attention", "model.kind", _one_of("attention")),
    _Rule("model.loss", "model.head", _one_of("point")),
    _Rule("model.levels", "model.head", _one_of("quantiles")),
    _Rule("forecast.recent_steps", "forecast.widths", _one_of("recent")),
    _Rule("decoding.diversity", "decoding.beam_groups", lambda groups: groups > 1),
)


def idle_keys(config: Any) -> list[str]:
    """A sentence on each key with another value than its default that nothing reads, because of
    the value of another one."""
    default, told = type(config)(), []
    for rule in _RULES:
        other = _value(config, rule.other)
        if other is _NONE or rule.read(other):
            continue
        for key in rule.keys.split():
            value = _value(config, key)
            # what is switched off does nothing anyway
            if value not in (_NONE, None, False) and value != _value(default, key):
                told.append(f"'{key}' does nothing where '{rule.other}' is {_shown(other)}")
    return told


_NONE = object()  # a configuration has no such key


def _value(config: Any, key: str) -> Any:
    return reduce(lambda part, name: getattr(part, name, _NONE), key.split("."), config)


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
