"""A training step of pytorch/examples' word_language_model on the CPU, its parts swapped for ours.

Two layers of 300, batch 40, 35 steps, 33,278 words, random tokens, dropout 0.2, gradients clipped,
plain gradient descent. Beside the model as it stands: its recurrent layers swapped alone, and with
``linear_cross_entropy`` in place of Linear, log-softmax and loss.
"""

from __future__ import annotations

import statistics
import time
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import kernels

WORDS, SIZE, LAYERS, BATCH, STEPS, DROPOUT = 33_278, 300, 2, 40, 35, 0.2
RATE, CLIP = 20.0, 0.25
CONTENDERS = ("torch.nn", "layers swapped", "and the loss")


class Model(nn.Module):
    def __init__(self, kind: str, library: ModuleType, chunked: bool) -> None:
        super().__init__()
        self.chunked = chunked
        self.embedding = nn.Embedding(WORDS, SIZE)
        self.layers = getattr(library, kind)(SIZE, SIZE, LAYERS, dropout=DROPOUT)
        self.output = nn.Linear(SIZE, WORDS)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """tokens (T, B), targets (T*B,) -> the loss"""
        x = F.dropout(self.embedding(tokens), DROPOUT)  # (T, B, E)
        vectors = F.dropout(self.layers(x)[0], DROPOUT).view(-1, SIZE)  # (T*B, H)
        if self.chunked:
            return kernels.linear_cross_entropy(
                vectors, self.output.weight, targets, self.output.bias
            )
        return F.nll_loss(F.log_softmax(self.output(vectors), 1), targets)


def measure(kind: str, rounds: int) -> dict[str, Any]:
    """By contender the median milliseconds of a training step, in CPU time."""
    torch.manual_seed(0)
    swaps = ((nn, False), (kernels, False), (kernels, True))
    models = {name: Model(kind, *swap) for name, swap in zip(CONTENDERS, swaps, strict=True)}
    tokens = torch.randint(WORDS, (STEPS, BATCH))
    targets = torch.randint(WORDS, (STEPS * BATCH,))
    times: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(rounds + 1):
        for name, model in models.items():
            start = time.process_time()
            _train(model, tokens, targets)
            if turn:  # the first is for caches
                times[name].append(1e3 * (time.process_time() - start))
    medians = {name: statistics.median(found) for name, found in times.items()}
    return {"model": "word_language_model", "kind": kind, **medians}


def _train(model: Model, tokens: Tensor, targets: Tensor) -> None:
    model.zero_grad()
    model(tokens, targets).backward()
    nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=RATE)


def run(rounds: int) -> list[dict[str, Any]]:
    """Times LSTM and GRU, prints a table, and returns its rows."""
    print("\nA training step of word_language_model, milliseconds of CPU time; ratio to torch.nn.")
    results = []
    for kind in ("LSTM", "GRU"):
        result = measure(kind, rounds)
        results.append(result)
        plain = result[CONTENDERS[0]]
        found = (f"{name} {result[name]:.0f} ({plain / result[name]:.2f})" for name in CONTENDERS)
        print(f"{kind:5} {', '.join(found)}", flush=True)
    return results
