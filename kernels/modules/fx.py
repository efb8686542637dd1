"""Layers and cells in graphs of ``torch.fx``: one call each, as those of torch.nn are.

FX looks into every module that is not torch.nn's own, where it meets checks of shapes that a
stand-in for a tensor cannot answer.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.fx import Proxy
from torch.fx.proxy import TraceError


def recorded(module: nn.Module, input: Any, *arguments: Any, **options: Any) -> Any:
    """A call of ``module`` as FX records it where ``input`` is its stand-in for a tensor; None
    where it is none. Raises TraceError where the module itself is to be the graph."""
    if not isinstance(input, Proxy):
        return None
    tracer: Any = input.tracer
    name = tracer.path_of_module(module)
    if not name:
        raise TraceError(
            f"symbolic_trace({type(module).__name__}): a graph holds this module as one call, and "
            "cannot be made of it alone; trace a module that holds it"
        )
    return tracer.create_proxy("call_module", name, (input, *arguments), options)
