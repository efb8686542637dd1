"""The configuration of a run: dataclasses that mirror the YAML file, key by key.

A YAML file may leave out any key that has a default. Unknown keys and wrong types are errors
that name the key, what was found, what was expected and, for a misspelling, the nearest
name. Keys are overridden on the command line by their dotted names
(``--training.max_steps 2000``).

Torch is not imported here, so that ``seq2seq --help`` answers at once.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from seq2seq.errors import UsageError

MAX_THREADS = 1024  # far beyond any machine; torch crashes when it cannot start them

Cell = Literal["lstm", "gru", "tanh", "relu"]
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
    output: str = "runs/translation"
    seed: int = 1
    data: DataConfig = field(default_factory=DataConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)


def load_config(path: str | Path, overrides: dict[str, str] | None = None) -> Config:
    """Read a YAML file; ``overrides`` maps dotted keys to values as YAML text.

    Raises UsageError for a missing or malformed file, an unknown key or a wrong type.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"config {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"config {path}: not UTF-8 text (byte {error.start})") from None
    try:
        values = yaml.load(text, Loader=_Loader) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UsageError(f"config {path}{where}: not valid YAML: {problem}") from None
    if not isinstance(values, dict):
        raise UsageError(f"config {path}: expected 'key: value' lines, found {values!r}")
    for key, text in (overrides or {}).items():
        _set_dotted(values, key, text)
    return config_from_dict(values, where=str(path))


def config_from_dict(values: dict[str, Any], where: str = "config") -> Config:
    """Build and check a Config from plain dicts (as read from YAML or JSON)."""
    config = _build(Config, values, where, "")
    _check(config, where)
    return config


def config_to_dict(config: Config) -> dict[str, Any]:
    return dataclasses.asdict(config)


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-3 as a string; this loader reads it as the number it is. And a key that
    stands twice is an error, not the last one's victory."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key.value}' stands twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    __import__("re").compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def _set_dotted(values: dict[str, Any], key: str, text: str) -> None:
    *parents, leaf = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise UsageError(f"--{key}: '{parent}' holds a value, not a section")
    try:
        values[leaf] = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        values[leaf] = text


def _build(cls: type, values: Any, where: str, prefix: str) -> Any:
    if not isinstance(values, dict):
        raise UsageError(
            f"{where}: '{prefix.rstrip('.')}' must be a section of keys, found {values!r}"
        )
    hints = typing.get_type_hints(cls)
    known = {f.name: hints[f.name] for f in dataclasses.fields(cls)}
    arguments = {}
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean '{prefix}{near[0]}'?" if near else f"known: {', '.join(known)}"
            raise UsageError(f"{where}: unknown key '{prefix}{key}'; {hint}")
        kind = known[key]
        if dataclasses.is_dataclass(kind):
            arguments[key] = _build(kind, value or {}, where, f"{prefix}{key}.")
        else:
            arguments[key] = _convert(kind, value, where, prefix + str(key))
    return cls(**arguments)


def _convert(kind: Any, value: Any, where: str, key: str) -> Any:
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in options:
            return None
        return _convert(next(o for o in options if o is not type(None)), value, where, key)
    if origin is Literal:
        if value in options:
            return value
        raise UsageError(
            f"{where}: '{key}' is {value!r}; expected one of: {', '.join(map(str, options))}"
        )
    if origin is list:
        if isinstance(value, list):
            return [_convert(options[0], item, where, key) for item in value]
        raise UsageError(f"{where}: '{key}' is {value!r}; expected a list")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is str and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if kind is str and value is False:
        return "no"  # YAML 1.1 reads the language code no (Norwegian) as a truth value
    if type(value) is kind:
        return value
    name = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind]
    raise UsageError(f"{where}: '{key}' is {value!r}; expected {name}")


