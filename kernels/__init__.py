"""Recurrent networks and attention for PyTorch. See README.md beside this file."""

from kernels.attention import additive_attention, concat_attention, dot_attention
from kernels.backend import use_backend
from kernels.decoder import attention_decoder
from kernels.loss import linear_cross_entropy
from kernels.modules import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from kernels.recurrence import bidirectional_recurrence, recurrence

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "additive_attention",
    "attention_decoder",
    "bidirectional_recurrence",
    "concat_attention",
    "dot_attention",
    "linear_cross_entropy",
    "recurrence",
    "use_backend",
]
