"""The model card of a forecasting model."""

from __future__ import annotations

from typing import Any

from seq2seq.saved.card import check_card, listed_scores, table, usage, write_card
from seq2seq.tasks.forecasting.config import ForecastConfig, bases_of, networks_of
from seq2seq.tasks.forecasting.encoding import Encoding

_USAGE = usage(
    "Forecaster",
    "forecaster",
    "print(forecaster.forecast_frame(frame))  # a pandas frame with the columns named above",
    "seq2seq forecast MODEL --input history.csv --plot forecast.png",
)
_KINDS = {
    "segments": "segments of the past in, the whole horizon out (SegRNN)",
    "autoregressive": "autoregressive, sampled paths (DeepAR)",
    "attention": "encoder and decoder with attention over the past",
}


def forecast_card(
    config: ForecastConfig,
    encoding: Encoding,
    parameters: int,
    card: dict[str, Any] | None = None,
) -> str:
    """Write the model card as Markdown with the YAML head that the hub reads.

    ``card`` is what the configuration does not know (keys: ``seq2seq.saved.card.CARD_KEYS``);
    ``scores`` are lines of text, one a score. Raises UsageError for an unknown key in it.
    """
    card, model = check_card(card), config.model
    head = {
        "pipeline_tag": "time-series-forecasting",
        "tags": ["time-series", "forecasting", "recurrent"],
    }
    bases = bases_of(model)
    losses = dict.fromkeys(loss for _, loss in networks_of(model))
    rows = {
        "data": card.get("data") or config.data.train or "not recorded",
        "targets": ", ".join(encoding.targets),
        "known ahead": ", ".join(encoding.known_names) or None,
        "read, not forecast": ", ".join(encoding.past_names) or None,
        "columns": _columns(config),
        "step": encoding.step,
        "season": f"{encoding.season} steps",
        "reads": f"{model.context} steps",
        "forecasts": f"{model.horizon} steps",
        "model": f"{_KINDS[model.kind]}; {model.cell}, {model.layers} x {model.hidden_size}"
        + (f"; the mean of {len(bases)} such networks" if len(bases) > 1 else ""),
        "head": model.head if model.head != "point" else f"point, {', '.join(losses)}",
        "base": None if bases == ("none",) else f"{', '.join(bases)}; {model.base_form}",
        "parameters": f"{parameters:,}",
        "seed": config.seed,
        "training": card.get("training"),
    }
    return write_card(
        head,
        "Forecasting",
        card,
        "Forecasts a series: a point, quantiles and sampled paths for each step ahead.",
        table(rows),
        listed_scores(card),
        _USAGE,
        data=config.data,
    )


def _columns(config: ForecastConfig) -> str:
    data = config.data
    uses = {
        "time": [data.time] if data.time else [],
        "series": data.series,
        "known": data.known,
        "past": data.past,
        "static": data.static,
    }
    return "; ".join(f"{use}: {', '.join(names)}" for use, names in uses.items() if names)
