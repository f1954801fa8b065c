"""Rows of a step: inputs standardised, gates activated, gates differentiated.

The equations' numbers are those of cell.py.
"""

from __future__ import annotations

from numba_lstm._jit import helper
from numba_lstm.cell import cell_backward, gates_and_cell, hypothesis
from numba_lstm.cpu.linking import linked
from numba_lstm.loads import lanes, load, read_reals, store
from numba_lstm.vectors import at_least, at_most

_LARGEST = 1e18


@helper
def standardised(value, mean, inverse_scale):
    """Return an input as the network sees it, in float64, in which the difference is formed."""
    # Still finite in float32, as are sums of it: no NaN from inf - inf.
    return at_most(at_least((value - mean) * inverse_scale, -_LARGEST), _LARGEST)


@helper
def standardise(memory, itemsize, starts, s, t, mean, inverse_scale, xh, row, x_size, n):
    """Write inputs of n sequences from s on, and the bias's one if any, into rows of xh.

    Of their steps t, to rows from ``row`` on.
    """
    F, R = mean.size, xh.shape[1]
    for j in range(0, F, lanes(mean)):
        m, scale = load(mean, j, F - j), load(inverse_scale, j, F - j)
        for r in range(n):
            place = ((starts[s + r] + t) * F + j) * itemsize
            value = read_reals(memory, place, itemsize, F - j)
            store(standardised(value, m, scale), xh, (row + r) * R + j, F - j)
    if x_size > F:
        for r in range(row, row + n):
            xh[r, F] = 1


@helper(inline=True)
def _variant_at(variant, H, j, n):
    """What is special about units j to j+n, as cell.py takes it."""
    if variant is None:
        return None
    peephole, limit, coupled = variant
    p_i, p_f = load(peephole, j, n), load(peephole, H + j, n)
    return p_i, p_f, load(peephole, 2 * H + j, n), limit, coupled


@helper(inline=True)
def _read_forward(gates, a, H, c, before, j, n):
    """Load what equations (2) to (4) need for units j to j+n of one row."""
    return (
        load(gates, a + j, n),
        load(gates, a + H + j, n),
        load(gates, a + 2 * H + j, n),
        load(gates, a + 3 * H + j, n),
        load(c, before + j, n),
    )


@helper(inline=True)
def _write_forward(given, variant, gates, a, H, new_c, now, j, n):
    """Equations (2) and (3) for units j to j+n of one row, from what was loaded."""
    i, f, g, o, c_t = gates_and_cell(*given, _variant_at(variant, H, j, n))
    store(i, gates, a + j, n)
    store(f, gates, a + H + j, n)
    store(g, gates, a + 2 * H + j, n)
    store(o, gates, a + 3 * H + j, n)
    store(c_t, new_c, now + j, n)


@helper(inline=True)
def _write_hypothesis(gates, o, new_c, now, tanh_c, q, h, at, xh, following, j, n):
    """Equation (4) for units j to j+n of one row."""
    tanh_c_t, h_t = hypothesis(load(gates, o + j, n), load(new_c, now + j, n))
    store(tanh_c_t, tanh_c, q + j, n)
    store(h_t, h, at + j, n)
    if following >= 0:
        store(h_t, xh, following + j, n)


@helper
def _activate(
    variant, gates, q, c, before, new_c, now, tanh_c, h, at, column, xh, x_size, following, m, n
):
    """Equations (2) to (4) for n rows: pre-activations become i, f, g, o, c and h.

    Rows q of gates and tanh_c, ``before`` of c for c_{t-1} and ``now`` of new_c for c_t,
    ``at`` of h, whose row holds h_t from ``column`` on; of the first m h_t goes to xh, too,
    from row ``following`` on behind the ``x_size`` inputs, as part of the next step's.
    ``variant`` is None or a tuple: peephole weights (3, H), the limit, whether the gates are
    coupled.
    """
    H, R, L = c.shape[1], xh.shape[1], lanes(c)
    end, n_end = _last_vector(H, L)
    for r in range(n):
        a, c_prev, c_row = (q + r) * 4 * H, (before + r) * H, (now + r) * H
        given = _read_forward(gates, a, H, c, c_prev, end, n_end)
        for j in range(0, end, L):
            each = _read_forward(gates, a, H, c, c_prev, j, L)
            _write_forward(each, variant, gates, a, H, new_c, c_row, j, L)
        _write_forward(given, variant, gates, a, H, new_c, c_row, end, n_end)
    # Another loop, as tanh(c) waits for all that comes before it: the processor then has other
    # units to go on with. Both loops in one took 0.87 ns a unit instead of 0.71.
    for r in range(n):
        o, row, c_row = (4 * (q + r) + 3) * H, (q + r) * H, (now + r) * H
        h_row = (at + r) * h.shape[1] + column
        then = (following + r) * R + x_size if r < m else -1
        for j in range(0, end, L):
            _write_hypothesis(gates, o, new_c, c_row, tanh_c, row, h, h_row, xh, then, j, L)
        _write_hypothesis(gates, o, new_c, c_row, tanh_c, row, h, h_row, xh, then, end, n_end)


