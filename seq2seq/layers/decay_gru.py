"""GRU-D: a GRU for series measured at irregular times (Che et al. 2018)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DecayGRU(nn.Module):
    """A layer over values, what of them was measured, and the time since (Che et al. 2018, eq. 10
    to 17). With x' the value measured last, m whether it was measured now, d the time since the
    measurement before, and values standardised so that their mean is 0:

        g_x = exp(-max(0, w d + b))          for each feature
        x   = m x' + (1 - m) g_x x'          what is not measured decays to the mean
        g_h = exp(-max(0, W d + b))          for each hidden unit
        h   = g_h * h                        before each step the state decays
        r, z = sigmoid(W x + U h + V m + b)
        n    = tanh(W x + U (r * h) + V m + b)
        h    = (1 - z) h + z n

    The kernels of this project have no decay of the state inside their loop, so this is a loop in
    Python over the steps, with the products of all inputs before it. Its reset gate stands before
    the product with U, as in the paper (in ``kernels.GRU`` behind it).
    """

    def __init__(self, features: int, hidden_size: int) -> None:
        super().__init__()
        self.size = hidden_size  # H
        self.input_decay = nn.Parameter(torch.full((features,), 0.1))
        self.input_decay_bias = nn.Parameter(torch.zeros(features))
        self.state_decay = nn.Linear(features, hidden_size)
        self.inputs = nn.Linear(2 * features, 3 * hidden_size)  # of r, z, n
        self.gates = nn.Linear(hidden_size, 2 * hidden_size, bias=False)  # of r, z
        self.candidate = nn.Linear(hidden_size, hidden_size, bias=False)  # of n
        for weight in (self.gates.weight, self.candidate.weight):
            for square in weight.data.split(hidden_size):
                nn.init.orthogonal_(square)

    def forward(
        self, values: Tensor, measured: Tensor, gaps: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """values (B, S, D), the last measured ones, 0 before the first; measured (B, S, D) bool;
        gaps (B, S, D); lengths (B,) -> outputs (B, S, H), zero past a length, and the final state
        (B, H)."""
        decay = torch.exp(-F.relu(self.input_decay * gaps + self.input_decay_bias))
        x = torch.where(measured, values, decay * values)
        sums = self.inputs(torch.cat([x, measured.to(x.dtype)], -1))  # (B, S, 3H)
        state_decay = torch.exp(-F.relu(self.state_decay(gaps).to(x.dtype)))  # (B, S, H)
        steps = values.shape[1]
        there = torch.arange(steps, device=x.device) < lengths.to(x.device)[:, None]  # (B, S)
        h = x.new_zeros(len(x), self.size)
        outputs = []
        for step in range(steps):
            gate_sums, candidate = sums[:, step].split([2 * self.size, self.size], -1)
            decayed = state_decay[:, step] * h
            reset, update = (gate_sums + self.gates(decayed)).sigmoid().chunk(2, -1)
            new = torch.tanh(candidate + self.candidate(reset * decayed))
            after = decayed + update * (new - decayed)
            h = torch.where(there[:, step, None], after.to(h.dtype), h)
            outputs.append(h)
        return torch.stack(outputs, 1) * there[..., None], h
