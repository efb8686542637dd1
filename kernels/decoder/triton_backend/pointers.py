"""What the launches hand to the loop's kernels, by the names of their parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from kernels.decoder.triton_backend.prepare import Buffers, Prepared


class ForwardPointers(NamedTuple):
    """Arguments of ``forward.py``'s kernel, which explains their shapes; None: absent."""

    biases: Tensor
    weight_first: Tensor
    weight_deep: Tensor
    gates: Tensor
    states: Tensor
    carry: Tensor
    cells: Tensor | None
    shown: Tensor
    gain: Tensor | None
    shift: Tensor | None
    statistics: Tensor | None
    between: Tensor | None
    sentinel_weight: Tensor | None
    sentinel_bias: Tensor | None
    sentinel_gates: Tensor | None
    sentinels: Tensor | None
    sentinel_key: Tensor | None
    sentinel_keys: Tensor | None
    sentinel_alpha: Tensor | None
    gate_weight: Tensor | None
    gate_bias: Tensor | None
    betas: Tensor | None
    ungated: Tensor | None
    query_weight: Tensor | None
    queries: Tensor | None
    keys: Tensor | None
    values: Tensor | None
    score: Tensor | None
    lengths: Tensor | None
    alpha: Tensor | None
    contexts: Tensor | None
    output_weight: Tensor
    output_mask: Tensor | None
    raw: Tensor
    vectors: Tensor
    fed: Tensor | None
    counter: Tensor | None  # persistent
    status: Tensor | None


class BackwardPointers(NamedTuple):
    """Arguments of ``backward.py``'s kernel, which explains their shapes; None: absent."""

    weight_first: Tensor
    weight_deep: Tensor
    gates: Tensor
    states: Tensor
    cells: Tensor | None
    shown: Tensor
    gain: Tensor | None
    statistics: Tensor | None
    between: Tensor | None
    sentinel_weight: Tensor | None
    sentinel_gates: Tensor | None
    sentinels: Tensor | None
    sentinel_key: Tensor | None
    sentinel_keys: Tensor | None
    sentinel_alpha: Tensor | None
    gate_weight: Tensor | None
    betas: Tensor | None
    ungated: Tensor | None
    query_weight: Tensor | None
    queries: Tensor | None
    keys: Tensor | None
    values: Tensor | None
    score: Tensor | None
    lengths: Tensor | None
    alpha: Tensor | None
    output_weight: Tensor
    output_mask: Tensor | None
    raw: Tensor
    d_vectors: Tensor
    d_alpha: Tensor | None
    d_raw: Tensor
    d_contexts: Tensor | None
    d_betas: Tensor | None
    d_sentinel_gates: Tensor | None
    d_sentinel_keys: Tensor | None
    d_sentinel_scores: Tensor | None
    d_top: Tensor | None
    d_scores: Tensor | None
    d_queries: Tensor | None
    d_skip: Tensor | None
    d_shown: Tensor | None
    d_hidden: Tensor
    d_cell: Tensor | None
    d_gates: Tensor
    d_feed: Tensor | None
    counter: Tensor | None  # persistent
    status: Tensor | None


def forward_pointers(
    prepared: Prepared, buffers: Buffers, counter: Tensor | None, status: Tensor | None
) -> ForwardPointers:
    """counter and status: (1,) int32 each, zero, of programs that wait for each other."""
    return ForwardPointers(
        biases=prepared.biases,
        weight_first=prepared.first,
        weight_deep=prepared.deep,
        gates=buffers.gates,
        states=buffers.states,
        carry=buffers.carry,
        cells=buffers.cells,
        shown=buffers.shown,
        gain=prepared.gain,
        shift=prepared.shift,
        statistics=buffers.statistics,
        between=prepared.between,
        sentinel_weight=prepared.sentinel,
        sentinel_bias=prepared.sentinel_bias,
        sentinel_gates=buffers.sentinel_gates,
        sentinels=buffers.sentinels,
        sentinel_key=prepared.sentinel_key,
        sentinel_keys=buffers.sentinel_keys,
        sentinel_alpha=buffers.sentinel_alpha,
        gate_weight=prepared.gate,
        gate_bias=prepared.gate_bias,
        betas=buffers.betas,
        ungated=buffers.ungated,
        query_weight=prepared.query,
        queries=buffers.queries,
        keys=prepared.keys,
        values=prepared.values,
        score=prepared.score,
        lengths=prepared.lengths,
        alpha=buffers.alpha,
        contexts=buffers.contexts,
        output_weight=prepared.output,
        output_mask=prepared.output_mask,
        raw=buffers.raw,
        vectors=buffers.vectors,
        fed=buffers.fed,
        counter=counter,
        status=status,
    )


def backward_pointers(
    prepared: Prepared,
    buffers: Buffers,
    d_vectors: Tensor,
    d_alpha: Tensor | None,
    grads: dict[str, Any],
    counter: Tensor | None,
    status: Tensor | None,
) -> BackwardPointers:
    """d_vectors (T, B, A), d_alpha (T, B, S): gradients that arrive; grads: those that the loop
    makes, by the kernel's names."""
    return BackwardPointers(
        weight_first=prepared.first,
        weight_deep=prepared.deep,
        gates=buffers.gates,
        states=buffers.states,
        cells=buffers.cells,
        shown=buffers.shown,
        gain=prepared.gain,
        statistics=buffers.statistics,
        between=prepared.between,
        sentinel_weight=prepared.sentinel,
        sentinel_gates=buffers.sentinel_gates,
        sentinels=buffers.sentinels,
        sentinel_key=prepared.sentinel_key,
        sentinel_keys=buffers.sentinel_keys,
        sentinel_alpha=buffers.sentinel_alpha,
        gate_weight=prepared.gate,
        betas=buffers.betas,
        ungated=buffers.ungated,
        query_weight=prepared.query,
        queries=buffers.queries,
        keys=prepared.keys,
        values=prepared.values,
        score=prepared.score,
        lengths=prepared.lengths,
        alpha=buffers.alpha,
        output_weight=prepared.output,
        output_mask=prepared.output_mask,
        raw=buffers.raw,
        d_vectors=d_vectors,
        d_alpha=d_alpha,
        d_raw=grads["d_raw"],
        d_contexts=grads["d_contexts"],
        d_betas=grads["d_betas"],
        d_sentinel_gates=grads["d_sentinel_gates"],
        d_sentinel_keys=grads["d_sentinel_keys"],
        d_sentinel_scores=grads["d_sentinel_scores"],
        d_top=grads["d_top"],
        d_scores=grads["d_scores"],
        d_queries=grads["d_queries"],
        d_skip=grads["d_skip"],
        d_shown=grads["d_shown"],
        d_hidden=grads["d_hidden"],
        d_cell=grads["d_cell"],
        d_gates=grads["d_gates"],
        d_feed=grads["d_feed"],
        counter=counter,
        status=status,
    )
