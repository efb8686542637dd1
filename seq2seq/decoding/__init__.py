"""Search: from a model's next-token scores to whole sequences.

Written once over the contract between models and decoding (ARCHITECTURE.md), so that
translation, captioning and text generation share it. Everything runs batched on the model's
device; see ``beam.py`` for what exactly is searched.
"""

from seq2seq.decoding.beam import beam_search
from seq2seq.decoding.contract import StepModel
from seq2seq.decoding.greedy import greedy_search
from seq2seq.decoding.hypothesis import Hypothesis
from seq2seq.decoding.sampling import Rollout, Sampling

__all__ = ["Hypothesis", "Rollout", "Sampling", "StepModel", "beam_search", "greedy_search"]
