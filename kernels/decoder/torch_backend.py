"""The attention decoder without an autograd tape: forward and backward written by hand.

What need not wait for the loop is done outside it: the embedding's share of the gates is one
product before the loop; every weight gradient, and the gradient of the values, is one product
after it. Inside the loop only the truly sequential products remain, one per layer and step,
with [input; hidden] as one row. Products run in bf16 under autocast; states, gates and softmax
stay in fp32. Additive scoring is recomputed in the backward pass, a block of sentences
at a time that fits a core's cache, so that no (B, T, S, Q) tensor exists.

Inside, gate columns are ordered so that all sigmoids are side by side, and the GRU has four
column groups (r, z, input part of n, hidden part of n), which lets one product serve it too:

    LSTM  i f o | g        GRU  r z | n_x | n_h        Elman  a
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from kernels.attention.masking import padding
from kernels.decoder import reference
from kernels.decoder.weights import (
    DecoderState,
    DecoderWeights,
    DropoutMasks,
    LayerWeights,
    Memory,
)
from kernels.precision import precision

_BLOCK_BYTES = 1 << 19  # of the (block, S, Q) scratch tensor: half a megabyte stays in cache
_aten = torch.ops.aten


@dataclass
class _Layer:
    """A layer's combined weight and what its forward pass leaves for the backward pass."""

    weight: Tensor  # (I + H, C), I the step input inside the loop, C the gate columns
    rows: Tensor  # (T, B, I + H) the loop's product rows [input; hidden], product dtype
    gates: Tensor  # (T, B, C) activations, fp32
    hidden: Tensor  # (T + 1, B, H)
    cell: Tensor | None  # (T + 1, B, H)
    cell_tanh: Tensor | None  # (T, B, H)
    norm: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # (mean, rstd) per step
    d_gates: Tensor | None = None  # (T, B, C), product dtype


class _Plan:
    """The saved tensors and constants of one call, shared by forward and backward."""

    def __init__(self, kind: str, scale: float, residual: bool, product: torch.dtype) -> None:
        self.kind, self.scale, self.residual, self.product = kind, scale, residual, product
        self.layers: list[_Layer] = []


def attention_decoder(
    inputs: Tensor,
    weights: DecoderWeights,
    state: DecoderState,
    memory: Memory | None,
    kind: str,
    scale: float,
    residual: bool,
    masks: DropoutMasks,
) -> tuple[Tensor, DecoderState, Tensor | None]:
    """See kernels.attention_decoder. A decoder with a sentinel runs step by step on autograd's
    tape: its gate and its place in the softmax have no backward pass written by hand."""
    if weights.sentinel is not None:
        return reference.attention_decoder(
            inputs, weights, state, memory, kind, scale, residual, masks
        )
    device = inputs.device.type
    product = precision(inputs).product
    flat = [tensor for layer in weights.layers for tensor in layer]
    plan = _Plan(kind, scale, residual, product)
    with torch.autocast(device, enabled=False):
        vectors, hidden, cell, feed, attention = _Loop.apply(
            plan,
            inputs,
            state.hidden,
            state.cell,
            state.feed,
            None if memory is None else memory.keys,
            None if memory is None else memory.values,
            None if memory is None else memory.lengths,
            weights.query,
            weights.score,
            weights.gate,
            weights.gate_bias,
            weights.output,
            masks.output,
            len(masks.between),
            *masks.between,
            *flat,
        )
    return vectors, DecoderState(hidden, cell, feed), attention


