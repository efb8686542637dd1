"""Without a GPU, Triton kernels run in Triton's interpreter; it must be asked before they load."""

import os

# PyTorch forbids operators whose results share memory, but says so only where it is asked.
os.environ.setdefault("TORCHINDUCTOR_ERROR_ON_CUSTOM_OP_ALIASING", "1")

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
