"""The configuration of a translation run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from seq2seq.config.checks import (
    check_at_most,
    check_fractions,
    check_not_negative,
    check_order,
    check_positive,
)
from seq2seq.config.layers import DecoderConfig, EncoderConfig
from seq2seq.config.paths import PathText
from seq2seq.config.training import TrainingConfig, check_run, check_streaming
from seq2seq.config.vocabulary import TokenizerConfig
from seq2seq.errors import UsageError


@dataclass
class FilterConfig:
    """Which training pairs are kept. Lengths are counted in tokens of the tokenizer."""

    min_length: int = 1
    max_length: int = 150
    max_length_ratio: float | None = None  # longer side / shorter side
    deduplicate: bool = False  # drop a pair that stood before


@dataclass
class DataConfig:
    """Where the sentence pairs come from and how they are batched.

    ``train``/``validation``/``test`` are file paths (relative to the working directory), in
    which ``{lang}`` stands for ``source`` and then ``target`` (two parallel text files); or one
    file with both columns (.tsv, .csv, .json, .jsonl, .parquet; .gz of each); or, with ``hub``
    set, the names of splits of that dataset.

    ``more_train`` are further training corpora, each named as ``train`` is; ``weights`` says how
    often the pairs of ``train`` and of each of these are read in an epoch (see ``mixture``).
    """

    source: str = "en"  # language, and name of the column
    target: str = "de"
    train: PathText | None = None
    more_train: list[PathText] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)  # empty: each pair once
    validation: PathText | None = None
    test: PathText | None = None
    hub: PathText | None = None  # name of a dataset on the hub, or a local dataset folder
    hub_config: str | None = None
    columns: list[str] | None = None  # column names of a .tsv/.csv without a header line
    filter: FilterConfig = field(default_factory=FilterConfig)
    batch_tokens: int = 4096  # budget of a batch: sentences x longest (source or target)
    batch_sentences: int = 1024  # and at most so many sentences
    cache_dir: PathText | None = None  # default: the datasets library's own cache folder
    streaming: bool = False  # read ``train`` again every epoch, keep nothing of it on disk
    shuffle_buffer: int = 100_000  # pairs of a stream that are shuffled (and batched) together


@dataclass
class ModelConfig:
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    embedding_size: int = 256
    bridge: Literal["zero", "copy", "linear"] = "linear"
    # none | target: output projection = target embedding | all: source embedding too
    tied_embeddings: Literal["none", "target", "all"] = "none"
    dropout: float = 0.3
    dropout_kind: Literal["plain", "variational"] = "plain"
    embedding_dropout: float = 0.0  # whole tokens dropped (Gal & Ghahramani 2016)
    init_range: float = 0.1  # uniform +-init_range


@dataclass
class TranslationTrainingConfig(TrainingConfig):
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    schedule: Literal["constant", "inverse_sqrt", "cosine", "plateau"] = "inverse_sqrt"
    warmup_steps: int = 400
    keep_best: int = 3
    average: bool = True
    label_smoothing: float = 0.1
    rdrop: float = 0.0  # weight of the R-Drop consistency term (Liang et al. 2021)
    # cross_entropy, or on translations that the model draws itself, scored against the reference:
    # policy gradient with the other samples as baseline, or minimum risk (Shen et al. 2016)
    objective: Literal["cross_entropy", "self_critical", "minimum_risk"] = "cross_entropy"
    reward: Literal["bleu", "chrf"] = "bleu"  # of a sentence
    samples: int = 5  # translations drawn for each source
    temperature: float = 1.0  # of the distribution they are drawn from
    sharpness: float = 0.1  # minimum_risk: exponent of their probabilities
    cross_entropy_weight: float = 0.1  # share of the references' cross entropy, 0 to 1
    validation_beam: int = 1  # beam size of the translations that BLEU is taken of
    # what BLEU counts (``scores``): validation's, test's, that of rewards; auto: by data.target
    bleu_tokenizer: Literal["auto", "13a", "intl", "zh", "char", "none"] = "auto"
    best_by: Literal["bleu", "chrf", "loss"] = "bleu"  # what chooses checkpoints and stops early


@dataclass
class DecodingConfig:
    beam_size: int = 5
    batch_size: int = 64
    # score = log p / lp, lp = ((5 + length) / 6) ** length_penalty (Wu et al. 2016, eq. 14)
    length_penalty: float = 1.0
    coverage_penalty: float = 0.0  # beta of Wu et al. 2016, eq. 14
    no_repeat_ngram: int = 0  # 0: off
    max_length_ratio: float = 2.0  # maximum length = ratio * source tokens + max_length_extra
    max_length_extra: int = 10
    min_length: int = 0
    beam_groups: int = 1  # diverse beam search (Vijayakumar et al. 2016): beam_size in so many
    diversity: float = 0.5  # and how much a group avoids the tokens of earlier ones


@dataclass
class TranslationConfig:
    task: Literal["translation"] = "translation"
    output: PathText = "runs/translation"
    seed: int = 1
    data: DataConfig = field(default_factory=DataConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TranslationTrainingConfig = field(default_factory=TranslationTrainingConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)


Config = TranslationConfig  # its first name


def check(config: TranslationConfig, where: str) -> None:
    """Raises UsageError for values that have the right type and still make no sense together."""
    model, training, decoding = config.model, config.training, config.decoding
    positive = {
        "data.batch_tokens": config.data.batch_tokens,
        "data.batch_sentences": config.data.batch_sentences,
        "data.shuffle_buffer": config.data.shuffle_buffer,
        "tokenizer.vocab_size": config.tokenizer.vocab_size,
        "tokenizer.sample_sentences": config.tokenizer.sample_sentences,
        "model.embedding_size": model.embedding_size,
        "model.encoder.layers": model.encoder.layers,
        "model.encoder.hidden_size": model.encoder.hidden_size,
        "model.decoder.layers": model.decoder.layers,
        "model.decoder.hidden_size": model.decoder.hidden_size,
        "model.decoder.attention_size": model.decoder.attention_size,
        "model.init_range": model.init_range,
        "training.validation_beam": training.validation_beam,
        "training.samples": training.samples,
        "training.sharpness": training.sharpness,
        "decoding.beam_size": decoding.beam_size,
        "decoding.batch_size": decoding.batch_size,
        "decoding.beam_groups": decoding.beam_groups,
    }
    fractions = {
        "model.dropout": model.dropout,
        "model.embedding_dropout": model.embedding_dropout,
        "training.label_smoothing": training.label_smoothing,
    }
    not_negative = {
        "tokenizer.sampling": config.tokenizer.sampling,
        "training.rdrop": training.rdrop,
        "decoding.length_penalty": decoding.length_penalty,
        "decoding.coverage_penalty": decoding.coverage_penalty,
        "decoding.no_repeat_ngram": decoding.no_repeat_ngram,
        "decoding.min_length": decoding.min_length,
        "decoding.max_length_ratio": decoding.max_length_ratio,
        "decoding.max_length_extra": decoding.max_length_extra,
        "decoding.diversity": decoding.diversity,
    }
    check_positive(positive, where)
    check_fractions(fractions, where)
    check_not_negative(not_negative, where)
    filtered = "'data.filter.{}'".format
    check_order(config.data.filter, "min_length", "max_length", filtered, f"{where}: ")
    check_lengths(decoding, "'decoding.{}'".format, f"{where}: ")
    check_run(config, where, has_validation=bool(config.data.validation))
    check_streaming(config, where)
    _check_corpora(config.data, where)
    if config.data.streaming and training.objective != "cross_entropy":
        raise UsageError(
            f"{where}: 'training.objective: {training.objective}' looks the references up, which a "
            "stream does not keep; leave out 'data.streaming'"
        )
    if config.data.streaming and config.data.filter.deduplicate:
        raise UsageError(
            f"{where}: 'data.filter.deduplicate' would have to remember the whole stream; leave "
            "out 'data.streaming', or deduplicate the data beforehand"
        )
    if model.tied_embeddings == "all" and not config.tokenizer.shared:
        raise UsageError(
            f"{where}: 'model.tied_embeddings: all' needs one vocabulary for both languages; "
            "set 'tokenizer.shared: true' or 'model.tied_embeddings: target'"
        )
    if training.objective != "cross_entropy":
        _check_sequence_objective(config, where)


def _check_corpora(data: DataConfig, where: str) -> None:
    check_positive({f"data.weights[{n}]": one for n, one in enumerate(data.weights)}, where)
    check_at_most({f"data.weights[{n}]": w for n, w in enumerate(data.weights)}, 1000, where)
    if data.more_train and not data.train:
        raise UsageError(f"{where}: 'data.more_train' is set and 'data.train' is not; set both")
    if data.more_train and data.streaming:
        raise UsageError(
            f"{where}: 'data.streaming' reads one corpus; leave out 'data.more_train', or join the "
            "files beforehand"
        )
    count = 1 + len(data.more_train)
    if data.weights and len(data.weights) != count:
        raise UsageError(
            f"{where}: 'data.weights' has {len(data.weights)} numbers; expected {count}, one for "
            "'data.train' and one for each of 'data.more_train'"
        )
    if data.weights and data.streaming:
        raise UsageError(f"{where}: 'data.weights' goes without 'data.streaming'; leave one out")


def check_lengths(
    decoding: DecodingConfig, name: Callable[[str], str] = str, where: str = ""
) -> None:
    """Raises UsageError for a minimum length that no translation may have; arguments as of
    ``check_order``."""
    if not decoding.max_length_ratio:  # else the maximum depends on the sentence
        check_order(decoding, "min_length", "max_length_extra", name, where)


def _check_sequence_objective(config: TranslationConfig, where: str) -> None:
    training = config.training
    if config.data.train and not training.start_from:
        raise UsageError(
            f"{where}: 'training.objective: {training.objective}' improves a model trained by "
            "cross entropy; set 'training.start_from' to one"
        )
    if training.samples < 2:
        raise UsageError(
            f"{where}: 'training.samples' is {training.samples}; expected at least 2: the "
            "translations of a source are compared with each other"
        )
    if not 0.05 <= training.temperature <= 20:
        raise UsageError(
            f"{where}: 'training.temperature' is {training.temperature}; expected 0.05 to 20"
        )
    if not 0 <= training.cross_entropy_weight <= 1:
        raise UsageError(
            f"{where}: 'training.cross_entropy_weight' is {training.cross_entropy_weight}; "
            "expected 0 to 1"
        )
    if training.rdrop:
        raise UsageError(f"{where}: 'training.rdrop' belongs to cross entropy; leave it out")
