"""What a ``ClozeModel`` makes of whole texts: each unit's probability between all the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from seq2seq.precision import Precision
from seq2seq.tasks.generation.cloze_model import ClozeModel
from seq2seq.tasks.generation.packed_linear import PackedLinear
from seq2seq.tasks.generation.stepping import RecurrentSteps

_ROWS = 64  # texts, or positions, at once: so few that a row's bits do not depend on the others


class ClozeSteps:
    """The model laid out for reading; a copy of its weights, as they are now.

    As in ``stepping``, a text gets the same numbers alone and among others: texts are read step by
    step and never padded.
    """

    def __init__(self, model: ClozeModel, precision: Precision = "fp32") -> None:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.device = model.embedding.weight.device
        self._before = RecurrentSteps(model.embedding.weight, model.before, dtype)
        self._after = RecurrentSteps(model.embedding.weight, model.after, dtype)
        with torch.no_grad():
            self._joint = PackedLinear(model.joint.weight, model.joint.bias, dtype)
            self._output = PackedLinear(model.projection.weight, model.projection.bias, dtype)

    def score(self, texts: Sequence[Sequence[int]]) -> list[float]:
        """For each text the sum of log p(x_t | all other units) over t, without its first and last
        unit, the text's ends (the pseudo log likelihood of Salazar et al. 2020)."""
        scores = []
        for at in range(0, len(texts), _ROWS):
            scores += self._score(texts[at : at + _ROWS])
        return scores

    def log_probabilities(self, before: Sequence[int], after: Sequence[int]) -> Tensor:
        """log p of each unit (V,) between what stands before and after it, at least one unit on
        either side."""
        with torch.inference_mode():
            left = list(_read(self._before, [before]))[-1]  # (1, H)
            right = list(_read(self._after, [after[::-1]]))[-1]
            return self._logits(left, right)[0].log_softmax(0)

    def _logits(self, left: Tensor, right: Tensor) -> Tensor:
        """(N, H) of both sides -> (N, V)"""
        return self._output(self._joint(torch.cat([left, right], 1)).relu_())

    def _score(self, texts: Sequence[Sequence[int]]) -> list[float]:
        order = sorted(range(len(texts)), key=lambda n: -len(texts[n]))
        rows = [list(texts[n]) for n in order]  # the longest first
        with torch.inference_mode():
            # what stands before unit t is the state after t units, and so from the other side
            left = list(_read(self._before, [row[:-2] for row in rows]))
            right = list(_read(self._after, [row[:1:-1] for row in rows]))
            places = [(t, n) for n, row in enumerate(rows) for t in range(1, len(row) - 1)]
            totals = torch.zeros(len(rows), dtype=torch.float64)
            for at in range(0, len(places), _ROWS):
                part = places[at : at + _ROWS]
                before = torch.stack([left[t - 1][n] for t, n in part])  # (N, H)
                after = torch.stack([right[len(rows[n]) - 2 - t][n] for t, n in part])
                logits = self._logits(before, after)  # (N, V)
                units = torch.tensor([[rows[n][t]] for t, n in part], device=self.device)
                log_p = logits.gather(1, units).squeeze(1) - logits.logsumexp(1)
                index = torch.tensor([n for _, n in part])
                totals.index_add_(0, index, log_p.cpu().double())
        scores = [0.0] * len(texts)
        for n, total in zip(order, totals.tolist(), strict=True):
            scores[n] = total
        return scores


def _read(steps: RecurrentSteps, rows: Sequence[Sequence[int]]) -> Iterator[Tensor]:
    """Rows, the longest first -> for each step the top layer's state of the rows that reach it,
    (N, H)."""
    state = steps.empty(len(rows))
    for t in range(len(rows[0])):
        active = sum(len(row) > t for row in rows)
        tokens = torch.tensor([row[t] for row in rows[:active]], device=steps.device)
        yield steps.feed(tokens, state.take(active)).clone()
