"""One caption of several views of an image: several models', or the image's and its mirror image's.

Each view is encoded on its own; a step takes the mean of their probabilities
(``decoding.ensemble``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seq2seq.decoding.ensemble import Ensemble, EnsembleState, difference
from seq2seq.errors import UsageError
from seq2seq.layers.decoder_search import DecodingWeights
from seq2seq.tasks.captioning.config import CaptioningConfig
from seq2seq.tasks.captioning.model import CaptioningModel, Encoded
from seq2seq.text.vocabulary import Units


class Views(NamedTuple):
    """B images as each view of an ensemble sees them."""

    every: tuple[Encoded, ...]

    @property
    def images(self) -> int:
        return self.every[0].images

    @property
    def device(self) -> torch.device:
        return self.every[0].device


class CaptionEnsemble(nn.Module):
    """Encodes and offers start, step and reorder as one CaptioningModel does. ``mirrored``: each
    model sees the mirror image, too. The models are put in evaluation mode."""

    def __init__(
        self, models: Sequence[CaptioningModel | CaptionEnsemble], mirrored: bool = False
    ) -> None:
        super().__init__()
        single: list[CaptioningModel] = []
        for model in models:
            single += model.members if isinstance(model, CaptionEnsemble) else [model]
        self.members: tuple[CaptioningModel, ...] = tuple(single)
        self.mirrored = mirrored
        self.models = nn.ModuleList(single)
        self._ensemble = Ensemble(single * (2 if mirrored else 1))
        self.eval()

    def encode(self, source: Tensor, lengths: Tensor | None = None) -> Views:
        """See CaptioningModel.encode."""
        views = [model.encode(source, lengths) for model in self.members]
        if self.mirrored:
            mirror = source.flip(-1)
            views += [_turned_back(model.encode(mirror, lengths)) for model in self.members]
        return Views(tuple(views))

    def decoding_weights(self) -> list[DecodingWeights]:
        """See CaptioningModel.decoding_weights; of each model once."""
        return [model.decoding_weights() for model in self.members]

    def start(self, source: Views, weights: list[DecodingWeights] | None = None) -> EnsembleState:
        """The state before the first word of each image."""
        every = weights or self.decoding_weights()
        times = 2 if self.mirrored else 1
        pairs = zip(self.members * times, source.every, every * times, strict=True)
        return self._ensemble.state([model.start(x, one) for model, x, one in pairs])

    def step(self, tokens: Tensor, state: EnsembleState) -> tuple[Tensor, EnsembleState]:
        """tokens (N,) -> log probabilities (N, V). No gradients."""
        return self._ensemble.step(tokens, state)

    def reorder(self, state: EnsembleState, index: Tensor) -> EnsembleState:
        """Row i of the new state is row index[i] of the old one."""
        return self._ensemble.reorder(state, index)


def _turned_back(encoded: Encoded) -> Encoded:
    """The square grid of a mirror image with its columns in the order of the image itself, so that
    place s is the same part of the picture in both: their attention can be averaged."""
    values = encoded.values  # (B, S, D)
    side = math.isqrt(values.shape[1])
    if side * side == values.shape[1]:  # any other order does no harm, but to a plot
        values = values.unflatten(1, (side, side)).flip(2).flatten(1, 2)
    return encoded._replace(values=values)


def check_alike(configs: Sequence[CaptioningConfig], units: Sequence[Units]) -> None:
    """Raises UsageError unless the models read the same kind of image and write the same units."""
    for number, (config, own) in enumerate(zip(configs, units, strict=True), start=1):
        for name, (one, first) in _read_alike(config, configs[0]).items():
            if one != first:
                raise UsageError(
                    f"ensemble: '{name}' is {first!r} in model 1 and {one!r} in model {number}; "
                    "expected models that read images in the same way"
                )
        first_pieces, pieces = _pieces(units[0]), _pieces(own)
        if pieces != first_pieces:
            raise UsageError(
                f"ensemble: models 1 and {number} have different vocabularies "
                f"({difference(first_pieces, pieces, 'unit')}); expected models trained on the "
                "same captions with the same 'units' keys, and other seeds"
            )


def _read_alike(config: CaptioningConfig, first: CaptioningConfig) -> dict[str, tuple[object, ...]]:
    def features(one: CaptioningConfig) -> bool:
        return one.model.encoder.kind == "features"

    def size(one: CaptioningConfig) -> int:
        return one.data.augmentation.size or one.data.image_size

    def width(one: CaptioningConfig) -> int | None:
        return one.model.encoder.size if features(one) else None

    return {
        "model.encoder.kind: features": (features(config), features(first)),
        "model.encoder.size": (width(config), width(first)),
        "data.image_size": (config.data.image_size, first.data.image_size),
        "data.augmentation.size": (size(config), size(first)),
        "model.encoder.pooled": (config.model.encoder.pooled, first.model.encoder.pooled),
    }


def _pieces(units: Units) -> list[str]:
    return [units.piece(unit) for unit in range(len(units))]
