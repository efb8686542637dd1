"""Results that no argument reached keep their place in autograd's graph."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def reached(result: Tensor, arguments: Sequence[Tensor | None]) -> Tensor:
    """``result`` itself, whose gradient reaches ``arguments``, as zeros. (Of no steps the final
    state is the initial one, and a loop that did not run used no weight.)"""
    for argument in arguments:
        if argument is not None and argument.is_floating_point():
            result = result + argument[:0].sum()  # zero, whatever the argument holds
    return result
