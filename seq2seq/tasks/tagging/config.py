"""The configuration of a tagging run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from seq2seq.config.checks import check_fractions, check_not_negative, check_positive
from seq2seq.config.layers import CharacterConfig, EncoderConfig, check_characters
from seq2seq.config.paths import PathText
from seq2seq.config.training import TrainingConfig, check_new_labels, check_run
from seq2seq.errors import UsageError


@dataclass
class TaggingDataConfig:
    """Where sentences come from; ``sentences.load_sentences`` reads them."""

    train: PathText | None = None
    validation: PathText | None = None
    test: PathText | None = None
    # auto: json for .jsonl and .json, conllu for .conllu, else as the first line looks
    # (``formats.find_format``); .gz and .xz are unpacked
    format: Literal["auto", "columns", "conllu", "json"] = "auto"
    words: int = 0  # columns: where words stand, counted from 0; -1: last
    # What to learn, NAME=WHERE each: a column (-1: last) or a key of JSON; conllu knows upos, xpos,
    # lemma, feats, deprel. A bare NAME is the key NAME, or the last column.
    labels: list[str] = field(default_factory=lambda: ["label"])
    # What the model reads beside the words, NAME=WHERE each, as ``labels``: parts of speech, say. A
    # bare NAME is a key of JSON, or a name that conllu knows.
    features: list[str] = field(default_factory=list)
    # a label of the whole sentence: the key of JSON, or NAME of a line ``# NAME = label`` above it
    sentence_label: str | None = None
    # share of the spans of training text that are replaced by others with the same labels
    replaced_spans: float = 0.0
    batch_size: int = 16  # sentences


@dataclass
class TaggingEncoderConfig(EncoderConfig):
    layers: int = 1
    hidden_size: int = 128  # per direction


@dataclass
class TaggingModelConfig:
    embedding_size: int = 100
    vectors: PathText | None = None  # pretrained word vectors to begin with
    frozen: bool = False  # they stay as they are
    kept_words: int = 400_000  # most frequent words of ``vectors`` that training text lacks
    min_count: int = 1  # rarer words of the training text without a vector are unknown
    # Words are looked up as they are, then in lower case, then with 0 for every digit; false: as
    # they are alone.
    lowercase: bool = True
    characters: CharacterConfig = field(default_factory=CharacterConfig)
    shape_size: int = 10  # width of what is known of capitals, digits and marks; 0: nothing
    feature_size: int = 20  # width of the vector of each of ``data.features``
    encoder: TaggingEncoderConfig = field(default_factory=TaggingEncoderConfig)
    scheme: Literal["bio", "bioes"] = "bioes"  # how spans are learnt; written are always BIO
    crf: Literal["spans", "all", "none"] = "spans"  # label columns with learned transitions
    # so many models of this kind, trained side by side, whose mean scores count (``committee``)
    members: int = 1
    # of the encoder's outputs, for the label of the sentence: last, mean, max, attention
    pooling: list[str] = field(default_factory=lambda: ["max", "last"])
    dropout: float = 0.5  # of the words' vectors, and of the encoder's outputs
    dropout_kind: Literal["plain", "variational"] = "variational"
    character_dropout: float = 0.0  # of the characters' vectors
    word_dropout: float = 0.0  # words read as unknown
    feature_dropout: float = 0.02  # values of features read as unknown
    singletons: float = 0.5  # of words that training text has once, and no vector: the same


@dataclass
class TaggingTrainingConfig(TrainingConfig):
    # the labels are others than those of start_from, of whose model the layers that give labels are
    # not taken
    new_labels: bool = False
    max_epochs: int = 50
    learning_rate: float = 2e-3
    clip_norm: float = 5.0
    ema_decay: float = 0.998
    # At the end, choose what is added to the score of each span for the best F1 on the validation
    # set; see ``span_bonus``.
    tune_spans: bool = False
    span_bonus: float = 0.0  # or add this one, which another run may have found
    # Half of the loss is that of sentences whose vectors are moved by this share of their length in
    # the direction that is worst for the model (adversarial training: Miyato et al. 2017). 0: off
    adversarial: float = 0.0
    sentence_weight: float = 0.2  # of the loss of the sentence's label, beside 1 for the words'


@dataclass
class TaggingConfig:
    task: Literal["tagging"] = "tagging"
    output: PathText = "runs/tagging"
    seed: int = 1
    data: TaggingDataConfig = field(default_factory=TaggingDataConfig)
    model: TaggingModelConfig = field(default_factory=TaggingModelConfig)
    training: TaggingTrainingConfig = field(default_factory=TaggingTrainingConfig)


def check(config: TaggingConfig, where: str) -> None:
    """Raises UsageError for values that have the right type and still make no sense together."""
    data, model = config.data, config.model
    encoder = model.encoder
    positive = {
        "data.batch_size": data.batch_size,
        "model.embedding_size": model.embedding_size,
        "model.min_count": model.min_count,
        "model.feature_size": model.feature_size,
        "model.encoder.layers": encoder.layers,
        "model.encoder.hidden_size": encoder.hidden_size,
        "model.members": model.members,
    }
    check_positive(dict(positive), where)
    check_not_negative(
        {
            "model.kept_words": model.kept_words,
            "model.shape_size": model.shape_size,
            "training.sentence_weight": config.training.sentence_weight,
        },
        where,
    )
    check_fractions(
        {
            "model.dropout": model.dropout,
            "model.character_dropout": model.character_dropout,
            "model.word_dropout": model.word_dropout,
            "model.feature_dropout": model.feature_dropout,
            "training.adversarial": config.training.adversarial,
        },
        where,
    )
    for key, share in (
        ("model.singletons", model.singletons),
        ("data.replaced_spans", data.replaced_spans),
    ):
        if not 0 <= share <= 1:
            raise UsageError(f"{where}: '{key}' is {share}; expected 0 to 1")
    check_characters(model.characters, where)
    check_new_labels(config.training.new_labels, config.training.start_from, where)
    if not -100 <= config.training.span_bonus <= 100:
        raise UsageError(
            f"{where}: 'training.span_bonus' is {config.training.span_bonus}; expected -100 to 100"
        )
    if config.training.tune_spans and config.training.span_bonus:
        raise UsageError(
            f"{where}: 'training.tune_spans' is true and 'training.span_bonus' "
            f"{config.training.span_bonus}; expected one of them: the first finds a bonus, the "
            "second gives it"
        )
    if config.training.tune_spans and not data.validation:
        raise UsageError(
            f"{where}: 'training.tune_spans' needs 'data.validation', which is not set"
        )
    _check_names(config, where)
    check_run(config, where, has_validation=bool(data.validation))


def label_sources(data: TaggingDataConfig) -> dict[str, str]:
    """Name of each label column -> where it stands, "" where only a name is given."""
    return _sources(data.labels)


def feature_sources(data: TaggingDataConfig) -> dict[str, str]:
    """The same for what the model reads beside the words."""
    return _sources(data.features)


def _sources(columns: list[str]) -> dict[str, str]:
    parts = [column.partition("=") for column in columns]
    return {name.strip(): place.strip() for name, _, place in parts}


_POOLING = ("last", "mean", "max", "attention")


def _check_names(config: TaggingConfig, where: str) -> None:
    data, pooling = config.data, config.model.pooling
    names, features = list(label_sources(data)), list(feature_sources(data))
    columns = (("labels", names, data.labels), ("features", features, data.features))
    for key, found, given in columns:
        wrong = [name for name in found if not name.replace("_", "").replace("-", "").isalnum()]
        if wrong or len(found) < len(given) or (key == "labels" and not found):
            raise UsageError(
                f"{where}: 'data.{key}' is {given}; expected NAME or NAME=WHERE, each name once"
            )
    both = sorted(set(names) & set(features))
    if both:
        raise UsageError(
            f"{where}: '{both[0]}' stands in 'data.labels' and 'data.features'; a model cannot "
            "read what it is to learn"
        )
    if data.sentence_label in names:
        raise UsageError(
            f"{where}: 'data.sentence_label' is {data.sentence_label!r}, which 'data.labels' has, "
            "too; expected another name"
        )
    if not pooling or len(set(pooling)) < len(pooling) or not set(pooling) <= set(_POOLING):
        raise UsageError(
            f"{where}: 'model.pooling' is {pooling}; expected some of {', '.join(_POOLING)}, each "
            "once"
        )
