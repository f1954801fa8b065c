"""The buffers that the kernels work in."""

from __future__ import annotations

import math
import threading
from typing import Any, NamedTuple

import numpy as np

from numba_lstm._jit import helper
from numba_lstm.cpu.matmul import scratch_size
from numba_lstm.parameters import Layout

# Rows between those of two blocks in a prediction's buffers. As neighbours they cost 3 %
# at H = 50, presumably because one core fetches ahead what the other is about to write.
GAP = 8

POOLING = "last", "mean", "max", "attention"

# A thread keeps the buffers of its last prediction, if they are small, for the next: to
# make new ones takes as long as to predict a sequence with a small network.
_KEPT_BYTES = 2**22
_kept = threading.local()

# Elements of a cache line, of 64 bytes, that holds float32.
_LINE = 16


class Inputs(NamedTuple):
    """A batch's inputs, as the kernels take them.

    Attributes
    ----------
    memory : ndarray of uint8
        The bytes of a batch's ``values``, float32 or float64.
    itemsize : int
        4 or 8: which of them.
    starts : ndarray of int64 of shape (B,)
        As in :class:`Batch`.
    ends : ndarray of int64 of shape (B + 1,)
        0, and the number of time steps of all sequences up to each one; the last is S.
    mean, inverse_scale : ndarray of float64 of shape (F,)
        Standardisation.
    """

    memory: np.ndarray
    itemsize: int
    starts: np.ndarray
    ends: np.ndarray
    mean: np.ndarray
    inverse_scale: np.ndarray


class Targets(NamedTuple):
    """A batch's targets, in the order of the outputs, and the loss.

    Attributes
    ----------
    y : ndarray of shape (Q, K) or (Q, 1)
        Targets; packed rows, where each step has an output.
    weight : ndarray of shape (Q,)
        Their weights.
    kind, parameter : int, float
        The loss; see losses.py.
    """

    y: np.ndarray
    weight: np.ndarray
    kind: int
    parameter: float


class Workspace(NamedTuple):
    """Buffers of the kernels, in one piece of memory.

    Attributes
    ----------
    memory : ndarray of float32 or float64
        All of them.
    table : ndarray of int64
        Where they lie. It begins with the head's part, :class:`HeadColumns`, and goes on
        with a part for each cell, :class:`CellColumns`.
    """

    memory: np.ndarray
    table: np.ndarray


class CellColumns(NamedTuple):
    """What the table holds of a cell, with S time steps and B sequences.

    S counts those of a wave in training, of all in ``states``; a prediction has a row for
    each sequence instead, in xh, gates and c. Rows are packed (cells.py). Of a matrix there
    are the first element, rows and columns.

    Attributes
    ----------
    xh : matrix (S, F + 1 + H or a little more)
        Inputs x_t, a one, and the hidden state h_{t-1}; then padding, so that no two rows,
        and no two threads, share a cache line.
    gates : matrix (S, 4H)
        The activated gates i, f, g, o; after the backward pass da.
    c : matrix (B + S, H)
        Cells; the last B rows are those before the first step.
    tanh_c : matrix (S, H)
        Hyperbolic tangent of the cell.
    h : matrix (S or B, ...)
        Where the hidden state goes, from column ``h_column`` on.
    dh, dc : matrix (B, H)
        Running gradients of the backward pass.
    x, dx : matrix (S, F)
        Outputs of the layer below and the gradient with respect to them; empty in the
        first layer.
    out, d_out : matrix (S or B, width)
        Outputs of the layer, the cell's from ``column`` on, and the gradient.
    packed_W, packed_W_hT, packed_W_xT : matrix
        Weights in panels, two of them transposed.
    W, W_x, W_h : matrix (F + 1 + H, 4H), without biases (F + H, 4H); (F, 4H); (H, 4H)
        The weights, in theta or in its gradient; W_x empty in the first layer.
    peephole : matrix (3, H)
        p_i, p_f and p_o in theta, or zeros.
    h_0, c_0 : matrix (1, H) or (B, H)
        What the sequences begin with: zeros, or the same for all in theta, or of each.
    d_initial : matrix (2, H)
        Gradient of h_0 and c_0, where these are in theta.
    extra : matrix (5 n_tasks, H)
        For each block of a wave the gradients of peephole, h_0 and c_0.
    x_mask, h_mask : matrix (B, F) and (B, H)
        What a sequence's inputs and its h_{t-1} are multiplied by, to drop some; empty
        where nothing is dropped.
    h_column, column : int
        Columns.
    coupled, limited : bool
        Whether the gates are coupled, and pre-activations clipped.
    peeps, learned : bool
        Whether peephole, and h_0 and c_0, are in theta.
    zero : bool
        Whether h_0 is zero.
    reverse : bool
        Whether it reads from the end.
    every_step : bool
        Whether its layer's outputs are kept at every step, or at the last only.
    second, last : bool
        Whether it is the second and whether it is the last direction of its layer.
    merges, residual : bool
        Whether the layer's outputs are other than h: merged, or with its inputs added.
    divisor : int
        What h is divided by in the outputs: 1, or 2 for the mean.
    """

    xh: Any
    gates: Any
    c: Any
    tanh_c: Any
    h: Any
    dh: Any
    dc: Any
    x: Any
    dx: Any
    out: Any
    d_out: Any
    packed_W: Any
    packed_W_hT: Any
    packed_W_xT: Any
    W: Any
    W_x: Any
    W_h: Any
    peephole: Any
    h_0: Any
    c_0: Any
    d_initial: Any
    extra: Any
    x_mask: Any
    h_mask: Any
    h_column: int
    column: int
    coupled: bool
    limited: bool
    peeps: bool
    learned: bool
    zero: bool
    reverse: bool
    every_step: bool
    second: bool
    last: bool
    merges: bool
    residual: bool
    divisor: int


