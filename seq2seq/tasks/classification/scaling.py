"""What a network reads of a series: values in a common range, and a summary of each feature.

Shapes: B batch, S steps, D features, F static features, K knots.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seq2seq.tasks.classification.sources import Inputs

KNOTS = 200  # of a feature's distribution
FIGURES = 8  # of each feature in a summary
# The curves of a figure: thresholds of its normal scores, steepness, and whether they are joined by
# a flag of what does not exist.
CURVES = {
    "coarse": ((-1.3, -0.7, -0.25, 0.25, 0.7, 1.3), 2.0, False),
    "fine": ((-2.2, -1.7, -1.2, -0.7, -0.25, 0.25, 0.7, 1.2, 1.7, 2.2), 3.0, True),
}


class Scaling(nn.Module):
    """Features cut to a range, with mean 0 and deviation 1 over what was measured in training;
    times in units of their mean gap. What was never measured is 0, the mean. ``ranked``: values
    become normal scores first (``Ranks``)."""

    def __init__(self, features: int, static: int, ranked: bool = False) -> None:
        super().__init__()
        self.low: Tensor
        self.high: Tensor
        self.mean: Tensor
        self.deviation: Tensor
        self.gap: Tensor
        self.static_mean: Tensor
        self.static_deviation: Tensor
        most = torch.finfo(torch.float32).max
        self.register_buffer("low", torch.full((features,), -most))
        self.register_buffer("high", torch.full((features,), most))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))
        self.register_buffer("gap", torch.ones(()))
        self.register_buffer("static_mean", torch.zeros(static))
        self.register_buffer("static_deviation", torch.ones(static))
        self.ranks = Ranks(features) if ranked else None
        self.static_ranks = Ranks(static) if ranked and static else None

    def plain(self, values: Tensor) -> Tensor:
        """(B, S, D) -> (B, S, D)"""
        if self.ranks is not None:
            values = self.ranks(values)
        cut = torch.minimum(torch.maximum(values, self.low), self.high)
        return ((cut - self.mean) / self.deviation).nan_to_num(0.0)

    def forward(self, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
        """-> values, measured, gaps (B, S, D)"""
        assert inputs.measured is not None and inputs.gaps is not None
        return self.plain(inputs.values), inputs.measured, inputs.gaps / self.gap

    def static(self, values: Tensor) -> Tensor:
        """(B, F) -> (B, 2F): values, and whether they are known"""
        known = ~values.isnan()
        if self.static_ranks is not None:
            values = self.static_ranks(values)
        scaled = ((values - self.static_mean) / self.static_deviation).nan_to_num(0.0)
        return torch.cat([scaled, known.to(scaled.dtype)], -1)


class Ranks(nn.Module):
    """Normal scores: a value becomes the quantile of the normal distribution at its rank among the
    training data (van der Waerden 1952), so that a mistyped value is a large one and no more.

    ``knots`` (D, K) are values of the training data in rising order, ``scores`` (D, K) theirs;
    between knots the score is linear, beyond the last it stays. NaN stays NaN.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.knots: Tensor
        self.scores: Tensor
        self.register_buffer("knots", torch.zeros(features, KNOTS))
        self.register_buffer("scores", torch.zeros(features, KNOTS))

    @torch.no_grad()
    def learn(self, measured: Tensor) -> None:
        """measured (N, D), NaN where nothing was. Equal values share the mean of their ranks."""
        for feature, column in enumerate(measured.double().unbind(1)):
            values, counts = column[~column.isnan()].unique(return_counts=True)
            if not len(values):
                continue
            middle = (counts.cumsum(0) - counts / 2) / counts.sum()  # in (0, 1)
            # knots spread over the ranks; the least and the greatest value are among them
            wanted = torch.linspace(float(middle[0]), float(middle[-1]), KNOTS).double()
            places = torch.searchsorted(middle, wanted).clamp(max=len(values) - 1).unique()
            places = torch.cat([places, places[-1:].expand(KNOTS - len(places))])
            self.knots[feature] = values[places]
            self.scores[feature] = torch.special.ndtri(middle[places])

    def forward(self, values: Tensor) -> Tensor:
        """(..., D) -> (..., D) float32"""
        flat = values.reshape(-1, values.shape[-1]).T.contiguous()  # (D, N)
        right = torch.searchsorted(self.knots, flat).clamp(1, KNOTS - 1)
        x0, x1 = self.knots.gather(1, right - 1), self.knots.gather(1, right)
        y0, y1 = self.scores.gather(1, right - 1), self.scores.gather(1, right)
        width = x1 - x0  # 0 where a feature has fewer values than knots
        share = ((flat - x0) / torch.where(width > 0, width, 1)).clamp(0, 1)
        return (y0 + share * (y1 - y0)).T.reshape(values.shape)


