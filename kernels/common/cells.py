"""The cells as device functions, forward and backward: written once, used by every schedule.

All work on tiles (BB sequences, BH hidden units) in float32. Gates and equations are those of
``kernels.recurrence.reference``. In the backward functions d_x is the gradient of x.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def tanh(x):
    """(1 - e) / (1 + e) with e = exp(-2|x|), which cannot overflow; near zero, where that cancels,
    the odd series up to x^9, whose next term is below 1e-8 of the result for |x| < 1/4."""
    size = tl.abs(x)
    e = tl.exp(-2.0 * size)
    far = (1.0 - e) / (1.0 + e)
    y = x * x
    near = 1.0 + y * (
        -0.33333333333 + y * (0.13333333333 + y * (-0.05396825397 + y * 0.02186948854))
    )
    return tl.where(size < 0.25, x * near, tl.where(x < 0, -far, far))


@triton.jit
def lstm_forward(i, f, g, o, cell):
    """From the gate sums: c' = f*c + i*g -> i, f, g, o opened, c'. h' = o*tanh(c') is left to the
    caller, who may normalise c' before."""
    i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
    return i, f, g, o, f * cell + i * g


@triton.jit
def lstm_backward(i, f, g, o, cell, shown, d_hidden, d_cell):
    """i, f, g, o opened, ``cell`` before the step, shown = tanh(c'), or tanh of c' normalised,
    d_hidden of h', d_cell of c', the part through h' included
    -> gradients of the four sums, and of c."""
    d_i = d_cell * g * i * (1.0 - i)
    d_f = d_cell * cell * f * (1.0 - f)
    d_g = d_cell * i * (1.0 - g * g)
    d_o = d_hidden * shown * o * (1.0 - o)
    return d_i, d_f, d_g, d_o, d_cell * f


@triton.jit
def gru_forward(r, z, n, recurrent, hidden):
    """r, z: whole gate sums; n: the candidate's input sum, recurrent: U h + b of the candidate
    -> r, z, n opened, h' = (1-z)*n + z*h."""
    r, z = sigmoid(r), sigmoid(z)
    n = tanh(n + r * recurrent)
    return r, z, n, n + z * (hidden - n)


@triton.jit
def gru_backward(r, z, n, recurrent, hidden, d_hidden):
    """-> gradients of the sums r and z, of the candidate's recurrent and input sum, and what goes
    straight to h."""
    straight = d_hidden * z
    d_n = (d_hidden - straight) * (1.0 - n * n)
    d_z = (hidden - n) * d_hidden * z * (1.0 - z)
    d_r = d_n * recurrent * r * (1.0 - r)
    return d_r, d_z, d_n * r, d_n, straight


@triton.jit
def elman_forward(x, RELU: tl.constexpr):
    if RELU:
        return tl.maximum(x, 0.0)
    else:
        return tanh(x)


@triton.jit
def elman_backward(opened, d_hidden, RELU: tl.constexpr):
    if RELU:
        return tl.where(opened > 0, d_hidden, 0.0)
    else:
        return d_hidden * (1.0 - opened * opened)