class HeadColumns(NamedTuple):
    """What the table holds of the head, with Q outputs of the network.

    Attributes
    ----------
    rows, d_rows : matrix (S, width) or (B, width)
        Outputs of the last layer and the gradient with respect to them.
    h, d_h : matrix (S or B, width)
        What the head sees and the gradient: these, or what they are pooled to.
    out, d_out : matrix (Q, K)
        Outputs and the loss's gradient with respect to them.
    packed_W_y, packed_W_yT : matrix
        Weights in panels, the latter transposed.
    constants : matrix (1, 1)
        The limit of the pre-activations.
    row_loss : matrix (1, Q)
        Weighted loss of each output.
    W_y, b_y : matrix (K, width) and (1, K)
        The weights, in theta or in its gradient.
    u, alpha : matrix (S, width) and (S, 1)
        What attention computes of each step: see pooling.py; empty without.
    latest : matrix (B, width)
        Time step of the greatest output, where that is what is seen.
    sums : matrix (B, 2)
        Sums over a sequence's steps.
    W_a, b_a, v_a : matrix (width, width), (1, width) and (1, width)
        Attention's weights, in theta or in its gradient.
    packed_W_a, packed_W_aT : matrix
        The first of them in panels, the latter transposed.
    extra : matrix (2 n_tasks, width)
        For each block of a wave the gradients of b_a and v_a.
    scratch : matrix
        Room for products, a row for each task: see matmul.scratch_size.
    pooling : int
        Which: an index into POOLING.
    """

    rows: Any
    d_rows: Any
    h: Any
    d_h: Any
    out: Any
    d_out: Any
    packed_W_y: Any
    packed_W_yT: Any
    constants: Any
    row_loss: Any
    W_y: Any
    b_y: Any
    u: Any
    alpha: Any
    latest: Any
    sums: Any
    W_a: Any
    b_a: Any
    v_a: Any
    packed_W_a: Any
    packed_W_aT: Any
    extra: Any
    scratch: Any
    pooling: int


def _columns(kind, n_matrices):
    """Return where each field begins, of matrices with three numbers each, and their number."""
    *columns, size = (3 * k - 2 * max(0, k - n_matrices) for k in range(len(kind._fields) + 1))
    return kind(*columns), size


HEAD, _HEAD_SIZE = _columns(HeadColumns, 23)
CELL, _CELL_SIZE = _columns(CellColumns, 24)


@helper
def n_cells(table):
    """Return how many cells a table has."""
    return (table.size - _HEAD_SIZE) // _CELL_SIZE


def part_of_cell(k: int) -> int:
    """Return where in the table the part of cell k begins."""
    return _HEAD_SIZE + k * _CELL_SIZE


