"""A model in evaluation mode for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout off, batch statistics fixed; then the mode is what it was before."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
