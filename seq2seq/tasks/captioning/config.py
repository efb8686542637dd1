"""The configuration of a captioning run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from seq2seq.config.checks import (
    check_fractions,
    check_not_negative,
    check_order,
    check_positive,
)
from seq2seq.config.images import ImageEncoderConfig, ImagesText, check_image_encoder
from seq2seq.config.layers import DecoderConfig
from seq2seq.config.paths import PathText
from seq2seq.config.training import TrainingConfig, check_run
from seq2seq.config.vocabulary import VocabularyConfig
from seq2seq.errors import UsageError

MAX_IMAGE_SIZE = 4096  # pixels a side; a mistyped or strangers' number must not fill the memory


@dataclass
class AugmentationConfig:
    """What training does to an image each time it is read; 0 (crop: 1) turns a part off."""

    # pixels a side that the encoder reads, here and when captions are written; default: image_size
    size: int | None = None
    crop: float = 0.36  # a part of the image, of at least this share of its area
    flip: float = 0.5  # probability of left and right changing places, where no caption names them
    colour: float = 0.4  # brightness, contrast, saturation: factors of 1 +- colour
    erase: float = 0.0  # probability that a rectangle of it is covered (Zhong et al. 2020)
    # Epochs of training.word_epochs: each image is mixed with another, and its words with the
    # other's, in shares of Beta(mixup, mixup), the larger its own (Zhang et al. 2018)
    mixup: float = 0.0
    first_size: int | None = None  # pixels a side in the first epochs, so many:
    first_epochs: int = 0


@dataclass
class CaptionDataConfig:
    """Where images and captions come from and how they are batched.

    ``train``/``validation``/``test`` are what ``captions.load_captions`` reads: a
    folder of images with ``metadata.jsonl`` in it, or a file that names images. A file with
    several splits (Karpathy's) may be named by all three.
    """

    train: ImagesText | None = None
    validation: ImagesText | None = None
    test: ImagesText | None = None
    images: ImagesText | None = None  # where the images of files lie; default: beside each file
    # So many images of ``train`` are not trained on; by them the checkpoint is chosen. Then the
    # validation images are scored at the end alone.
    held_out: int = 0
    # Features computed beforehand, for the encoder ``features``: a .safetensors file with a tensor
    # for each image's name, or a folder of NAME.npy; {split} stands for train, validation, test.
    features: PathText | None = None
    image_size: int = 128  # pixels a side, cached
    batch_images: int = 32
    captions_per_image: int = 2  # of each image, drawn anew every epoch
    max_length: int = 25  # units; longer captions are cut in training
    lowercase: bool = True
    punctuation: bool = False  # false: captions lose all but words, digits, ' and -
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    cache_dir: PathText | None = None  # of decoded images; default: that of the datasets library


@dataclass
class CaptionUnitsConfig(VocabularyConfig):
    min_count: int = 5  # words and characters that are rarer become <unk>


@dataclass
class CaptionDecoderConfig(DecoderConfig):
    hidden_size: int = 384
    # Xu et al. 2015, section 4.2.1: the context is scaled by one number a step (or one a value)
    context_gate: Literal["none", "scalar", "vector"] = "none"
    # Lu et al. 2017: at words that need no image, attention can go to the decoder's own memory
    sentinel: bool = False


@dataclass
class CaptionModelConfig:
    encoder: ImageEncoderConfig = field(default_factory=ImageEncoderConfig)
    decoder: CaptionDecoderConfig = field(default_factory=CaptionDecoderConfig)
    embedding_size: int = 256
    start: Literal["zero", "linear"] = "linear"  # first state: of the mean vector, or zeros
    image_first: bool = False  # the mean vector as first input, before the first word
    tied_embeddings: bool = True  # embedding = output projection
    dropout: float = 0.4
    dropout_kind: Literal["plain", "variational"] = "plain"
    embedding_dropout: float = 0.0  # whole words dropped
    # The most frequent so many units are also predicted from the mean vector, all at once: see
    # training.word_loss. 0: none.
    words: int = 0
    init_range: float = 0.1  # of the decoder: uniform +-init_range


@dataclass
class CaptionTrainingConfig(TrainingConfig):
    max_epochs: int = 40
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    weight_decay: float = 1e-4
    warmup_steps: int = 300
    clip_norm: float = 5.0
    # cross_entropy, or self-critical sequence training on CIDEr-D (Rennie et al. 2017)
    objective: Literal["cross_entropy", "self_critical"] = "cross_entropy"
    label_smoothing: float = 0.1
    attention_penalty: float = 0.0  # lambda of Xu et al. 2015, eq. 14
    word_loss: float = 0.0  # weight of the loss of model.words
    word_epochs: int = 0  # so many first epochs with that loss alone: the encoder learns first
    # Bengio et al. 2015: inputs that the model wrote itself, a share that grows from 0 to this
    scheduled_sampling: float = 0.0
    samples: int = 5  # self_critical: captions drawn for each image
    temperature: float = 1.0  # self_critical: of the distribution they are drawn from
    # self_critical: what a sample's reward is compared with, the greedy caption's or the mean of
    # the image's other samples'
    baseline: Literal["greedy", "samples"] = "greedy"
    validation_beam: int = 1


@dataclass
class CaptionDecodingConfig:
    """Defaults of ``caption``, kept in the model."""

    beam_size: int = 5
    batch_size: int = 64  # images
    length_penalty: float = 0.7
    no_repeat_ngram: int = 0
    min_length: int = 0
    max_length: int = 30  # units
    beam_groups: int = 1  # diverse beam search (Vijayakumar et al. 2016): beam_size in so many
    diversity: float = 0.5  # and how much a group avoids the units of earlier ones
    mirror: bool = False  # the mirror image is looked at, too: the mean of both probabilities


@dataclass
class CaptioningConfig:
    task: Literal["captioning"] = "captioning"
    output: PathText = "runs/captioning"
    seed: int = 1
    data: CaptionDataConfig = field(default_factory=CaptionDataConfig)
    units: CaptionUnitsConfig = field(default_factory=CaptionUnitsConfig)
    model: CaptionModelConfig = field(default_factory=CaptionModelConfig)
    training: CaptionTrainingConfig = field(default_factory=CaptionTrainingConfig)
    decoding: CaptionDecodingConfig = field(default_factory=CaptionDecodingConfig)


def check(config: CaptioningConfig, where: str) -> None:
    """Raises UsageError for values that have the right type and still make no sense together."""
    data, model, training = config.data, config.model, config.training
    encoder, decoder, decoding = model.encoder, model.decoder, config.decoding
    sections = {
        "data": (data, "image_size batch_images captions_per_image max_length"),
        "data.augmentation": (data.augmentation, "size crop first_size"),
        "units": (config.units, "vocab_size min_count sample_sentences"),
        "model": (model, "embedding_size init_range"),
        "model.encoder": (encoder, "stem size positions"),
        "model.decoder": (decoder, "layers hidden_size attention_size"),
        "training": (training, "validation_beam samples"),
        "decoding": (decoding, "beam_size batch_size max_length beam_groups"),
    }
    for section, (values, names) in sections.items():
        found = {f"{section}.{name}": getattr(values, name) for name in names.split()}
        check_positive(found, where)
    check_fractions(
        {
            "model.dropout": model.dropout,
            "model.embedding_dropout": model.embedding_dropout,
            "model.encoder.dropout": encoder.dropout,
            "training.label_smoothing": training.label_smoothing,
        },
        where,
    )
    check_not_negative(
        {
            "data.augmentation.mixup": data.augmentation.mixup,
            "data.augmentation.first_epochs": data.augmentation.first_epochs,
            "model.words": model.words,
            "training.attention_penalty": training.attention_penalty,
            "training.word_loss": training.word_loss,
            "training.word_epochs": training.word_epochs,
            "decoding.length_penalty": decoding.length_penalty,
            "decoding.no_repeat_ngram": decoding.no_repeat_ngram,
            "decoding.min_length": decoding.min_length,
            "decoding.diversity": decoding.diversity,
        },
        where,
    )
    check_order(decoding, "min_length", "max_length", "'decoding.{}'".format, f"{where}: ")
    shares = {
        "data.augmentation.flip": data.augmentation.flip,
        "data.augmentation.crop": data.augmentation.crop,
        "data.augmentation.colour": data.augmentation.colour,
        "data.augmentation.erase": data.augmentation.erase,
        "training.scheduled_sampling": training.scheduled_sampling,
    }
    for key, value in shares.items():
        if not 0 <= value <= 1:
            raise UsageError(f"{where}: '{key}' is {value}; expected 0 to 1")
    sizes = {"image_size": data.image_size, "augmentation.size": data.augmentation.size}
    sizes["augmentation.first_size"] = data.augmentation.first_size
    for key, size in sizes.items():
        if (size or 0) > MAX_IMAGE_SIZE:
            raise UsageError(
                f"{where}: 'data.{key}' is {size}; expected at most {MAX_IMAGE_SIZE} pixels a side"
            )
    check_not_negative({"data.held_out": data.held_out}, where)
    check_run(config, where, has_validation=bool(data.validation or data.held_out))
    check_image_encoder(encoder, where, "model.encoder")
    _check_together(config, where)


def _check_together(config: CaptioningConfig, where: str) -> None:
    data, model, training = config.data, config.model, config.training
    attends = model.decoder.attention != "none"
    if (model.encoder.kind == "features") != (data.features is not None) and data.train:
        raise UsageError(
            f"{where}: 'data.features' is {data.features!r} and 'model.encoder.kind' is "
            f"{model.encoder.kind!r}; features computed beforehand need both: 'kind: features' "
            "and where they are"
        )
    if not attends and (model.start == "zero" and not model.image_first):
        raise UsageError(
            f"{where}: nothing of the image reaches the decoder; set 'model.decoder.attention', "
            "'model.start: linear' or 'model.image_first: true'"
        )
    needed = {
        "model.decoder.context_gate": model.decoder.context_gate != "none",
        "model.decoder.sentinel": model.decoder.sentinel,
        "training.attention_penalty": training.attention_penalty > 0,
    }
    for key, used in needed.items():
        if used and not attends:
            raise UsageError(f"{where}: '{key}' needs attention; 'model.decoder.attention' is none")
    if training.word_epochs and not training.word_loss:
        raise UsageError(
            f"{where}: 'training.word_epochs' is {training.word_epochs} and 'training.word_loss' "
            "0; set its weight"
        )
    if data.augmentation.mixup and not training.word_epochs:
        raise UsageError(
            f"{where}: 'data.augmentation.mixup' mixes images in the epochs of "
            "'training.word_epochs', which is 0; captions are never of two images"
        )
    if data.augmentation.mixup:
        _check_reads_images("data.augmentation.mixup", config, where)
    if bool(data.augmentation.first_epochs) != (data.augmentation.first_size is not None):
        raise UsageError(
            f"{where}: 'data.augmentation.first_size' is {data.augmentation.first_size} and "
            f"'first_epochs' {data.augmentation.first_epochs}; set both or none"
        )
    if data.augmentation.first_epochs >= training.max_epochs:
        raise UsageError(
            f"{where}: 'data.augmentation.first_epochs' is {data.augmentation.first_epochs} and "
            f"'training.max_epochs' {training.max_epochs}; some epochs must see images in the size "
            "that is validated"
        )
    if training.word_loss and not model.words:
        raise UsageError(
            f"{where}: 'training.word_loss' is {training.word_loss} and 'model.words' 0; set how "
            "many words are predicted"
        )
    check_mirror(config.decoding, config, where)
    if training.objective == "self_critical":
        _check_self_critical(config, where)


def check_mirror(decoding: CaptionDecodingConfig, config: CaptioningConfig, where: str) -> None:
    """Raises UsageError for the mirror image of what is no image."""
    if decoding.mirror:
        _check_reads_images("decoding.mirror", config, where)


def _check_reads_images(key: str, config: CaptioningConfig, where: str) -> None:
    kind = config.model.encoder.kind
    if kind in ("features", "constant"):
        raise UsageError(
            f"{where}: '{key}' needs an encoder of images; 'model.encoder.kind' is {kind!r}"
        )


def _check_self_critical(config: CaptioningConfig, where: str) -> None:
    data, training = config.data, config.training
    if data.train and not training.start_from:
        raise UsageError(
            f"{where}: 'training.objective: self_critical' improves a model trained by cross "
            "entropy; set 'training.start_from' to one"
        )
    if training.baseline == "samples" and training.samples < 2:
        raise UsageError(
            f"{where}: 'training.baseline: samples' needs at least 2 'training.samples'"
        )
    if not 0.05 <= training.temperature <= 20:
        raise UsageError(
            f"{where}: 'training.temperature' is {training.temperature}; expected 0.05 to 20"
        )
    if data.augmentation.mixup:
        raise UsageError(
            f"{where}: 'data.augmentation.mixup' belongs to cross entropy; leave it out"
        )
    if training.scheduled_sampling:
        raise UsageError(
            f"{where}: 'training.scheduled_sampling' belongs to cross entropy; leave it out"
        )
