"""An operation as a registered PyTorch operator, with its derivatives of every kind.

A registered operator is opaque to ``torch.compile`` and ``torch.export``: the graph does not break,
and no loop is unrolled into it. Plain calls and ``torch.func.grad`` run the backend's forward and
backward pass. All else that PyTorch can ask of an operator goes through the operation's reference,
whose operators of PyTorch answer it: forward-mode derivatives, ``vmap``, second derivatives.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C._dynamo import eval_frame
from torch._C._functorch import TransformType
from torch._functorch.utils import enable_single_level_autograd_function, unwrap_dead_wrappers
from torch.autograd import forward_ad

Structure = Sequence[Any]  # the operator's arguments, or one thing for each of them

_EXPORTER = "torch.onnx._internal.exporter._core"

_after_autograd = torch._C._after_autograd_keyset
_views = torch._C.DispatchKeySet(torch._C.DispatchKey.ADInplaceOrView)
_PLAIN = (torch._C.DispatchKey.CPU, torch._C.DispatchKey.CUDA)


class Operation(NamedTuple):
    """What ``register`` needs to know. ``arguments`` are the operator's, as its schema names them.

    A result that is absent is an empty tensor, since operators cannot return None.
    """

    name: str
    forward: Callable[..., tuple[Any, ...]]  # on real tensors: *arguments -> results, saved
    fake: Callable[..., tuple[Any, ...]]  # the same in shapes alone
    results: int  # outputs that have gradients; those after are what the backward pass needs
    # (arguments, saved, gradients of the results, wanted) -> gradients of the arguments; wanted
    # and gradients stand where the arguments stand
    backward: Callable[[Structure, Sequence[Tensor], Sequence[Tensor | None], Structure], Structure]
    # (arguments) -> results by differentiable operators of PyTorch
    reference: Callable[[Structure], Sequence[Tensor | None]]
    # the same by operators that torch.onnx translates; None: the reference's
    exported: Callable[[Structure], Sequence[Tensor | None]] | None = None


def opaque(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keeps torch.compile out of ``function`` and of all that it calls: a graph that is traced
    breaks there, and after a graph break, where the compiler looks at every call of Python, this
    one runs as it is. (torch.compiler.disable does the same, and imports the compiler, a second.)
    """
    function._torchdynamo_disable = True  # type: ignore[attr-defined]  # torch.compile looks for it
    skip = eval_frame._FrameAction.SKIP
    strategy = eval_frame._FrameExecStrategy(skip, skip)
    eval_frame.set_code_exec_strategy(function.__code__, strategy)
    return function


def register(library: torch.library.Library, operation: Operation) -> None:
    """Implement the operator ``kernels::name``, which ``library`` has defined."""
    name = operation.name
    library.impl(name, opaque(operation.forward), "CompositeExplicitAutograd")
    torch.library.register_fake(f"kernels::{name}", operation.fake, lib=library)
    operator = getattr(torch.ops.kernels, name).default
    results, returns = operation.results, operator._schema.returns
    # What the operator saves is a number of tensors, or one list.
    spare = None if str(returns[-1].type) == "List[Tensor]" else len(returns) - results
    function = _autograd_function(operation, operator, spare is None)
    level = _level_function(operation, operator, spare is None)

    @opaque
    def autograd(keyset: torch._C.DispatchKeySet, *arguments: Any) -> tuple[Any, ...]:
        if _in_onnx_export():
            return _by_reference(operation, spare, arguments, exported=True)
        places, tensors = _tensors(arguments)
        levels = transformed(tensors)
        if levels and not _only_gradients(tensors):
            return _by_reference(operation, spare, arguments)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            if levels:
                with enable_single_level_autograd_function():
                    flat = level.apply(keyset, _keeping(operator, arguments), places, *tensors)
            else:
                flat = function.apply(keyset, arguments, places, *tensors)
            return flat if spare is not None else (*flat[:results], list(flat[results:]))
        with torch._C._AutoDispatchBelowAutograd():
            return _below_autograd(operation, operator, keyset, arguments)

    @opaque
    def batched(*arguments: Any) -> tuple[Any, ...]:
        return _by_reference(operation, spare, arguments)

    library.impl(name, autograd, "Autograd", with_keyset=True)
    library.impl(name, batched, "FuncTorchBatched")


def register_backward(
    library: torch.library.Library,
    name: str,
    backward: Callable[..., Sequence[Tensor]],
    fake: Callable[..., Sequence[Tensor]],
) -> None:
    """Implement ``kernels::name``, a backward pass, which has no derivatives of its own."""
    library.impl(name, opaque(backward), "CompositeExplicitAutograd")
    torch.library.register_fake(f"kernels::{name}", fake, lib=library)


def transformed(tensors: Sequence[Tensor | None]) -> bool:
    """Whether a transform of torch.func is at work, or one of ``tensors`` is a dual number."""
    return torch._C._are_functorch_transforms_active() or _dual(tensors)


