"""The options of a layer class as one object, and their checks."""

from __future__ import annotations

from dataclasses import dataclass

# What a module prints only where it is something else.
DEFAULTS: dict[str, object] = {
    "proj_size": 0,
    "num_layers": 1,
    "bias": True,
    "batch_first": False,
    "dropout": 0.0,
    "bidirectional": False,
    "layer_norm": False,
    "zoneout": (0.0, 0.0),
    "recurrent_dropout": 0.0,
    "weight_dropout": 0.0,
    "recompute": False,
}


@dataclass
class LayerOptions:
    """Everything that defines an RNN, GRU or LSTM but its device and dtype; ``kind`` names the cell
    ("lstm", "gru", "tanh", "relu"), the other names are those of the constructors.

    Raises ValueError that names the option, what was found and what was expected.
    """

    kind: str
    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    layer_norm: bool
    zoneout: float | tuple[float, float]
    recurrent_dropout: float
    weight_dropout: float
    recompute: bool
    proj_size: int = 0  # LSTM only

    def __post_init__(self) -> None:
        for name in ("input_size", "hidden_size", "num_layers"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: found {value!r}; expected a whole number above 0")
        if not isinstance(self.proj_size, int) or not 0 <= self.proj_size < self.hidden_size:
            raise ValueError(
                f"proj_size: found {self.proj_size!r}; expected a whole number from 0 (no "
                f"projection) to below hidden_size, {self.hidden_size}"
            )
        self.dropout = probability("dropout", self.dropout, 1.0)
        self.zoneout = zoneout_pair(self.zoneout)
        self.recurrent_dropout = probability("recurrent_dropout", self.recurrent_dropout)
        self.weight_dropout = probability("weight_dropout", self.weight_dropout)


def probability(name: str, value: float, highest: float | None = None) -> float:
    inside = 0 <= value <= highest if highest is not None else 0 <= value < 1
    if isinstance(value, bool) or not inside:
        raise ValueError(f"{name}: found {value!r}; expected a probability from 0 to below 1")
    return float(value)


def zoneout_pair(zoneout: float | tuple[float, float]) -> tuple[float, float]:
    pair = tuple(zoneout) if isinstance(zoneout, (tuple, list)) else (zoneout, zoneout)
    if len(pair) != 2:
        raise ValueError(f"zoneout: found {zoneout!r}; expected a number or a pair (hidden, cell)")
    return (probability("zoneout", pair[0]), probability("zoneout", pair[1]))


def elman_kind(name: str) -> str:
    if name not in ("tanh", "relu"):
        raise ValueError(f"nonlinearity: found {name!r}; expected 'tanh' or 'relu'")
    return name
