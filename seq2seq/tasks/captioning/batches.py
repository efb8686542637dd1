"""Batches of images with some of their captions, in an order that any step can be resumed from.

Everything random follows from (seed, epoch, batch number): which images are together, which of
their captions are read, and how an image is augmented.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import regex
import torch
import torch.nn.functional as F
from torch import Tensor

from seq2seq.errors import UsageError
from seq2seq.images.files import to_float
from seq2seq.tasks.captioning.augmentation import augment, names_sides
from seq2seq.tasks.captioning.config import CaptionDataConfig
from seq2seq.tasks.captioning.features import Features
from seq2seq.tasks.captioning.image_cache import ImageCache
from seq2seq.text.letters import LETTERS, SIGN
from seq2seq.text.vocabulary import END

IGNORE = -100  # padding of targets: positions the loss leaves out
BOS = END  # of units: what ends a caption is also what comes before its first word

_WORD = regex.compile(rf"{LETTERS}(?:['’-]{LETTERS})*")
_WORD_OR_MARK = regex.compile(rf"{_WORD.pattern}|{SIGN}")


def clean_caption(text: str, data: CaptionDataConfig, kind: str) -> str:
    """A caption as the model reads and writes it; ``kind`` of units. Words stand between single
    spaces, of which punctuation marks, where they are kept, get some around themselves."""
    text = unicodedata.normalize("NFC", text.lower() if data.lowercase else text)
    if not data.punctuation:
        return " ".join(_WORD.findall(text))
    return " ".join(_WORD_OR_MARK.findall(text) if kind == "words" else text.split())


def whole_images(images: Tensor, data: CaptionDataConfig) -> Tensor:
    """images (B, 3, P, P) uint8 -> (B, 3, p, p), normalised, as the encoder reads them when
    captions are written: uncut, in the size of its training. (At another size its vectors differ;
    halfway through the Flickr8k run, trained at 112 pixels: CIDEr-D .306 at 128, .317 at 112.)"""
    size = data.augmentation.size or data.image_size
    if images.shape[-1] == size:
        return to_float(images)
    scaled = F.interpolate(
        images.float(), size=(size, size), mode="bilinear", antialias=True, align_corners=False
    )
    return to_float(scaled.round_().clamp_(0, 255))


@dataclass(frozen=True)
class CaptionSet:
    """One split. Row i of all fields is image i; of pixels and features there is one."""

    paths: list[str]
    captions: list[list[str]]  # as they stand in the data
    units: list[list[np.ndarray]]  # ids of the cleaned captions, without beginning and end
    pixels: ImageCache | None
    features: Features | None

    def __len__(self) -> int:
        return len(self.paths)

    def source(self, index: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Images (B, 3, P, P) uint8, or features (B, S, F) and their lengths (B,)."""
        if self.features is not None:
            return self.features.read([self.paths[i] for i in index])
        assert self.pixels is not None  # one of the two is there
        return self.pixels[index], None


@dataclass(frozen=True)
class CaptionBatch:
    """B images and N of their captions, with T steps."""

    source: Tensor  # (B, 3, P, P) normalised images, or features (B, S, F)
    lengths: Tensor | None  # (B,) of features
    rows: Tensor  # (N,) the image of each caption, ascending
    inputs: Tensor  # (N, T) beginning + caption, padded
    targets: Tensor  # (N, T) caption + end, padded with IGNORE
    words: Tensor | None  # (B, W) share of the image's captions that have the unit
    images: Tensor  # (B,) rows of the CaptionSet
    number: tuple[int, int]  # epoch, and number of the batch in it
    progress: float  # share of all epochs that lies behind
    target_count: int  # what the loss is a mean of: units, ends included; or captions to be drawn

    def to(self, device: torch.device) -> CaptionBatch:
        names = ("source", "lengths", "rows", "inputs", "targets", "words", "images")
        moved: dict[str, Any] = {}
        for name in names:
            part = getattr(self, name)
            moved[name] = None if part is None else part.to(device)
        return replace(self, **moved)


def pad_captions(captions: Sequence[Sequence[int] | np.ndarray]) -> tuple[Tensor, Tensor]:
    """Ids of N captions -> inputs (N, T) and targets (N, T); see CaptionBatch."""
    steps = max((len(ids) for ids in captions), default=0) + 1
    inputs = np.full((len(captions), steps), END, dtype=np.int64)
    targets = np.full((len(captions), steps), IGNORE, dtype=np.int64)
    for row, ids in enumerate(captions):
        inputs[row, 0] = BOS
        inputs[row, 1 : len(ids) + 1] = ids
        targets[row, : len(ids)] = ids
        targets[row, len(ids)] = END
    return torch.from_numpy(inputs), torch.from_numpy(targets)


