"""A saved model is built only where its weights are those of the model that config.json describes.

A damaged or foreign config.json may ask for any size. The model is therefore built without memory
first, on torch's meta device, and compared with the head of the weights' file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

_SHARED = 8  # names that one stored tensor may have: layers may share their weights


class _NoDrawing(TorchFunctionMode):
    """Random numbers for tensors without memory are not drawn: PyTorch would import its compiler
    for them, which takes longer (1.4 s) and more memory (140 MB) than all else in a command."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        drawing = func in (torch.Tensor.normal_, torch.Tensor.uniform_)
        if drawing or getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else given["tensor"]
        return func(*args, **given)


def build_to_fit(build: Callable[[], Model], path: Path) -> Model:
    """What ``build`` makes, on the CPU; ``path`` is the file of its weights, in the folder of a
    saved model.

    Raises RunError where the file cannot be read, and where a model of this configuration has
    other tensors; before any memory is taken for it.
    """
    stored = stored_shapes(path)
    limit = _SHARED * len(stored) + 64
    count = 0

    def counted(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal count
        count += 1
        if count > limit:
            raise RunError(
                f"{path}: holds {len(stored)} tensors; the model that config.json describes has "
                "many more: the weights do not belong to the model"
            )

    hook = register_module_parameter_registration_hook(counted)
    try:
        with torch.device("meta"), _NoDrawing():
            trial = build()
    except (RuntimeError, ValueError, TypeError, OverflowError, MemoryError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(
            f"{path.parent / 'config.json'}: describes a model that cannot be built ({reason}); "
            "copy the file again"
        ) from None
    finally:
        hook.remove()
    expected = {name: tuple(tensor.shape) for name, tensor in distinct_tensors(trial).items()}
    check_shapes(path, expected, stored)
    return build()


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
