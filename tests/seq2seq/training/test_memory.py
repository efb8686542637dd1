"""Freed memory goes back to the system."""

import platform
from pathlib import Path

import pytest
import torch

from seq2seq.training.memory import release_free_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has malloc_trim")
def test_a_heap_full_of_holes_is_handed_back():
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    held = [torch.ones(12_000) for _ in range(6000)]  # 48 KB each, below the mmap threshold
    kept = held[::50]
    del held
    before = resident()
    release_free_memory()
    assert resident() < before - 100e6
    assert all(bool(block.all()) for block in kept)
