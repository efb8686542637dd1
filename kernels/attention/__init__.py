"""Attention: additive (Bahdanau) and dot scores over padded sources, and concat (Luong).

Shapes: B batch, T target steps, S source steps, H width of query and keys, D of the values.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from kernels.attention import operation, reference
from kernels.attention.arguments import Arguments, Options
from kernels.attention.check import check, check_missing, check_source_lengths, check_tensor
from kernels.backend import resolve
from kernels.common.masking import missing, without_padding

__all__ = ["additive_attention", "concat_attention", "dot_attention"]


def additive_attention(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    return_weights: bool = False,
    *,
    mask: Tensor | None = None,
    temperature: float = 1.0,
    heads: int = 1,
    coverage: Tensor | None = None,
    coverage_weight: Tensor | None = None,
    centre: Tensor | None = None,
    window: float = 0.0,
) -> Tensor | tuple[Tensor, Tensor]:
    """Attention with additive scores (Bahdanau et al. 2015, appendix A.1.2).

        score_ts = weight . tanh(query_t + keys_s + bias) / temperature
        weights_t = softmax_s(score_t),  context_t = sum_s weights_ts values_s

    query (B, T, H) and keys (B, S, H) are already projected; values (B, S, D), weight (H,),
    bias (H,) or None; lengths (B,) integers from 0 to S, all of S when None; mask (B, S) bool,
    True where there is a source. Both may be given.
    -> context (B, T, D), and with ``return_weights`` weights (B, T, S).

    T is free: in a step of beam search the K hypotheses of a source are K queries on its keys,
    which are never copied.

    heads: H and D are split into as many equal parts, each with a softmax of its own; the contexts
    are put side by side, the weights become (B, heads, T, S).
    coverage (B, T, S) with coverage_weight (H,): coverage_ts * coverage_weight is added inside tanh
    (See et al. 2017, equation 11). Location features (Chorowski et al. 2015, equation 9), which
    follow from the weights of the step before, are added to the keys of the step.
    centre (B, T) and window: Luong et al. 2015's local-p. Query t sees sources at most ``window``
    from centre_t, a real position, and the weights of the softmax are multiplied by
    exp(-(s - centre_t)^2 / (2 (window / 2)^2)) (equation 10). The gradient of ``centre`` comes from
    this factor.

    Sources past a length or outside a mask are ignored. For a query without any source, context,
    weights and gradients are zero. The torch and triton backends never hold (B, T, S, H): they need
    room for O(B*(T+S)*(H+D)) and the weights, and compute tanh again in the backward pass. The
    triton backend keeps the scores for it, (B, N, T, S) in float32, where they take no more room
    than the arguments; otherwise it computes them again, which costs another tanh. All tensors have
    one floating dtype, and so have the results. float16 and bfloat16 are computed in float32 (on
    triton, the weights are rounded for their product with the values). Under torch.autocast
    everything is computed in float32, and the results are float32.

    Raises ValueError that names the argument whose rank, size, dtype, device or range is wrong. If
    ``lengths`` are on a GPU, a device-side assertion checks their values instead.
    """
    if temperature <= 0:
        raise ValueError(f"temperature: found {temperature}; expected a positive number")
    arguments = Arguments(query, keys, values, weight, bias, coverage, coverage_weight, centre)
    options = Options(lengths, mask, 1.0 / temperature, float(window), heads)
    return _attention("additive_attention", arguments, options, return_weights)


def dot_attention(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    scale: float = 1.0,
    lengths: Tensor | None = None,
    return_weights: bool = False,
    *,
    mask: Tensor | None = None,
    heads: int = 1,
    centre: Tensor | None = None,
    window: float = 0.0,
) -> Tensor | tuple[Tensor, Tensor]:
    """Attention with dot scores, score_ts = scale * query_t . keys_s (Luong et al. 2015, eq. 8).

    Scaled dot (Vaswani et al. 2017, eq. 1) is ``scale=1 / sqrt(H)``, with several heads
    ``sqrt(heads / H)``. For a temperature, divide the scale by it. Luong's general score is this
    score on projected keys. Shapes, masking, options and errors are those of
    ``additive_attention``. float16 scores are summed in float32, so that they do not overflow.
    bfloat16 is multiplied as it is, and the torch backend rounds its scores to bfloat16 before the
    softmax, which is in float32. Under torch.autocast the products run in autocast's dtype, the
    softmax in float32, and the results are float32.
    """
    arguments = Arguments(query, keys, values, None, None, None, None, centre)
    options = Options(lengths, mask, float(scale), float(window), heads)
    return _attention("dot_attention", arguments, options, return_weights)


def concat_attention(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    projection: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    return_weights: bool = False,
    *,
    mask: Tensor | None = None,
    temperature: float = 1.0,
    heads: int = 1,
    coverage: Tensor | None = None,
    coverage_weight: Tensor | None = None,
    centre: Tensor | None = None,
    window: float = 0.0,
) -> Tensor | tuple[Tensor, Tensor]:
    """Attention with Luong's concat score (Luong et al. 2015, eq. 8),

        score_ts = weight . tanh(projection [query_t; keys_s] + bias)

    by two products, one of queries and one of keys, so that no (B, T, S, Q+K) tensor exists.
    query (B, T, Q), keys (B, S, K), values (B, S, D), projection (A, Q+K), weight (A,),
    bias (A,) or None, coverage_weight (A,). The rest is that of ``additive_attention``.
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
    check_tensor("keys", keys, tuple(keys.shape), query)
    check_tensor("projection", projection, tuple(projection.shape), query)
    check_missing(lengths, mask, keys)
    keys = without_padding(keys, missing(lengths, mask, keys))  # which may hold anything
    of_query, of_keys = projection.split((query.size(2), keys.size(2)), 1)
    return additive_attention(
        F.linear(query, of_query),
        F.linear(keys, of_keys),
        values,
        weight,
        bias,
        lengths,
        return_weights,
        mask=mask,
        temperature=temperature,
        heads=heads,
        coverage=coverage,
        coverage_weight=coverage_weight,
        centre=centre,
        window=window,
    )


def _attention(
    name: str, arguments: Arguments, options: Options, return_weights: bool
) -> Tensor | tuple[Tensor, Tensor]:
    check(arguments, options)
    backend = resolve(name, *arguments, triton=True, size=arguments.query.size(-1))
    if backend == "reference":
        check_source_lengths(options.lengths, arguments.keys.size(1))
        context, weights = reference.attention(arguments, options)
    else:
        context, weights = operation.attention(
            arguments, options, backend=backend, return_weights=return_weights
        )
    if not return_weights:
        return context
    return context, weights.squeeze(1) if options.heads == 1 else weights
