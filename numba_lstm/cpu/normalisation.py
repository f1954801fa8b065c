"""Rows normalised over their units, and back: equations (1n) and (4n) of cell.py.

Whole vectors of a row are told apart from what is left at its end: for a vector whose
length the compiler knows there is no branch.

Reference: Ba, Kiros and Hinton, "Layer Normalization", 2016.
"""

from __future__ import annotations

import math

from numba_lstm._jit import helper
from numba_lstm.activations import tanh
from numba_lstm.cpu.linking import linked
from numba_lstm.loads import lanes, load, store
from numba_lstm.vectors import constant, total

# Added to the variance: PyTorch's default.
EPSILON = 1e-5

# Rows of the gains and the shifts: those of the gates, then the cell's.
CELL, SHIFT = 4, 5


@helper(inline=True)
def _moments(A, a, H, nothing, scratch, at):
    """Mean of H numbers, and one over their standard deviation.

    ``nothing`` is a vector of zeros; ``scratch`` has room for the last numbers.
    """
    L, number = lanes(A), type(A[0, 0])
    whole, rest = H - H % L, H % L
    sums, squares = nothing, nothing
    for j in range(0, whole, L):
        sums = sums + load(A, a + j, L)
    if rest:
        sums = sums + load(A, a + whole, rest)
    mean = total(sums) / number(H)
    for j in range(0, whole, L):
        centred = load(A, a + j, L) - mean
        squares = squares + centred * centred
    if rest:
        store(load(A, a + whole, rest) - mean, scratch, at, rest)
        centred = load(scratch, at, rest)  # with zeros behind the last unit
        squares = squares + centred * centred
    return mean, number(1) / number(math.sqrt(total(squares) / number(H) + number(EPSILON)))


@helper(inline=True)
def _scale(gates, a, mean, s, normal, norm, k, H, j, n):
    """Finish the normalisation of units from j on of gate k."""
    z = (load(gates, a + j, n) - mean) * s
    store(z, normal, a + j, n)
    store(z * load(norm, k * H + j, n) + load(norm, (SHIFT + k) * H + j, n), gates, a + j, n)


@linked("norm")
def normalise_gates(gates, q, normal, spread, norm, hidden, n):
    """Equation (1n) for n rows; ``normal`` gets them before gains and shifts.

    It may be ``gates`` itself; ``hidden``, where room is needed, may not.
    """
    H, L, number = norm.shape[1], lanes(norm), type(norm[0, 0])
    nothing, whole, rest = load(norm, 0, H) * number(0), H - H % L, H % L
    for row in range(q, q + n):
        for k in range(4):
            a = (4 * row + k) * H
            mean, s = _moments(gates, a, H, nothing, hidden, row * H)
            spread[row, k] = s
            for j in range(0, whole, L):
                _scale(gates, a, mean, s, normal, norm, k, H, j, L)
            if rest:
                _scale(gates, a, mean, s, normal, norm, k, H, whole, rest)


@helper(inline=True)
def _add_small(d, z, extra, gain, shift, norm, k, H, j, n):
    """Add to the gradients of gains and shifts; return the terms of two sums."""
    store(load(extra, gain + j, n) + d * z, extra, gain + j, n)
    store(load(extra, shift + j, n) + d, extra, shift + j, n)
    d = d * load(norm, k * H + j, n)
    return d, d * z


@helper(inline=True)
def _unscale(gates, a, normal, mean, slope, s, norm, k, H, j, n):
    """Gradient before a gate's normalisation, of units from j on."""
    d, z = load(gates, a + j, n), load(normal, a + j, n)
    store((d * load(norm, k * H + j, n) - (z * slope + mean)) * s, gates, a + j, n)


@linked("norm", "train")
def normalise_gates_backward(gates, q, normal, spread, norm, extra, first, n):
    """Turn da of n rows into the gradient before equation (1n); add to rows of ``extra``."""
    H, L, number = norm.shape[1], lanes(norm), type(norm[0, 0])
    nothing, whole, rest = load(norm, 0, H) * number(0), H - H % L, H % L
    for row in range(q, q + n):
        for k in range(4):
            a, gain, shift = (4 * row + k) * H, (first + k) * H, (first + SHIFT + k) * H
            means, slopes = nothing, nothing
            for j in range(0, whole, L):
                d, z = load(gates, a + j, L), load(normal, a + j, L)
                d, dz = _add_small(d, z, extra, gain, shift, norm, k, H, j, L)
                means, slopes = means + d, slopes + dz
            if rest:
                d, z = load(gates, a + whole, rest), load(normal, a + whole, rest)
                d, dz = _add_small(d, z, extra, gain, shift, norm, k, H, whole, rest)
                means, slopes = means + d, slopes + dz
            mean, slope, s = total(means) / number(H), total(slopes) / number(H), spread[row, k]
            for j in range(0, whole, L):
                _unscale(gates, a, normal, mean, slope, s, norm, k, H, j, L)
            if rest:
                _unscale(gates, a, normal, mean, slope, s, norm, k, H, whole, rest)