class _Loop(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, plan, inputs, hidden, cell, feed, keys, values, lengths, query, score, gate,
        gate_bias, output, output_mask, between_count, *rest,
    ):  # fmt: skip
        between, flat = rest[:between_count], rest[between_count:]
        layers = [LayerWeights(*flat[i : i + 6]) for i in range(0, len(flat), 6)]
        run = _Forward(
            plan, inputs, hidden, cell, feed, keys, values, lengths, query, score, gate, gate_bias,
            output, output_mask, between, layers,
        )  # fmt: skip
        vectors, attention = run.loop()
        ctx.run = run
        final_hidden = torch.stack([layer.hidden[-1] for layer in plan.layers])
        final_cell = None
        if cell is not None:
            final_cell = torch.stack([layer.cell[-1] for layer in plan.layers])
        final_feed = None
        if feed is not None:
            final_feed = run.vectors[-1].clone() if inputs.shape[1] else feed.clone()
        ctx.set_materialize_grads(False)
        return vectors, final_hidden, final_cell, final_feed, attention

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_vectors, d_hidden, d_cell, d_feed, d_attention):
        run = ctx.run
        if run is None:
            raise RuntimeError(
                "attention_decoder: backward was called twice; what it saves is freed after the "
                "first call. Use the reference backend to go through the graph again."
            )
        ctx.run = None
        with torch.autocast(run.inputs.device.type, enabled=False):
            return _backward(run, d_vectors, d_hidden, d_cell, d_feed, d_attention)


