"""The attention decoder loop as one operation, and its single step, also prepared for search."""

from __future__ import annotations

from torch import Tensor

from kernels import backend
from kernels.common.precision import precision
from kernels.decoder import operation, reference, without_input_feeding
from kernels.decoder.call import Call
from kernels.decoder.check import check, check_values
from kernels.decoder.reference import decoder_step
from kernels.decoder.sentinel import Sentinel
from kernels.decoder.step import (
    StepMemory,
    StepWeights,
    input_sums,
    prepared_step,
    reads_rows,
    step_memory,
    step_weights,
)
from kernels.decoder.weights import (
    DecoderState,
    DecoderWeights,
    DropoutMasks,
    LayerWeights,
    Memory,
    measured_as,
)
from kernels.recurrence.schedule import asked_schedule

__all__ = [
    "DecoderState",
    "DecoderWeights",
    "DropoutMasks",
    "LayerWeights",
    "Memory",
    "Sentinel",
    "StepMemory",
    "StepWeights",
    "attention_decoder",
    "decoder_step",
    "input_sums",
    "prepared_step",
    "reads_rows",
    "step_memory",
    "step_weights",
]


def attention_decoder(
    inputs: Tensor,
    weights: DecoderWeights,
    state: DecoderState,
    memory: Memory | None = None,
    *,
    kind: str = "lstm",
    scale: float = 1.0,
    residual: bool = False,
    masks: DropoutMasks | None = None,
) -> tuple[Tensor, DecoderState, Tensor | None]:
    """A recurrent decoder with attention over T given inputs (teacher forcing).

    Per step t, with x_t = [inputs_t; a_{t-1}] when ``state.feed`` is given (input feeding,
    Luong et al. 2015, section 3.3) and x_t = inputs_t otherwise:

        h_t   = the stacked cells of ``kind`` ("lstm", "gru", "tanh", "relu") on x_t
        e_ts  = score . tanh(W_q h_t + keys_s)         additive, when weights.score is given
              = scale * (W_q h_t) . keys_s             otherwise (W_q the identity if None)
        c_t   = sum_s softmax(e_t)_s values_s
        c_t   = sigmoid(W_g h_t + b_g) * c_t     with weights.gate (Xu et al. 2015, sec. 4.2.1,
                                                 who take h_{t-1}: there attention comes first)
        a_t   = tanh(W_o [c_t; h_t]) * output mask     Luong et al. 2015, eq. 5

    With weights.sentinel the softmax includes one more vector, the sentinel, which is computed from
    the decoder's own memory: see kernels/decoder/sentinel.py.

    Without input feeding, attention does not change what the cells compute. Each layer is then one
    ``recurrence`` over all steps, and attention one call with T queries
    (kernels/decoder/without_input_feeding.py).

    inputs (B, T, E). Returns the attentional vectors a (B, T, A), the final DecoderState and
    the attention weights (B, T, S; None without ``memory``). Gradients flow through all three,
    to everything but ``masks``, which are constants. ``residual`` adds a layer's input to its
    output from the second layer on. The results have the dtype of ``inputs``. With float16 and
    bfloat16 inputs, states and softmax are computed in float32. Under autocast the products run in
    autocast's dtype, states and softmax in float32, and the results are float32.

    Raises ValueError for shapes that do not fit together, for tensors of another device than
    ``inputs``, or, without autocast, of another dtype, and for lengths outside 0..S. On CUDA the
    loop checks lengths by a device-side assertion instead, because nothing waits for that.
    """
    masks = masks or DropoutMasks()
    check(inputs, weights, state, memory, masks, kind)
    masks = masks.detached()
    # 'auto' takes torch for values without columns: the kernels cannot run them
    size = 0 if memory is not None and not memory.values.size(2) else state.hidden.size(2)
    measured = measured_as(weights, kind)
    chosen = backend.resolve("attention_decoder", inputs, triton=True, kind=measured, size=size)
    if chosen == "reference":
        check_values(memory)
        return reference.attention_decoder(
            inputs, weights, state, memory, kind, scale, residual, masks
        )
    if state.feed is None and weights.sentinel is None:
        return without_input_feeding.attention_decoder(
            inputs, weights, state, memory, kind, scale, residual, masks
        )
    call = Call(
        inputs, weights, state, memory, masks, kind, scale, residual, precision(inputs),
        asked_schedule(),
    )  # fmt: skip
    return operation.attention_decoder(call, chosen)
