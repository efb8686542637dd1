"""What a benchmark ran on."""

from __future__ import annotations

import importlib.metadata
import platform

import torch

from kernels.common import processor


def machine() -> dict[str, object]:
    """Names and versions, for the record of a benchmark."""
    gpu = torch.cuda.get_device_properties() if torch.cuda.is_available() else None
    capability = None if gpu is None else "{}.{}".format(*torch.cuda.get_device_capability())
    return {
        "cpu": processor.name(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": _version("triton"),
        "gpu": None if gpu is None else gpu.name,
        "capability": capability,
        "multiprocessors": None if gpu is None else gpu.multi_processor_count,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if gpu is not None else None,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