def _check(config: Config, where: str) -> None:
    """Values that have the right type and still make no sense together."""
    model, training = config.model, config.training
    positive = {
        "data.batch_tokens": config.data.batch_tokens,
        "data.batch_sentences": config.data.batch_sentences,
        "tokenizer.vocab_size": config.tokenizer.vocab_size,
        "model.embedding_size": model.embedding_size,
        "model.encoder.layers": model.encoder.layers,
        "model.encoder.hidden_size": model.encoder.hidden_size,
        "model.decoder.layers": model.decoder.layers,
        "model.decoder.hidden_size": model.decoder.hidden_size,
        "training.learning_rate": training.learning_rate,
        "training.accumulation": training.accumulation,
        "training.keep_best": training.keep_best,
        "training.max_epochs": training.max_epochs,
        "training.plateau_patience": training.plateau_patience,
        "training.plateau_factor": training.plateau_factor,
        "model.init_range": model.init_range,
        "training.log_every": training.log_every,
        "training.validation_beam": training.validation_beam,
        "decoding.beam_size": config.decoding.beam_size,
        "decoding.batch_size": config.decoding.batch_size,
    }
    optional = {
        "training.max_steps": training.max_steps,
        "training.validate_every": training.validate_every,
        "training.checkpoint_every": training.checkpoint_every,
        "training.patience": training.patience,
        "training.threads": training.threads,
        "model.decoder.attention_size": model.decoder.attention_size,
    }
    positive |= {key: value for key, value in optional.items() if value is not None}
    for key, value in positive.items():
        if not value > 0:
            raise UsageError(f"{where}: '{key}' is {value}; expected a number above 0")
    if not 0 <= config.seed < 2**32:
        raise UsageError(f"{where}: 'seed' is {config.seed}; expected 0 to {2**32 - 1}")
    if (training.threads or 1) > MAX_THREADS:
        raise UsageError(
            f"{where}: 'training.threads' is {training.threads}; expected at most {MAX_THREADS}"
        )
    fractions = {
        "model.dropout": model.dropout,
        "model.embedding_dropout": model.embedding_dropout,
        "training.label_smoothing": training.label_smoothing,
        "training.ema_decay": training.ema_decay,
    }
    for key, value in fractions.items():
        if not 0 <= value < 1:
            raise UsageError(f"{where}: '{key}' is {value}; expected 0 <= value < 1")
    not_negative = {
        "tokenizer.sampling": config.tokenizer.sampling,
        "training.clip_norm": training.clip_norm,
        "training.warmup_steps": training.warmup_steps,
        "training.rdrop": training.rdrop,
        "training.weight_decay": training.weight_decay,
        "training.final_learning_rate": training.final_learning_rate,
        "decoding.length_penalty": config.decoding.length_penalty,
        "decoding.coverage_penalty": config.decoding.coverage_penalty,
        "decoding.no_repeat_ngram": config.decoding.no_repeat_ngram,
        "decoding.min_length": config.decoding.min_length,
        "decoding.max_length_ratio": config.decoding.max_length_ratio,
        "decoding.max_length_extra": config.decoding.max_length_extra,
    }
    for key, value in not_negative.items():
        if not value >= 0:
            raise UsageError(f"{where}: '{key}' is {value}; expected 0 or more")
    if model.tied_embeddings == "all" and not config.tokenizer.shared:
        raise UsageError(
            f"{where}: 'model.tied_embeddings: all' needs one vocabulary for both languages; "
            "set 'tokenizer.shared: true' or 'model.tied_embeddings: target'"
        )
    if len(training.betas) != 2 or not all(0 <= beta < 1 for beta in training.betas):
        raise UsageError(
            f"{where}: 'training.betas' is {training.betas}; expected two numbers, 0 <= number < 1"
        )
    if not config.data.validation and (training.patience or training.schedule == "plateau"):
        raise UsageError(
            f"{where}: 'training.patience' and 'training.schedule: plateau' go by validation; set "
            "'data.validation'"
        )