@linked("plain")
def activate(gates, q, c, before, new_c, now, tanh_c, h, at, column, xh, x_size, following, m, n):
    """Plain gates: see :func:`_activate`."""
    _activate(
        None, gates, q, c, before, new_c, now, tanh_c, h, at, column, xh, x_size, following, m, n
    )


@linked("gated")
def activate_special(
    gates, q, c, before, new_c, now, tanh_c, h, at, column, xh, x_size, following, m, n, variant
):
    """Special gates: see :func:`_activate`."""
    _activate(
        *(variant, gates, q, c, before, new_c, now, tanh_c, h, at, column, xh, x_size),
        *(following, m, n),
    )


@helper
def _last_vector(H, L):
    """Where the last vector of a row of H units begins, and how many lanes it has.

    It overlaps the one before it, rather than to be a part of a vector, where H is not a
    multiple of the L lanes: so it is loaded before that one is written.
    """
    return max(H - L, 0), min(H, L)


@helper(inline=True)
def _read_backward(gates, a, H, c, before, tanh_c, q, dh, dc, row, j, n):
    """Load what equations (5) to (7) need for units j to j+n of one row."""
    return (
        load(gates, a + j, n),
        load(gates, a + H + j, n),
        load(gates, a + 2 * H + j, n),
        load(gates, a + 3 * H + j, n),
        load(c, before + j, n),
        load(tanh_c, q + j, n),
        load(dh, row + j, n),
        load(dc, row + j, n),
    )


@helper(inline=True)
def _write_backward(given, variant, gates, a, H, dc, row, j, n):
    """Equations (5) to (7) for units j to j+n of one row, from what was loaded."""
    da_i, da_f, da_g, da_o, dc_prev = cell_backward(*given, _variant_at(variant, H, j, n))
    store(da_i, gates, a + j, n)
    store(da_f, gates, a + H + j, n)
    store(da_g, gates, a + 2 * H + j, n)
    store(da_o, gates, a + 3 * H + j, n)
    store(dc_prev, dc, row + j, n)


@helper
def _differentiate(variant, gates, q, c, before, tanh_c, dh, dc, at, n):
    """Equations (5) to (7) for n rows: the gates become da, dc moves to t-1."""
    H, L = dh.shape[1], lanes(dh)
    end, n_end = _last_vector(H, L)
    for r in range(n):
        a, row, c_prev, d_row = (q + r) * 4 * H, (q + r) * H, (before + r) * H, (at + r) * H
        given = _read_backward(gates, a, H, c, c_prev, tanh_c, row, dh, dc, d_row, end, n_end)
        for j in range(0, end, L):
            _write_backward(
                *(
                    _read_backward(gates, a, H, c, c_prev, tanh_c, row, dh, dc, d_row, j, L),
                    variant,
                ),
                *(gates, a, H, dc, d_row, j, L),
            )
        _write_backward(given, variant, gates, a, H, dc, d_row, end, n_end)


@linked("plain", "train")
def differentiate(gates, q, c, before, tanh_c, dh, dc, at, n):
    """Plain gates: see :func:`_differentiate`."""
    _differentiate(None, gates, q, c, before, tanh_c, dh, dc, at, n)


@linked("gated", "train")
def differentiate_special(gates, q, c, before, tanh_c, dh, dc, at, n, variant):
    """Special gates: see :func:`_differentiate`."""
    _differentiate(variant, gates, q, c, before, tanh_c, dh, dc, at, n)


@linked("gated", "train")
def add_peephole_gradient(gates, q, c, before, new_c, d_peephole, first, n):
    """Add equation (8p) of n rows, whose gates are da by now, to 3 rows of d_peephole."""
    H = c.shape[1]
    for r in range(n):
        for j in range(H):
            c_prev = c[before + r, j]
            d_peephole[first, j] += gates[q + r, j] * c_prev
            d_peephole[first + 1, j] += gates[q + r, H + j] * c_prev
            d_peephole[first + 2, j] += gates[q + r, 3 * H + j] * new_c[q + r, j]
