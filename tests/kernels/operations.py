"""Every operation with gradients as a function of its float64 arguments alone, at tiny sizes.

A new operation, or a new way to call one, gets a line in ``OPERATIONS``, and every test of what
PyTorch may do with an operation then covers it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

import kernels
from kernels.decoder import DecoderState, DecoderWeights, DropoutMasks, LayerWeights, Memory
from kernels.decoder.sentinel import Sentinel
from tests.kernels import recurrences

B, T, S, E, H, D, A, V = 2, 3, 3, 2, 2, 4, 3, 5
LENGTHS = torch.tensor([2, 3])


class Operation(NamedTuple):
    """``function(*leaves)`` -> a tuple of tensors; ``batched``: the leaves that have a B."""

    function: Callable[..., tuple[Tensor, ...]]
    leaves: tuple[Tensor, ...]

    def total(self, *leaves: Tensor) -> Tensor:
        """A scalar that all results take part in, none of them linearly."""
        return sum(result.square().sum() + result.sin().sum() for result in self.function(*leaves))


def beside(constant: Tensor, leaf: Tensor) -> Tensor:
    return constant.to(leaf.device)


def _random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator) * 0.7


def _recurrence(
    kind: str,
    *,
    directions: int = 0,
    options: bool = False,
    norm: bool = False,
    projected: int = 0,
    **named: object,
) -> Operation:
    made = recurrences.make(kind, B, T, E, H, directions=directions, norm=norm, projected=projected)
    masks = {}
    if options:
        made["hidden_mask"] = _random(*made["hidden"].shape)
        masks = recurrences.options_of(kind, B, T, H, directions, projected)

    def function(*leaves: Tensor) -> tuple[Tensor, ...]:
        own = dict(zip(made, leaves, strict=True))
        here = {name: beside(mask, leaves[0]) for name, mask in masks.items()}
        results = recurrences.call(own, kind=kind, lengths=LENGTHS, **named, **here)
        return tuple(result for result in results if result is not None)

    return Operation(function, tuple(made.values()))


def _attention(name: str, **named: object) -> Operation:
    leaves = [_random(B, T, H), _random(B, S, H, seed=1), _random(B, S, D)]
    if name == "additive":
        leaves += [_random(H), _random(H, seed=1)]
    elif name == "concat":
        leaves += [_random(A, 2 * H), _random(A), _random(A, seed=1)]
    public = getattr(kernels, f"{name}_attention")
    extra = [key for key in ("coverage", "coverage_weight", "centre") if key in named]
    leaves += [named.pop(key) for key in extra]

    def function(*leaves: Tensor) -> tuple[Tensor, ...]:
        own = leaves[: len(leaves) - len(extra)]
        added = dict(zip(extra, leaves[len(own) :], strict=True))
        return public(*own, lengths=LENGTHS, return_weights=True, **added, **named)

    return Operation(function, tuple(leaves))


def _decoder(
    kind: str, score: str, *, feeding: bool = True, full: bool = False, layers: int = 1
) -> Operation:
    gates = recurrences.GATES[kind] * H
    made = {"inputs": _random(B, T, E), "hidden": _random(layers, B, H)}
    if kind == "lstm":
        made["cell"] = _random(layers, B, H, seed=1)
    if feeding:
        made["feed"] = _random(B, A)
    width = D + H if score != "none" else H
    made["output"] = _random(A, width)
    if score != "none":
        made |= {"keys": _random(B, S, H), "values": _random(B, S, D), "query": _random(H, H)}
    if score == "additive":
        made["score"] = _random(H)
    for n in range(layers):
        inside = (E + (A if feeding else 0)) if n == 0 else H
        made |= {f"ih{n}": _random(gates, inside), f"hh{n}": _random(gates, H, seed=n)}
        made |= {f"bi{n}": _random(gates, seed=n), f"bh{n}": _random(gates, seed=n + 9)}
        if full:
            made |= {f"nw{n}": _random(H), f"nb{n}": _random(H, seed=1)}
    if full:
        made |= {"gate": _random(D, H), "gate_bias": _random(D)}
        shapes = {"weight_x": (H, E + A), "weight_h": (H, H), "bias": (H,), "key": (H, H)}
        made |= {f"sentinel_{name}": _random(*shapes[name]) for name in Sentinel._fields}
        made["values"] = _random(B, S, H)
        made["gate"], made["gate_bias"] = _random(1, H), _random(1)
        made["output"] = _random(A, 2 * H)
    kept = 0.5 + _random(1, B, A).abs() if full else None

    def function(*leaves: Tensor) -> tuple[Tensor, ...]:
        by = dict(zip(made, leaves, strict=True))
        stack = tuple(
            LayerWeights(*(by.get(f"{k}{n}") for k in ("ih", "hh", "bi", "bh", "nw", "nb")))
            for n in range(layers)
        )
        own = Sentinel(*(by[f"sentinel_{name}"] for name in Sentinel._fields)) if full else None
        weights = DecoderWeights(
            stack, by["output"], by.get("query"), by.get("score"), by.get("gate"),
            by.get("gate_bias"), own,
        )  # fmt: skip
        state = DecoderState(by["hidden"], by.get("cell"), by.get("feed"))
        memory = Memory(by["keys"], by["values"], LENGTHS) if score != "none" else None
        masks = (
            None
            if kept is None
            else DropoutMasks((), beside(kept, by["inputs"]).to(by["inputs"].dtype))
        )
        vectors, state, alpha = kernels.attention_decoder(
            by["inputs"], weights, state, memory, kind=kind, scale=0.7, masks=masks
        )
        return tuple(result for result in (vectors, *state, alpha) if result is not None)

    return Operation(function, tuple(made.values()))


def _loss(reduction: str, bias: bool = True) -> Operation:
    leaves = [_random(B * T, H), _random(V, H)] + ([_random(V)] if bias else [])
    targets = torch.tensor([0, 3, -100, 1, 4, 4])

    def function(hidden: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor]:
        here = beside(targets, hidden)
        return (kernels.linear_cross_entropy(hidden, weight, here, bias, 0.1, reduction=reduction),)

    return Operation(function, tuple(leaves))


def _module(module: nn.Module, *inputs: Tensor, ragged: bool = False) -> Operation:
    parameters = {name: value.detach() for name, value in module.named_parameters()}

    def function(*leaves: Tensor) -> tuple[Tensor, ...]:
        own = dict(zip(parameters, leaves[len(inputs) :], strict=True))
        named = {"lengths": LENGTHS} if ragged else {}
        found = torch.func.functional_call(module, own, leaves[: len(inputs)], named)
        return tuple(torch.utils._pytree.tree_leaves(found))

    return Operation(function, (*inputs, *parameters.values()))


def _modules() -> dict[str, Operation]:
    torch.manual_seed(0)
    double, x = {"dtype": torch.float64}, _random(T, B, E)
    many = {"num_layers": 2, "bidirectional": True, **double}
    return {
        "LSTM": _module(kernels.LSTM(E, H, **many).eval(), x, ragged=True),
        "GRU": _module(kernels.GRU(E, H, layer_norm=True, zoneout=0.1, **double).eval(), x),
        "RNN": _module(kernels.RNN(E, H, recompute=True, **double), x),
        "LSTMCell": _module(kernels.LSTMCell(E, H, layer_norm=True, **double), x[0]),
        "GRUCell": _module(kernels.GRUCell(E, H, **double), x[0]),
        "RNNCell": _module(kernels.RNNCell(E, H, nonlinearity="relu", **double), x[0]),
    }


OPERATIONS: dict[str, Operation] = {
    "recurrence lstm": _recurrence("lstm"),
    "recurrence gru, reverse": _recurrence("gru", reverse=True),
    "recurrence tanh, recompute": _recurrence("tanh", recompute=True),
    "recurrence lstm, options and norm": _recurrence("lstm", options=True, norm=True),
    "bidirectional gru, options": _recurrence("gru", directions=2, options=True),
    "bidirectional lstm, norm": _recurrence("lstm", directions=2, norm=True),
    "recurrence lstm, projected, options": _recurrence("lstm", projected=1, options=True),
    "bidirectional lstm, projected": _recurrence("lstm", projected=3, directions=2, norm=True),
    "additive": _attention(
        "additive", coverage=_random(B, T, S), coverage_weight=_random(H, seed=3), heads=2
    ),
    "dot": _attention("dot", scale=0.6, centre=_random(B, T) + 1, window=2.0),
    "concat": _attention("concat", temperature=1.5),
    "decoder lstm, additive": _decoder("lstm", "additive", layers=2),
    "decoder gru, general": _decoder("gru", "general"),
    "decoder lstm, everything": _decoder("lstm", "additive", full=True),
    "decoder tanh, without attention": _decoder("tanh", "none"),
    "decoder lstm, without input feeding": _decoder("lstm", "general", feeding=False),
    "loss mean": _loss("mean"),
    "loss none": _loss("none", bias=False),
    **_modules(),
}  # fmt: skip