cell_part = helper(part_of_cell)  # which Python cannot call


class Drops(NamedTuple):
    """Shares that are dropped in training.

    Attributes
    ----------
    inputs, between, recurrent : float
        Of the inputs, of what goes from layer to layer, and from step to step.
    """

    inputs: float
    between: float
    recurrent: float


NOTHING = Drops(0, 0, 0)


class Buffers:
    """Workspaces of one network, made anew only for a larger batch.

    Parameters
    ----------
    layout : Layout
        The network's.
    dtype : numpy.dtype
        float32 or float64.
    per_step : bool
        Whether every time step has an output.
    """

    def __init__(self, layout: Layout, dtype: np.dtype, per_step: bool) -> None:
        self._key = layout, dtype, per_step
        self._held: dict[tuple, tuple] = {}

    def room(
        self,
        purpose: str,
        S: int,
        B: int,
        Q: int,
        n_tasks: int,
        given_state: bool = False,
        drops: Drops = NOTHING,
    ) -> Workspace:
        """Return buffers for a batch.

        Parameters
        ----------
        purpose : {"train", "predict", "states"}
            What for; a thread's predictions share theirs with those of other networks.
        S, B, Q, n_tasks : int
            Time steps side by side, sequences, outputs, and tasks of a stage.
        given_state : bool
            Whether each sequence begins with a state of its own, in h_0 and c_0.
        drops : Drops
            What is dropped, by masks.
        """
        sizes = (S, B, Q, n_tasks)
        held = _kept.__dict__ if purpose == "predict" else self._held
        which = purpose, given_state, drops
        owner, has, work = held.get(which, (None, (), None))
        if owner != self._key or any(a < b for a, b in zip(has, sizes, strict=True)):
            work = allocate(*self._key, *sizes, *which)
            if purpose != "predict" or work.memory.nbytes <= _KEPT_BYTES:
                held[which] = self._key, sizes, work
        return work


