"""One step of the attention decoder for search: weights and memory prepared once, no gradients.

``reference.decoder_step`` computes the same and is what tests compare with. Here, work that is the
same at every step is done before the first: [step input; hidden] is one product with one packed
weight, biases are added once, keys and values are set to zero past a length. The embedding's part
of the gates is computed once for each different token of a step: among 320 hypotheses about 110.

A step runs on the backend that prepared the weights: PyTorch's operators (this file), or, inside
``use_backend("triton")``, the kernels in triton_backend/step, which join the weights differently.

Gate columns are those of ``torch_backend``: LSTM i f o | g, GRU r z | n_x | n_h, Elman a.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.backend import resolve
from kernels.common.additive import factors, pair, remainders
from kernels.common.cell_step import cell_step
from kernels.common.elementwise import tanh
from kernels.common.masking import masked_softmax, padding, without_padding
from kernels.common.precision import without_autocast
from kernels.common.prepared_linear import PreparedLinear, prepare_linear, prepared_linear
from kernels.common.registration import transformed
from kernels.decoder.gates import bias as _bias
from kernels.decoder.gates import columns as _columns
from kernels.decoder.sentinel import Sentinel, attend_both, sentinel_score
from kernels.decoder.weights import (
    DecoderState,
    DecoderWeights,
    LayerWeights,
    Memory,
    measured_as,
)

if TYPE_CHECKING:
    from typing_extensions import TypeIs

    from kernels.decoder.triton_backend.step import JoinedWeights

_BLOCK = 1 << 18  # elements of all pairs held at once; 1 MiB in float32, a part of L2


class StepLayer(NamedTuple):
    """One recurrent layer; C gate columns."""

    linear: PreparedLinear  # (C, I + H) on [step input; hidden], I = A or 0 in layer 0, else H
    norm_weight: Tensor | None  # (H,)
    norm_bias: Tensor | None  # (H,)


class StepWeights(NamedTuple):
    """Made by ``step_weights`` from DecoderWeights."""

    inputs: PreparedLinear  # (C, E): layer 0 on the embedding, with the bias of layer 0
    layers: tuple[StepLayer, ...]
    output: PreparedLinear  # (A, D + H), or (A, H) without attention
    query: PreparedLinear | None  # (Q, H)
    score: Tensor | None  # (Q,)
    gate: PreparedLinear | None  # (1, H) or (D, H), with its bias
    sentinel: PreparedLinear | None  # (H, I + H) on [top layer's input; hidden before], its gate
    sentinel_key: PreparedLinear | None  # (Q, H)


class StepMemory(NamedTuple):
    """Made by ``step_memory`` from Memory. What lies past a length is zero."""

    keys: Tensor  # (B, S, Q)
    values: Tensor | None  # (B, S, D); None: folded
    padded: Tensor | None  # (B, S), True past a length; None: all S positions are real
    folded: Tensor | None = None  # (B, S, A): values through the output's weight, Triton alone
    factors: Tensor | None = None  # (B, S, Q): exp(2 keys) where scores are additive


def step_weights(
    weights: DecoderWeights, kind: str, inputs: int, product: torch.dtype
) -> StepWeights | JoinedWeights:
    """Prepare ``weights`` of a decoder of ``kind`` for steps on inputs of ``inputs`` (E) numbers,
    with products in the dtype ``product``; norms and scores keep their dtype.

    Raises RuntimeError for float64 where the 'triton' backend is chosen.
    """
    size = weights.layers[0].weight_hh.size(1)
    measured = measured_as(weights, kind)
    chosen = resolve(
        "prepared_step", weights.output, triton=True, kind=measured, size=size, product=product
    )
    if chosen == "triton":
        if product == torch.float64:
            raise RuntimeError("step_weights: the 'triton' backend has no float64; use 'torch'")
        from kernels.decoder.triton_backend.step import joined_weights  # imports triton

        return joined_weights(weights, kind, inputs, product)
    first, query = weights.layers[0], weights.query
    embedding = _columns(first.weight_ih[:, :inputs], kind, "x")  # (C, E)
    return StepWeights(
        prepare_linear(embedding, _bias(first, kind), product),
        tuple(
            _prepare(layer, kind, None if number else inputs, product)
            for number, layer in enumerate(weights.layers)
        ),
        prepare_linear(weights.output, None, product),
        None if query is None else prepare_linear(query, None, product),
        None if weights.score is None else weights.score.detach(),
        None if weights.gate is None else prepare_linear(weights.gate, weights.gate_bias, product),
        *_prepare_sentinel(weights.sentinel, product),
    )


def _prepare_sentinel(
    weights: Sentinel | None, product: torch.dtype
) -> tuple[PreparedLinear | None, PreparedLinear | None]:
    if weights is None:
        return None, None
    gate = torch.cat([weights.weight_x, weights.weight_h], 1)  # (H, I + H)
    return (
        prepare_linear(gate, weights.bias, product),
        prepare_linear(weights.key, None, product),
    )


def _prepare(layer: LayerWeights, kind: str, given: int | None, product: torch.dtype) -> StepLayer:
    """``given``: so many columns of weight_ih, and the bias, belong to StepWeights.inputs."""
    inside = _columns(layer.weight_ih[:, given or 0 :], kind, "x")
    weight = torch.cat([inside, _columns(layer.weight_hh, kind, "h")], 1)  # (C, I + H)
    bias = _bias(layer, kind) if given is None else None
    norm = (layer.norm_weight, layer.norm_bias)
    return StepLayer(
        prepare_linear(weight, bias, product),
        *(None if tensor is None else tensor.detach() for tensor in norm),
    )


def reads_rows(weights: StepWeights | JoinedWeights) -> TypeIs[JoinedWeights]:
    """Whether ``prepared_step`` reads, of its inputs, just the rows that it is asked for: then they
    may be a whole vocabulary's, with tokens as rows, and picking them is no work beforehand."""
    return not isinstance(weights, StepWeights)


