"""The configuration of a translation run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from seq2seq.config.checks import (
    Cell,
    check_fractions,
    check_not_negative,
    check_positive,
    check_run,
)
from seq2seq.errors import UsageError

Attention = Literal["additive", "dot", "scaled_dot", "general", "concat", "none"]


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
    """

    source: str = "en"  # language, and name of the column
    target: str = "de"
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    hub: str | None = None  # name of a dataset on the hub, or a local dataset folder
    hub_config: str | None = None
    columns: list[str] | None = None  # column names of a .tsv/.csv without a header line
    filter: FilterConfig = field(default_factory=FilterConfig)
    batch_tokens: int = 4096  # budget of a batch: sentences x longest (source or target)
    batch_sentences: int = 1024  # and at most so many sentences
    cache_dir: str | None = None  # default: the datasets library's own cache folder


@dataclass
class TokenizerConfig:
    """A SentencePiece model trained on the training text, or an existing one."""

    kind: Literal["unigram", "bpe", "char"] = "unigram"
    vocab_size: int = 8000
    shared: bool = True  # one vocabulary for both languages
    byte_fallback: bool = True
    character_coverage: float = 1.0
    # Subword regularisation (Kudo 2018) for unigram: the smoothing alpha of the sampled
    # segmentation; BPE-dropout (Provilkov et al. 2020) for bpe: the merge-skipping probability.
    # 0 turns sampling off.
    sampling: float = 0.0
    model: str | None = None  # path of an existing .model file (both sides when shared)
    target_model: str | None = None  # and, when not shared, of the target side's


@dataclass
class EncoderConfig:
    cell: Cell = "lstm"
    layers: int = 2
    hidden_size: int = 256  # per direction
    bidirectional: bool = True
    residual: bool = False
    layer_norm: bool = False


@dataclass
class DecoderConfig:
    cell: Cell = "lstm"
    layers: int = 1
    hidden_size: int = 512
    attention: Attention = "additive"
    attention_size: int | None = None  # width of additive/concat scoring; default hidden_size
    input_feeding: bool = True
    residual: bool = False
    layer_norm: bool = False


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
class TrainingConfig:
    # A saved model whose weights to begin with (fine-tuning); its tokenizer is taken too, and its
    # shape must be that of ``model``.
    start_from: str | None = None
    max_epochs: int = 30
    max_steps: int | None = None
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    schedule: Literal["constant", "inverse_sqrt", "cosine", "plateau"] = "inverse_sqrt"
    warmup_steps: int = 400
    final_learning_rate: float = 0.0  # where cosine ends
    plateau_factor: float = 0.5
    plateau_patience: int = 2  # validations without a better score before the rate drops
    clip_norm: float = 1.0  # 0: no clipping
    accumulation: int = 1  # batches per optimizer step
    label_smoothing: float = 0.1
    rdrop: float = 0.0  # weight of the R-Drop consistency term (Liang et al. 2021)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    ema_decay: float = 0.0  # 0: no exponential moving average of the weights
    validate_every: int | None = None  # optimizer steps; default: every epoch
    validation_beam: int = 1  # beam size of the translations that BLEU is taken of
    checkpoint_every: int | None = None  # optimizer steps; default: at every validation
    patience: int | None = None  # validations without a better BLEU before stopping
    keep_best: int = 3  # checkpoints kept, and averaged at the end
    average: bool = True  # final model: the mean of the kept checkpoints
    log_every: int = 50  # optimizer steps
    tensorboard: bool = False
    threads: int | None = None  # CPU threads; default: torch's own choice
    device: Literal["auto", "cpu", "cuda"] = "auto"


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


@dataclass
class Config:
    task: Literal["translation"] = "translation"
    output: str = "runs/translation"
    seed: int = 1
    data: DataConfig = field(default_factory=DataConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)


def check(config: Config, where: str) -> None:
    """Raises UsageError for values that have the right type and still make no sense together."""
    model, training, decoding = config.model, config.training, config.decoding
    positive = {
        "data.batch_tokens": config.data.batch_tokens,
        "data.batch_sentences": config.data.batch_sentences,
        "tokenizer.vocab_size": config.tokenizer.vocab_size,
        "model.embedding_size": model.embedding_size,
        "model.encoder.layers": model.encoder.layers,
        "model.encoder.hidden_size": model.encoder.hidden_size,
        "model.decoder.layers": model.decoder.layers,
        "model.decoder.hidden_size": model.decoder.hidden_size,
        "model.decoder.attention_size": model.decoder.attention_size,
        "model.init_range": model.init_range,
        "training.validation_beam": training.validation_beam,
        "decoding.beam_size": decoding.beam_size,
        "decoding.batch_size": decoding.batch_size,
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
    }
    check_positive(positive, where)
    check_fractions(fractions, where)
    check_not_negative(not_negative, where)
    check_run(config, where, has_validation=bool(config.data.validation))
    if model.tied_embeddings == "all" and not config.tokenizer.shared:
        raise UsageError(
            f"{where}: 'model.tied_embeddings: all' needs one vocabulary for both languages; "
            "set 'tokenizer.shared: true' or 'model.tied_embeddings: target'"
        )