class _Room:
    """Places in a memory yet to be made, each at the beginning of a cache line.

    A vector that lies across two lines is loaded twice.
    """

    size = 0

    def take(self, rows, columns):
        place = self.size, rows, columns
        self.size += -(-rows * columns // _LINE) * _LINE
        return place

    def memory(self, dtype):
        memory = np.empty(self.size + _LINE, dtype)
        first = -memory.ctypes.data % 64 // dtype.itemsize
        return memory[first : first + self.size]


def allocate(
    layout: Layout,
    dtype: np.dtype,
    per_step: bool,
    S: int,
    B: int,
    Q: int,
    n_tasks: int,
    purpose: str,
    given_state: bool = False,
    drops: Drops = NOTHING,
) -> Workspace:
    """Make a workspace; what its purpose does not need has no rows. See :class:`Buffers`."""
    room, trains = _Room(), purpose == "train"
    rows = B + n_tasks * GAP if purpose == "predict" else S  # of what a step computes
    widths = layout.widths
    pools, attends = layout.pooling != "last", layout.pooling == "attention"
    top_at_every_step = per_step or pools or purpose == "states"
    outs, d_outs, x_masks = [], [], []
    for layer, width in enumerate(widths):
        every_step = layer < len(widths) - 1 or top_at_every_step
        n_out = S if every_step else rows if purpose == "predict" else B
        outs.append(room.take(n_out, width))
        d_outs.append(room.take(n_out if trains else 0, width))
        dropped = drops.between if layer else drops.inputs
        n_inputs = widths[layer - 1] if layer else layout.n_inputs
        x_masks.append(room.take(B if dropped else 0, n_inputs))
    cells, zeroed, nowhere, scratch = [], [], (0, 0, 0), 0
    for k, cell in enumerate(layout.cells):
        layer, reverse, F, H, column = cell
        places, size = layout.places, F + layout.bias + H
        W = places[k, "W"].start
        zeros = room.take(3, H)
        zeroed.append(zeros)
        initial = (places[k, "state"].start, 2, H) if layout.learned_state else zeros
        h_0, c_0 = (initial[0], 1, H), (initial[0] + H, 1, H)
        if given_state:
            h_0, c_0 = room.take(B, H), room.take(B, H)
        second = k > 0 and layout.cells[k - 1].layer == layer
        residual = layout.residual and layer > 0
        merged = layout.direction == "both" and layout.merge != "concat"
        merges = residual or merged
        columns = CellColumns(
            xh=room.take(rows, -(-(F + 1 + H) // _LINE) * _LINE),
            gates=room.take(rows, 4 * H),
            c=room.take(rows if purpose == "predict" else B + S, H),
            tanh_c=room.take(0 if purpose == "predict" else S, H),
            h=room.take(outs[layer][1], H) if merges else outs[layer],
            dh=room.take(B if trains else 0, H),
            dc=room.take(B if trains else 0, H),
            x=outs[layer - 1] if layer else nowhere,
            dx=d_outs[layer - 1] if layer else nowhere,
            out=outs[layer],
            d_out=d_outs[layer],
            packed_W=room.take(size, 4 * H),
            packed_W_hT=room.take(4 * H if trains else 0, H),
            packed_W_xT=room.take(4 * H, F) if trains and layer else nowhere,
            W=(W, size, 4 * H),
            W_x=(W, F, 4 * H) if layer else nowhere,
            W_h=(W + (size - H) * 4 * H, H, 4 * H),
            peephole=(places[k, "peephole"].start, 3, H) if layout.peephole else zeros,
            h_0=h_0,
            c_0=c_0,
            d_initial=initial,
            extra=room.take(5 * n_tasks if trains else 0, H),
            x_mask=x_masks[layer],
            h_mask=room.take(B if drops.recurrent else 0, H),
            h_column=0 if merges else column,
            column=column,
            coupled=layout.coupled,
            limited=layout.limit < math.inf,
            peeps=layout.peephole,
            learned=layout.learned_state and not given_state,
            zero=not layout.learned_state and not given_state,
            reverse=reverse,
            every_step=layer < len(widths) - 1 or top_at_every_step,
            second=second,
            last=k == len(layout.cells) - 1 or layout.cells[k + 1].layer > layer,
            merges=merges,
            residual=residual,
            divisor=2 if merged and layout.merge == "mean" else 1,
        )
        cells.append(np.concatenate([np.ravel(part) for part in columns]))
        scratch = max(scratch, scratch_size(size, 4 * H, dtype.itemsize))
    width, K = widths[-1], layout.n_outputs
    for n in (K, width):
        scratch = max(scratch, scratch_size(n, width, dtype.itemsize))
    h, d_h = outs[-1], d_outs[-1]
    if pools:
        h = room.take(rows if purpose == "predict" else B, width)
        d_h = room.take(B if trains else 0, width)
    steps = outs[-1][1] if attends else 0
    W_a, b_a, v_a = (
        (layout.places[-1, key].start if attends else 0, width if key == "W_a" else 1, width)
        for key in ("W_a", "b_a", "v_a")
    )
    head = HeadColumns(
        rows=outs[-1],
        d_rows=d_outs[-1],
        h=h,
        d_h=d_h,
        out=room.take(0 if purpose == "states" else Q, K),
        d_out=room.take(Q if trains else 0, K),
        packed_W_y=room.take(width if trains else 0, K),
        packed_W_yT=room.take(width, K),
        constants=room.take(1, 1),
        row_loss=room.take(1, Q if trains else 0),
        W_y=(layout.places[-1, "W"].start, K, width),
        b_y=(layout.places[-1, "b"].start, 1, K),
        u=room.take(steps, width),
        alpha=room.take(max(1, outs[-1][1] if pools else 0), 1),
        latest=room.take(B if layout.pooling == "max" else 0, width),
        sums=room.take(B if attends else 0, 2),
        W_a=W_a,
        b_a=b_a,
        v_a=v_a,
        packed_W_a=room.take(width if attends else 0, width),
        packed_W_aT=room.take(width if attends and trains else 0, width),
        extra=room.take(2 * n_tasks if attends and trains else 0, width),
        scratch=room.take(n_tasks if trains else 0, scratch),
        pooling=POOLING.index(layout.pooling),
    )
    table = np.concatenate([*map(np.ravel, head), *cells]).astype(np.int64)
    memory = room.memory(dtype)
    for start, rows, columns in zeroed:
        memory[start : start + rows * columns] = 0
    memory[head.constants[0]] = layout.limit
    return Workspace(memory, table)
