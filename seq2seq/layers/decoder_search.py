"""The first state, ``step`` and ``reorder`` of search for every model whose decoder is
``seq2seq.layers.decoder.Decoder``: translation and captioning, which differ in their encoders."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from kernels.common.precision import precision
from kernels.common.prepared_linear import (
    PreparedLinear,
    prepare_linear,
    prepare_rows,
    prepared_linear,
)
from kernels.common.quantised import QuantisedRows
from kernels.decoder import (
    DecoderState,
    Memory,
    StepMemory,
    StepWeights,
    input_sums,
    reads_rows,
    step_memory,
)
from seq2seq.layers.decoder import Decoder

if TYPE_CHECKING:
    from kernels.decoder.triton_backend.step import JoinedWeights

_LARGEST_TABLE = 1 << 28  # bytes of a vocabulary's sums


class DecodingWeights(NamedTuple):
    """The parameters that a step multiplies with, prepared once for many steps. Later changes of
    the model do not reach them."""

    embedding: Tensor  # (V, E), or (V, C): summed
    summed: bool  # whether it is the embedding's share of the gates
    decoder: StepWeights | JoinedWeights
    projection: PreparedLinear  # (V, A)
    table: QuantisedRows | None = None  # (V, E) in int8, in place of ``embedding``


class Steps(Protocol):
    """What runs one step: a Decoder, or its stand-in for weights in another form."""

    def step(
        self,
        embedded: Tensor,
        rows: Tensor | None,
        state: DecoderState,
        memory: StepMemory | None,
        weights: Any,
        summed: bool = False,
    ) -> tuple[Tensor, DecoderState, Tensor | None]:
        """See Decoder.step."""


@dataclass(frozen=True)
class SearchState:
    """What decoding carries from step to step, for N hypotheses of B sources."""

    decoder: DecoderState  # (L, N, H), (L, N, H), (N, A)
    memory: StepMemory | None  # (B, S, .), shared by the hypotheses of a source
    rows: Tensor  # (N,) the source of each hypothesis, ascending
    weights: DecodingWeights  # the same in all states of a search
    attention: Tensor | None = None  # (N, S) of the step before


def decoding_weights(
    embedding: nn.Embedding, decoder: Decoder, projection: nn.Linear
) -> DecodingWeights:
    """Prepared for products in the dtype that autocast has here. Where a step reads its rows by
    itself (in Triton), a vocabulary that is not too large goes through the gates' weight here, once
    for all steps."""
    product = precision(projection.weight).product
    inputs, prepared = embedding.weight.detach(), decoder.step_weights(product)
    summed = reads_rows(prepared) and _table_bytes(inputs, decoder, product) <= _LARGEST_TABLE
    if decoder.sentinel_gate is not None and len(decoder.layers) == 1:
        summed = False  # the sentinel reads the embedding itself
    return DecodingWeights(
        input_sums(inputs, prepared) if summed else inputs,
        summed,
        prepared,
        prepare_linear(projection.weight, projection.bias, product),
    )


def narrowed(weights: DecodingWeights, ids: Tensor, projection: nn.Linear) -> DecodingWeights:
    """``weights`` for steps that know the words ids (U,) alone: a token is a position in ``ids``,
    and logits are (N, U). ``projection`` is what they were made of."""
    bias = projection.bias
    return weights._replace(
        embedding=weights.embedding.index_select(0, ids),
        projection=prepare_linear(
            projection.weight.index_select(0, ids),
            None if bias is None else bias.index_select(0, ids),
            weights.projection.dtype,
        ),
    )


def narrowed_int8(
    weights: DecodingWeights, ids: Tensor, vocabulary: QuantisedRows
) -> DecodingWeights:
    """``narrowed`` for weights in int8; ``vocabulary`` (V, A) are the rows of the projection."""
    bias = weights.projection.bias
    return weights._replace(
        projection=prepare_rows(
            vocabulary.select(ids), None if bias is None else bias.index_select(0, ids)
        ),
        table=None if weights.table is None else weights.table.select(ids),
    )


def _table_bytes(inputs: Tensor, decoder: Decoder, product: torch.dtype) -> int:
    gates = 4 if decoder.kind in ("lstm", "gru") else 1
    return len(inputs) * gates * decoder.layers[0].hidden_size * product.itemsize


def first_state(
    decoder: DecoderState, memory: Memory | None, weights: DecodingWeights
) -> SearchState:
    """One hypothesis for each source."""
    prepared = None if memory is None else step_memory(memory, weights.decoder)
    rows = torch.arange(decoder.hidden.shape[1], device=decoder.hidden.device)
    return SearchState(decoder, prepared, rows, weights)


@torch.no_grad()
def step(decoder: Steps, tokens: Tensor, state: SearchState) -> tuple[Tensor, SearchState]:
    """One token for each hypothesis: tokens (N,) -> logits (N, V). No gradients."""
    weights, rows = state.weights, None
    if reads_rows(weights.decoder):
        inputs, rows = weights.embedding, tokens
    else:
        if tokens.device.type == "cpu":  # elsewhere, finding the different ones costs a wait
            tokens, rows = torch.unique(tokens, return_inverse=True)  # (U,), (N,)
        table = weights.table
        inputs = weights.embedding.index_select(0, tokens) if table is None else table.take(tokens)
    vectors, after, attention = decoder.step(
        inputs, rows, state.decoder, state.memory, weights.decoder, weights.summed
    )
    logits = prepared_linear(vectors, weights.projection)  # (N, V)
    return logits, replace(state, decoder=after, attention=attention)


def reorder(state: SearchState, index: Tensor) -> SearchState:
    """Row i of the new state is row index[i] of the old one. Hypotheses of a source must
    stay side by side; the source's keys and values are then shared, not copied."""
    hidden, cell, feed = state.decoder
    decoder = DecoderState(
        hidden.index_select(1, index),
        None if cell is None else cell.index_select(1, index),
        None if feed is None else feed.index_select(0, index),
    )
    attention = None if state.attention is None else state.attention.index_select(0, index)
    rows, memory = state.rows.index_select(0, index), state.memory
    if memory is not None and not torch.equal(rows, state.rows):
        memory, rows = _regroup(memory, rows)
    return replace(state, decoder=decoder, memory=memory, rows=rows, attention=attention)


def _regroup(memory: StepMemory, rows: Tensor) -> tuple[StepMemory, Tensor]:
    """The memory of those sources that ``rows`` (N,) still names, and rows numbered anew."""
    kept, counts = torch.unique_consecutive(rows, return_counts=True)
    if len(kept) and bool((counts == counts[0]).all()):
        every = torch.arange(len(memory.keys), device=kept.device)
        chosen = None if torch.equal(kept, every) else kept
        rows = torch.arange(len(kept), device=rows.device).repeat_interleave(counts)
    else:  # unequal numbers of hypotheses: every one gets a source of its own
        chosen, rows = rows, torch.arange(len(rows), device=rows.device)
    if chosen is not None:
        others = (None if t is None else t.index_select(0, chosen) for t in memory[1:])
        memory = StepMemory(memory.keys.index_select(0, chosen), *others)
    return memory, rows