def input_sums(inputs: Tensor, weights: StepWeights | JoinedWeights) -> Tensor:
    """inputs (V, E) -> their share of the gates of layer 0, with its bias (V, C), in the products'
    dtype: what ``prepared_step`` takes with ``summed``. Made once for a whole vocabulary, it spares
    every step that product (Devlin 2017, "Sharp models on dull hardware")."""
    if isinstance(weights, StepWeights):
        return prepared_linear(inputs, weights.inputs)
    from kernels.decoder.triton_backend import step

    return step.input_sums(inputs, weights)


def step_memory(memory: Memory, weights: StepWeights | JoinedWeights | None = None) -> StepMemory:
    """Prepare ``memory``. Attention runs in the dtype of the state, whatever that of the products:
    it is small, and casting its operands costs more than it saves.

    weights: those of the steps. The Triton backend can then put the values through the output's
    weight here, once for a source, where that spares the steps more than it costs them.
    """
    if weights is not None and reads_rows(weights):
        from kernels.decoder.triton_backend.step import joined_memory

        keys, values, folded, padded = joined_memory(memory, weights)
        return StepMemory(keys, values, padded, folded)
    keys, values, lengths = memory
    padded = padding(lengths, keys.size(0), keys.size(1), keys.device)
    keys, values = (without_padding(tensor, padded).detach() for tensor in (keys, values))
    additive = weights is not None and weights.score is not None
    return StepMemory(keys, values, padded, factors=factors(keys) if additive else None)


