"""What ``import kernels`` loads: little beside torch."""

from __future__ import annotations

import subprocess
import sys

import torch

from kernels.common.compiling import constant_result


def test_import_loads_neither_compiler_nor_triton_nor_plots() -> None:
    code = """
import sys
import torch
before = set(sys.modules)
import kernels
print(*sorted(set(sys.modules) - before))
"""
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    packages = {name.split(".")[0] for name in loaded}
    heavy = {"triton", "numpy", "matplotlib", "sympy", "networkx", "seq2seq"}
    assert "kernels" in packages
    assert not packages & heavy
    compiler = ("torch._dynamo.symbolic_convert", "torch._inductor", "torch.onnx", "torch.export")
    assert not [name for name in loaded if name.startswith(compiler)]
    assert len([name for name in loaded if not name.startswith("kernels")]) < 100


def test_constant_result_is_torchs_own_mark() -> None:
    def ours() -> int:
        return 1

    def theirs() -> int:
        return 1

    assert constant_result(ours) is ours
    torch.compiler.assume_constant_result(theirs)
    assert vars(ours) == vars(theirs)
