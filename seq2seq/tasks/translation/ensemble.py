"""Several translation models as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seq2seq.decoding.contract import StepModel
from seq2seq.decoding.ensemble import Ensemble, EnsembleState, check_members, difference
from seq2seq.decoding.narrow import NarrowModel, Part
from seq2seq.errors import UsageError
from seq2seq.tasks.translation.int8_model import Int8TranslationModel
from seq2seq.tasks.translation.model import TranslationModel
from seq2seq.text.sentencepiece import Tokenizer


class EnsembleModel(nn.Module):
    """Offers start, step and reorder as one TranslationModel does; see ``decoding.ensemble``.
    The models are put in evaluation mode."""

    def __init__(
        self, models: Sequence[TranslationModel | Int8TranslationModel | EnsembleModel]
    ) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)
        self._members = tuple(models)  # as ``models``, with their own types
        self._ensemble = Ensemble(models)
        self.eval()

    def in_int8(self) -> EnsembleModel:
        """The same of models in int8."""
        return EnsembleModel([in_int8(model) for model in self._members])

    def decoding_weights(self) -> list[Any]:
        """See TranslationModel.decoding_weights."""
        return [model.decoding_weights() for model in self._members]

    @property
    def members(self) -> tuple[AnyModel, ...]:
        return self._members

    def start(
        self, source: tuple[Tensor, Tensor], weights: list[Any] | None = None
    ) -> EnsembleState:
        """Encode (tokens (B, S), lengths (B,)) with each model."""
        pairs = zip(self._members, weights or self.decoding_weights(), strict=True)
        return self._ensemble.state([model.start(source, one) for model, one in pairs])

    def step(self, tokens: Tensor, state: EnsembleState) -> tuple[Tensor, EnsembleState]:
        """tokens (N,) -> log probabilities (N, V). No gradients."""
        return self._ensemble.step(tokens, state)

    def reorder(self, state: EnsembleState, index: Tensor) -> EnsembleState:
        """Row i of the new state is row index[i] of the old one."""
        return self._ensemble.reorder(state, index)


AnyModel = TranslationModel | Int8TranslationModel | EnsembleModel


def start_narrow(
    model: AnyModel, source: tuple[Tensor, Tensor], weights: Any, part: Part
) -> tuple[StepModel, Any]:
    """``model.start`` for a search among the words of ``part``: what searches, and its state. Of an
    ensemble each member is narrowed, so that its probabilities, whose mean is taken, are over the
    words of the source alone."""
    if isinstance(model, EnsembleModel):
        pairs = zip(model.members, weights, strict=True)
        begun = [start_narrow(member, source, one, part) for member, one in pairs]
        return Ensemble([one for one, _ in begun]), Ensemble.state([state for _, state in begun])
    state = model.start(source, model.narrowed(weights, part.ids))
    return NarrowModel(model), NarrowModel.state(state, part)


def in_int8(model: AnyModel) -> Int8TranslationModel | EnsembleModel:
    """The model, or each of an ensemble's, in int8; see ``int8_model.py``."""
    if isinstance(model, Int8TranslationModel):
        return model
    return model.in_int8() if isinstance(model, EnsembleModel) else Int8TranslationModel(model)


def ensemble_of(
    models: Sequence[AnyModel], tokenizers: Sequence[tuple[Tokenizer, Tokenizer]]
) -> EnsembleModel:
    """The ensemble of models, each with the tokenizers of its source and target. Raises UsageError
    for none, and for unlike vocabularies or devices."""
    check_members([device_of(model) for model in models])
    for side, one in zip(("source", "target"), zip(*tokenizers, strict=True), strict=True):
        check_vocabularies(side, one)
    return EnsembleModel(models)


def check_savable(model: AnyModel) -> None:
    """Raises UsageError for a model that was made of others, which can be saved."""
    if isinstance(model, EnsembleModel):
        raise UsageError("an ensemble is not one model and cannot be saved; save its members")
    if isinstance(model, Int8TranslationModel):
        raise UsageError("a model in int8 cannot be saved; save the one that it was made of")


def device_of(model: AnyModel) -> torch.device:
    """Where a model's weights are; those in int8 are no parameters and on the CPU."""
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def check_vocabularies(side: str, tokenizers: Sequence[Tokenizer]) -> None:
    """Raises UsageError unless an id means the same subword to all tokenizers."""
    first = tokenizers[0].pieces(range(len(tokenizers[0])))
    for number, tokenizer in enumerate(tokenizers[1:], start=2):
        other = tokenizer.pieces(range(len(tokenizer)))
        if other == first:
            continue
        raise UsageError(
            f"ensemble: models 1 and {number} have different {side} vocabularies "
            f"({difference(first, other, 'subword')}); "
            "expected models trained with one tokenizer: train them with the same data and "
            "'tokenizer' keys, and other seeds"
        )