@torch.no_grad()
def prepared_step(
    inputs: Tensor,
    rows: Tensor | None,
    weights: StepWeights | JoinedWeights,
    state: DecoderState,
    memory: StepMemory | None,
    kind: str,
    scale: float = 1.0,
    residual: bool = False,
    summed: bool = False,
) -> tuple[Tensor, DecoderState, Tensor | None]:
    """What ``reference.decoder_step`` computes, without dropout masks and without gradients.

    inputs (U, E), rows (N,): hypothesis i is fed inputs[rows[i]]; None: inputs are (N, E). With
    ``summed`` they are ``input_sums`` (U, C) instead. The K = N / B hypotheses of a source are side
    by side and share its memory. Returns attentional vectors (N, A), the next state, attention
    weights (N, S) or None.

    The Triton backend is one launch, or one a phase (kernels.recurrence.schedule.use_schedule), and
    can be captured in a CUDA graph; steps with the same weights must follow one another.

    Raises RuntimeError under a transform of torch.func and for weights prepared for another backend
    than the chosen one, and, of the
    Triton backend, ValueError that names an argument whose shape is wrong, that is missing, or that
    was prepared for other weights or another ``kind``.
    """
    if transformed((inputs, *state)):
        raise RuntimeError(
            "prepared_step has no derivatives and no batching rule, found a transform of "
            "torch.func or a dual number; call decoder_step"
        )
    joined = not isinstance(weights, StepWeights)  # reads_rows
    own = "triton" if joined else "torch"  # what 'auto' chose for the weights
    chosen = resolve("prepared_step", inputs, state.hidden, triton=True, decided=own)
    if (chosen == "triton") != joined:
        raise RuntimeError(
            f"prepared_step: backend {chosen!r} is chosen, the weights were prepared for "
            f"{own!r}; call step_weights and prepared_step under the "
            "same use_backend"
        )
    if memory is not None and memory.values is None and not joined:
        raise RuntimeError(
            "prepared_step: memory was prepared for the 'triton' backend; call step_memory anew"
        )
    with without_autocast(inputs):  # the weights say what to multiply in
        if not isinstance(weights, StepWeights):
            from kernels.decoder.triton_backend.step import joined_step

            tensors = None
            if memory is not None:
                tensors = (memory.keys, memory.values, memory.folded, memory.padded)
            return joined_step(inputs, rows, weights, state, tensors, kind, scale, residual, summed)
        return _step(inputs, rows, weights, state, memory, kind, scale, residual, summed)


def _step(
    inputs: Tensor,
    rows: Tensor | None,
    weights: StepWeights,
    state: DecoderState,
    memory: StepMemory | None,
    kind: str,
    scale: float,
    residual: bool,
    summed: bool,
) -> tuple[Tensor, DecoderState, Tensor | None]:
    dtype, fixed = state.hidden.dtype, weights.output.scales is not None  # of int8
    if summed and weights.sentinel is not None and len(weights.layers) == 1:
        raise ValueError("prepared_step: the sentinel reads the inputs themselves; summed is True")
    sums = inputs if summed else prepared_linear(inputs, weights.inputs)
    sums = sums.to(dtype)  # (U, C)
    if rows is not None:
        sums = sums.index_select(0, rows)  # (N, C)
    elif summed:
        sums = sums.clone()  # it is added to in place
    x, hidden = state.feed, []
    cell: list[Any] = []  # of an LSTM, else None
    for number, layer in enumerate(weights.layers):
        h = state.hidden[number]  # (N, H)
        given, before = x, h  # of the top layer, in the end; without the embedding
        c = None if state.cell is None else state.cell[number]
        joined = h if x is None else torch.cat([x, h], 1)  # (N, I + H)
        gates = prepared_linear(joined, layer.linear)  # (N, C)
        gates = gates.to(dtype) if number else sums.add_(gates)
        h, c = cell_step(kind, gates, h, c, _rough(weights, dtype), fixed)
        hidden.append(h)
        cell.append(c)
        if layer.norm_weight is not None:
            h = F.layer_norm(h, h.shape[-1:], layer.norm_weight, layer.norm_bias)
        x = x + h if residual and number and x is not None else h  # (N, H)
    attention = None
    assert x is not None  # there is a layer
    top = x  # (N, H)
    if memory is not None:
        own = None
        if weights.sentinel is not None:
            assert before is not None  # there is a layer
            if len(weights.layers) == 1:
                embedded = inputs if rows is None else inputs.index_select(0, rows)  # (N, E)
                given = embedded if given is None else torch.cat([embedded, given], 1)
            assert given is not None  # the embedding, if nothing else
            sums = prepared_linear(torch.cat([given, before], 1), weights.sentinel)
            memory_cell = hidden[-1] if cell[-1] is None else torch.tanh(cell[-1])
            own = sums.to(dtype).sigmoid_().mul_(memory_cell)  # (N, H)
        context, attention = _attend(x, weights, memory, scale, own)
        if weights.gate is not None:
            context.mul_(prepared_linear(x, weights.gate).to(dtype).sigmoid_())
        top = torch.cat([context, x], 1)  # (N, D + H)
    vector = prepared_linear(top, weights.output).to(dtype)  # (N, A)
    tanh(vector, vector, _rough(weights, dtype), fixed)
    next_state = DecoderState(
        _stack(hidden),
        None if state.cell is None else _stack(cell),
        None if state.feed is None else vector,
    )
    return vector, next_state, attention


