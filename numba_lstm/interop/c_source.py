"""The C code of a network, as a text with places for its names, and its weights as constants.

A line that begins with ``[part]`` is kept where a network has that part, one that begins
with ``[!part]`` where it has not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

FUNCTIONS = """
static $T ${p}_sigmoid($T a)
{
    return 1 / (1 + $exp(-a));
}

/* An input as the network sees it: so that sums stay finite, not beyond 1e18. */
static $T ${p}_standardised(double value, int j)
{
    const double z = (value - ${p}_input_mean[j]) / ${p}_input_scale[j];
    return ($T)(z < -1e18 ? -1e18 : z > 1e18 ? 1e18 : z);
}

[limit]static $T ${p}_clip($T a)
[limit]{
[limit]    const $T limit = $limit;
[limit]    return a < -limit ? -limit : a > limit ? limit : a;
[limit]}
[limit]
[norm]/* (1n), (4n): n numbers with mean 0 and variance 1, then gains and shifts. */
[norm]static void ${p}_normalise($T *a, int n, const $T *gain, const $T *shift)
[norm]{
[norm]    $T mean = 0, variance = 0;
[norm]    int k;
[norm]    for (k = 0; k < n; k++)
[norm]        mean += a[k];
[norm]    mean /= n;
[norm]    for (k = 0; k < n; k++)
[norm]        variance += (a[k] - mean) * (a[k] - mean);
[norm]    for (k = 0; k < n; k++)
[norm]        a[k] = gain[k] * (a[k] - mean) / $sqrt(variance / n + $epsilon) + shift[k];
[norm]}
[norm]
/* One layer of H units and P outputs for one step x of F inputs: h and c go on; a has room
   for ${G}H numbers. */
static void ${p}_cell(int F, int H, int P, const $T *x, const $T *W_x, const $T *W_h,
[bias]        const $T *b,
[peephole]        const $T *p,
[norm]        const $T *gain, const $T *shift,
[projection]        const $T *W_r,
[decays]        const $T *W_d, const $T *b_d, $T decay,
        $T *h, $T *c, $T *a)
{
    int k, j;
[decays]    for (k = 0; k < H; k++) { /* (3d) */
[decays]        $T sum = b_d[k];
[decays]        for (j = 0; j < H; j++)
[decays]            sum += W_d[k * H + j] * c[j];
[decays]        a[k] = decay * $tanh(sum);
[decays]    }
[decays]    for (k = 0; k < H; k++)
[decays]        c[k] += a[k];
    for (k = 0; k < $G * H; k++) { /* (1) */
[bias]        $T sum = b[k];
[!bias]        $T sum = 0;
        for (j = 0; j < F; j++)
            sum += W_x[k * F + j] * x[j];
        for (j = 0; j < P; j++)
            sum += W_h[k * P + j] * h[j];
        a[k] = sum;
    }
[norm]    for (k = 0; k < $G; k++)
[norm]        ${p}_normalise(a + k * H, H, gain + k * H, shift + k * H);
    for (k = 0; k < H; k++) { /* (2), (3) */
        const $T i = ${p}_sigmoid($clip(a[k]$p_i));
[coupled]        const $T f = 1 - i;
[!coupled]        const $T f = ${p}_sigmoid($clip(a[H + k]$p_f));
        const $T g = $tanh($clip(a[$g * H + k]));
        const $T c_k = f * c[k] + i * g;
        a[$o * H + k] = ${p}_sigmoid($clip(a[$o * H + k]$p_o));
        a[k] = c_k;
[zoneout]        c[k] = $z_c * c[k] + (1 - $z_c) * c_k; /* (4z) */
[!zoneout]        c[k] = c_k;
    }
[norm]    ${p}_normalise(a, H, gain + $G * H, shift + $G * H);
    for (k = 0; k < H; k++) /* (4) */
        a[k] = a[$o * H + k] * $tanh(a[k]);
    for (k = 0; k < P; k++) {
[projection]        $T h_k = 0;
[projection]        for (j = 0; j < H; j++) /* (4r) */
[projection]            h_k += W_r[k * H + j] * a[j];
[!projection]        const $T h_k = a[k];
[zoneout]        h[k] = $z_h * h[k] + (1 - $z_h) * h_k;
[!zoneout]        h[k] = h_k;
    }
}

