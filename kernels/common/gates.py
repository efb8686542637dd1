"""The kinds of cell, and the gates of each."""

from __future__ import annotations

GATES = {"lstm": 4, "gru": 3, "tanh": 1, "relu": 1}  # G, by the ``kind`` of a recurrence
