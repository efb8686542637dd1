"""RNN, GRU, LSTM and their cells, drop-in for torch.nn."""

import torch

from kernels.modules.cells import GRUCell, LSTMCell, RNNCell
from kernels.modules.layers import GRU, LSTM, RNN

_CLASSES = (GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell)
# torch.load(weights_only=True) takes saved modules, too: reading one sets attributes and runs no
# code of these classes. By the second name they were saved when this folder was one file.
torch.serialization.add_safe_globals(
    [*_CLASSES, *((cls, f"kernels.modules.{cls.__name__}") for cls in _CLASSES)]
)

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell"]