class _Forward:
    """Runs the loop; its attributes are what the backward pass reads. Time-major inside."""

    def __init__(
        self, plan, inputs, hidden, cell, feed, keys, values, lengths, query, score, gate,
        gate_bias, output, output_mask, between, layers,
    ) -> None:  # fmt: skip
        self.plan, self.inputs, self.feed, self.layer_weights = plan, inputs, feed, layers
        self.output_mask, self.between, self.score = output_mask, between, score
        self.steps, self.batch, self.size = inputs.shape[1], inputs.shape[0], hidden.shape[2]
        kind, product, dtype = plan.kind, plan.product, inputs.dtype
        self.dtype = dtype
        steps, batch, size = self.steps, self.batch, self.size
        for number, layer in enumerate(layers):
            static = inputs.shape[2] if number == 0 else 0
            weight = _combine(layer, kind, static).to(product)
            states = hidden.new_empty(steps + 1, batch, size)
            states[0] = hidden[number]
            cells = cell_tanh = None
            if cell is not None:
                cells = torch.empty_like(states)
                cells[0] = cell[number]
                cell_tanh = hidden.new_empty(steps, batch, size)
            plan.layers.append(
                _Layer(
                    weight,
                    inputs.new_empty(steps, batch, weight.shape[0], dtype=product),
                    hidden.new_empty(steps, batch, weight.shape[1]),
                    states,
                    cells,
                    cell_tanh,
                )
            )
        self.keys, self.values = keys, None
        if keys is not None:
            self.values = values.to(product)
            self.alpha = inputs.new_empty(steps, batch, keys.shape[1])
            self.mask = None
            if lengths is not None:
                self.hole = padding(lengths, *keys.shape[:2], keys.device)  # (B, S)
                self.mask = torch.zeros_like(self.hole, dtype=dtype)
                self.mask.masked_fill_(self.hole, torch.finfo(dtype).min)
                self.empty = bool((lengths == 0).any())
            self.query = None if query is None else query.to(product)
            if query is not None or score is not None:
                self.queries = inputs.new_empty(steps, batch, keys.shape[2])
            self.dot_keys = keys.to(product) if score is None else None
        self.gate, self.gate_bias = None, gate_bias
        if gate is not None:
            self.gate = gate.to(product)  # (G, H)
            self.beta = inputs.new_empty(steps, batch, gate.shape[0])  # (T, B, G)
            self.contexts = inputs.new_empty(steps, batch, values.shape[2], dtype=product)
        self.output = output.to(product)
        self.tops = inputs.new_empty(steps, batch, output.shape[1], dtype=product)
        self.raw = inputs.new_empty(steps, batch, output.shape[0])  # before the mask
        self.vectors = self.raw
        if output_mask is not None:
            self.vectors = torch.empty_like(self.raw)

    def loop(self) -> tuple[Tensor, Tensor | None]:
        plan, product = self.plan, self.plan.product
        first = self.layer_weights[0]
        embedded = self.inputs.transpose(0, 1).to(product)  # (T, B, E)
        self.embedded = embedded.reshape(-1, embedded.shape[2])
        static_weight = _columns(first.weight_ih[:, : self.inputs.shape[2]], plan.kind, "x")
        biases = [_bias(layer, plan.kind) for layer in self.layer_weights]
        statics = torch.mm(self.embedded, static_weight.to(product).t()).to(self.dtype)
        statics = statics.add_(biases[0]).view(self.steps, self.batch, len(biases[0]))  # (T, B, C)
        output_t = self.output.t()
        feed = self.feed
        for t in range(self.steps):
            x = feed
            for number, layer in enumerate(plan.layers):
                rows, width = layer.rows[t], layer.rows.shape[2] - self.size
                if width:
                    rows[:, :width].copy_(x)
                rows[:, width:].copy_(layer.hidden[t])
                gates = layer.gates[t].copy_(torch.mm(rows, layer.weight))
                gates.add_(statics[t] if number == 0 else biases[number])
                h = _cell_forward(plan.kind, layer, t)
                x = self._layer_output(number, layer, h, x, t)
            top = self.tops[t]
            top[:, top.shape[1] - self.size :].copy_(x)
            if self.keys is not None:
                self._attend(t, top)
            self.raw[t].copy_(torch.mm(top, output_t)).tanh_()
            if self.output_mask is not None:
                mask = self.output_mask[min(t, self.output_mask.shape[0] - 1)]
                torch.mul(self.raw[t], mask, out=self.vectors[t])
            feed = self.vectors[t] if self.feed is not None else None
        # Copies: the backward pass reads its own, whatever becomes of the results meanwhile.
        attention = None if self.keys is None else self.alpha.transpose(0, 1).clone()
        return self.vectors.transpose(0, 1).clone(), attention

    def _layer_output(self, number: int, layer: _Layer, h: Tensor, x: Tensor, t: int) -> Tensor:
        weights = self.layer_weights[number]
        if weights.norm_weight is not None:
            h, mean, rstd = torch.native_layer_norm(
                h, [self.size], weights.norm_weight, weights.norm_bias, 1e-5
            )
            layer.norm.append((mean, rstd))
        if self.plan.residual and number:
            h = h + x
        if number + 1 < len(self.plan.layers) and self.between:
            mask = self.between[number]
            h = h * mask[min(t, mask.shape[0] - 1)]
        return h

    def _attend(self, t: int, top: Tensor) -> None:
        """Fills alpha[t] (B, S) and the context part of ``top``."""
        hidden = top[:, top.shape[1] - self.size :]  # (B, H)
        query = hidden if self.query is None else torch.mm(hidden, self.query.t())  # (B, Q)
        if self.score is None:
            if self.query is not None:
                self.queries[t].copy_(query)
            scores = torch.bmm(self.dot_keys, query.unsqueeze(2)).squeeze(2)  # (B, S)
            scores = scores.to(self.dtype) * self.plan.scale
        else:
            self.queries[t].copy_(query)
            scores = _additive_scores(self.queries[t], self.keys, self.score)
        if self.mask is not None:
            scores += self.mask
        torch.softmax(scores, 1, out=self.alpha[t])
        if self.mask is not None and self.empty:
            self.alpha[t].masked_fill_(self.hole, 0.0)
        weights = self.alpha[t].to(self.values.dtype).unsqueeze(1)  # (B, 1, S)
        context = torch.bmm(weights, self.values).squeeze(1)  # (B, D)
        if self.gate is not None:
            beta = self.beta[t].copy_(torch.mm(hidden, self.gate.t()))  # (B, G)
            beta.add_(self.gate_bias).sigmoid_()
            context = self.contexts[t].copy_(context) * beta
        top[:, : self.values.shape[2]].copy_(context)


