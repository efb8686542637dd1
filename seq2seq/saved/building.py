"""A saved model is built only as far as its weights go.

A damaged or foreign config.json may ask for any size. While the model is built, its parameters are
counted and compared with what the file of the weights holds, before they are filled with numbers;
so is every tensor, a buffer say, before memory is taken for it.
(Torch's meta device would do that, too, but its first use imports a second's worth of modules.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from seq2seq.errors import RunError

Model = TypeVar("Model", bound=nn.Module)
Shapes = Mapping[str, tuple[int, ...]]

# Parts of other libraries may make more parameters than they keep, and layers may share theirs; far
# more of them than are stored are another model's.
_MORE = 4
_FEW, _SMALL = 64, 2**24  # so many parameters, and numbers in them, are no harm in any case


def build_to_fit(build: Callable[[], Model], path: Path) -> Model:
    """What ``build`` makes, on the CPU; ``path`` is the file of its weights, in the folder of a
    saved model.

    Raises RunError where the file cannot be read, and where the model has far more, or larger,
    parameters than the file: before memory is used for them. UsageError as ``build`` does.
    """
    stored = stored_shapes(path)
    most = _MORE * len(stored) + _FEW
    largest = _MORE * sum(map(math.prod, stored.values())) + _SMALL
    count = numbers = 0

    def check(count: int, numbers: int) -> None:
        if count > most or numbers > largest:
            raise RunError(
                f"{path}: the model that config.json describes has far more weights than the "
                f"{len(stored)} tensors there; the weights do not belong to the model"
            )

    def counted(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal count, numbers
        if parameter is not None:
            count, numbers = count + 1, numbers + parameter.numel()
        check(count, numbers)

    hook = register_module_parameter_registration_hook(counted)
    try:
        with _BeforeTensors(lambda size: check(0, size)):
            return build()
    except (RuntimeError, ValueError, TypeError, OverflowError, MemoryError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(
            f"{path.parent / 'config.json'}: describes a model that cannot be built ({reason}); "
            "copy the file again"
        ) from None
    finally:
        hook.remove()


_MAKERS = (torch.zeros, torch.ones, torch.empty, torch.full, torch.rand, torch.randn)


class _BeforeTensors(TorchFunctionMode):
    """Tells ``check`` how many numbers each new tensor is to have, before it is made."""

    def __init__(self, check: Callable[[int], None]) -> None:
        super().__init__()
        self._check = check

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function in _MAKERS:
            shape = args[0] if args and isinstance(args[0], Sequence) else args
            self._check(math.prod(shape))
        elif function is torch.eye and args:
            self._check(args[0] * args[-1])
        elif function is torch.arange and args:
            self._check(int(max(map(abs, args))))
        return function(*args, **(kwargs or {}))


def stored_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor in a file, from its head alone. Raises RunError where it cannot be
    read."""
    try:
        with safe_open(path, "pt") as weights:
            names = list(weights.keys())
            return {name: tuple(weights.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError) as error:
        raise damaged(path, error) from None


def damaged(path: Path, error: Exception) -> RunError:
    return RunError(f"{path}: damaged or cut short, cannot be read ({error}); copy the file again")


def check_shapes(path: Path, expected: Shapes, stored: Shapes) -> None:
    """Raises RunError where names or shapes differ."""
    missing, extra = expected.keys() - stored.keys(), stored.keys() - expected.keys()
    if missing or extra:
        kind, names = ("lacks", missing) if missing else ("holds an unknown", extra)
        raise RunError(
            f"{path}: {kind} tensor '{min(names)}' ({len(missing)} missing, {len(extra)} "
            "unknown); the weights do not belong to the model that config.json describes"
        )
    for name, shape in expected.items():
        if stored[name] != shape:
            raise RunError(
                f"{path}: tensor '{name}' has shape {stored[name]}, expected {shape}; vocabulary, "
                "weights and config.json do not belong together"
            )


def distinct_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every weight and saved buffer once, under the first of its names."""
    kept = model.state_dict().keys()  # leaves out the buffers that are not to be saved
    tensors = {name: value.detach() for name, value in model.named_parameters()}
    tensors |= {name: value for name, value in model.named_buffers() if name in kept}
    return tensors
