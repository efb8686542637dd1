"""Without a GPU, Triton kernels run in Triton's interpreter; it must be asked before they load."""

import os

# PyTorch forbids operators whose results share memory, but says so only where it is asked.
os.environ.setdefault("TORCHINDUCTOR_ERROR_ON_CUSTOM_OP_ALIASING", "1")

import torch
from hypothesis import HealthCheck, settings

from tests.interpreter import hasten

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
    try:
        from triton.runtime import interpreter
    except ImportError:  # there is Triton for Linux alone
        pass
    else:
        hasten(interpreter)

# Without limits of time: how long an example takes is the machine's affair.
settings.register_profile(
    "untimed", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")