def _rough(weights: StepWeights, dtype: torch.dtype) -> bool:
    """Whether products round what they read."""
    return weights.output.dtype != dtype


def _stack(layers: list[Tensor]) -> Tensor:
    """(N, H) of each layer -> (L, N, H), for one layer without a copy."""
    return layers[0].unsqueeze(0) if len(layers) == 1 else torch.stack(layers)


def _attend(
    hidden: Tensor, weights: StepWeights, memory: StepMemory, scale: float, own: Tensor | None
) -> tuple[Tensor, Tensor]:
    """hidden (N, H) -> context (N, D), attention weights (N, S); ``own`` (N, H): the sentinel."""
    keys, values, padded = memory[:3]
    assert values is not None  # prepared_step has seen to it
    query = hidden  # (N, Q)
    if weights.query is not None:
        query = prepared_linear(hidden, weights.query)
    beams = len(hidden) // max(1, len(keys))  # K
    query = query.view(len(keys), beams, keys.shape[2]).to(keys.dtype)  # (B, K, Q)
    if weights.score is None:
        scores = torch.bmm(query, keys.transpose(1, 2)) * scale  # (B, K, S)
    else:
        scores = _additive_scores(query, keys, memory.factors, weights.score)
    if own is not None and weights.sentinel_key is not None:
        key = prepared_linear(own, weights.sentinel_key).to(keys.dtype).view_as(query)
        value = own.view(len(keys), beams, own.shape[1])
        own_score = sentinel_score(query, key, weights.score, scale)
        found = attend_both(scores, own_score, values, padded, value)
        return found[0].flatten(0, 1), found[1].flatten(0, 1)
    attention = masked_softmax(scores, padded)  # (B, K, S)
    context = torch.bmm(attention, values)  # (B, K, D)
    return context.flatten(0, 1), attention.flatten(0, 1)


def _additive_scores(
    query: Tensor, keys: Tensor, key_factors: Tensor | None, score: Tensor
) -> Tensor:
    """v . tanh(q + k): query (B, K, Q), keys (B, S, Q), score (Q,) -> (B, K, S)."""
    batch, beams, width = query.shape
    source = keys.shape[1]
    rows = max(1, min(batch, _BLOCK // max(1, beams * source * width)))
    scratch = query.new_empty(rows, beams, source, width)
    scores = query.new_empty(batch, beams, source)
    queries, keys, ones = pair(query, keys, key_factors)
    doubled = -2 * score
    for start in range(0, batch, rows):
        stop = min(start + rows, batch)
        block = scratch[: stop - start]
        r = remainders(queries[start:stop, :, None], keys[start:stop, None], ones, block)
        torch.mv(r.view(-1, width), doubled, out=scores[start:stop].view(-1))
    return scores.add_(score.sum())  # v . tanh = v . (1 - 2r)