def mixed(
    images: Tensor, words: Tensor, alpha: float, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """images (B, 3, P, P) and words (B, W), each row mixed with another (Zhang et al. 2018, eq. 1):

        share x + (1 - share) x',   share = max(l, 1 - l),  l drawn from Beta(alpha, alpha)

    of the images, and of the square roots of ``words``, which are what the loss compares with."""
    drawn = random.beta(alpha, alpha, len(images))
    share = torch.from_numpy(np.maximum(drawn, 1 - drawn)).float()[:, None]  # (B, 1)
    other = torch.from_numpy(random.permutation(len(images)))
    roots = words.sqrt()
    mixed_roots = share * roots + (1 - share) * roots[other]
    share = share[:, :, None, None]
    return share * images + (1 - share) * images[other], mixed_roots.square()


class CaptionBatches:
    """The batches of each epoch, for all processes together.

    ``samples`` above 0: captions are not read but drawn from the model, so many for each image.
    ``words``: W of CaptionBatch; 0: none. In the first ``word_epochs`` epochs, in which they are
    all that is learnt, ``augmentation.mixup`` mixes images.
    """

    def __init__(
        self,
        captions: CaptionSet,
        data: CaptionDataConfig,
        epochs: int,
        seed: int,
        samples: int = 0,
        words: int = 0,
        word_epochs: int = 0,
    ) -> None:
        if not len(captions):
            raise UsageError("no image to train on; check 'data.train'")
        self._set, self._data, self._epochs, self._seed = captions, data, epochs, seed
        self._samples, self._words, self._word_epochs = samples, words, word_epochs

    def len_epoch(self, epoch: int) -> int:
        """Number of batches in an epoch."""
        return -(-len(self._set) // self._data.batch_images)

    def tokens_each(self) -> float:
        """How many tokens, ends included, a batch has of an image in the mean."""
        longest, each = self._data.max_length, self._data.captions_per_image
        means = [
            min(each, len(captions)) * np.mean([min(len(ids), longest) + 1 for ids in captions])
            for captions in self._set.units
        ]
        return float(np.mean(means))

    def epoch(self, epoch: int, skip: int = 0, every: int = 1) -> Iterator[CaptionBatch]:
        """Batches ``skip``, ``skip + every``, ... of one epoch; the others cost nothing."""
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._set))
        size = self._data.batch_images
        for number in range(skip, self.len_epoch(epoch), every):
            yield self._batch(order[number * size : (number + 1) * size], epoch, number)

    def _batch(self, index: np.ndarray, epoch: int, number: int) -> CaptionBatch:
        random = np.random.default_rng([self._seed, epoch, number])
        generator = torch.Generator().manual_seed(int(random.integers(1 << 62)))
        source, lengths = self._set.source(index)
        if source.dtype == torch.uint8:
            source = self._augmented(source, index, generator, epoch)
        rows, chosen = self._choose(index, random)
        inputs, targets = pad_captions(chosen)
        words = self._word_shares(index) if self._words else None
        mixup = self._data.augmentation.mixup
        if mixup and words is not None and epoch < self._word_epochs:
            source, words = mixed(source, words, mixup, random)
        return CaptionBatch(
            source=source,
            lengths=lengths,
            rows=torch.tensor(rows, dtype=torch.int64),
            inputs=inputs,
            targets=targets,
            words=words,
            images=torch.from_numpy(index),
            number=(epoch, number),
            progress=(epoch + number / self.len_epoch(epoch)) / self._epochs,
            target_count=(
                len(index) * self._samples if self._samples else int((targets != IGNORE).sum())
            ),
        )

    def _augmented(
        self, images: Tensor, index: np.ndarray, generator: torch.Generator, epoch: int
    ) -> Tensor:
        """images (B, 3, P, P) uint8 -> (B, 3, p, p) as the encoder reads them in training."""
        options = self._data.augmentation
        sides = [names_sides(self._set.captions[i]) for i in index]
        flip = torch.where(torch.tensor(sides), 0.0, options.flip)  # (B,)
        size = options.first_size if epoch < options.first_epochs else options.size
        crop, colour, erase = options.crop, options.colour, options.erase
        return to_float(augment(images, generator, crop, flip, colour, size, erase))

    def _choose(
        self, index: np.ndarray, random: np.random.Generator
    ) -> tuple[list[int], list[np.ndarray]]:
        """Some captions of each image, drawn without replacement: their images, and they."""
        rows, chosen = [], []
        for row, image in enumerate(index if not self._samples else ()):
            captions = self._set.units[image]
            count = min(self._data.captions_per_image, len(captions))
            for number in sorted(random.choice(len(captions), count, replace=False)):
                rows.append(row)
                chosen.append(captions[number][: self._data.max_length])
        return rows, chosen

    def _word_shares(self, index: np.ndarray) -> Tensor:
        """(B, W)"""
        shares = np.zeros((len(index), self._words), dtype=np.float32)
        for row, image in enumerate(index):
            captions = self._set.units[image]
            for ids in captions:
                found = np.unique(ids)
                shares[row, found[found < self._words]] += 1 / len(captions)
        return torch.from_numpy(shares)
