"""What torch.compile is told about a function, without importing its compiler.

``torch.compiler.assume_constant_result`` imports ``torch._dynamo``, which takes as long as the rest
of torch, to set one attribute. Who never compiles should not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")


def constant_result(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """What ``torch.compiler.assume_constant_result`` does: torch.compile calls the function while
    it traces, and takes what it returns as a constant. A test holds the two side by side."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function
