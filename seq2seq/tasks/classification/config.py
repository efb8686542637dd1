"""The configuration of a classification run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from seq2seq.config.checks import check_fractions, check_not_negative, check_positive
from seq2seq.config.images import ImageEncoderConfig, check_image_encoder
from seq2seq.config.layers import CharacterConfig, EncoderConfig, check_characters
from seq2seq.config.paths import PathText
from seq2seq.config.training import TrainingConfig, check_new_labels, check_run
from seq2seq.config.vocabulary import VocabularyConfig
from seq2seq.errors import UsageError

Best = Literal["accuracy", "macro_f1", "auc", "average_precision", "loss", "mae", "r2"]
POOLING = ("last", "mean", "max", "attention")
BEST = {  # what the best checkpoint can be chosen by, for each kind of target
    "label": ("accuracy", "macro_f1", "auc", "average_precision", "loss"),
    "labels": ("macro_f1", "accuracy", "auc", "average_precision", "loss"),
    "number": ("loss", "mae", "r2"),
}


@dataclass
class ImageInputConfig:
    """How an image becomes a sequence."""

    size: int = 28  # pixels a side; others are scaled to it
    # rows: a row of pixels a step; pixels: one pixel a step, row by row; permuted: one pixel a
    # step in an order drawn once from ``permutation``; grid: the vectors that the CNN of
    # ``model.image_encoder`` makes of it, row by row of its grid
    steps: Literal["rows", "pixels", "permuted", "grid"] = "rows"
    permutation: int = 1  # seed of that order
    shift: int = 0  # training moves each image by up to so many pixels


@dataclass
class ClassDataConfig:
    """Where inputs and targets come from and how they are batched.

    ``train``/``validation``/``test`` are files, which ``seq2seq.tasks.classification.labelled``
    (text), ``series`` and ``images`` read. A validation set that is not given is a share of the
    training set.
    """

    kind: Literal["text", "series", "image"] = "text"
    train: PathText | None = None
    validation: PathText | None = None
    test: PathText | None = None
    target: Literal["label", "labels", "number"] = "label"  # one, any number of them, or a number
    # Text. auto: jsonl and csv by the name of the file; else by its first line: __label__
    # (fastText), a tab ("label<TAB>text", or a header that names columns), a tree in brackets; else
    # the first word is the label.
    format: Literal["auto", "tsv", "csv", "jsonl", "fasttext", "first_word", "trees"] = "auto"
    encoding: str = "utf-8"  # of the files, as Python calls it: latin1, cp1252, utf-16, ...
    text: str = "text"  # column or key of the text
    label: str = "label"  # column or key of the target
    separator: str = ","  # between several labels
    # "old=new" gives a label another name, "old=" leaves its examples out
    rename: list[str] = field(default_factory=list)
    phrases: bool = False  # trees: every labelled phrase is an example of training
    lowercase: bool = False
    split: Literal["spaces", "simple"] = "spaces"  # what divides a text into words
    # Series
    id: str = "id"  # columns of a CSV file: rows of the same id are one series
    time: str = "time"
    static: list[str] = field(default_factory=list)  # columns that belong to the whole series
    bin: float = 0.0  # what falls into the same so long time is averaged; 0: every row is a step
    # values beyond the smallest and largest so large share of each feature are cut to them: a
    # mistyped one (a temperature of 365) else makes all others look alike
    clip: float = 0.0
    # standard: every feature has mean 0 and deviation 1. ranks: a value becomes the normal score of
    # its rank among the training data, for sensors with wild values and skewed distributions
    scale: Literal["standard", "ranks"] = "standard"
    image: ImageInputConfig = field(default_factory=ImageInputConfig)
    validation_share: float = 0.1  # of the training set, where ``validation`` is not set
    # Cross validation: the training set is divided into so many parts, of which ``fold`` (from 0)
    # is the test set
    folds: int = 0
    fold: int = 0
    parts_seed: int | None = None  # of these divisions; default: ``seed``
    max_length: int = 1000  # steps; longer inputs are cut
    batch_size: int = 64


@dataclass
class ClassUnitsConfig(VocabularyConfig):
    vocab_size: int = 50000
    vectors: PathText | None = None  # pretrained vectors of words; read when a run begins
    frozen: bool = False  # they stay as they are
    # so many words of that file (the first) which training text lacks are known, too
    kept_words: int = 100000


@dataclass
class ClassEncoderConfig(EncoderConfig):
    layers: int = 1
    hidden_size: int = 128  # per direction
    # GRU-D (Che et al. 2018): what was measured last decays with the time since; a loop of its own
    decay: bool = False
    recurrent_dropout: float = 0.0  # of the hidden state, one mask for all steps
    # Chrono initialisation (Tallec & Ollivier 2018): gates begin with memories of up to so many
    # steps; 0: as torch.nn begins
    memory: int = 0


@dataclass
class ClassModelConfig:
    embedding_size: int = 100  # of text
    # of text in words: each word also as a vector of its letters, capitals as they are
    characters: CharacterConfig = field(default_factory=lambda: CharacterConfig(kind="none"))
    encoder: ClassEncoderConfig = field(default_factory=ClassEncoderConfig)
    # of data.image.steps: grid; its kinds are residual and timm
    image_encoder: ImageEncoderConfig = field(default_factory=ImageEncoderConfig)
    # some of last, mean, max, attention: their vectors side by side
    pooling: list[str] = field(default_factory=lambda: ["max"])
    # of series: mean, deviation, least, greatest, first and last value of each feature, how often
    # it was measured and how long ago, beside what pooling gives
    summary: bool = False
    # its curves of each figure: 6 (coarse), or 10 steeper ones and whether the figure exists (fine)
    summary_curves: Literal["coarse", "fine"] = "coarse"
    hidden_size: int = 0  # of a layer between pooling and output; 0: none
    input_dropout: float = 0.2  # of embedded text, or of what a series is read as
    dropout: float = 0.3  # between layers, of the pooled vector
    dropout_kind: Literal["plain", "variational"] = "plain"
    word_dropout: float = 0.0  # so many words are read as <unk>
    # so many networks of this kind, trained side by side, whose mean answer counts (``committee``)
    members: int = 1


@dataclass
class ClassTrainingConfig(TrainingConfig):
    # the labels are others than those of start_from, whose output layer is not taken
    new_labels: bool = False
    max_epochs: int = 20
    learning_rate: float = 1e-3
    clip_norm: float = 5.0
    label_smoothing: float = 0.0
    # Half of the loss is that of texts whose vectors are moved by this share of their length in the
    # direction that is worst for the network (adversarial training: Miyato et al. 2017). 0: off
    adversarial: float = 0.0
    # balanced: examples of rare labels weigh more, N / (K n) for a label with n of N examples
    class_weights: Literal["none", "balanced"] = "none"
    # what the best checkpoint is chosen by; default: accuracy (labels: macro_f1, number: loss)
    best_by: Best | None = None
    calibrate: bool = True  # probabilities are tempered by what fits the validation set best
    # Distillation: saved models, or files of answers (``answers.py``), whose mean answer is this
    # share of the target; any words, any size, the same labels
    teachers: list[PathText] = field(default_factory=list)
    teacher_weight: float = 0.5


@dataclass
class ClassDecodingConfig:
    """Defaults of ``classify``, kept in the model."""

    batch_size: int = 64
    threshold: float = 0.5  # of several labels: those at least as likely are given


@dataclass
class ClassificationConfig:
    task: Literal["classification"] = "classification"
    output: PathText = "runs/classification"
    seed: int = 1
    data: ClassDataConfig = field(default_factory=ClassDataConfig)
    units: ClassUnitsConfig = field(default_factory=ClassUnitsConfig)
    model: ClassModelConfig = field(default_factory=ClassModelConfig)
    training: ClassTrainingConfig = field(default_factory=ClassTrainingConfig)
    decoding: ClassDecodingConfig = field(default_factory=ClassDecodingConfig)


def check(config: ClassificationConfig, where: str) -> None:
    """Raises UsageError for values that have the right type and still make no sense together."""
    data, units, model, training = config.data, config.units, config.model, config.training
    positive: dict[str, float | None] = {
        "data.batch_size": data.batch_size,
        "data.max_length": data.max_length,
        "data.image.size": data.image.size,
        "units.vocab_size": units.vocab_size,
        "units.min_count": units.min_count,
        "model.members": model.members,
        "model.embedding_size": model.embedding_size,
        "model.encoder.layers": model.encoder.layers,
        "model.encoder.hidden_size": model.encoder.hidden_size,
        "decoding.batch_size": config.decoding.batch_size,
    }
    fractions = {
        "data.validation_share": data.validation_share,
        "data.clip": 2 * data.clip,  # at both ends
        "model.input_dropout": model.input_dropout,
        "model.dropout": model.dropout,
        "model.word_dropout": model.word_dropout,
        "model.encoder.recurrent_dropout": model.encoder.recurrent_dropout,
        "training.label_smoothing": training.label_smoothing,
        "training.adversarial": training.adversarial,
        "decoding.threshold": config.decoding.threshold,
    }
    not_negative = {
        "data.bin": data.bin,
        "data.folds": data.folds,
        "data.fold": data.fold,
        "data.parts_seed": data.parts_seed or 0,
        "data.image.shift": data.image.shift,
        "units.kept_words": units.kept_words,
        "model.hidden_size": model.hidden_size,
        "model.encoder.memory": model.encoder.memory,
    }
    check_positive(positive, where)
    check_fractions(fractions, where)
    check_not_negative(not_negative, where)
    check_run(config, where, has_validation=bool(data.validation) or data.validation_share > 0)
    check_characters(model.characters, where)
    _check_pooling(model.pooling, where)
    check_image_encoder(model.image_encoder, where, "model.image_encoder")
    if model.image_encoder.kind not in ("residual", "timm"):
        raise UsageError(
            f"{where}: 'model.image_encoder.kind' is {model.image_encoder.kind!r}; expected "
            "residual or timm"
        )
    _check_data(data, where)
    _check_together(config, where)


def _check_pooling(pooling: list[str], where: str) -> None:
    if not pooling or not set(pooling) <= set(POOLING) or len(set(pooling)) < len(pooling):
        raise UsageError(
            f"{where}: 'model.pooling' is {pooling}; expected a list of some of: "
            f"{', '.join(POOLING)}"
        )


def _check_data(data: ClassDataConfig, where: str) -> None:
    if data.folds and not 0 <= data.fold < data.folds:
        raise UsageError(
            f"{where}: 'data.fold' is {data.fold}; expected 0 to {data.folds - 1} ('data.folds')"
        )
    if data.folds == 1:
        raise UsageError(f"{where}: 'data.folds' is 1; expected 2 or more, or 0 for none")
    if data.folds and data.test:
        raise UsageError(f"{where}: 'data.folds' makes the test set; leave out 'data.test'")
    for rule in data.rename:
        if "=" not in rule:
            raise UsageError(
                f'{where}: \'data.rename\' holds {rule!r}; expected "old=new", or "old=" to leave '
                "a label's examples out"
            )
    try:
        "a".encode(data.encoding)  # codecs that are no encodings of text, such as rot13, fail, too
    except (LookupError, ValueError):
        raise UsageError(
            f"{where}: 'data.encoding' is {data.encoding!r}; expected one that Python knows, such "
            "as utf-8 or latin1"
        ) from None
    if not data.separator:
        raise UsageError(f"{where}: 'data.separator' is empty; expected what divides labels")
    if data.phrases and data.format != "trees":
        raise UsageError(f"{where}: 'data.phrases' needs 'data.format: trees'")


def _check_together(config: ClassificationConfig, where: str) -> None:
    data, units, model, training = config.data, config.units, config.model, config.training
    if units.vectors and (units.kind != "words" or data.kind != "text"):
        raise UsageError(
            f"{where}: 'units.vectors' are of words; 'data.kind' is {data.kind!r} and "
            f"'units.kind' {units.kind!r}"
        )
    if model.characters.kind != "none" and (units.kind != "words" or data.kind != "text"):
        raise UsageError(
            f"{where}: 'model.characters' are those of words; 'data.kind' is {data.kind!r} and "
            f"'units.kind' {units.kind!r}"
        )
    if units.lowercase or units.split_punctuation:
        raise UsageError(
            f"{where}: 'units.lowercase' and 'units.split_punctuation' are of text generation; set "
            "'data.lowercase' and 'data.split: simple'"
        )
    check_new_labels(training.new_labels, training.start_from, where)
    if training.adversarial and data.kind != "text":
        raise UsageError(
            f"{where}: 'training.adversarial' moves the vectors of text; 'data.kind' is "
            f"{data.kind!r}"
        )
    if units.frozen and not (units.vectors or training.start_from):
        raise UsageError(f"{where}: 'units.frozen' needs 'units.vectors' to begin with")
    if model.encoder.decay and (data.kind != "series" or model.encoder.cell != "gru"):
        raise UsageError(
            f"{where}: 'model.encoder.decay' is GRU-D: it needs 'data.kind: series' and "
            "'model.encoder.cell: gru'"
        )
    if model.summary and data.kind != "series":
        raise UsageError(f"{where}: 'model.summary' is of series; 'data.kind' is {data.kind!r}")
    if model.summary_curves != "coarse" and not model.summary:
        raise UsageError(f"{where}: 'model.summary_curves' needs 'model.summary: true'")
    if data.scale == "ranks" and data.kind != "series":
        raise UsageError(f"{where}: 'data.scale: ranks' is of series; 'data.kind' is {data.kind!r}")
    if model.encoder.decay and model.encoder.recurrent_dropout:
        raise UsageError(f"{where}: 'model.encoder.decay' has no 'recurrent_dropout'; leave it out")
    if model.encoder.memory and model.encoder.cell not in ("gru", "lstm"):
        raise UsageError(
            f"{where}: 'model.encoder.memory' sets the gates of a GRU or LSTM; 'cell' is "
            f"{model.encoder.cell!r}"
        )
    best, choices = training.best_by, BEST[data.target]
    if best is not None and best not in choices:
        raise UsageError(
            f"{where}: 'training.best_by' is {best!r}; with 'data.target: {data.target}' expected "
            f"one of: {', '.join(choices)}"
        )
    if not 0 < training.teacher_weight <= 1:
        raise UsageError(
            f"{where}: 'training.teacher_weight' is {training.teacher_weight}; expected more than "
            "0, at most 1"
        )
    if training.teachers and training.class_weights != "none":
        raise UsageError(
            f"{where}: 'training.class_weights' weigh labels, and with 'training.teachers' an "
            "example has a share of several; leave one of them out"
        )
    if data.target == "number" and training.class_weights != "none":
        raise UsageError(f"{where}: 'training.class_weights' are of labels; the target is a number")
    if data.target == "number" and training.label_smoothing:
        raise UsageError(f"{where}: 'training.label_smoothing' is of labels; leave it out")