def _backward(run: _Forward, d_vectors, d_hidden, d_cell, d_feed, d_attention):
    plan, steps, batch, size = run.plan, run.steps, run.batch, run.size
    product, dtype = plan.product, run.dtype
    new = run.inputs.new_empty
    d_raw = new(steps, batch, run.raw.shape[2], dtype=product)  # (T, B, A) before tanh
    if run.keys is not None:
        attention = _AttentionBackward(run, d_attention)
    for layer in plan.layers:
        layer.d_gates = torch.empty_like(layer.gates, dtype=product)
    zero = run.inputs.new_zeros(batch, size)
    d_h = [zero if d_hidden is None else d_hidden[n] for n in range(len(plan.layers))]
    d_c = [zero if d_cell is None else d_cell[n] for n in range(len(plan.layers))]
    norm_grads = [None] * len(plan.layers)
    weights_t = [layer.weight.t().contiguous() for layer in plan.layers]
    if d_vectors is None:
        d_vectors = run.inputs.new_zeros(batch, steps, run.raw.shape[2])
    d_vectors = d_vectors.transpose(0, 1)  # (T, B, A)
    for t in reversed(range(steps)):
        d = d_vectors[t] if d_feed is None else d_vectors[t] + d_feed
        if run.output_mask is not None:
            d = d * run.output_mask[min(t, run.output_mask.shape[0] - 1)]
        d_raw[t].copy_(_aten.tanh_backward(d, run.raw[t]))
        d_top = torch.mm(d_raw[t], run.output).to(dtype)  # (B, D + H)
        d_x = d_top[:, d_top.shape[1] - size :]  # gradient of the top layer's output
        if run.keys is not None:
            d_x = d_x + attention.step(t, d_top[:, : d_top.shape[1] - size])
        for number in reversed(range(len(plan.layers))):
            layer = plan.layers[number]
            if number + 1 < len(plan.layers) and run.between:
                mask = run.between[number]
                d_x = d_x * mask[min(t, mask.shape[0] - 1)]
            d_skip = d_x if plan.residual and number else None
            if layer.norm:
                weights = run.layer_weights[number]
                mean, rstd = layer.norm[t]
                d_x, d_weight, d_bias = _aten.native_layer_norm_backward(
                    d_x, layer.hidden[t + 1], [size], mean, rstd, weights.norm_weight,
                    weights.norm_bias, [True, True, True],
                )  # fmt: skip
                old = norm_grads[number]
                norm_grads[number] = (
                    (d_weight, d_bias) if old is None else (old[0] + d_weight, old[1] + d_bias)
                )
            d_gates, carry, d_c[number] = _cell_backward(
                plan.kind, layer, t, d_h[number] + d_x, d_c[number]
            )
            layer.d_gates[t].copy_(d_gates)
            d_rows = torch.mm(layer.d_gates[t], weights_t[number]).to(dtype)  # (B, I + H)
            width = d_rows.shape[1] - size
            d_h[number] = d_rows[:, width:] if carry is None else d_rows[:, width:] + carry
            d_x = d_rows[:, :width]
            if d_skip is not None:
                d_x = d_x + d_skip
        if run.feed is not None:
            d_feed = d_x
    return _collect(
        run, d_raw, d_h, d_c, d_feed, attention if run.keys is not None else None, norm_grads
    )


def _collect(run, d_raw, d_h, d_c, d_feed, attention, norm_grads):
    """The products after the loop, in the order of _Loop.forward's arguments."""
    plan = run.plan
    flat_grads = []
    d_inputs = None
    for number, (layer, weights) in enumerate(zip(plan.layers, run.layer_weights, strict=True)):
        d_gates = layer.d_gates.flatten(0, 1)  # (T*B, C)
        d_weight = torch.mm(layer.rows.flatten(0, 1).t(), d_gates).to(run.dtype)  # (I + H, C)
        d_bias = d_gates.sum(0, dtype=run.dtype)
        static = None
        if number == 0:
            static = torch.mm(d_gates.t(), run.embedded).to(run.dtype)  # (C, E)
            weight = _columns(weights.weight_ih[:, : run.inputs.shape[2]], plan.kind, "x")
            d_inputs = torch.mm(d_gates, weight.to(plan.product)).to(run.dtype)
            d_inputs = d_inputs.view(run.steps, run.batch, d_inputs.shape[1]).transpose(0, 1)
        flat_grads += _split(plan.kind, run.size, d_weight, d_bias, static)
        flat_grads += norm_grads[number] or (None, None)
    d_output = torch.mm(d_raw.flatten(0, 1).t(), run.tops.flatten(0, 1)).to(run.dtype)
    d_keys = d_values = d_query = d_score = d_gate = d_gate_bias = None
    if attention is not None:
        d_keys, d_values, d_query, d_score = attention.collect()
        d_gate, d_gate_bias = attention.collect_gate()
    d_cell = torch.stack(d_c) if plan.kind == "lstm" else None
    return (
        None, d_inputs, torch.stack(d_h), d_cell, d_feed, d_keys, d_values, None, d_query,
        d_score, d_gate, d_gate_bias, d_output, None, None, *([None] * len(run.between)),
        *flat_grads,
    )  # fmt: skip


