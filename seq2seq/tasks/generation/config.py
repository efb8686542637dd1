"""The configuration of a text-generation run."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Literal

from seq2seq.arguments import is_number
from seq2seq.config.checks import check_fractions, check_not_negative, check_positive
from seq2seq.config.layers import Cell
from seq2seq.config.paths import PathText
from seq2seq.config.training import TrainingConfig, check_run, check_streaming
from seq2seq.config.vocabulary import VocabularyConfig
from seq2seq.errors import UsageError

MAX_SAMPLES = 10_000  # texts of one prompt, all kept until they are written
LEAST_TEMPERATURE = 1e-6  # above 0: logits divided by less are no numbers any more


@dataclass
class TextConfig:
    """Where the text comes from and how it is cut for training.

    ``train``/``validation``/``test`` are files of plain text (.gz too), or patterns such as
    ``letters/*.txt``, relative to the working directory; or, with ``hub`` set, the names of
    splits of that dataset.
    """

    train: PathText | None = None
    validation: PathText | None = None
    test: PathText | None = None
    hub: PathText | None = None  # name of a dataset on the hub
    hub_config: str | None = None
    column: str = "text"  # of the dataset
    # Where a document ends, at which the state of the model begins anew: nowhere, at the end of
    # a file, at a blank line, at every line.
    documents: Literal["none", "file", "blank_line", "line"] = "none"
    validation_share: float = 0.1  # of the training text, its end, where ``validation`` is not set
    validation_streams: int = 1  # the end of each of so many equal parts of it (char-rnn: 50)
    batch_size: int = 64  # streams read side by side
    bptt: int = 128  # steps that the gradient goes back
    cache_dir: PathText | None = None  # of ids of texts larger than memory; default: datasets' own
    streaming: bool = False  # read ``train`` again every epoch, keep nothing of it on disk
    shuffle_buffer: int = 100_000  # lines, or rows of a dataset, whose documents are shuffled


@dataclass
class UnitsConfig(VocabularyConfig):
    kind: Literal["characters", "bytes", "subwords", "words"] = "characters"
    unknown: Literal["replace", "refuse"] = "replace"  # prompts with characters never seen


@dataclass
class LanguageModelConfig:
    # backward: the model reads each text from its end; it scores texts, and fills blanks beside a
    # forward model. both: it predicts each unit from all others around it, and fills blanks alone.
    # Neither can write.
    direction: Literal["forward", "backward", "both"] = "forward"
    cell: Cell = "lstm"
    layers: int = 2
    hidden_size: int = 512
    embedding_size: int = 128
    tied_embeddings: bool = False  # the last layer is then as wide as the embedding
    layer_norm: bool = False  # of each gate, inside the cell
    zoneout_hidden: float = 0.0
    zoneout_cell: float = 0.0
    embedding_dropout: float = 0.0  # whole units of the vocabulary dropped
    input_dropout: float = 0.0  # of the embedded input
    hidden_dropout: float = 0.0  # between layers
    output_dropout: float = 0.0  # before the output projection
    dropout_kind: Literal["plain", "variational"] = "plain"  # variational: one mask a window
    recurrent_dropout: float = 0.0  # of the hidden state, one mask a window
    weight_dropout: float = 0.0  # of the recurrent weights
    init_range: float | None = None  # uniform +-init_range; default: 1/sqrt(hidden_size)


@dataclass
class LanguageTrainingConfig(TrainingConfig):
    max_epochs: int = 12
    # asgd: SGD, from the first stagnation of the validation loss on with the mean of the weights
    # (NT-ASGD, Merity et al. 2018)
    optimizer: Literal["adam", "adamw", "sgd", "asgd"] = "adamw"
    learning_rate: float = 2e-3
    betas: list[float] = field(default_factory=lambda: [0.9, 0.99])
    warmup_steps: int = 50
    plateau_patience: int = 1
    asgd_patience: int = 5  # validations without a better loss before asgd averages
    variable_bptt: bool = False  # windows of varying length (Merity et al. 2018, section 5)
    reset_rate: float = 0.0  # share of windows that begin with an empty state
    activation_regularization: float = 0.0  # AR, alpha of Merity et al. 2018
    temporal_activation_regularization: float = 0.0  # TAR, beta
    label_smoothing: float = 0.0
    # Words drawn at random for a window's loss, beside those that it has to predict; 0: the loss
    # is over the whole vocabulary (see ``sampled_vocabulary``)
    sampled_softmax: int = 0


@dataclass
class GenerationConfig:
    """Defaults of ``generate``, kept in the model."""

    max_length: int = 500  # units
    temperature: float = 0.8  # 0: always the likeliest
    top_k: int = 0  # 0: off
    top_p: float = 1.0  # 1: off
    min_p: float = 0.0  # 0: off
    repetition_penalty: float = 1.0  # 1: none
    no_repeat_ngram: int = 0  # 0: off
    stop: list[str] = field(default_factory=list)
    beam_size: int = 1  # above 1: beam search, no sampling
    length_penalty: float = 0.0  # of beam search


@dataclass
class LanguageConfig:
    task: Literal["generation"] = "generation"
    output: PathText = "runs/generation"
    seed: int = 1
    data: TextConfig = field(default_factory=TextConfig)
    units: UnitsConfig = field(default_factory=UnitsConfig)
    model: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    training: LanguageTrainingConfig = field(default_factory=LanguageTrainingConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)


def check(config: LanguageConfig, where: str) -> None:
    """Raises UsageError for values that have the right type and still make no sense together."""
    data, model, training = config.data, config.model, config.training
    positive = {
        "data.validation_streams": data.validation_streams,
        "data.batch_size": data.batch_size,
        "data.shuffle_buffer": data.shuffle_buffer,
        "data.bptt": data.bptt,
        "units.vocab_size": config.units.vocab_size,
        "units.min_count": config.units.min_count,
        "units.sample_sentences": config.units.sample_sentences,
        "model.layers": model.layers,
        "model.hidden_size": model.hidden_size,
        "model.embedding_size": model.embedding_size,
        "model.init_range": model.init_range,
        "training.asgd_patience": training.asgd_patience,
    }
    dropped = "embedding_dropout input_dropout hidden_dropout output_dropout recurrent_dropout"
    dropped += " weight_dropout zoneout_hidden zoneout_cell"
    fractions = {f"model.{key}": getattr(model, key) for key in dropped.split()}
    fractions |= {
        "data.validation_share": data.validation_share,
        "training.reset_rate": training.reset_rate,
        "training.label_smoothing": training.label_smoothing,
    }
    not_negative = {
        "training.activation_regularization": training.activation_regularization,
        "training.temporal_activation_regularization": training.temporal_activation_regularization,
        "training.sampled_softmax": training.sampled_softmax,
    }
    check_positive(positive, where)
    check_fractions(fractions, where)
    check_not_negative(not_negative, where)
    held_out = data.validation_share > 0 and not (data.hub or data.streaming)
    has_validation = bool(data.validation) or held_out
    check_run(config, where, has_validation)
    check_generation(config.generation, f"{where}: 'generation.", "'")
    check_streaming(config, where)
    if training.sampled_softmax and data.streaming:
        raise UsageError(
            f"{where}: 'training.sampled_softmax' goes by how often each unit comes, which nobody "
            "knows of a stream; leave out 'data.streaming'"
        )
    if data.documents == "file" and data.streaming:
        raise UsageError(
            f"{where}: a stream has lines and no files; set 'data.documents' to another value than "
            "'file', or leave out 'data.streaming'"
        )
    if data.documents == "file" and data.hub:
        raise UsageError(f"{where}: 'data.documents: file' is for files; 'data.hub' is set")
    if training.sampled_softmax and training.label_smoothing:
        raise UsageError(
            f"{where}: 'training.label_smoothing' is over the whole vocabulary; leave it out, or "
            "'training.sampled_softmax'"
        )
    if training.optimizer == "asgd" and not has_validation:
        raise UsageError(f"{where}: 'training.optimizer: asgd' goes by validation; set it up")
    if training.optimizer == "asgd" and training.ema_decay:
        raise UsageError(
            f"{where}: 'training.optimizer: asgd' averages the weights itself; leave out "
            "'training.ema_decay'"
        )


def check_generation(options: GenerationConfig, before: str = "", after: str = "") -> None:
    """Raises UsageError for settings of generation out of range or of another type.

    ``before`` and ``after`` stand around the name of the setting in the message.
    """
    ranges = {  # type, lowest, highest: beyond these, products of logits are no numbers any more
        "max_length": (Integral, 0, None),
        "temperature": (Real, 0, 1000),
        "top_k": (Integral, 0, None),
        "min_p": (Real, 0, 1),
        "repetition_penalty": (Real, 0.001, 1000),
        "no_repeat_ngram": (Integral, 0, None),
        "beam_size": (Integral, 1, 1000),
        "length_penalty": (Real, 0, 10),
    }
    hints = {
        "temperature": " (0 picks the likeliest unit)",
        "repetition_penalty": " (1: none)",
    }
    for name, (kind, least, most) in ranges.items():
        value = getattr(options, name)
        right = isinstance(value, kind) and is_number(value) and value < float("inf")
        if not right or not value >= least or (most is not None and not value <= most):
            expected = "a whole number" if kind is Integral else "a number"
            expected += f" at least {least}" if most is None else f" from {least} to {most}"
            raise UsageError(
                f"{before}{name}{after} is {value!r}; expected {expected}{hints.get(name, '')}"
            )
    if 0 < options.temperature < LEAST_TEMPERATURE:
        raise UsageError(
            f"{before}temperature{after} is {options.temperature}; expected at least "
            f"{LEAST_TEMPERATURE}, or 0, which picks the likeliest unit"
        )
    # as a caller of Python gave them, whatever the annotations say
    top_p: Any = options.top_p
    stop: Any = options.stop
    if not is_number(top_p) or not 0 < top_p <= 1:
        raise UsageError(f"{before}top_p{after} is {top_p!r}; expected 0 < top_p <= 1 (1: off)")
    several = isinstance(stop, (list, tuple))
    if not several or not all(isinstance(text, str) for text in stop):
        raise UsageError(f"{before}stop{after} is {stop!r}; expected a list of texts")
    if not all(stop):
        raise UsageError(f"{before}stop{after} holds an empty text; leave it out")
