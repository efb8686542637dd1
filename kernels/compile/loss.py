"""The vocabulary loss's kernel."""

from __future__ import annotations

from collections.abc import Iterable

from kernels.compile.kernel import Kernel

BLOCKS = {"quick": (4096,), "bench": (1024, 4096), "all": (64, 256, 1024, 4096)}  # words at once


def kernels(arch: int, shapes: str, dtypes: Iterable[str], options: bool) -> list[Kernel]:
    """With and without gradients; ``options``: with bias and scaled rows."""
    from kernels.loss.triton_backend import _WARPS, row_kernel

    found = []
    for dtype in dtypes:
        types = {"logits": f"*{dtype}", "bias": "*fp32", "targets": "*i64", "losses": "*fp32"}
        types |= {"scales": "*fp32", "words": "i32", "smoothing": "fp32", "ignore_index": "i32"}
        for block in BLOCKS[shapes]:
            for gradient in (False, True):
                found.append(
                    Kernel(
                        label=f"{'gradient' if gradient else 'forward':8} {block:4} {dtype}",
                        function=row_kernel,
                        constants={
                            "BIAS": options,
                            "SCALED": options,
                            "GRADIENT": gradient,
                            "BLOCK": block,
                        },
                        types=types,
                        warps=_WARPS,
                        stages=3,
                        cooperative=False,
                        shared=None,
                        price=None,
                        facts={"kind": "loss", "block": block, "backward": gradient}
                        | {"dtype": dtype, "options": options},
                    )
                )
    return found
