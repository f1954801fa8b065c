"""Making the buffers that the kernels work in."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from numba_lstm.cpu.linking import link
from numba_lstm.cpu.table import EXTRA, POOLING, CellColumns, HeadColumns
from numba_lstm.cpu.transposed import scratch_size
from numba_lstm.parameters import Layout

# Rows between those of two blocks in a prediction's buffers. As neighbours they cost 3 %
# at H = 50, presumably because one core fetches ahead what the other is about to write.
GAP = 8

# Weights of up to so many bytes have a gradient of each block's own, and then the sum of these:
# what it is made of lies in its core's cache. Where another core had written half of it, two took
# 0.78 of one's time for it at 64 units; batches are 1.3 times as fast with 32 units on a Xeon,
# 1.1 with 128, no faster with 256.
OWN_BYTES = 2**19

# Elements of a cache line, of 64 bytes, that holds float32.
_LINE = 16


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


class Needs(NamedTuple):
    """What buffers are for.

    Attributes
    ----------
    purpose : {"train", "predict", "states"}
        What for; a thread's predictions share theirs with those of other networks.
    given_state : bool
        Whether each sequence begins with a state of its own, in h_0 and c_0.
    ends : bool
        Whether in training what the sequences end with is wanted, in h_end and c_end.
    passes : bool
        Whether gradients of these are given in dh and dc, and those of h_0 and c_0 wanted.
    drops : Drops
        What is dropped, by masks.
    """

    purpose: str
    given_state: bool = False
    ends: bool = False
    passes: bool = False
    drops: Drops = NOTHING

    @property
    def special(self) -> bool:
        """Whether steps are other than plain for what is asked for."""
        return self.ends or self.passes or self.drops != NOTHING


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
        memory = np.zeros(self.size + _LINE, dtype)  # pages that nobody touches cost nothing
        first = -memory.ctypes.data % 64 // dtype.itemsize
        return memory[first : first + self.size]


def allocate(
    layout: Layout,
    dtype: np.dtype,
    per_step: bool,
    needs: Needs,
    S: int,
    B: int,
    Q: int,
    n_tasks: int,
) -> Workspace:
    """Make a workspace; what nobody needs has no rows. See :class:`Buffers`."""
    # Kernels need a workspace, and what is linked.
    asked = {"train": needs.purpose == "train", "special": needs.special}
    link(dtype, layout.parts | {name for name, there in asked.items() if there})
    room, trains = _Room(), needs.purpose == "train"
    constants = room.take(1, 3)
    panels = [_panels(room, layout, k, trains) for k in range(-1, len(layout.cells))]
    panels[0]["constants"] = constants
    begins = room.size  # of what changes: weights stay as they are from step to step
    rows = B + n_tasks * GAP if needs.purpose == "predict" else S  # of what a step computes
    widths = layout.widths
    every_step = [True] * len(widths)
    every_step[-1] = per_step or layout.pooling != "last" or needs.purpose == "states"
    outs, d_outs, x_masks = [], [], []
    for layer, width in enumerate(widths):
        n_out = S if every_step[layer] else rows if needs.purpose == "predict" else B
        outs.append(room.take(n_out, width))
        d_outs.append(room.take(n_out if trains else 0, width))
        dropped = needs.drops.between if layer else needs.drops.inputs
        n_inputs = widths[layer - 1] if layer else layout.n_inputs
        x_masks.append(room.take(B if dropped else 0, n_inputs))
    zeros = room.take(3, max(layout.hidden_sizes))
    parts = [
        _cell_columns(
            *(room, layout, k, needs, S, B, rows, n_tasks, zeros[0], every_step[cell.layer]),
            *(outs, d_outs, x_masks[cell.layer], panels[1 + k]),
        )
        for k, cell in enumerate(layout.cells)
    ]
    ends = outs[-1], d_outs[-1]
    head = _head_columns(
        *(room, layout, dtype, needs, B, Q, rows, n_tasks, *ends, panels[0], begins)
    )
    table = np.concatenate([np.ravel(x) for x in itertools.chain(head, *parts)]).astype(np.int64)
    memory = room.memory(dtype)
    with np.errstate(over="ignore"):  # a limit beyond float32 is none
        memory[constants[0] : constants[0] + 3] = layout.limit, *layout.zoneout
    return Workspace(memory, table)


def _panels(room, layout, k, trains):
    """Make room for the packed weights of cell k; of the head, where k is -1."""

    def some(there, n, width):
        return room.take(n, width) if there else (0, 0, 0)

    if k < 0:
        width, M, attends = layout.widths[-1], layout.head_size, layout.pooling == "attention"
        K, seen = layout.n_outputs, layout.head_inputs
        return {
            "packed_W_y": some(trains, seen, K),
            "packed_W_yT": room.take(seen, K),
            "packed_W_a": some(attends, width, width),
            "packed_W_aT": some(attends and trains, width, width),
            "packed_W_1": some(M, width, M),
            "packed_W_1T": some(M and trains, M, width),
        }
    layer, _, F, H, P, _ = layout.cells[k]
    projects, decays = layout.proj_size > 0, layout.decays
    return {
        "packed_W": room.take(F + layout.bias + P, 4 * H),
        "packed_W_hT": some(trains, 4 * H, P),
        "packed_W_xT": some(trains and layer, 4 * H, F),
        "packed_W_r": some(projects, H, P),
        "packed_W_rT": some(projects and trains, P, H),
        "packed_W_d": some(decays, H, H),
        "packed_W_dT": some(decays and trains, H, H),
    }


def _cell_columns(
    room, layout, k, needs, S, B, rows, n_tasks, zeros, every_step, outs, d_outs, x_mask, panels
):
    """Make the buffers of cell k."""
    cell, places, shapes = layout.cells[k], layout.places, layout.shapes
    layer, reverse, F, H, P, column = cell
    size, nowhere = F + layout.bias + P, (0, 0, 0)
    trains, predicts = needs.purpose == "train", needs.purpose == "predict"
    projects, norm, decays = layout.proj_size > 0, layout.norm, layout.decays
    zones, learned = any(layout.zoneout), layout.learned_state and not needs.given_state
    residual = layout.residual and layer > 0

    def some(there, n, width):
        return room.take(n, width) if there else nowhere

    def weight(key):
        return (places[k, key].start, *shapes[k, key]) if (k, key) in shapes else nowhere

    h_0, c_0 = (zeros, 1, P), (zeros, 1, H)
    if needs.given_state:
        h_0, c_0 = room.take(B, P), room.take(B, H)
    elif learned:
        h_0, c_0 = weight("h_0"), weight("c_0")
    W, gates = places[k, "W"].start, room.take(rows, 4 * H)
    merges = residual or layout.merges
    c = room.take(rows if predicts else B + S, H)
    return CellColumns(
        xh=room.take(rows, -(-(F + 1 + P) // _LINE) * _LINE),
        gates=gates,
        c=c,
        tanh_c=room.take(rows, H),
        h=room.take(outs[layer][1], P) if merges else outs[layer],
        dh=some(trains, B, P),
        dc=some(trains, B, H),
        x=outs[layer - 1] if layer else nowhere,
        dx=d_outs[layer - 1] if layer else nowhere,
        out=outs[layer],
        d_out=d_outs[layer],
        W=(W, size, 4 * H),
        W_x=(W, F, 4 * H) if layer else nowhere,
        W_h=(W + (size - P) * 4 * H, P, 4 * H),
        peephole=weight("peephole") if layout.peephole else (zeros, 3, H),
        h_0=h_0,
        c_0=c_0,
        extra=some(trains, EXTRA * n_tasks, H),
        x_mask=x_mask,
        h_mask=some(needs.drops.recurrent, B, P),
        h_end=some(needs.ends, B, P),
        c_end=some(needs.ends, B, H),
        norm=weight("norm"),
        normal=some(norm, rows, 4 * H) if not predicts else gates,
        spread=some(norm, rows, 5),
        mean=some(norm, rows, 1),
        new_c=room.take(rows, H) if zones else c,
        hidden=some(projects or norm or zones, rows, H),
        d_hidden=some(projects and trains, B, H),
        d_h=some(projects and trains, S, P),
        W_r=weight("W_r"),
        begun=some(decays, rows, H),
        short=some(decays, c[1], H),
        W_d=weight("W_d"),
        b_d=weight("b_d"),
        kept_dh=some(zones and trains, B, P),
        kept_dc=some(zones and trains, B, H),
        h_column=0 if merges else column,
        column=column,
        special=needs.special or "special" in layout.parts,
        gated="gated" in layout.parts,
        coupled=layout.coupled,
        peeps=layout.peephole,
        learned=learned,
        zero=not layout.learned_state and not needs.given_state,
        reverse=reverse,
        keeps=not predicts,
        every_step=every_step,
        second=k > 0 and layout.cells[k - 1].layer == layer,
        last=k == len(layout.cells) - 1 or layout.cells[k + 1].layer > layer,
        joins=merges or layout.merges,
        merges=merges,
        residual=residual,
        divisor=2 if layout.direction == "both" and layout.merge == "mean" else 1,
        normed=norm,
        projects=projects,
        decays=decays,
        zones=zones,
        passes=needs.passes,
        **panels,
    )


def _head_columns(room, layout, dtype, needs, B, Q, rows, n_tasks, out, d_out, panels, begins):
    """Make the head's buffers; ``out`` and ``d_out`` are the last layer's outputs."""
    trains, predicts = needs.purpose == "train", needs.purpose == "predict"
    width, K, M, seen = layout.widths[-1], layout.n_outputs, layout.head_size, layout.head_inputs
    pools, attends = layout.pooling != "last", layout.pooling == "attention"

    def weight(key, *shape):
        place = layout.places.get((-1, key))
        return (0, 0, shape[-1]) if place is None else (place.start, *shape)

    pooled, d_pooled = out, d_out
    if pools:
        pooled = room.take(rows if predicts else B, width)
        d_pooled = room.take(B if trains else 0, width)
    h, d_h = pooled, d_pooled
    if M:
        h, d_h = room.take(pooled[1], M), room.take(d_pooled[1], M)
    sizes = [(c.n_inputs + layout.bias + c.output_size, 4 * c.hidden_size) for c in layout.cells]
    sizes += [(c.hidden_size, c.output_size) for c in layout.cells if layout.proj_size]
    sizes += [(c.hidden_size, c.hidden_size) for c in layout.cells if layout.decays]
    sizes += [(K, seen), (width, width), (width, M)]
    scratch = max(scratch_size(*size, dtype.itemsize, n_tasks) for size in sizes)
    is_small = layout.size * dtype.itemsize <= OWN_BYTES
    return HeadColumns(
        rows=out,
        d_rows=d_out,
        pooled=pooled,
        d_pooled=d_pooled,
        h=h,
        d_h=d_h,
        out=room.take(0 if needs.purpose == "states" else Q, K),
        d_out=room.take(Q if trains else 0, K),
        row_loss=room.take(1, Q if trains else 0),
        W_y=weight("W", K, seen),
        b_y=weight("b", 1, K),
        u=room.take(out[1] if attends else 0, width),
        alpha=room.take(max(1, out[1] if pools else 0), 1),
        latest=room.take(B if layout.pooling == "max" else 0, width),
        sums=room.take(B if attends else 0, 2),
        W_a=weight("W_a", width, width),
        b_a=weight("b_a", 1, width),
        v_a=weight("v_a", 1, width),
        extra=room.take(2 * n_tasks if attends and trains else 0, width),
        W_1=weight("W_1", width, M),
        b_1=weight("b_1", 1, M),
        extra_b_1=room.take(n_tasks if trains else 0, M),
        scratch=room.take(n_tasks if trains else 0, scratch),
        own=room.take(n_tasks if trains and is_small else 0, layout.size),
        pooling=POOLING.index(layout.pooling),
        hides=M > 0,
        is_tanh=layout.head_activation == "tanh",
        draws=False,
        seed=0,
        first_step=0,
        begins=begins,
        **panels,
    )