class Summary(nn.Module):
    """A few figures for each feature over a whole series: mean, deviation, least, greatest, first
    and last of what was measured, how often it was, and the time since; and the static features.

    Each figure u, as a normal score, is given as tanh(c (u - t)) for the thresholds t: a linear
    layer on these is a sum of smooth curves, one for each figure (as piecewise-linear encodings:
    Gorishniy et al. 2022), for too low a pulse and too high a one are both bad. What does not exist
    is 0. ``curves: fine`` has thresholds far out in the tails, too, where the sick are, and says of
    each figure whether it is missing: what was never measured tells something.
    """

    def __init__(self, features: int, static: int, curves: str = "coarse") -> None:
        super().__init__()
        self.thresholds, self.steepness, self.flag = CURVES[curves]
        figures = FIGURES * features + static
        self.ranks = Ranks(figures)
        self.size = (len(self.thresholds) + self.flag) * figures

    def forward(self, inputs: Inputs) -> Tensor:
        """-> (B, size)"""
        scores = self.ranks(self.figures(inputs))[:, :, None]  # (B, FIGURES * D + F, 1)
        thresholds = torch.tensor(self.thresholds, device=scores.device)
        curves = torch.tanh(self.steepness * (scores - thresholds)).nan_to_num(0.0)
        if self.flag:
            curves = torch.cat([curves, scores.isnan().to(curves.dtype)], -1)
        return curves.flatten(1)

    def figures(self, inputs: Inputs) -> Tensor:
        """-> (B, FIGURES * D + F), NaN for what does not exist"""
        values, measured, gaps = inputs.values, inputs.measured, inputs.gaps
        assert measured is not None and gaps is not None
        steps = torch.arange(values.shape[1], device=values.device)
        ends = inputs.lengths.to(values.device)
        seen = measured & (steps < ends[:, None])[:, :, None]  # (B, S, D)
        count = seen.sum(1)  # (B, D)
        known = torch.where(seen, values, 0)
        mean = known.sum(1) / count
        spread = torch.where(seen, (values - mean.nan_to_num(0.0)[:, None]).square(), 0)
        place = steps[:, None].expand_as(seen[0])
        first = torch.where(seen, place, len(steps) - 1).amin(1)  # (B, D)
        last = torch.where(seen, place, 0).amax(1)
        end = (ends - 1).clamp(min=0)[:, None, None].expand(-1, 1, values.shape[2])
        latest = gaps.gather(1, end).squeeze(1)  # from the measurement before the last step
        now = seen.gather(1, end).squeeze(1)
        parts = [
            mean,
            (spread.sum(1) / count).sqrt(),
            torch.where(seen, values, torch.inf).amin(1),
            torch.where(seen, values, -torch.inf).amax(1),
            values.gather(1, first[:, None]).squeeze(1),
            values.gather(1, last[:, None]).squeeze(1),
            count.to(values.dtype),
            torch.where(now, 0, latest),
        ]
        absent = torch.where(count > 0, 0.0, torch.nan)
        parts = [part + absent for part in parts[:6]] + [parts[6], parts[7] + absent]
        parts = [torch.where(part.isinf(), torch.nan, part) for part in parts]
        if inputs.static is not None:
            parts.append(inputs.static)
        return torch.cat(parts, -1)
