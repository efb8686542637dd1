"""RNN, GRU, LSTM and their cells, drop-in for torch.nn."""

from kernels.modules.cells import GRUCell, LSTMCell, RNNCell
from kernels.modules.layers import GRU, LSTM, RNN

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell"]