def _only_gradients(tensors: Sequence[Tensor]) -> bool:
    """Whether all that is at work is torch.func.grad or vjp, nested or not."""
    stack = torch._C._functorch.get_interpreter_stack() or ()
    return all(level.key() == TransformType.Grad for level in stack) and not _dual(tensors)


def _dual(tensors: Sequence[Tensor | None]) -> bool:
    if forward_ad._current_level < 0:
        return False
    return any(
        tensor is not None and forward_ad.unpack_dual(tensor).tangent is not None
        for tensor in tensors
    )


def _in_onnx_export() -> bool:
    """Whether torch.onnx.export is at work, whose parts are imported when it first is."""
    return _EXPORTER in sys.modules and torch.onnx.is_in_onnx_export()


def _many(grads: Sequence[Tensor | None]) -> bool:
    """Whether these are several gradients at once: ``torch.autograd.grad(is_grads_batched=True)``,
    which has a vmap of its own."""
    legacy = torch._C._functorch.is_legacy_batchedtensor
    return any(grad is not None and legacy(grad) for grad in grads)


def _autograd_function(
    operation: Operation, operator: torch._ops.OpOverload, listed: bool
) -> type[torch.autograd.Function]:
    @opaque
    def forward(
        ctx: Any,
        keyset: torch._C.DispatchKeySet,
        arguments: Structure,
        places: list[tuple[int, int]],
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        # Views of a backend's own buffers are no views to autograd: it would forbid to change them.
        with torch._C._AutoDispatchBelowAutograd(), torch._C._ExcludeDispatchKeyGuard(_views):
            outputs = _below_autograd(operation, operator, keyset, arguments)
        results, saved = outputs[: operation.results], outputs[operation.results :]
        if listed:
            saved = tuple(saved[0])
        ctx.save_for_backward(*tensors, *saved)
        ctx.mark_non_differentiable(*saved)
        ctx.set_materialize_grads(False)
        ctx.rest, ctx.places = _put(arguments, places, [None] * len(tensors)), places
        return (*results, *saved)

    @opaque
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        places, kept = ctx.places, ctx.saved_tensors  # read once: hooks may compute them
        tensors, saved = kept[: len(places)], kept[len(places) :]
        grads, wanted = grads[: operation.results], ctx.needs_input_grad[3:]
        found: Iterable[Any]
        if all(grad is None for grad in grads):
            found = (None,) * len(places)
        elif torch.is_grad_enabled() or transformed((*grads, *tensors)) or _many(grads):
            found = _gradients_by_reference(operation, ctx.rest, places, tensors, grads, wanted)
        else:
            arguments = _put(ctx.rest, places, tensors)
            found = _take(
                operation.backward(arguments, saved, grads, _put(ctx.rest, places, wanted)), places
            )
            found = (f if want else None for f, want in zip(found, wanted, strict=True))
        return (None, None, None, *found)

    title = operation.name.title().replace("_", "")
    members = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    return type(title, (torch.autograd.Function,), members)


def _level_function(operation: Operation, operator: torch._ops.OpOverload, listed: bool) -> Any:
    """The same for one level of torch.func.grad or vjp, which keep the graph of every gradient: a
    ``_SingleLevelFunction``, whose ``apply`` PyTorch does not declare."""
    plain = _autograd_function(operation, operator, listed)

    @opaque
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        with torch.enable_grad():  # for the levels below
            return plain.forward(ctx, *arguments)

    @opaque
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        places, kept = ctx.places, unwrap_dead_wrappers(ctx.saved_tensors)
        tensors, saved = kept[: len(places)], kept[len(places) :]
        grads, wanted = grads[: operation.results], ctx.needs_input_grad[3:]
        given = (*tensors, *(grad for grad in grads if grad is not None))
        found: Iterable[Any]
        if all(grad is None for grad in grads):
            found = (None,) * len(places)
        elif _only_gradients(given) and not _required_below(given):
            arguments = _put(ctx.rest, places, tensors)
            with torch.no_grad():
                made = operation.backward(arguments, saved, grads, _put(ctx.rest, places, wanted))
            found = _take(made, places)
        else:
            found = _pulled_back(operation, ctx.rest, places, tensors, grads, wanted)
        found = (f if want else None for f, want in zip(found, wanted, strict=True))
        return (None, None, None, *found)

    members = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    return type(plain.__name__, (torch.autograd.function._SingleLevelFunction,), members)


def _keeping(operator: torch._ops.OpOverload, arguments: Structure) -> list[Any]:
    """``arguments`` that ask the operator for what its backward pass needs: where torch.compile
    traces torch.func, it tells the caller that no tensor requires a gradient."""
    asked = list(arguments)
    for k, argument in enumerate(operator._schema.arguments):
        if argument.name == "keep":
            asked[k] = True
        elif argument.name == "needed":
            asked[k] = [one is not None for one in arguments[: len(arguments[k])]]
    return asked


def _required_below(tensors: Sequence[Tensor]) -> bool:
    """Whether a level below the one at work, or autograd itself, asks for gradients, too."""
    functorch = torch._C._functorch
    level = functorch.maybe_current_level()
    for tensor in tensors:
        if level is not None and functorch.maybe_get_level(tensor) == level:
            tensor = functorch.get_unwrapped(tensor)
        while not tensor.requires_grad and functorch.is_functorch_wrapped_tensor(tensor):
            tensor = functorch.get_unwrapped(tensor)
        if tensor.requires_grad:
            return True
    return False


def _pulled_back(
    operation: Operation,
    rest: Structure,
    places: list[tuple[int, int]],
    tensors: Sequence[Tensor],
    grads: Sequence[Tensor | None],
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    """``_gradients_by_reference`` under any transform of torch.func, by torch.func.vjp."""
    there: list[int] = []

    def run(*leaves: Tensor) -> list[Tensor]:
        given = iter(leaves)
        filled = [next(given) if want else t for t, want in zip(tensors, wanted, strict=True)]
        results = operation.reference(_put(rest, places, filled))
        there[:] = [k for k, result in enumerate(results) if result is not None]
        return [result for result in results if result is not None]

    leaves = [tensor for tensor, want in zip(tensors, wanted, strict=True) if want]
    results, pull, *_ = torch.func.vjp(run, *leaves)
    arriving = [
        torch.zeros_like(result) if (grad := grads[k]) is None else grad.to(result.dtype)
        for k, result in zip(there, results, strict=True)
    ]
    found = iter(pull(arriving))
    return [next(found) if want else None for want in wanted]


def _below_autograd(
    operation: Operation,
    operator: torch._ops.OpOverload,
    keyset: torch._C.DispatchKeySet,
    arguments: Structure,
) -> tuple[Any, ...]:
    """The forward pass. Mostly the dispatcher has nothing left to do, and is spared the arguments'
    way into C++ and back; where a mode or a kind of tensor waits, it is asked."""
    left = (keyset & _after_autograd) - _views
    if left.highestPriorityTypeId() in _PLAIN:
        return operation.forward(*arguments)
    return operator.redispatch(keyset & _after_autograd, *arguments)


def _by_reference(
    operation: Operation, spare: int | None, arguments: Structure, exported: bool = False
) -> tuple[Any, ...]:
    """The operator's outputs from its reference, with nothing saved: autograd keeps its own."""
    function = operation.exported if exported and operation.exported else operation.reference
    results = function(arguments)
    like = next(result for result in results if result is not None)
    outputs = [like.new_empty(0) if result is None else result for result in results]
    if spare is None:
        return (*outputs, [])
    return (*outputs, *(like.new_empty(0) for _ in range(spare)))


def _gradients_by_reference(
    operation: Operation,
    rest: Structure,
    places: list[tuple[int, int]],
    tensors: Sequence[Tensor],
    grads: Sequence[Tensor | None],
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    """The same gradients by autograd through the reference, which can be differentiated again."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # A view of each: where one argument was made from another, as with tied weights, the
        # gradient of each stops at itself and does not count the other's path again.
        leaves = [tensor.view_as(tensor) for tensor in tensors]
        results = operation.reference(_put(rest, places, leaves))
        pairs = [
            (result, grad.to(result.dtype))
            for result, grad in zip(results, grads, strict=True)
            if result is not None and grad is not None and result.requires_grad
        ]
        if not pairs or not any(wanted):
            return [None] * len(wanted)
        found = iter(
            torch.autograd.grad(
                [result for result, _ in pairs],
                [leaf for leaf, want in zip(leaves, wanted, strict=True) if want],
                [grad for _, grad in pairs],
                create_graph=again,
                allow_unused=True,
            )
        )
    return [next(found) if want else None for want in wanted]


def _tensors(arguments: Structure) -> tuple[list[tuple[int, int]], list[Tensor]]:
    """All tensors, those in lists too, and where each stands: (argument, index or -1)."""
    places, tensors = [], []
    for k, argument in enumerate(arguments):
        if isinstance(argument, Tensor):
            places.append((k, -1))
            tensors.append(argument)
        elif isinstance(argument, (list, tuple)) and argument and isinstance(argument[0], Tensor):
            places += [(k, i) for i in range(len(argument))]
            tensors += argument
    return places, tensors


def _put(arguments: Structure, places: list[tuple[int, int]], values: Sequence[Any]) -> list[Any]:
    """``arguments`` with other values where tensors stand."""
    filled = list(arguments)
    for (k, i), value in zip(places, values, strict=True):
        if i < 0:
            filled[k] = value
        elif i == 0:
            filled[k] = [value]
        else:
            filled[k].append(value)
    return filled


def _take(structure: Structure, places: list[tuple[int, int]]) -> list[Any]:
    """What stands in the ``places``; None past the end."""
    return [
        None if k >= len(structure) else structure[k] if i < 0 else structure[k][i]
        for k, i in places
    ]