class _AttentionBackward:
    """Gradient of one attention step, and the sums over steps of keys, values and weights.

    ``d_attention`` (B, T, S): that of the attention weights themselves, or None.
    """

    def __init__(self, run: _Forward, d_attention: Tensor | None) -> None:
        self.run, self.d_attention = run, d_attention
        steps, batch, keys = run.steps, run.batch, run.keys
        product = run.plan.product
        self.d_context = run.inputs.new_empty(steps, batch, run.values.shape[2], dtype=product)
        self.d_scores = run.inputs.new_empty(steps, batch, keys.shape[1])
        if run.query is not None:
            self.d_queries = run.inputs.new_empty(steps, batch, keys.shape[2], dtype=product)
        if run.score is not None:
            self.squares = torch.zeros_like(keys)  # sum over t of d_score * tanh^2
            self.d_score = torch.zeros_like(run.score)
        if run.gate is not None:
            self.d_gates = torch.empty_like(run.beta, dtype=product)  # (T, B, G) before sigmoid

    def step(self, t: int, d_context: Tensor) -> Tensor:
        """d_context (B, D) -> its share of the gradient of the hidden state (B, H)."""
        if self.run.gate is None:
            return self._attend(t, d_context)
        beta = self.run.beta[t]  # (B, G)
        d_beta = d_context * self.run.contexts[t]
        d_beta = d_beta.sum(1, keepdim=True) if beta.shape[1] == 1 else d_beta
        d_gate = self.d_gates[t].copy_(_aten.sigmoid_backward(d_beta.to(beta.dtype), beta))
        return self._attend(t, d_context * beta) + torch.mm(d_gate, self.run.gate)

    def _attend(self, t: int, d_context: Tensor) -> Tensor:
        run = self.run
        d_context = self.d_context[t].copy_(d_context)
        d_alpha = torch.bmm(run.values, d_context.unsqueeze(2)).squeeze(2).to(run.dtype)
        if self.d_attention is not None:
            d_alpha = d_alpha + self.d_attention[:, t]
        d_scores = torch._softmax_backward_data(d_alpha, run.alpha[t], 1, run.dtype)
        self.d_scores[t] = d_scores
        if run.score is None:
            d_scores = (d_scores * run.plan.scale).to(run.plan.product)
            d_query = torch.bmm(d_scores.unsqueeze(1), run.dot_keys).squeeze(1)  # (B, Q)
        else:
            d_query = _additive_backward(
                run.queries[t], run.keys, run.score, d_scores, self.squares, self.d_score
            )
        if run.query is None:
            return d_query.to(run.dtype)
        self.d_queries[t].copy_(d_query)
        return torch.mm(self.d_queries[t], run.query).to(run.dtype)

    def collect_gate(self) -> tuple[Tensor | None, Tensor | None]:
        run = self.run
        if run.gate is None:
            return None, None
        d_gates = self.d_gates.flatten(0, 1)  # (T*B, G)
        hidden = run.tops[:, :, run.tops.shape[2] - run.size :].reshape(-1, run.size)
        return torch.mm(d_gates.t(), hidden).to(run.dtype), d_gates.sum(0, dtype=run.dtype)

    def collect(self) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        run, product = self.run, self.run.plan.product
        alpha = run.alpha.permute(1, 2, 0).to(product)  # (B, S, T)
        d_values = torch.bmm(alpha, self.d_context.transpose(0, 1)).to(run.dtype)
        size = run.size
        hidden = run.tops[:, :, run.tops.shape[2] - size :]  # (T, B, H)
        d_query = d_score = None
        if run.query is not None:
            d_query = torch.mm(self.d_queries.flatten(0, 1).t(), hidden.reshape(-1, size)).to(
                run.dtype
            )
        if run.score is None:
            queries = hidden if run.query is None else run.queries.to(product)
            scores = (self.d_scores * run.plan.scale).permute(1, 2, 0).to(product)
            d_keys = torch.bmm(scores, queries.transpose(0, 1)).to(run.dtype)  # (B, S, Q)
        else:
            total = self.d_scores.sum(0).unsqueeze(2)  # (B, S, 1)
            d_keys = (total - self.squares) * run.score
            d_score = self.d_score
        return d_keys, d_values, d_query, d_score


