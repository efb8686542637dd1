"""Attention: additive (Bahdanau) and dot scores over padded sources, and concat (Luong).

Shapes: B batch, T target steps, S source steps, H width of query and keys, D of the values.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.attention import reference, torch_backend
from kernels.backend import resolve
from kernels.recurrence.check import check_lengths

__all__ = ["additive_attention", "concat_attention", "dot_attention"]


def additive_attention(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    return_weights: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Attention with additive scores (Bahdanau et al. 2015, appendix A.1.2).

        score_ts = weight . tanh(query_t + keys_s + bias)
        weights_t = softmax_s(score_t),  context_t = sum_s weights_ts values_s

    query (B, T, H) and keys (B, S, H) are already projected; values (B, S, D), weight (H,),
    bias (H,) or None; lengths (B,) integers from 0 to S, all of S when None.
    -> context (B, T, D), and with ``return_weights`` weights (B, T, S).

    What lies past a length has no part in anything; a source of length 0 gives zero context,
    weights and gradients. The torch backend never holds (B, T, S, H): it needs room for
    O(B*(T+S)*H) and makes tanh again in the backward pass. One floating dtype for all, which
    the results have; float16 and bfloat16 are computed in float32, and so is everything under
    torch.autocast, where the results are float32.

    Raises ValueError that names the argument whose rank, size, dtype, device or range is wrong.
    """
    _check(query, keys, values, lengths)
    for name, vector in (("weight", weight), ("bias", bias)):
        if vector is not None and vector.shape != query.shape[2:]:
            raise ValueError(
                f"{name}: found shape {tuple(vector.shape)}; expected ({query.size(2)},)"
            )
        _check_same(name, vector, query)
    module = _module(resolve("additive_attention", query, keys, values))
    context, weights = module.additive_attention(query, keys, values, weight, bias, lengths)
    return (context, weights) if return_weights else context


def dot_attention(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    scale: float = 1.0,
    lengths: Tensor | None = None,
    return_weights: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Attention with dot scores, score_ts = scale * query_t . keys_s (Luong et al. 2015, eq. 8).

    Scaled dot (Vaswani et al. 2017, eq. 1) is ``scale=1 / sqrt(H)``; Luong's general score is
    this one on projected keys. Shapes, masking and errors are those of ``additive_attention``.
    Under torch.autocast the products run in autocast's dtype, the softmax in float32, and the
    results are float32.
    """
    _check(query, keys, values, lengths)
    module = _module(resolve("dot_attention", query, keys, values))
    context, weights = module.dot_attention(query, keys, values, scale, lengths)
    return (context, weights) if return_weights else context


def concat_attention(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    projection: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    return_weights: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Attention with Luong's concat score (Luong et al. 2015, eq. 8),

        score_ts = weight . tanh(projection [query_t; keys_s] + bias)

    from the product split at the seam, so that no (B, T, S, Q+K) tensor is made.
    query (B, T, Q), keys (B, S, K), values (B, S, D), projection (A, Q+K), weight (A,),
    bias (A,) or None. The rest is that of ``additive_attention``.
    """
    if query.dim() != 3 or keys.dim() != 3:
        raise ValueError(
            f"query, keys: found shapes {tuple(query.shape)}, {tuple(keys.shape)}; "
            "expected (B, T, Q), (B, S, K)"
        )
    width = query.size(2) + keys.size(2)
    if projection.dim() != 2 or projection.size(1) != width:
        raise ValueError(
            f"projection: found shape {tuple(projection.shape)}; expected (A, Q+K = {width})"
        )
    of_query, of_keys = projection.split((query.size(2), keys.size(2)), 1)
    return additive_attention(
        F.linear(query, of_query),
        F.linear(keys, of_keys),
        values,
        weight,
        bias,
        lengths,
        return_weights,
    )


def _module(backend: str) -> object:
    return reference if backend == "reference" else torch_backend


def _check(query: Tensor, keys: Tensor, values: Tensor, lengths: Tensor | None) -> None:
    for name, tensor in (("query", query), ("keys", keys), ("values", values)):
        if tensor.dim() != 3:
            raise ValueError(f"{name}: found {tensor.dim()} dimensions; expected 3")
    if not query.is_floating_point():
        raise ValueError(f"query: found dtype {query.dtype}; expected a floating dtype")
    batch, _, width = query.shape
    source = keys.size(1)
    if keys.shape != (batch, source, width):
        raise ValueError(
            f"keys: found shape {tuple(keys.shape)}; expected ({batch}, S, {width}) as query has"
        )
    if values.shape[:2] != (batch, source):
        raise ValueError(
            f"values: found shape {tuple(values.shape)}; expected ({batch}, {source}, D) as keys"
        )
    _check_same("keys", keys, query)
    _check_same("values", values, query)
    if lengths is not None:
        check_lengths(lengths, batch, source)


def _check_same(name: str, tensor: Tensor | None, query: Tensor) -> None:
    if tensor is None:
        return
    if tensor.device != query.device:
        raise ValueError(f"{name}: found on {tensor.device}; expected {query.device} as query is")
    mixed = torch.is_autocast_enabled(query.device.type) and tensor.is_floating_point()
    if tensor.dtype != query.dtype and not mixed:
        raise ValueError(
            f"{name}: found dtype {tensor.dtype}; expected {query.dtype} as query has "
            "(convert one of them, or use torch.autocast)"
        )