@helper(inline=True)
def _output(gates, o, c, at, mean, s, norm, tanh_c, hidden, H, j, n):
    """Equation (4n) for units from j on."""
    gain, shift = load(norm, CELL * H + j, n), load(norm, (SHIFT + CELL) * H + j, n)
    value = tanh((load(c, at + j, n) - mean) * s * gain + shift)
    store(value, tanh_c, at + j, n)
    store(load(gates, o + j, n) * value, hidden, at + j, n)


@linked("norm")
def normalise_cell(gates, q, c, mean, spread, norm, tanh_c, hidden, n):
    """Equation (4n) for n rows: tanh(c), and o times it, of the normalised cell."""
    H, L, number = norm.shape[1], lanes(norm), type(norm[0, 0])
    nothing, whole, rest = load(norm, 0, H) * number(0), H - H % L, H % L
    for row in range(q, q + n):
        at, o = row * H, (4 * row + 3) * H
        m, s = _moments(c, at, H, nothing, hidden, at)
        mean[row, 0], spread[row, CELL] = m, s
        for j in range(0, whole, L):
            _output(gates, o, c, at, m, s, norm, tanh_c, hidden, H, j, L)
        if rest:
            _output(gates, o, c, at, m, s, norm, tanh_c, hidden, H, whole, rest)


@helper(inline=True)
def _before_tanh(gates, o, c, here, m, s, tanh_c, d_hidden, d_here, j, n):
    """Gradient of the argument of tanh in (4n), and the normalised cell, for units from j on."""
    y = load(tanh_c, here + j, n)
    d = load(d_hidden, d_here + j, n) * load(gates, o + j, n)
    return d * (constant(d, 1.0) - y * y), (load(c, here + j, n) - m) * s


@helper(inline=True)
def _add_change(d, z, mean, slope, s, norm, dc, at, H, j, n):
    """What the normalisation makes of d, less d, added to dc of units from j on."""
    change = (d * load(norm, CELL * H + j, n) - (z * slope + mean)) * s - d
    store(load(dc, at + j, n) + change, dc, at + j, n)


@linked("norm", "train")
def normalise_cell_backward(
    gates, q, c, mean, spread, norm, tanh_c, d_hidden, dc, at, extra, first, n
):
    """Add to dc what reaches the cell of n rows through equation (4n).

    Less what it would be without normalisation, as equation (5) adds that afterwards.
    """
    H, L, number = norm.shape[1], lanes(norm), type(norm[0, 0])
    nothing, whole, rest = load(norm, 0, H) * number(0), H - H % L, H % L
    gain, shift = (first + CELL) * H, (first + SHIFT + CELL) * H
    for r in range(n):
        row, means, slopes = q + r, nothing, nothing
        o, here, to, m, s = (
            (4 * row + 3) * H,
            row * H,
            (at + r) * H,
            mean[row, 0],
            spread[row, CELL],
        )
        for j in range(0, whole, L):
            d, z = _before_tanh(gates, o, c, here, m, s, tanh_c, d_hidden, to, j, L)
            d, dz = _add_small(d, z, extra, gain, shift, norm, CELL, H, j, L)
            means, slopes = means + d, slopes + dz
        if rest:
            d, z = _before_tanh(gates, o, c, here, m, s, tanh_c, d_hidden, to, whole, rest)
            d, dz = _add_small(d, z, extra, gain, shift, norm, CELL, H, whole, rest)
            means, slopes = means + d, slopes + dz
        average, slope = total(means) / number(H), total(slopes) / number(H)
        for j in range(0, whole, L):
            d, z = _before_tanh(gates, o, c, here, m, s, tanh_c, d_hidden, to, j, L)
            _add_change(d, z, average, slope, s, norm, dc, to, H, j, L)
        if rest:
            d, z = _before_tanh(gates, o, c, here, m, s, tanh_c, d_hidden, to, whole, rest)
            _add_change(d, z, average, slope, s, norm, dc, to, H, whole, rest)
