"""The table of integers that tells kernels where the buffers of all cells lie.

Of a matrix it holds the first element in the memory, rows and columns, which memory.matrix
makes a matrix of again: ``matrix(memory, table, part_of_cell(k) + CELL.gates)``.
"""

from __future__ import annotations

from typing import Any, NamedTuple, get_type_hints

from numba_lstm._jit import helper

POOLING = "last", "mean", "max", "attention"

# Rows of the small gradients of a cell, CellColumns.extra, and the first of each.
EXTRA = 16
PEEPHOLE, H_0, C_0, B_D, NORM = 0, 3, 4, 5, 6


class CellColumns(NamedTuple):
    """What the table holds of a cell, with S time steps and B sequences.

    S counts those of a wave in training, of all in ``states``; a prediction has a row for
    each sequence instead, in xh, gates, c and tanh_c. Rows are packed (cells.py). Of a
    matrix there are the first element, rows and columns.

    Attributes
    ----------
    xh : matrix (S, F + 1 + P or a little more)
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
    dh, dc : matrix (B, P) and (B, H)
        Running gradients of the backward pass.
    x, dx : matrix (S, F)
        Outputs of the layer below and the gradient with respect to them; empty in the
        first layer.
    out, d_out : matrix (S or B, width)
        Outputs of the layer, the cell's from ``column`` on, and the gradient.
    packed_W, packed_W_hT, packed_W_xT : matrix
        Weights in panels, two of them transposed.
    W, W_x, W_h : matrix (F + 1 + P, 4H), without biases (F + P, 4H); (F, 4H); (P, 4H)
        The weights, in theta or in its gradient; W_x empty in the first layer.
    peephole : matrix (3, H)
        p_i, p_f and p_o in theta, or zeros.
    h_0, c_0 : matrix (1, P) and (1, H), or (B, P) and (B, H)
        What the sequences begin with: zeros, or the same for all in theta, or of each.
    extra : matrix (16 n_tasks, H)
        For each block of a wave the small gradients: three rows of the peephole, h_0, c_0,
        b_d and ten of the normalisation.
    x_mask, h_mask : matrix (B, F) and (B, P)
        What a sequence's inputs and its h_{t-1} are multiplied by, to drop some; empty
        where nothing is dropped.
    h_end, c_end : matrix (B, P) and (B, H)
        What the sequences end with; empty where nobody asks.
    norm : matrix (10, H)
        Gains and shifts of i, f, g, o and c in theta.
    normal, spread : matrix (S, 4H) and (S, 5)
        Normalised pre-activations, and of these and the cell 1 / standard deviation; in a
        prediction the first is ``gates``.
    mean : matrix (S, 1)
        Mean of the cell.
    new_c : matrix (S, H)
        Cells before some of their units go back to what they were; else ``c``.
    hidden : matrix (S, H)
        o tanh(c) where that is not h yet.
    d_hidden, d_h : matrix (B, H) and (S, P)
        Gradients of o tanh(c), and of h at every step, where this is projected.
    packed_W_r, packed_W_rT, W_r : matrix (H, P)
        The projection.
    begun, short : matrix (S, H) and (B + S, H)
        What a step makes of c_{t-1} by the time passed, and, in the rows of c, the part of it
        that decays; after the backward pass the gradient of that one's argument.
    packed_W_d, packed_W_dT, W_d, b_d : matrix (H, H), (1, H)
        The weights of that part.
    kept_dh, kept_dc : matrix (B, P) and (B, H)
        Gradients of units that stay as they were.
    h_column, column : int
        Columns.
    special, gated : bool
        Whether steps are other than plain, and whether gates are.
    coupled : bool
        Whether the gates are coupled.
    peeps, learned : bool
        Whether peephole, and h_0 and c_0, are in theta.
    zero : bool
        Whether h_0 is zero.
    reverse : bool
        Whether it reads from the end.
    keeps : bool
        Whether what each step computes is kept.
    every_step : bool
        Whether its layer's outputs are kept at every step, or at the last only.
    second, last : bool
        Whether it is the second and whether it is the last direction of its layer.
    joins, merges, residual : bool
        Whether the layer's outputs are other than h; merged; with its inputs added.
    divisor : int
        What h is divided by in the outputs: 1, or 2 for the mean.
    normed, projects, decays, zones : bool
        Whether it is normalised, projected, decays with time, and keeps units as they were.
    passes : bool
        Whether dh and dc are given, and shall go back to before the first step.
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
    extra: Any
    x_mask: Any
    h_mask: Any
    h_end: Any
    c_end: Any
    norm: Any
    normal: Any
    spread: Any
    mean: Any
    new_c: Any
    hidden: Any
    d_hidden: Any
    d_h: Any
    packed_W_r: Any
    packed_W_rT: Any
    W_r: Any
    begun: Any
    short: Any
    packed_W_d: Any
    packed_W_dT: Any
    W_d: Any
    b_d: Any
    kept_dh: Any
    kept_dc: Any
    h_column: int
    column: int
    special: bool
    gated: bool
    coupled: bool
    peeps: bool
    learned: bool
    zero: bool
    reverse: bool
    keeps: bool
    every_step: bool
    second: bool
    last: bool
    joins: bool
    merges: bool
    residual: bool
    divisor: int
    normed: bool
    projects: bool
    decays: bool
    zones: bool
    passes: bool


class HeadColumns(NamedTuple):
    """What the table holds of the head, with Q outputs of the network.

    Attributes
    ----------
    rows, d_rows : matrix (S, width) or (B, width)
        Outputs of the last layer and the gradient with respect to them.
    pooled, d_pooled : matrix (S or B, width)
        These, or what they are pooled to, and the gradient.
    h, d_h : matrix (S or B, width or M)
        What the outputs are linear in and the gradient: these, or the hidden layer's.
    out, d_out : matrix (Q, K)
        Outputs and the loss's gradient with respect to them.
    packed_W_y, packed_W_yT : matrix
        Weights in panels, the latter transposed.
    constants : matrix (1, 3)
        The limit of the pre-activations, and the probabilities that a unit of h and of c stays
        as it was.
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
    W_1, b_1, packed_W_1, packed_W_1T : matrix (width, M) and (1, M)
        The hidden layer's weights, in theta or in its gradient, and in panels.
    extra_b_1 : matrix (n_tasks, M)
        For each block of a wave the gradient of b_1.
    scratch : matrix
        Room for products, a row for each task: see transposed.scratch_size.
    own : matrix (n_tasks, P)
        For each block of a wave the gradient of all P weights, if these are few.
    pooling : int
        Which: an index into POOLING.
    hides : bool
        Whether there is a hidden layer.
    is_tanh : bool
        Whether its units are tanh, or else rectified linear.
    draws : bool
        Whether units stay as they were at random, or, in a prediction, in proportion.
    seed, first_step : int
        What is drawn: a seed, and the number of the first time step.
    begins : int
        Where in the memory what changes begins: packed weights and constants lie before it.
    """

    rows: Any
    d_rows: Any
    pooled: Any
    d_pooled: Any
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
    W_1: Any
    b_1: Any
    packed_W_1: Any
    packed_W_1T: Any
    extra_b_1: Any
    scratch: Any
    own: Any
    pooling: int
    hides: bool
    is_tanh: bool
    draws: bool
    seed: int
    first_step: int
    begins: int


def _columns(kind):
    """Return where each field begins, of matrices with three numbers each, and their number."""
    n_matrices = list(get_type_hints(kind).values()).count(Any)
    *columns, size = (3 * k - 2 * max(0, k - n_matrices) for k in range(len(kind._fields) + 1))
    return kind(*columns), size


HEAD, _HEAD_SIZE = _columns(HeadColumns)
CELL, _CELL_SIZE = _columns(CellColumns)


@helper
def n_cells(table):
    """Return how many cells a table has."""
    return (table.size - _HEAD_SIZE) // _CELL_SIZE


def part_of_cell(k: int) -> int:
    """Return where in the table the part of cell k begins."""
    return _HEAD_SIZE + k * _CELL_SIZE


cell_part = helper(part_of_cell)  # which Python cannot call


@helper
def number_of_cell(cell):
    """Return k of the cell whose part begins at ``cell``."""
    return (cell - _HEAD_SIZE) // _CELL_SIZE