def _blocks(batch: int, row_bytes: int) -> range:
    return range(0, batch, max(1, _BLOCK_BYTES // max(1, row_bytes)))


def _additive_scores(query: Tensor, keys: Tensor, score: Tensor) -> Tensor:
    """v . tanh(q + k): query (B, Q), keys (B, S, Q), score (Q,) -> (B, S)."""
    batch, steps, width = keys.shape
    blocks = _blocks(batch, steps * width * keys.element_size())
    scratch = keys.new_empty(min(blocks.step, batch), steps, width)
    scores = keys.new_empty(batch, steps)
    for start in blocks:
        stop = min(start + blocks.step, batch)
        block = scratch[: stop - start]
        torch.add(query[start:stop].unsqueeze(1), keys[start:stop], out=block)
        block.tanh_()
        torch.mv(block.view(-1, width), score, out=scores[start:stop].view(-1))
    return scores


def _additive_backward(
    query: Tensor, keys: Tensor, score: Tensor, d_scores: Tensor, squares: Tensor, d_score: Tensor
) -> Tensor:
    """Gradient of the query (B, Q); adds d_score * tanh^2 into ``squares`` (B, S, Q) and the
    gradient of v into ``d_score`` (Q,).

    With a = tanh(q + k), the gradient of q is v * sum_s d_s (1 - a^2). A softmax's d_s sum to
    zero over s, so it is -v * sum_s d_s a^2: one batched product.
    """
    batch, steps, width = keys.shape
    blocks = _blocks(batch, steps * width * keys.element_size())
    scratch = keys.new_empty(min(blocks.step, batch), steps, width)
    d_query = keys.new_empty(batch, 1, width)
    for start in blocks:
        stop = min(start + blocks.step, batch)
        block, d = scratch[: stop - start], d_scores[start:stop]
        torch.add(query[start:stop].unsqueeze(1), keys[start:stop], out=block)
        block.tanh_()
        d_score.addmv_(block.view(-1, width).t(), d.reshape(-1))
        block.mul_(block)
        torch.bmm(d.unsqueeze(1), block, out=d_query[start:stop])
        squares[start:stop].addcmul_(block, d.unsqueeze(2))
    return d_query.squeeze(1).mul_(score).neg_()


def _cell_forward(kind: str, layer: _Layer, t: int) -> Tensor:
    """gates[t] holds the sums on entry and the activations on return; fills hidden[t + 1]."""
    gates, h, out = layer.gates[t], layer.hidden[t], layer.hidden[t + 1]
    size = h.shape[1]
    if kind == "lstm":
        gates[:, : 3 * size].sigmoid_()
        gates[:, 3 * size :].tanh_()
        i, f, o, g = gates.chunk(4, 1)
        cell = torch.mul(f, layer.cell[t], out=layer.cell[t + 1]).addcmul_(i, g)
        torch.tanh(cell, out=layer.cell_tanh[t])
        return torch.mul(o, layer.cell_tanh[t], out=out)
    if kind == "gru":
        gates[:, : 2 * size].sigmoid_()
        r, z, n, n_h = gates.chunk(4, 1)
        n.addcmul_(r, n_h).tanh_()
        return torch.addcmul(n, z, h - n, out=out)
    gates.tanh_() if kind == "tanh" else gates.relu_()
    return out.copy_(gates)


def _cell_backward(
    kind: str, layer: _Layer, t: int, d_h: Tensor, d_c: Tensor
) -> tuple[Tensor, Tensor | None, Tensor]:
    """-> gradient of the gate sums (B, C), the direct part of h's gradient, c's gradient."""
    gates, h = layer.gates[t], layer.hidden[t]
    size = h.shape[1]
    d_gates = torch.empty_like(gates)
    d = d_gates.chunk(4, 1)
    if kind == "lstm":
        i, f, o, g = gates.chunk(4, 1)
        tanh = layer.cell_tanh[t]
        d_c = d_c + _aten.tanh_backward(d_h * o, tanh)
        torch.mul(d_c, g, out=d[0])
        torch.mul(d_c, layer.cell[t], out=d[1])
        torch.mul(d_h, tanh, out=d[2])
        sums, sigmoids = d_gates[:, : 3 * size], gates[:, : 3 * size]
        _aten.sigmoid_backward.grad_input(sums, sigmoids, grad_input=sums)
        d[3].copy_(_aten.tanh_backward(d_c * i, g))
        return d_gates, None, d_c * f
    if kind == "gru":
        r, z, n, n_h = gates.chunk(4, 1)
        d_n = _aten.tanh_backward(d_h - d_h * z, n)
        torch.mul(d_n, n_h, out=d[0])
        torch.mul(d_h, h - n, out=d[1])
        sums, sigmoids = d_gates[:, : 2 * size], gates[:, : 2 * size]
        _aten.sigmoid_backward.grad_input(sums, sigmoids, grad_input=sums)
        d[2].copy_(d_n)
        torch.mul(d_n, r, out=d[3])
        return d_gates, d_h * z, d_c
    if kind == "tanh":
        return _aten.tanh_backward(d_h, gates), None, d_c
    return d_h * (gates > 0), None, d_c


def _columns(weight: Tensor, kind: str, part: str) -> Tensor:
    """Rows of a torch.nn weight (G*H, I) in this file's gate order, (C, I).

    ``part`` is "x" for input weights and "h" for hidden ones: the GRU's n gate keeps them apart.
    """
    if kind == "lstm":
        i, f, g, o = weight.chunk(4, 0)
        return torch.cat([i, f, o, g])
    if kind == "gru":
        r, z, n = weight.chunk(3, 0)
        zero = torch.zeros_like(n)
        return torch.cat([r, z, n, zero] if part == "x" else [r, z, zero, n])
    return weight


def _combine(layer: LayerWeights, kind: str, static: int) -> Tensor:
    """[step input; hidden] weights as one (I + H, C) matrix; ``static`` columns of weight_ih
    belong to the part computed before the loop."""
    inside = _columns(layer.weight_ih[:, static:], kind, "x")
    recurrent = _columns(layer.weight_hh, kind, "h")
    return torch.cat([inside, recurrent], 1).t().contiguous()


def _bias(layer: LayerWeights, kind: str) -> Tensor:
    return _columns(layer.bias_ih, kind, "x") + _columns(layer.bias_hh, kind, "h")


def _rows(gradient: Tensor, kind: str, part: str) -> Tensor:
    """The inverse of _columns, for gradients: (C, ...) -> (G*H, ...)."""
    if kind == "lstm":
        i, f, o, g = gradient.chunk(4, 0)
        return torch.cat([i, f, g, o])
    if kind == "gru":
        r, z, n_x, n_h = gradient.chunk(4, 0)
        return torch.cat([r, z, n_x if part == "x" else n_h])
    return gradient


def _split(
    kind: str, size: int, d_weight: Tensor, d_bias: Tensor, static: Tensor | None
) -> list[Tensor]:
    """Gradients of weight_ih, weight_hh, bias_ih, bias_hh from those of the combined weight."""
    width = d_weight.shape[0] - size
    d_ih = _rows(d_weight[:width].t(), kind, "x")
    if static is not None:
        d_ih = torch.cat([_rows(static, kind, "x"), d_ih], 1)
    d_hh = _rows(d_weight[width:].t(), kind, "h")
    # two tensors, of an Elman cell, too: the optimizer and clipping change them in place
    return [d_ih, d_hh, _rows(d_bias, kind, "x"), _rows(d_bias.clone(), kind, "h")]
