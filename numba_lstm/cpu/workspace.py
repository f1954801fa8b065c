"""A batch's blocks, and the buffers that the kernels work in."""

from __future__ import annotations

import functools
import itertools
import math
import threading
from typing import NamedTuple

import numpy as np

from numba_lstm.cpu.matmul import scratch_size
from numba_lstm.parameters import Layout

# Sequences of a block, at most, up to _SMALL hidden units and (twice as many) above: enough
# rows for each weight that comes from the cache, few enough to keep many cores busy. Half as
# many where the block's time steps take more than _BLOCK_BYTES: 10 % faster at H = 64 and T =
# 500 or 2000, no difference at H = 128 or 256.
_BLOCK_ROWS, _SMALL, _BLOCK_BYTES = 16, 256, 2**22

# Rows between those of two blocks in a prediction's buffers. As neighbours they cost 3 %
# at H = 50, presumably because one core fetches ahead what the other is about to write.
GAP = 8

# A thread keeps the buffers of its last prediction, if they are small, for the next: to
# make new ones takes as long as to predict a sequence with a small network.
_KEPT_BYTES = 2**22
_kept = threading.local()

# What the time steps of a wave may take: a part of a third-level cache.
_WAVE_BYTES = 2**23

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
    """Buffers of the kernels, for S time steps, B sequences and Q outputs.

    S counts those of a wave in training, of all in ``states``; a prediction keeps nothing,
    has a row for each sequence, and c of no other shape. Rows are packed (cpu/layer.py).

    Attributes
    ----------
    xh : ndarray of shape (S, F + 1 + H or a little more)
        Standardised inputs x_t, a one, and the hidden state h_{t-1}; then padding, so
        that no two rows, and no two threads, share a cache line.
    gates : ndarray of shape (S, 4H)
        The activated gates i, f, g, o; after the backward pass da.
    c : ndarray of shape (B + S, H)
        Cells; the last B rows are the zeros before the first step.
    tanh_c : ndarray of shape (S, H)
        Hyperbolic tangent of the cell.
    h : ndarray of shape (Q, H)
        Hidden state behind each output.
    out, d_out : ndarray of shape (Q, K)
        Outputs and the loss's gradient with respect to them.
    row_loss : ndarray of shape (Q,)
        Weighted loss of each output.
    dh, dc : ndarray of shape (B, H)
        Running gradients of the backward pass.
    packed_W, packed_W_hT, packed_W_y, packed_W_yT : ndarray
        Weights in panels, two of them transposed.
    scratch : ndarray
        Room for the weight gradient's products, a row for each task.
    """

    xh: np.ndarray
    gates: np.ndarray
    c: np.ndarray
    tanh_c: np.ndarray
    h: np.ndarray
    out: np.ndarray
    d_out: np.ndarray
    row_loss: np.ndarray
    dh: np.ndarray
    dc: np.ndarray
    packed_W: np.ndarray
    packed_W_hT: np.ndarray
    packed_W_y: np.ndarray
    packed_W_yT: np.ndarray
    scratch: np.ndarray


class Buffers:
    """Workspaces of one network, made anew only for a larger batch.

    Parameters
    ----------
    layout : Layout
        F, H and K.
    dtype : numpy.dtype
        float32 or float64.
    per_step : bool
        Whether every time step has an output.
    """

    def __init__(self, layout: Layout, dtype: np.dtype, per_step: bool) -> None:
        self._key = layout, dtype, per_step
        self._held: dict[str, tuple] = {}

    def room(self, purpose: str, S: int, B: int, Q: int, n_tasks: int) -> Workspace:
        """Return buffers for a batch.

        Parameters
        ----------
        purpose : {"train", "predict", "states"}
            What for; a thread's predictions share theirs with those of other networks.
        S, B, Q, n_tasks : int
            Time steps side by side, sequences, outputs, and tasks of a stage.
        """
        sizes = (S, B, Q, n_tasks)
        held = vars(_kept) if purpose == "predict" else self._held
        owner, has, work = held.get(purpose, (None, (), None))
        if owner != self._key or any(a < b for a, b in zip(has, sizes, strict=True)):
            work = _allocate(*self._key, *sizes, purpose)
            if purpose != "predict" or work.xh.base.nbytes <= _KEPT_BYTES:
                held[purpose] = self._key, sizes, work
        return work


