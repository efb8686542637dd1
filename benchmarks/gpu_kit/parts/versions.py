"""Which card, which versions, what is missing, and whether the carried cache fits them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os

import torch

from benchmarks.gpu_kit.places import ABOUT
from benchmarks.gpu_kit.records import attempt
from benchmarks.gpu_kit.running import found_tool
from benchmarks.gpu_kit.triton_key import own_key
from kernels.bench.machine import machine

PACKAGES = (
    "pytest xdist pytest_timeout hypothesis numpy datasets sentencepiece sacrebleu accelerate"
)
TOOLS = ("ncu", "compute-sanitizer", "nvcc", "gcc")


def card() -> dict[str, object]:
    found = machine()
    major, minor = torch.cuda.get_device_capability()
    return found | {"capability": f"{major}.{minor}", "cpus": os.cpu_count()}


def packages() -> dict[str, object]:
    absent = [name for name in PACKAGES.split() if importlib.util.find_spec(name) is None]
    tools = [name for name in TOOLS if found_tool(name) is None]
    pytest = importlib.metadata.version("pytest") if "pytest" not in absent else None
    return {"missing": absent, "missing_tools": tools, "pytest": pytest}


def cache() -> dict[str, object]:
    """Whether the key of the Triton here is the one that the cache was filled under."""
    if not ABOUT.exists():
        return {"carried": False}
    about = json.loads(ABOUT.read_text(encoding="utf-8"))
    return {
        "carried": True,
        "kernels": about["kernels"],
        "same_key": own_key() == about["key"],
        "filled_under": about["triton"],
    }


def main() -> None:
    attempt("versions", "card", card)
    attempt("versions", "packages", packages)
    attempt("versions", "cache", cache)


if __name__ == "__main__":
    main()
