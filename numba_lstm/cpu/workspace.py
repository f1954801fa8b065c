"""The buffers that the kernels work in."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np

from numba_lstm.cpu.matmul import scratch_size
from numba_lstm.cpu.table import POOLING, CellColumns, HeadColumns
from numba_lstm.parameters import Layout

# Rows between those of two blocks in a prediction's buffers. As neighbours they cost 3 %
# at H = 50, presumably because one core fetches ahead what the other is about to write.
GAP = 8

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
        held: dict[Any, Any] = _kept.__dict__ if purpose == "predict" else self._held
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
            tanh_c=room.take(rows, H),
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
            peeps=layout.peephole,
            learned=layout.learned_state and not given_state,
            zero=not layout.learned_state and not given_state,
            reverse=reverse,
            keeps=purpose != "predict",
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
