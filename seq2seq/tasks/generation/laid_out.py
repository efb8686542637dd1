"""Models laid out for one step at a time, kept from call to call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from seq2seq.precision import AutoPrecision, Precision, resolve_precision

Steps = TypeVar("Steps")


class LaidOut:
    """The steps of one model, made once, and again when its weights, its device or the precision
    change. Copies and pickles make them anew where they are used."""

    def __init__(self) -> None:
        self._made: tuple[object, Any] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {"_made": None}

    def get(
        self,
        model: nn.Module,
        kind: Callable[[Any, Precision], Steps],
        precision: AutoPrecision,
    ) -> Steps:
        device = next(model.parameters()).device
        chosen = resolve_precision(precision, device)
        # weights made in torch.inference_mode cannot be changed outside of it, and count nothing
        versions = tuple((id(p), 0 if p.is_inference() else p._version) for p in model.parameters())
        state = (kind, chosen, device, versions)
        if self._made is None or self._made[0] != state:
            self._made = state, kind(model, chosen)
        steps: Steps = self._made[1]
        return steps
