"""The arguments of attention, checked before any backend sees them."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.attention.arguments import Arguments, Options
from kernels.common.lengths import check_length_values, check_lengths_form, unwrapped
from kernels.common.precision import autocast_enabled


def check(arguments: Arguments, options: Options) -> None:
    """Raises ValueError that names the argument, what was found and what was expected."""
    query, keys, values, weight, bias, coverage, coverage_weight, centre = arguments
    for name, given in (("query", query), ("keys", keys), ("values", values)):
        if given.dim() != 3:
            raise ValueError(f"{name}: found {given.dim()} dimensions; expected 3")
    if not query.is_floating_point():
        raise ValueError(f"query: found dtype {query.dtype}; expected a floating dtype")
    batch, steps, size = query.shape
    source = keys.size(1)
    if keys.shape != (batch, source, size):
        raise ValueError(
            f"keys: found shape {tuple(keys.shape)}; expected ({batch}, S, {size}) as query has"
        )
    if values.shape[:2] != (batch, source):
        raise ValueError(
            f"values: found shape {tuple(values.shape)}; expected ({batch}, {source}, D) as keys"
        )
    expected = (
        ("keys", keys, keys.shape),
        ("values", values, values.shape),
        ("weight", weight, (size,)),
        ("bias", bias, (size,)),
        ("coverage", coverage, (batch, steps, source)),
        ("coverage_weight", coverage_weight, (size,)),
        ("centre", centre, (batch, steps)),
    )
    for name, tensor, shape in expected:
        if tensor is not None:
            check_tensor(name, tensor, tuple(shape), query)
    _check_pair("coverage", coverage, "coverage_weight", coverage_weight)
    _check_options(arguments, options)


def check_source_lengths(lengths: Tensor | None, sources: int) -> None:
    """From 0 to S. Lengths on the CPU raise ValueError otherwise; those on a GPU fail by an
    assertion there, since a look at them would wait for it, which no CUDA graph can record."""
    if lengths is None:
        return
    if not lengths.is_cuda:
        check_length_values(lengths, sources)
        return
    lengths = unwrapped(lengths)
    fine = ((lengths >= 0) & (lengths <= sources)).all()
    torch._assert_async(fine, f"lengths: expected 0 to S = {sources}")


def check_missing(lengths: Tensor | None, mask: Tensor | None, keys: Tensor) -> None:
    """The form of what says which of the keys (B, S, ...) are there."""
    batch, source = keys.shape[:2]
    if lengths is not None:
        check_lengths_form(lengths, batch)  # values: where they are used, a compiled graph included
    if mask is not None:
        if mask.shape != (batch, source) or mask.dtype != torch.bool:
            raise ValueError(
                f"mask: found {mask.dtype} {tuple(mask.shape)}; "
                f"expected torch.bool ({batch}, {source})"
            )
        if mask.device != keys.device:
            raise ValueError(f"mask: found on {mask.device}; expected {keys.device}")


def _check_options(arguments: Arguments, options: Options) -> None:
    query, keys, values = arguments[:3]
    lengths, mask, scale, window, heads = options
    if heads < 1 or query.size(2) % heads or values.size(2) % heads:
        raise ValueError(
            f"heads: found {heads}; expected a divisor of H = {query.size(2)} and "
            f"D = {values.size(2)}"
        )
    # (No comparison of comparisons: under torch.compile(dynamic=True) the numbers are symbols.)
    missing = window == 0 if arguments.centre is not None else window != 0
    if missing or not 0 <= window < float("inf"):
        raise ValueError(
            f"window: found {window}, centre {'None' if arguments.centre is None else 'given'}; "
            "expected a positive number with centre, none without"
        )
    if not abs(scale) < float("inf"):
        raise ValueError(f"scale, temperature: found a scale of {scale}; expected a finite one")
    check_missing(lengths, mask, keys)


def _check_pair(name: str, one: Tensor | None, partner: str, other: Tensor | None) -> None:
    if (one is None) != (other is None):
        raise ValueError(
            f"{name}: found {'None' if one is None else 'a tensor'}; "
            f"expected the same as of {partner}: both or none"
        )


def check_tensor(name: str, tensor: Tensor, shape: tuple[int, ...], query: Tensor) -> None:
    """Shape, and the device and dtype of ``query``; autocast may mix floating dtypes."""
    if tensor.shape != shape:
        expected = f"({shape[0]},)" if len(shape) == 1 else str(shape)
        raise ValueError(f"{name}: found shape {tuple(tensor.shape)}; expected {expected}")
    if tensor.device != query.device:
        raise ValueError(f"{name}: found on {tensor.device}; expected {query.device} as query is")
    mixed = autocast_enabled(query.device.type) and tensor.is_floating_point()
    if tensor.dtype != query.dtype and not mixed:
        raise ValueError(
            f"{name}: found dtype {tensor.dtype}; expected {query.dtype} as query has "
            "(convert one of them, or use torch.autocast)"
        )
