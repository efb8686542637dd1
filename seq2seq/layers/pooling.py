"""From the outputs of a sequence to one vector: its last state, a mean, a maximum, attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kernels.common.elementwise import tanh
from kernels.common.masking import padding, softmax_of_seen
from kernels.common.products import linear

KINDS = ("last", "mean", "max", "attention")


class Pooling(nn.Module):
    """The vectors of all ``kinds`` side by side; steps past a length are no part of any.

    last        the final hidden state (both directions)
    mean, max   over the steps
    attention   sum_s a_s h_s, a = softmax_s(v . tanh(W h_s + b)) (Yang et al. 2016, eq. 5 to 7)

    A sequence of length 0 pools to zeros.
    """

    def __init__(self, kinds: Sequence[str], size: int, attention_size: int | None = None) -> None:
        super().__init__()
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown or not kinds or len(set(kinds)) < len(kinds):
            raise ValueError(
                f"kinds: found {list(kinds)}; expected some of {', '.join(KINDS)}, each once"
            )
        self.kinds = tuple(kinds)
        self.size = size * len(self.kinds)  # of the result
        width = attention_size or size
        attends = "attention" in self.kinds
        self.hidden = nn.Linear(size, width) if attends else None
        self.query = nn.Linear(width, 1, bias=False) if attends else None

    def forward(
        self, outputs: Tensor, lengths: Tensor, final: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """outputs (B, S, D), lengths (B,), final (B, D) -> vectors (B, K * D) and the attention
        weights (B, S), None without attention."""
        padded = padding(lengths, outputs.shape[0], outputs.shape[1], outputs.device)
        assert padded is not None
        weights: Tensor | None = None
        parts = []
        for kind in self.kinds:
            if kind == "last":
                parts.append(final)
            elif kind == "mean":
                total = outputs.masked_fill(padded[:, :, None], 0).sum(1)  # (B, D)
                parts.append(total / lengths.to(total.device).clamp(min=1)[:, None])
            elif kind == "max":
                lowest = torch.finfo(outputs.dtype).min
                most = outputs.masked_fill(padded[:, :, None], lowest).amax(1)  # (B, D)
                empty = (lengths == 0).to(most.device)
                parts.append(most.masked_fill(empty[:, None], 0))
            else:
                scores = self._scores(outputs)
                weights = softmax_of_seen(scores, padded)
                parts.append(torch.bmm(weights[:, None].to(outputs.dtype), outputs).squeeze(1))
        return torch.cat(parts, -1), weights

    def _scores(self, outputs: Tensor) -> Tensor:
        """(B, S, D) -> (B, S). Without gradients in float32 by the library that suits the
        processor, which halves the time of attention on some."""
        assert self.hidden is not None and self.query is not None
        device = outputs.device.type
        if torch.is_grad_enabled() or device != "cpu" or torch.is_autocast_enabled(device):
            return self.query(self.hidden(outputs).tanh()).squeeze(-1)
        flat = outputs.flatten(0, 1)  # (B * S, D)
        hidden = linear(flat, self.hidden.weight, self.hidden.bias)
        return self.query(tanh(hidden, hidden)).view(outputs.shape[:2])
