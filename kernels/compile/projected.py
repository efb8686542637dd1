"""The cell kernels of the projected LSTM, whose products are torch's."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

from kernels.compile.kernel import Kernel
from kernels.compile.recurrence import SIZES

SIZE_SETS = {"quick": [512], "bench": [256, 1024], "all": SIZES}  # H
PRODUCT = ("gates", "made")  # in the dtype of products; other tensors are in float32


def kernels(arch: int, shapes: str, dtypes: Iterable[str], options: bool) -> list[Kernel]:
    """Both passes, with layer normalisation and without, for H of ``SIZE_SETS[shapes]``. Lengths
    and masks, which ``options`` asks for, are not the kernels' concern."""
    found = product(SIZE_SETS[shapes], dtypes, (False, True), (False, True))
    return [_kernel(*one) for one in found]


def _kernel(size: int, dtype: str, backward: bool, norm: bool) -> Kernel:
    from kernels.recurrence.triton_backend.projected import cell_backward_kernel, cell_kernel, tile

    function = cell_backward_kernel if backward else cell_kernel
    chosen = tile(size)
    warps = chosen.pop("num_warps")
    constants: dict[str, Any] = {"NORM": norm, **chosen}
    return Kernel(
        label=f"{'backward' if backward else 'forward':8} projected cell {size:4} {dtype:5} "
        f"{'norm' if norm else ''}",
        function=function,
        constants=constants,
        types={name: _type(name, dtype) for name in function.arg_names if name not in constants},
        warps=warps,
        stages=1,
        cooperative=False,
        shared=None,
        price=None,
        facts={"projected": True, "size": size, "dtype": dtype, "backward": backward, "norm": norm},
    )


def _type(name: str, dtype: str) -> str:
    if name in PRODUCT:
        return f"*{dtype}"
    return "i32" if name == "size" or name.endswith("_stride") else "*fp32"
