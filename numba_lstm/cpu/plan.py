"""How a batch is cut into blocks of sequences, and these into waves."""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import numpy as np

from numba_lstm._jit import kernel
from numba_lstm.parameters import Layout

# Sequences of a block, at most, up to _SMALL hidden units and (twice as many) above: enough
# rows for each weight that comes from the cache, few enough to keep many cores busy. Half as
# many where the time steps that are kept take more than _BLOCK_BYTES (above, _LARGE_BYTES, as
# weights come from afar): 10 % faster at H = 64 and T = 500 or 2000, no difference at H = 128 or
# 256, 3 % slower at 512.
_BLOCK_ROWS, _SMALL, _BLOCK_BYTES, _LARGE_BYTES = 16, 256, 2**22, 2**25

# What a step of a block takes beside its rows, as the time of so many: 2 to 3 % faster batches of
# lengths uniform in 10 to 100 than with 0.
_STEP_ROWS = 2

# What the time steps of a wave may take: a part of a third-level cache.
_WAVE_BYTES = 2**23


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


def plan(
    lengths: np.ndarray, layout: Layout, itemsize: int, n_threads: int, keeps: bool = True
) -> Plan:
    """Cut a batch into blocks, by its shape alone, and these into waves.

    Parameters
    ----------
    lengths : ndarray of int64 of shape (B,)
        Time steps of each sequence, falling.
    layout : Layout
        The network's.
    itemsize : int
        Bytes of a number.
    n_threads : int
        Threads there are; they decide about the waves, on which no number depends.
    keeps : bool
        Whether what each step computes is kept, as in training.
    """
    if lengths[0] == lengths[-1]:
        return _plan_of_equals(len(lengths), int(lengths[0]), layout, itemsize, n_threads, keeps)
    ends, S = np.empty(len(lengths) + 1, np.int64), int(lengths.sum())
    n_blocks = _n_blocks(len(lengths), -(-S // len(lengths)), layout, itemsize, keeps)
    blocks = np.empty(n_blocks + 1, np.int64)
    cut(lengths, ends, blocks)
    return _with_waves(ends, blocks, layout, itemsize, n_threads)


@kernel
def cut(lengths, ends, blocks):
    """Fill ``ends`` and ``blocks`` of a plan.

    In blocks of as many time steps, rather than of as many sequences; and of a little fewer where
    the sequences are long: each step of a block takes as long as ``_STEP_ROWS`` more. NumPy's
    functions took 25 us for that, between two batches, with cold caches.
    """
    B, n_blocks = lengths.size, blocks.size - 1
    ends[0] = 0
    for i in range(B):
        ends[i + 1] = ends[i] + lengths[i]
    more, total = _STEP_ROWS * n_blocks / ends[B], 0.0
    for i in range(B):
        total += lengths[i] * (1 + more * lengths[i])
    block, work = 0, 0.0
    for i in range(B):
        while block < n_blocks and work >= block / n_blocks * total:
            blocks[block] = i
            block += 1
        work += lengths[i] * (1 + more * lengths[i])
    while block <= n_blocks:
        blocks[block] = B
        block += 1


@functools.lru_cache(maxsize=8)
def _plan_of_equals(B, T, layout, itemsize, n_threads, keeps):
    """Plan for a batch of one length: asked for at every batch."""
    n_blocks = _n_blocks(B, T, layout, itemsize, keeps)
    blocks = np.arange(n_blocks + 1) * B // n_blocks
    return _with_waves(np.arange(B + 1) * T, blocks, layout, itemsize, n_threads)


def _n_blocks(B, T, layout, itemsize, keeps):
    """How many blocks B sequences of T steps make: even, as two cores are common."""
    most, limit = _BLOCK_ROWS, _BLOCK_BYTES
    if max(layout.hidden_sizes) > _SMALL:
        most, limit = 2 * _BLOCK_ROWS, _LARGE_BYTES
    if keeps and most * T * _row_bytes(layout, itemsize) > limit:
        most //= 2
    return min(B, 2 * -(-B // (2 * most)))


@functools.lru_cache(maxsize=64)
def _row_bytes(layout, itemsize):
    """What a training step holds of one time step."""
    special = 5 * layout.norm + 2 * layout.decays + (layout.proj_size > 0) + any(layout.zoneout)
    if layout.norm or layout.proj_size or any(layout.zoneout):
        special += 1
    cells = sum(c.n_inputs + 1 + (7 + special) * c.hidden_size for c in layout.cells)
    # Beside the cells: outputs of the layers below the last, and their gradients.
    outs = 2 * sum(layout.widths[:-1]) + (layout.pooling != "last") * 3 * layout.widths[-1]
    return (cells + outs) * itemsize


def _with_waves(ends, blocks, layout, itemsize, n_threads):
    """Complete a plan: as many blocks for each thread as their rows fit the cache."""
    n_blocks, S = len(blocks) - 1, int(ends[-1])
    n_threads = min(n_threads, n_blocks)
    block_bytes = _row_bytes(layout, itemsize) * S / n_blocks
    wave = min(n_blocks, n_threads * max(1, int(_WAVE_BYTES / block_bytes) // n_threads))
    if wave == n_blocks:
        return Plan(ends, blocks, wave, S)
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
