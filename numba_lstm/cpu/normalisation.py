"""Rows normalised over their units, and back: equations (1n) and (4n) of cell.py.

Reference: Ba, Kiros and Hinton, "Layer Normalization", 2016.
"""

from __future__ import annotations

import math

from numba_lstm._jit import helper
from numba_lstm.activations import tanh
from numba_lstm.vectors import constant, lanes, load, store, total

# Added to the variance: PyTorch's default.
EPSILON = 1e-5

# Rows of the gains and the shifts: those of the gates, then the cell's.
CELL, SHIFT = 4, 5


@helper(inline=True)
def _normalise(A, a, B, b, H):
    """Write H numbers of A into B with mean 0 and variance 1.

    Returns their mean, and one over their standard deviation.
    """
    L, number = lanes(A), type(A[0, 0])
    mean, square = number(0), number(0)
    for j in range(0, H, L):
        mean += total(load(A, a + j, H - j))
    mean /= number(H)
    for j in range(0, H, L):
        store(load(A, a + j, H - j) - mean, B, b + j, H - j)
        centred = load(B, b + j, H - j)  # with zeros behind the last unit
        square += total(centred * centred)
    spread = number(1) / number(math.sqrt(square / number(H) + number(EPSILON)))
    for j in range(0, H, L):
        store(load(B, b + j, H - j) * spread, B, b + j, H - j)
    return mean, spread


@helper(inline=True)
def _sums_backward(d, normal, gain):
    """Of some units what a normalisation's gradient needs: the sums of d and of d normal."""
    d = d * gain
    return total(d), total(d * normal)


@helper
def normalise_gates(gates, q, normal, spread, norm, n):
    """Equation (1n) for n rows; ``normal`` gets them before gains and shifts."""
    H, L = norm.shape[1], lanes(norm)
    for row in range(q, q + n):
        for k in range(4):
            a = (4 * row + k) * H
            _, spread[row, k] = _normalise(gates, a, normal, a, H)
            for j in range(0, H, L):
                gain, shift = load(norm, k * H + j, H - j), load(norm, (SHIFT + k) * H + j, H - j)
                store(load(normal, a + j, H - j) * gain + shift, gates, a + j, H - j)


@helper
def normalise_gates_backward(gates, q, normal, spread, norm, extra, first, n):
    """Turn da of n rows into the gradient before equation (1n); add to rows of ``extra``."""
    H, L, number = norm.shape[1], lanes(norm), type(norm[0, 0])
    for row in range(q, q + n):
        for k in range(4):
            a, gains, shifts = (4 * row + k) * H, (first + k) * H, (first + SHIFT + k) * H
            mean, projection = number(0), number(0)
            for j in range(0, H, L):
                d, z = load(gates, a + j, H - j), load(normal, a + j, H - j)
                store(load(extra, gains + j, H - j) + d * z, extra, gains + j, H - j)
                store(load(extra, shifts + j, H - j) + d, extra, shifts + j, H - j)
                one, other = _sums_backward(d, z, load(norm, k * H + j, H - j))
                mean += one
                projection += other
            mean, projection = mean / number(H), projection / number(H)
            for j in range(0, H, L):
                d, z = load(gates, a + j, H - j), load(normal, a + j, H - j)
                d = d * load(norm, k * H + j, H - j) - (z * projection + mean)
                store(d * spread[row, k], gates, a + j, H - j)


@helper
def normalise_cell(gates, q, c, mean, spread, norm, tanh_c, hidden, n):
    """Equation (4n) for n rows: tanh(c), and o times it, of the normalised cell."""
    H, L = norm.shape[1], lanes(norm)
    for row in range(q, q + n):
        at, o = row * H, (4 * row + 3) * H
        mean[row, 0], spread[row, CELL] = _normalise(c, at, hidden, at, H)
        for j in range(0, H, L):
            gain, shift = (
                load(norm, CELL * H + j, H - j),
                load(norm, (SHIFT + CELL) * H + j, H - j),
            )
            value = tanh(load(hidden, at + j, H - j) * gain + shift)
            store(value, tanh_c, at + j, H - j)
            store(load(gates, o + j, H - j) * value, hidden, at + j, H - j)


@helper
def normalise_cell_backward(
    gates, q, c, mean, spread, norm, tanh_c, d_hidden, dc, at, extra, first, n
):
    """Add to dc what reaches the cell of n rows through equation (4n)."""
    H, L, number = norm.shape[1], lanes(norm), type(norm[0, 0])
    gains, shifts = (first + CELL) * H, (first + SHIFT + CELL) * H
    for r in range(n):
        row = q + r
        m, s, average, projection = mean[row, 0], spread[row, CELL], number(0), number(0)
        o, here, d_here = (4 * row + 3) * H, row * H, (at + r) * H
        for sweep in range(2):
            for j in range(0, H, L):
                y, gain = load(tanh_c, here + j, H - j), load(norm, CELL * H + j, H - j)
                d = load(d_hidden, d_here + j, H - j) * load(gates, o + j, H - j)
                d = d * (constant(d, 1.0) - y * y)
                z = (load(c, here + j, H - j) - m) * s
                if sweep == 0:
                    store(load(extra, gains + j, H - j) + d * z, extra, gains + j, H - j)
                    store(load(extra, shifts + j, H - j) + d, extra, shifts + j, H - j)
                    one, other = _sums_backward(d, z, gain)
                    average += one
                    projection += other
                else:
                    d = (d * gain - (z * (projection / number(H)) + average / number(H))) * s
                    store(load(dc, d_here + j, H - j) + d, dc, d_here + j, H - j)