def _allocate(layout, dtype, per_step, S, B, Q, n_tasks, purpose):
    """Make a workspace; what its purpose does not need has no rows."""
    F, H, K = layout
    trains, predicts = purpose == "train", purpose == "predict"
    scratch = scratch_size(F + 1 + H, 4 * H, dtype.itemsize) if trains else 0
    rows = B + n_tasks * GAP if predicts else S
    shapes = {
        "xh": (rows, -(-(F + 1 + H) // _LINE) * _LINE),
        "gates": (rows, 4 * H),
        "c": (rows if predicts else B + S, H),
        "tanh_c": (0 if predicts else S, H),
        "h": (rows if predicts else Q, H),
        "out": (0 if purpose == "states" else Q, K),
        "d_out": (Q if trains else 0, K),
        "row_loss": (Q if trains else 0,),
        "dh": (B if trains else 0, H),
        "dc": (B if trains else 0, H),
        "packed_W": ((F + 1 + H) * 4 * H,),
        "packed_W_hT": (H * 4 * H if trains else 0,),
        "packed_W_y": (H * K if trains else 0,),
        "packed_W_yT": (H * K,),
        "scratch": (n_tasks, scratch),
    }
    return Workspace(**_aligned(shapes, dtype))


def _aligned(shapes, dtype):
    """Return arrays in one piece of memory, each at the beginning of a cache line.

    A vector that lies across two lines is loaded twice.
    """
    sizes = [-(-math.prod(shape) // _LINE) * _LINE for shape in shapes.values()]
    memory = np.empty(sum(sizes) + _LINE, dtype)
    first = -memory.ctypes.data % 64 // dtype.itemsize
    arrays = {}
    for (name, shape), size in zip(shapes.items(), sizes, strict=True):
        arrays[name] = memory[first : first + math.prod(shape)].reshape(shape)
        first += size
    return arrays


class Plan(NamedTuple):
    """How a batch is cut up.

    Attributes
    ----------
    ends : ndarray of int64 of shape (B + 1,)
        0, and the number of time steps of all sequences up to each one.
    blocks : ndarray of int64
        The first sequence of each block, and B.
    wave : int
        Blocks that a training step computes side by side.
    rows : int
        Time steps of the largest wave.
    """

    ends: np.ndarray
    blocks: np.ndarray
    wave: int
    rows: int


def plan(lengths: np.ndarray, layout: Layout, itemsize: int, n_threads: int) -> Plan:
    """Cut a batch into blocks, by its shape alone, and these into waves.

    Parameters
    ----------
    lengths : ndarray of int64 of shape (B,)
        Time steps of each sequence, falling.
    layout : Layout
        F, H and K.
    itemsize : int
        Bytes of a number.
    n_threads : int
        Threads there are; they decide about the waves, on which no number depends.
    """
    if lengths[0] == lengths[-1]:
        return _plan_of_equals(len(lengths), int(lengths[0]), layout, itemsize, n_threads)
    ends = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=ends[1:])
    # Blocks of as many time steps, rather than of as many sequences.
    steps = -(-int(ends[-1]) // len(lengths))
    cuts = np.arange(_n_blocks(len(lengths), steps, layout, itemsize) + 1)
    blocks = np.searchsorted(ends, cuts * ends[-1] // cuts[-1])
    return _with_waves(ends, blocks, layout, itemsize, n_threads)


@functools.lru_cache(maxsize=8)
def _plan_of_equals(B, T, layout, itemsize, n_threads):
    """Plan for a batch of one length: asked for at every batch."""
    n_blocks = _n_blocks(B, T, layout, itemsize)
    blocks = np.arange(n_blocks + 1) * B // n_blocks
    return _with_waves(np.arange(B + 1) * T, blocks, layout, itemsize, n_threads)


def _n_blocks(B, T, layout, itemsize):
    """How many blocks B sequences of T steps make: even, as two cores are common."""
    most = _BLOCK_ROWS if layout.hidden_size <= _SMALL else 2 * _BLOCK_ROWS
    if most * T * _row_bytes(layout, itemsize) > _BLOCK_BYTES:
        most //= 2
    return min(B, 2 * -(-B // (2 * most)))


def _row_bytes(layout, itemsize):
    """What a training step holds of one time step."""
    F, H, _ = layout
    return (F + 1 + 7 * H) * itemsize


def _with_waves(ends, blocks, layout, itemsize, n_threads):
    """Complete a plan: as many blocks for each thread as their rows fit the cache."""
    n_blocks = len(blocks) - 1
    n_threads = min(n_threads, n_blocks)
    block_bytes = _row_bytes(layout, itemsize) * int(ends[-1]) / n_blocks
    wave = min(n_blocks, n_threads * max(1, int(_WAVE_BYTES / block_bytes) // n_threads))
    bounds = ends[np.append(blocks[:-1:wave], blocks[-1])]
    return Plan(ends, blocks, wave, int(np.diff(bounds).max()))


def packed_rows(lengths, blocks):
    """Return the packed row of each time step, sequence after sequence."""
    rows, before = [], 0
    for s, e in itertools.pairwise(blocks):
        part = lengths[s:e]
        sequence = np.repeat(np.arange(e - s), part)
        t = np.arange(len(sequence)) - np.repeat(np.cumsum(part) - part, part)
        # Rows of step t begin behind those of the steps before it.
        at_step = np.cumsum(np.bincount(t)) if len(t) else t
        rows.append(before + (at_step - np.bincount(t))[t] + sequence if len(t) else t)
        before += len(sequence)
    return np.concatenate(rows)
