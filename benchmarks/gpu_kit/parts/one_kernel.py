"""A few forward passes of a persistent LSTM (64, 64, 512) in bf16, for a profiler to look at."""

from __future__ import annotations

import torch

import kernels
from kernels.recurrence.schedule import use_schedule


def main() -> None:
    device, dtype = torch.device("cuda"), torch.bfloat16
    module = kernels.LSTM(128, 512, batch_first=True, device=device, dtype=dtype)
    inputs = torch.randn(64, 64, 128, device=device, dtype=dtype)
    with torch.no_grad(), kernels.use_backend("triton"), use_schedule("persistent"):
        for _ in range(4):
            module(inputs)
    torch.cuda.synchronize()


if __name__ == "__main__":
    main()