/* The state before any step. */
void ${p}_init(${p}_state *s)
{
    int k;
$init
}

/* Take in one time step x and predict y from all steps since ${p}_init. */
void ${p}_step(${p}_state *s, const $T *x, $gap$T *y)
{
    $T inputs[$n_inputs], a[$n_scratch], out[$K];
[decays]    const double passed = 1 / log(1.718281828459045 + gap / $time_scale) - 1;
[decays]    const $T decay = s->started ? ($T)passed : 0;
[softmax]    $T most, total = 0;
    int k, j;
$buffers
[decays]    s->started = 1;
[masks]    for (j = 0; j < $F; j++) {
[masks]        const int missing = x[j] != x[j]; /* as NaN is */
[masks]        s->last[j] = missing ? s->last[j] : x[j];
[masks]        s->since[j] = missing ? s->since[j] + 1 : 0;
[masks]        inputs[j] = ${p}_standardised(s->last[j], j);
[masks]        inputs[$F + j] = missing;
[masks]        inputs[2 * $F + j] = ($T)log1p(s->since[j]);
[masks]    }
[!masks]    for (j = 0; j < $F; j++)
[!masks]        inputs[j] = ${p}_standardised(x[j], j);
$layers
[hidden]    for (k = 0; k < $M; k++) {
[hidden]        $T sum = ${p}_head_hidden_bias[k];
[hidden]        for (j = 0; j < $width; j++)
[hidden]            sum += ${p}_head_hidden_weight[k * $width + j] * ${last}[j];
[relu]        hidden[k] = sum > 0 ? sum : 0;
[tanh]        hidden[k] = $tanh(sum);
[hidden]    }
    for (k = 0; k < $K; k++) {
        $T sum = ${p}_head_bias[k];
        for (j = 0; j < $head_inputs; j++)
            sum += ${p}_head_weight[k * $head_inputs + j] * ${head_input}[j];
        out[k] = sum;
    }
[values]    for (k = 0; k < $K; k++)
[values]        y[k] = ($T)(out[k] * ${p}_target_scale[k] + ${p}_target_mean[k]);
[binary]    y[0] = ${p}_sigmoid(-out[0]);
[binary]    y[1] = ${p}_sigmoid(out[0]);
[labels]    for (k = 0; k < $K; k++)
[labels]        y[k] = ${p}_sigmoid(out[k]);
[softmax]    most = out[0];
[softmax]    for (k = 1; k < $K; k++)
[softmax]        most = out[k] > most ? out[k] : most;
[softmax]    for (k = 0; k < $K; k++) {
[softmax]        y[k] = $exp(out[k] - most);
[softmax]        total += y[k];
[softmax]    }
[softmax]    for (k = 0; k < $K; k++)
[softmax]        y[k] /= total;
}
"""


def with_parts(text: str, parts: Iterable[str]) -> str:
    """Return a text with the lines of some parts, and without those of all others."""
    lines = []
    for line in text.splitlines():
        condition = re.match(r"\[(!?)(\w+)\]", line)
        if condition is None:
            lines.append(line)
        elif (condition[2] in parts) != bool(condition[1]):
            lines.append(line[condition.end() :])
    return "\n".join(lines)


def number(value: float, dtype: np.dtype) -> str:
    """Return a number as a constant of C that is exact."""
    text = str(dtype.type(value))
    return text + ("f" if dtype == np.float32 else "")


def array(name: str, values: np.ndarray) -> str:
    """Return the definition of a constant array, in one dimension, of float or double."""
    T = "float" if values.dtype == np.float32 else "double"
    numbers = [number(value, values.dtype) for value in values.ravel()]
    rows = (", ".join(numbers[first : first + 6]) for first in range(0, len(numbers), 6))
    return f"static const {T} {name}[{len(numbers)}] = {{\n    " + ",\n    ".join(rows) + "};\n"
