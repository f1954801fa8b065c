"""One time step of a network, with the state held in between: for streams and compiled code.

What a step needs lies in many arrays, each of which takes Numba 50 nanoseconds to unpack
when Python passes it. They are passed as one number, the address of a frame: integers that
say where each of them lies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from numba_lstm._jit import helper, kernel
from numba_lstm.cpu.allocation import Needs, Workspace, allocate
from numba_lstm.cpu.gates import activate, standardised
from numba_lstm.cpu.head import hidden_layer
from numba_lstm.cpu.linking import link, linked
from numba_lstm.cpu.matmul import ADD, SET, product
from numba_lstm.cpu.panels import pack_share
from numba_lstm.cpu.special import advance
from numba_lstm.cpu.table import CELL, HEAD, cell_part, n_cells, part_of_cell
from numba_lstm.memory import at, matrix, view
from numba_lstm.parameters import Layout


class Frame(NamedTuple):
    """What a step reads, and where it writes, but for what changes from call to call.

    Attributes
    ----------
    theta : ndarray
        The weights.
    panels : ndarray
        A workspace's memory, whose beginning has the weights in panels.
    table : ndarray of int64
        Its table.
    scale : ndarray of float64 of shape (2 F,)
        Mean of the inputs, and one over their scale.
    units : ndarray of float64 of shape (2 K,)
        Scale of the outputs, and what is added to them.
    decay : ndarray of float64 of shape (n,)
        What the passed time does to the cells of each stream.
    numbers : ndarray of int64 of shape (n,)
        0 to n-1.
    y : ndarray of float64 of shape (n K,)
        Receives the outputs.
    """

    theta: Any
    panels: Any
    table: Any
    scale: Any
    units: Any
    decay: Any
    numbers: Any
    y: Any


def addresses(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Return where some arrays lie and how long they are, as a kernel reads it."""
    return np.array([(x.ctypes.data, x.size) for x in arrays], np.int64).reshape(-1)


@linked("steps")
def step(theta, memory, panels, table, decay, starts, scale, units, x_given, y):
    """Equations (1) to (4) and the head for one step of every stream.

    ``memory`` holds the state, h in each cell's xh and c, and what the step computes;
    ``panels`` the packed weights. If an input is NaN or infinite, all outputs are NaN and
    the state stays as it was.
    """
    out, zero = matrix(memory, table, HEAD.out), np.int64(0)
    n, K, F = out.shape[0], out.shape[1], scale.size // 2
    for j in range(x_given.size):
        if not math.isfinite(x_given[j]):
            for k in range(y.size):
                y[k] = math.nan
            return
    for k in range(n_cells(table)):
        cell = cell_part(k)
        xh, gates = matrix(memory, table, cell + CELL.xh), matrix(memory, table, cell + CELL.gates)
        c, h = matrix(memory, table, cell + CELL.c), matrix(memory, table, cell + CELL.h)
        below = matrix(memory, table, cell + CELL.x)
        packed_W = matrix(panels, table, cell + CELL.packed_W)
        R, P = packed_W.shape[0], table[cell + CELL.h_0 + 2]
        width = F if k == 0 else below.shape[1]
        for r in range(n):
            for j in range(width):
                if k == 0:
                    xh[r, j] = standardised(x_given[r * F + j], scale[j], scale[F + j])
                else:
                    xh[r, j] = below[r, j]
            if width < R - P:
                xh[r, width] = 1
        product(xh, zero, R, packed_W, gates, zero, n, SET)
        if not table[cell + CELL.special]:
            tanh_c = matrix(memory, table, cell + CELL.tanh_c)
            activate(
                *(gates, zero, c, zero, c, zero, tanh_c, h, zero, zero),
                *(xh, R - P, zero, n, n),
            )
        else:
            advance(
                *(theta, memory, panels, table, cell, decay, starts),
                *(zero, zero, zero, zero, zero, zero, R - P, zero, n, n),
            )
        if table[cell + CELL.residual]:
            layer = matrix(memory, table, cell + CELL.out)
            for r in range(n):
                for j in range(P):
                    layer[r, j] = h[r, j] + below[r, j]
    if table[HEAD.hides]:
        hidden_layer(theta, memory, panels, table, zero, n)
    h, b_y = matrix(memory, table, HEAD.h), matrix(theta, table, HEAD.b_y)
    for r in range(n):
        for k in range(K):
            out[r, k] = b_y[0, k]
    product(h, zero, h.shape[1], matrix(panels, table, HEAD.packed_W_yT), out, zero, n, ADD)
    for r in range(n):
        for k in range(K):
            y[r * K + k] = np.float64(out[r, k]) * units[k] + units[K + k]


@helper
def step_in_frame(x, memory, y, frame, real):
    """Take one step: ``frame`` is the address of a :class:`Frame`'s :func:`addresses`.

    ``real`` is a number of the network's dtype.
    """
    whole, double = np.int64(0), np.float64(0)
    f = at(frame, 16, whole)
    step(
        *(at(f[0], f[1], real), memory, at(f[2], f[3], real), at(f[4], f[5], whole)),
        *(at(f[10], f[11], double), at(f[12], f[13], whole)),
        *(at(f[6], f[7], double), at(f[8], f[9], double), x, y),
    )


@helper
def _step_of_streams(x, frame, real):
    f = at(frame, 16, np.int64(0))
    y = at(f[14], f[15], np.float64(0))
    step_in_frame(view(x), at(f[2], f[3], real), y, frame, real)
    return y[0]


@kernel
def step_float32(x: np.ndarray, frame: int) -> float:
    """Take one step with inputs (n F,) in float64; return the first output."""
    return _step_of_streams(x, frame, np.float32(0))


@kernel
def step_float64(x: np.ndarray, frame: int) -> float:
    """Take one step with inputs (n F,) in float64; return the first output."""
    return _step_of_streams(x, frame, np.float64(0))


@kernel
def _pack(theta, work):
    theta, (memory, table) = view(theta), view(work)
    pack_share(theta, memory, table, 0, 1)


def make_room(layout: Layout, theta: np.ndarray, n: int) -> Workspace:
    """Return buffers for the steps of n streams, which are yet to take their first."""
    link(theta.dtype, layout.parts | {"steps"})
    work = allocate(layout, theta.dtype, False, Needs("predict"), n, n, n, 0)
    _pack(theta, work)
    begin(layout, theta, work)
    return work


def begin(layout: Layout, theta: np.ndarray, work: Workspace, which: Any = slice(None)) -> None:
    """Set the state to what it is before any step: zeros, or what was learned.

    ``which`` are the streams to do that for.
    """
    weights = layout.views(theta)
    for name, parts in zip(("h_0", "c_0"), state_parts(layout, work), strict=True):
        for k, part in enumerate(parts):
            part[which] = weights[k, name] if layout.learned_state else 0


def state_parts(layout: Layout, work: Workspace) -> tuple[list[Any], list[Any]]:
    """Return views of h (n, P) of every cell, beside its inputs, and of c (n, H)."""
    (memory, table), h, c = work, [], []
    for k, cell in enumerate(layout.cells):
        n = work.table[part_of_cell(k) + CELL.c + 1]
        xh = matrix(memory, table, part_of_cell(k) + CELL.xh)
        first = cell.n_inputs + layout.bias
        h.append(xh[:n, first : first + cell.output_size])
        c.append(matrix(memory, table, part_of_cell(k) + CELL.c))
    return h, c
