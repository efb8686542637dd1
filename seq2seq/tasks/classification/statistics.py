"""What a network takes from the training data before it is trained: sizes, means, deviations."""

from __future__ import annotations

import numpy as np
import torch

from seq2seq.errors import UsageError
from seq2seq.tasks.classification.committee import Network, members_of
from seq2seq.tasks.classification.config import ClassificationConfig
from seq2seq.tasks.classification.model import ClassificationModel, Shape
from seq2seq.tasks.classification.scaling import Scaling, Summary
from seq2seq.tasks.classification.sources import ImageSource, SeriesSource, Source


def series_shape(source: SeriesSource, outputs: int, config: ClassificationConfig) -> Shape:
    """Sizes of series, and whether they are irregular: something missing, or uneven times."""
    features = source.rows[0][0].shape[1]
    missing = any(not seen.all() for _, seen, _ in source.rows)
    gaps = np.concatenate([gap[1:, 0] for _, _, gap in source.rows])
    uneven = bool(len(gaps)) and not np.allclose(gaps, gaps[0], rtol=1e-3)
    irregular = missing or uneven or config.model.encoder.decay
    static = source.static.shape[1]
    ranked = config.data.scale == "ranks"
    return Shape(outputs, features=features, static=static, irregular=irregular, ranked=ranked)


@torch.no_grad()
def set_scaling(network: Network, source: Source, clip: float) -> None:
    """Ranges, means and deviations of the training data, for the network's scaling of what it
    reads; ``clip``: the share of values of a series at each end that are cut."""
    first, *others = members_of(network)
    _set_scaling(first, source, clip)
    for member in others:
        for name in ("scaling", "summary"):
            if (learnt := getattr(first, name)) is not None:
                getattr(member, name).load_state_dict(learnt.state_dict())


def _set_scaling(model: ClassificationModel, source: Source, clip: float) -> None:
    scaling = model.scaling
    if scaling is None:
        return
    if isinstance(source, ImageSource):
        pixels = source.pixels
        scaling.mean.fill_(float(pixels.mean(dtype=np.float64)) / 255)
        scaling.deviation.fill_(float(pixels.std(dtype=np.float64)) / 255 or 1.0)
    elif isinstance(source, SeriesSource):
        _scale_series(scaling, source, clip)
        if model.summary is not None:
            _rank_summary(model.summary, source)


def _scale_series(scaling: Scaling, source: SeriesSource, clip: float) -> None:
    measured = np.concatenate([np.where(s, v, np.nan) for v, s, _ in source.rows]).astype(
        np.float64
    )
    counts = (~np.isnan(measured)).sum(0)
    if not counts.any():
        raise UsageError("the training series hold no value at all")
    if scaling.ranks is not None:
        scaling.ranks.learn(torch.from_numpy(measured))
        measured = scaling.ranks(torch.from_numpy(measured.astype(np.float32))).double().numpy()
    if clip:
        some = np.where(counts, measured, 0)  # of a feature never measured there is no range
        low, high = np.nanquantile(some, [clip, 1 - clip], axis=0)
        scaling.low.copy_(torch.from_numpy(low))
        scaling.high.copy_(torch.from_numpy(high))
        measured = np.clip(measured, low, high)
    totals = np.maximum(counts, 1)
    mean = np.nansum(measured, 0) / totals
    deviation = np.sqrt(np.nansum(np.square(measured - mean), 0) / totals)
    scaling.mean.copy_(torch.from_numpy(mean))
    scaling.deviation.copy_(torch.from_numpy(np.where(deviation > 0, deviation, 1)))
    gaps = np.concatenate([gap for _, _, gap in source.rows])
    positive = gaps[gaps > 0]
    scaling.gap.fill_(float(positive.mean(dtype=np.float64)) if len(positive) else 1.0)
    if source.static.shape[1]:
        static = source.static
        if scaling.static_ranks is not None:
            scaling.static_ranks.learn(torch.from_numpy(static))
            static = scaling.static_ranks(torch.from_numpy(static)).numpy()
        known = ~np.isnan(static)
        totals = np.maximum(known.sum(0), 1)
        mean = np.where(known, static, 0).sum(0, dtype=np.float64) / totals
        spread = np.where(known, static - mean, 0)
        deviation = np.sqrt(np.square(spread).sum(0, dtype=np.float64) / totals)
        scaling.static_mean.copy_(torch.from_numpy(mean))
        scaling.static_deviation.copy_(torch.from_numpy(np.where(deviation > 0, deviation, 1)))


def _rank_summary(summary: Summary, source: SeriesSource) -> None:
    figures = []
    for start in range(0, len(source), 256):
        inputs = source.collate(np.arange(start, min(start + 256, len(source))))
        figures.append(summary.figures(inputs))
    summary.ranks.learn(torch.cat(figures))
