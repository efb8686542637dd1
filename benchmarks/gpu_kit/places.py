"""Where the kit keeps what it carries and what it makes; no torch is imported here."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Ignored by git: name this folder to whatever copies the tree to the other machine.
CARRIED = ROOT / ".gpu-kit"
ARCHIVE = CARRIED / "triton-cache.tar.xz"
ABOUT = CARRIED / "about.json"  # Triton's key, versions, number of kernels
WHEELS = CARRIED / "wheels"
CORPUS = CARRIED / "multi30k"
TOKENIZER = CARRIED / "multi30k.model"  # SentencePiece, trained beforehand
# What is made from it where the kit runs.
UNPACKED = ROOT / ".gpu-work"
CACHE = UNPACKED / "triton-cache"
PACKAGES = UNPACKED / "packages"
RUNS = UNPACKED / "runs"
RESULTS = ROOT / "benchmarks" / "gpu"
