"""A new model of a configuration's shape, and how far its windows reach."""

from __future__ import annotations

from collections.abc import Sequence

from seq2seq.errors import UsageError
from seq2seq.tasks.forecasting.committee import Model, build_model
from seq2seq.tasks.forecasting.config import ForecastConfig, bases_of, check_past, scaling_of
from seq2seq.tasks.forecasting.encoding import Encoding
from seq2seq.tasks.forecasting.inputs import Sizes
from seq2seq.tasks.forecasting.windows import Reach


def places(names: Sequence[str], targets: Sequence[str], key: str) -> tuple[int, ...]:
    """Where ``names`` stand among the targets; raises UsageError for one that is not there."""
    for name in names:
        if name not in targets:
            raise UsageError(
                f"'{key}' holds {name!r}; expected some of the targets: {', '.join(targets)}"
            )
    return tuple(targets.index(name) for name in names)


def make_model(config: ForecastConfig, encoding: Encoding) -> Model:
    """A new model of this shape. Raises UsageError for a base whose season is longer than the
    context."""
    model = config.model
    if encoding.past_names:
        check_past(model.kind, encoding.past_names, "the series")
    for base in bases_of(model):
        if base in ("seasonal", "smoothing") and model.context < encoding.season:
            raise UsageError(
                f"the base {base} reads a whole season of {encoding.season} steps; "
                f"'model.context' is {model.context}: make it as long, set 'data.season', or "
                "another 'model.base' (or 'model.other_bases')"
            )
    sizes = Sizes(
        len(encoding.targets),
        encoding.features,
        tuple(len(known) for known in encoding.categories.values()),
        len(encoding.numbers),
        encoding.season,
        places(model.read_base, encoding.targets, "model.read_base"),
        len(encoding.past_names),
    )
    settings = config.forecast
    return build_model(model, sizes, len(settings.levels), settings.widths == "window")


def reach_of(model: Model, horizon: int | None = None) -> Reach:
    """How far the windows of a model reach."""
    config = model.config
    if not model.samples or horizon is None:
        horizon = config.horizon
    log = config.transform == "log"
    return Reach(config.context, model.reach, horizon, scaling_of(config), log, model.samples)
