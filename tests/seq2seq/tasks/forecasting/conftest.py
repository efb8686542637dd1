"""Series and a run that several tests use."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from seq2seq.config import config_from_dict


@pytest.fixture
def hourly():
    """Two series of ten days, hourly, as a frame; and what makes the configuration of a run on the
    file series.csv: its test part begins on 8 January."""
    random, steps = np.random.default_rng(0), np.arange(240)
    parts = []
    for name, level in (("north", 10.0), ("south", 200.0)):
        y = level * (1 + 0.5 * np.sin(2 * np.pi * steps / 24)) + random.normal(0, level / 20, 240)
        time = pd.date_range("2024-01-01", periods=240, freq="h")
        parts.append(pd.DataFrame({"time": time, "place": name, "y": y}))

    def values(output="run", model=None, training=None, data=None):
        return config_from_dict(
            {
                "task": "forecasting",
                "output": output,
                "data": {
                    **{"train": "series.csv", "series": ["place"], "batch_size": 64},
                    **{"split": ["2024-01-07", "2024-01-08"], **(data or {})},
                },
                "model": {
                    **{"context": 24, "horizon": 6, "hidden_size": 8, "segment": 6},
                    **{"scaling": "window", "kind": "segments", **(model or {})},
                },
                "training": {
                    **{"max_epochs": 2, "learning_rate": 0.01, "device": "cpu", "threads": 1},
                    **{"log_every": 2, **(training or {})},
                },
                "forecast": {"paths": 20, "levels": [0.1, 0.5, 0.9]},
            }
        )

    return pd.concat(parts), values
