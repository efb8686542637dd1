"""A tiny decoder, forward and backward, and a tiny step of search, for a memory checker."""

from __future__ import annotations

import torch

import kernels
from kernels.bench import decoder, decoder_step
from kernels.recurrence.schedule import use_schedule


def main() -> None:
    device, dtype = torch.device("cuda"), torch.bfloat16
    setting = decoder.Setting(decoder.Case(3, 2, 5, 36, True), device, dtype, fused=True)
    step = decoder_step.Setting(decoder_step.Case(2, 3, 5, 36), device, dtype)
    for schedule in ("step", "persistent"):
        with kernels.use_backend("triton"), use_schedule(schedule):
            setting.gradients(setting.fused)
        with torch.no_grad():
            step.prepared("triton", schedule)()
    torch.cuda.synchronize()


if __name__ == "__main__":
    main()
