"""The equations of the LSTM cell, forward and backward, for one unit at one step.

The notation is that of the whole library. x_t is the input, h_t the hypothesis
(the hidden state) and c_t the cell (the long-term memory); the gates are stacked
in the order i, f, g, o:

    (1) a = x_t W_x + h_{t-1} W_h + b             pre-activations
    (2) i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o);   g = tanh(a_g)
    (3) c_t = f c_{t-1} + i g
    (4) h_t = o tanh(c_t)

Backward, with dh_t and dc_t the gradients that reach h_t and c_t from later on:

    (5) dc_t    <- dc_t + dh_t o (1 - tanh(c_t)^2)
    (6) da_i    = dc_t g (i (1 - i))
        da_f    = dc_t c_{t-1} (f (1 - f))
        da_g    = dc_t i (1 - g^2)
        da_o    = dh_t tanh(c_t) (o (1 - o))
    (7) dc_{t-1} = dc_t f,    dh_{t-1} = da W_h^T,    dx_t = da W_x^T
    (8) dW_x = sum_t x_t^T da,   dW_h = sum_t h_{t-1}^T da,   db = sum_t da

Variants change these:

    (2p) peepholes: a_i + p_i c_{t-1}, a_f + p_f c_{t-1} and a_o + p_o c_t take the place
         of a_i, a_f and a_o
    (2l) a limit: each of these, and a_g, is clipped to [-limit, limit]
    (2c) coupled gates: f = 1 - i

    (1n) layer normalisation: the pre-activations of each gate, before peepholes and limit,
         lose their mean over the units and are divided by their standard deviation; then
         they are multiplied by gains, and shifts take the place of b
    (4n) and so is c_t in (4), but not in (3)
    (4r) projection: h_t = (o tanh(c_t)) W_r
    (4z) zoneout: z c_{t-1} + (1 - z) c_t takes the place of c_t, and likewise of h_t: z is 0
         or 1 at random in training, else its expectation
    (3d) time: c_{t-1} + (g - 1) tanh(c_{t-1} W_d + b_d) takes the place of c_{t-1}, where
         g = 1 / log(e + d - 1) and d is the time since the step before, in units of a
         typical one: what is short-lived of a cell counts for less after a long time, and
         for more, by up to 1.85, after a short one

    (5p) dc_t    <- dc_t + dh_t o (1 - tanh(c_t)^2) + da_o p_o
    (6l) da is 0 where a was clipped
    (6c) da_i = dc_t (g - c_{t-1}) (i (1 - i)),   da_f = 0
    (7p) dc_{t-1} = dc_t f + da_i p_i + da_f p_f
    (8p) dp_i = sum_t da_i c_{t-1},   dp_f = sum_t da_f c_{t-1},   dp_o = sum_t da_o c_t

Here are (2) to (4) and (5) to (7) element by element; matrix products, (1), (7), (8), and
what is made of whole rows, (1n) to (3d), are the business of each backend. The functions
are for numbers and for vectors (vectors.py) alike. docs/equations.md derives the equations.

References
----------
Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8),
1997; Gers, Schmidhuber and Cummins, "Learning to Forget", Neural Computation
12(10), 2000 (the forget gate); Gers, Schraudolph and Schmidhuber, "Learning Precise
Timing with LSTM Recurrent Networks", JMLR 3, 2002 (peepholes); Greff et al., "LSTM: A
Search Space Odyssey", IEEE TNNLS 28(10), 2017 (coupled gates); the operator LSTM of ONNX
(the limit, its "clip"); Ba, Kiros and Hinton, "Layer Normalization", 2016; Sak, Senior and
Beaufays, "Long Short-Term Memory Recurrent Neural Network Architectures for Large Scale
Acoustic Modeling", Interspeech 2014 (projection); Krueger et al., "Zoneout", ICLR 2017;
Baytas et al., "Patient Subtyping via Time-Aware LSTM Networks", KDD 2017 (time).
"""

from __future__ import annotations

from numba_lstm._jit import helper
from numba_lstm.activations import sigmoid, tanh
from numba_lstm.vectors import at_least, at_most, constant, where_inside


@helper(inline=True)
def gates_and_cell(a_i, a_f, a_g, a_o, c_prev, variant):
    """Equations (2) and (3): pre-activations and c_{t-1} to i, f, g, o, c.

    ``variant`` is None, or p_i, p_f, p_o, the limit and whether the gates are coupled.
    """
    if variant is None:
        i = sigmoid(a_i)
        f = sigmoid(a_f)
        g = tanh(a_g)
        o = sigmoid(a_o)
        c = f * c_prev + i * g
    else:
        p_i, p_f, p_o, limit, coupled = variant
        i = sigmoid(_clip(a_i + p_i * c_prev, limit))
        f = constant(i, 1.0) - i
        if not coupled:
            f = sigmoid(_clip(a_f + p_f * c_prev, limit))
        g = tanh(_clip(a_g, limit))
        c = f * c_prev + i * g
        o = sigmoid(_clip(a_o + p_o * c, limit))
    return i, f, g, o, c


@helper(inline=True)
def hypothesis(o, c):
    """Equation (4): o and c to tanh(c) and h."""
    tanh_c = tanh(c)
    return tanh_c, o * tanh_c


@helper(inline=True)
def cell_forward(a_i, a_f, a_g, a_o, c_prev, variant):
    """Equations (2) to (4): pre-activations and c_{t-1} to i, f, g, o, c, tanh(c), h."""
    i, f, g, o, c = gates_and_cell(a_i, a_f, a_g, a_o, c_prev, variant)
    tanh_c, h = hypothesis(o, c)
    return i, f, g, o, c, tanh_c, h


@helper(inline=True)
def kept_or_new(z, before, new):
    """Equation (4z): c_{t-1} and c_t, or h_{t-1} and h_t, to what takes the latter's place."""
    return z * before + (constant(z, 1.0) - z) * new


@helper(inline=True)
def cell_backward(i, f, g, o, c_prev, tanh_c, dh, dc, variant):
    """Equations (5) to (7): dh_t, dc_t to da_i, da_f, da_g, da_o and dc_{t-1}."""
    one = constant(dh, 1.0)
    da_o = dh * tanh_c * (o * (one - o))
    if variant is None:
        dc = dc + dh * o * (one - tanh_c * tanh_c)
        da_i = dc * g * (i * (one - i))
        da_f = dc * c_prev * (f * (one - f))
        da_g = dc * i * (one - g * g)
        return da_i, da_f, da_g, da_o, dc * f
    p_i, p_f, p_o, limit, coupled = variant
    # What was clipped is what lies where the activations of the limit do.
    low, high = sigmoid(-limit), sigmoid(limit)
    da_o = where_inside(o, low, high, da_o)
    dc = dc + dh * o * (one - tanh_c * tanh_c) + da_o * p_o
    change = g
    da_f = where_inside(f, low, high, dc * c_prev * (f * (one - f)))
    if coupled:
        change = g - c_prev
        da_f = constant(dh, 0.0) * dc
    da_i = where_inside(i, low, high, dc * change * (i * (one - i)))
    da_g = where_inside(g, tanh(-limit), tanh(limit), dc * i * (one - g * g))
    return da_i, da_f, da_g, da_o, dc * f + da_i * p_i + da_f * p_f


@helper(inline=True)
def _clip(a, limit):
    return at_most(at_least(a, -limit), limit)
