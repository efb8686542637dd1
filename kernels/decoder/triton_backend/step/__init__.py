"""One step of search on NVIDIA GPUs; see kernels.decoder.step for what it computes."""

from kernels.decoder.triton_backend.step.launch import joined_step
from kernels.decoder.triton_backend.step.weights import (
    JoinedWeights,
    input_sums,
    joined_memory,
    joined_weights,
)

__all__ = ["JoinedWeights", "input_sums", "joined_memory", "joined_step", "joined_weights"]
