"""A batch through the whole network on the device, forward and back: a list of launches.

M models of one architecture go side by side. Nothing here waits for the device.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from numba_lstm.cuda import head, pooling, rows
from numba_lstm.cuda.device import multiprocessors
from numba_lstm.cuda.products import (
    column_sums,
    column_sums_workspace,
    gram,
    gram_workspace,
    times,
)
from numba_lstm.cuda.recurrent import Kind, make_backward, make_forward, most_sequences
from numba_lstm.cuda.workspace import Workspace
from numba_lstm.parameters import Layout

# Inputs of a layer, at most, that the recurrence multiplies itself. More of them go through
# a matrix product of all time steps at once, which needs no registers of the recurrence.
_FEW_INPUTS = 33


def is_fused(X: int, H: int) -> bool:
    """Whether the recurrence multiplies X columns of inputs itself."""
    return min(_FEW_INPUTS, H) >= X


def sequences_of_block(H: int, dtype: str, B: int, M: int, n_multiprocessors: int) -> int:
    """Sequences of a block: as few as there are multiprocessors for."""
    most = most_sequences(H, dtype)
    return next((n for n in (1, 2) if M * -(-B // n) <= n_multiprocessors or n == most), most)


class DeviceBatch(NamedTuple):
    """B sequences for each of M models, on the device.

    Attributes
    ----------
    values : device array of shape (N, F)
        Rows of inputs, among which are the batch's.
    starts : device array of int64 of shape (M B,)
        Row of ``values`` that each sequence begins with.
    first : device array of int64 of shape (M B + 1,)
        Number of the time step that each sequence begins with, among the batch's.
    step_bounds, sequence_bounds : device array of int64 of shape (M + 1,)
        The first time step, and the first sequence, of each model.
    n_models, n_sequences : int
        M and B.
    n_steps, most_steps : int
        Time steps of all models together, and of one of them at most.
    y : device array of shape (Q, K) or (Q, 1), or None
        Targets: one a sequence, or one a time step.
    weight : device array of shape (Q,) or None
        Their weights.
    """

    values: Any
    starts: Any
    first: Any
    step_bounds: Any
    sequence_bounds: Any
    n_models: int
    n_sequences: int
    n_steps: int
    most_steps: int
    y: Any = None
    weight: Any = None


class Passes:
    """Forward and backward pass of a network.

    Parameters
    ----------
    layout : Layout
        Its architecture.
    dtype : numpy.dtype
        float32 or float64.
    per_step : bool
        Whether every time step has an output.
    loss, loss_parameter
        As for :class:`numba_lstm.base_network.BaseNetwork`.
    mean, inverse_scale : device array of float64 of shape (M, F)
        Standardisation of each model's inputs.
    stream : stream
        Where everything is launched.
    """

    def __init__(
        self,
        layout: Layout,
        dtype: np.dtype,
        per_step: bool,
        loss: int,
        loss_parameter: float,
        mean: Any,
        inverse_scale: Any,
        stream: Any = 0,
    ) -> None:
        self.layout = layout
        self.dtype = np.dtype(dtype)
        self.per_step = per_step
        self._loss, self._loss_parameter = loss, loss_parameter
        self._mean, self._inverse_scale = mean, inverse_scale
        self.stream = stream
        self.work = Workspace(self.dtype)
        self._at = {key: place.start for key, place in layout.places.items()}
        self._n_layers = len(layout.hidden_sizes)
        self._share = rows.share_of(layout)
        self._peephole = layout.peephole
        self._varied = layout.peephole or layout.coupled or layout.limit < math.inf
        self._variant = self.dtype.type(layout.limit), layout.coupled

    # -- what a layer has ----------------------------------------------------------

    def _cells(self, layer):
        """Numbers and cells of a layer's directions."""
        return [(k, c) for k, c in enumerate(self.layout.cells) if c.layer == layer]

    def _residual(self, layer):
        return self.layout.residual and layer > 0

    def _writes_rows(self, layer):
        """Whether somebody needs the outputs of a layer at every time step."""
        below = layer < self._n_layers - 1
        return below or self.per_step or self.layout.pooling != "last"

    def _is_joined(self, layer):
        """Whether a layer's outputs are others than those of its cells."""
        return self._share > 0 or self._residual(layer)

    def outs(self, batch: DeviceBatch, layer: int) -> Any:
        """Hidden states of all directions of a layer, side by side (S, D P)."""
        width = sum(cell.output_size for _, cell in self._cells(layer))
        return self.work.rows(("outs", layer), batch.n_steps, width)

    def _out(self, batch, layer):
        """Outputs of a layer (S, width)."""
        if not self._is_joined(layer):
            return self.outs(batch, layer)
        return self.work.rows(("out", layer), batch.n_steps, self.layout.widths[layer])

    def of_cell(self, name: str, batch: DeviceBatch, k: int) -> Any:
        """What is kept of a cell: "xh", "gates" or "c" of each step, "c_end" of each sequence."""
        cell, work = self.layout.cells[k], self.work
        if name == "c_end":
            return work.matrix((name, k), self._n_rows(batch), cell.hidden_size)
        H = cell.hidden_size
        V = cell.n_inputs + self.layout.bias + H
        return work.rows((name, k), batch.n_steps, {"xh": V, "gates": 4 * H, "c": H}[name])

    def h_end(self, batch: DeviceBatch, k: int) -> tuple[Any, int]:
        """Last hidden states of a cell, and the column they begin with."""
        return self._end_of("h_end", batch, k)

    def _end_of(self, name, batch, k):
        """A matrix of all directions of a layer, or of one alone where they are to be joined."""
        layer, n_rows = self.layout.cells[k].layer, self._n_rows(batch)
        if self._is_joined(layer):
            return self.work.matrix((name, k), n_rows, self.layout.cells[k].output_size), 0
        return self.work.matrix((name, layer), n_rows, self.layout.widths[layer]), self._side(k)

    @staticmethod
    def _n_rows(batch):
        return batch.n_models * batch.n_sequences

    # -- forward -------------------------------------------------------------------

    def forward(
        self,
        theta: Any,
        batch: DeviceBatch,
        *,
        keeps: bool,
        state: list[tuple[Any, Any]] | None = None,
        masks: dict[tuple[int, str], Any] | None = None,
        all_rows: bool = False,
    ) -> Any:
        """Outputs (Q, K) of a batch: Q = M B, or with ``per_step`` its S time steps.

        Parameters
        ----------
        theta : device array of shape (M, P)
            The weights.
        batch : DeviceBatch
            Inputs.
        keeps : bool
            Whether to keep what a backward pass needs.
        state : list of pairs of device arrays of shape (M B, H), optional
            h and c that each cell begins with.
        masks : dict of device arrays, optional
            What is dropped, by number of the cell and "x" (M B, F) or "h" (M B, H).
        all_rows : bool
            Whether to write the hidden states of the last layer at all steps in any case.
        """
        masks = masks or {}
        for layer in range(self._n_layers):
            self._enter(batch, layer, masks)
            for k, _ in self._cells(layer):
                self._run_cell(theta, batch, k, keeps, all_rows, state, masks)
        return self._outputs(theta, batch, self._rows_of_head(theta, batch))

    def _enter(self, batch, layer, masks):
        """Inputs of a layer's cells."""
        cells = self._cells(layer)
        mask, bias = masks.get((cells[0][0], "x")), self.layout.bias
        xhs = tuple(self.of_cell("xh", batch, k) for k, _ in cells)
        if layer == 0:
            for xh in xhs:
                rows.gather(
                    *(xh, batch.values, batch.starts, batch.first, self._mean),
                    *(self._inverse_scale, mask, bias, batch.n_sequences, self.stream),
                )
        else:
            self._join(batch, layer - 1, xhs, mask)

    def _join(self, batch, layer, xhs, mask):
        """Outputs of a layer, and inputs of the next."""
        out = self._out(batch, layer) if self._is_joined(layer) else None
        x = self._out(batch, layer - 1) if self._residual(layer) else None
        rows.join(
            *(out, self.outs(batch, layer), x, xhs, mask, batch.first),
            *(self._share, self.layout.bias, self.stream),
        )

    def _kind(self, batch, k, **options):
        """What the kernels of a cell are compiled for."""
        H, dtype = self.layout.cells[k].hidden_size, self.dtype.name
        NB = sequences_of_block(H, dtype, batch.n_sequences, batch.n_models, multiprocessors())
        X = options.pop("X", 0)
        return Kind(dtype, H, X, NB, **options, varied=self._varied, peephole=self._peephole)

    def _run_cell(self, theta, batch, k, keeps, all_rows, state, masks):
        layout, cell = self.layout, self.layout.cells[k]
        every_step, H = all_rows or self._writes_rows(cell.layer), cell.hidden_size
        X, at = cell.n_inputs + layout.bias, self._at[k, "W"]
        xh, gates = self.of_cell("xh", batch, k), self.of_cell("gates", batch, k)
        c = self.of_cell("c", batch, k) if keeps else xh
        y = self.outs(batch, cell.layer) if every_step else xh
        h_end, end_column = self.h_end(batch, k)
        fused = is_fused(X, H)
        kind = self._kind(
            *(batch, k),
            X=X if fused else 0,
            keeps=keeps,
            every_step=every_step,
            begins=state is not None,
            learned=state is None and layout.learned_state,
            masked=(k, "h") in masks,
        )
        if not fused:
            times(
                *(gates, xh, theta, at, X, 4 * H, batch.step_bounds, batch.most_steps),
                stream=self.stream,
            )
            at += X * 4 * H
        h_0, c_0 = (xh, xh) if state is None else state[k]
        grid = -(-batch.n_sequences // kind.NB), batch.n_models
        make_forward(kind)[grid, kind.threads, self.stream](
            *(theta, at, *self._places(k), *self._variant, xh, X, gates, batch.first),
            *(batch.n_sequences, cell.reverse, h_0, c_0, masks.get((k, "h"), xh), gates, c),
            *(y, self._side(k), h_end, end_column),
            self.of_cell("c_end", batch, k),
        )

    def _places(self, k):
        """Where peepholes and the learned state of a cell begin."""
        return self._at.get((k, "peephole"), 0), self._at.get((k, "h_0"), 0)

    def _side(self, k):
        """Column that a direction begins with, side by side with the other."""
        cell = self.layout.cells[k]
        second = cell.reverse and self.layout.direction == "both"
        return cell.output_size if second else 0

    def _rows_of_head(self, theta, batch):
        """What the head sees: rows of sequences, or of time steps."""
        layout, last = self.layout, self._n_layers - 1
        if self._writes_rows(last) and self._is_joined(last):
            self._join(batch, last, (), None)
        if self.per_step:
            return self._out(batch, last)
        if layout.pooling == "last":
            if not self._is_joined(last):
                return self.h_end(batch, len(layout.cells) - 1)[0]
            pooled = self.work.matrix("pooled", self._n_rows(batch), layout.widths[-1])
            ends = tuple(self.h_end(batch, k)[0] for k, _ in self._cells(last))
            x = self._out(batch, last - 1) if self._residual(last) else None
            pooling.last(
                *(pooled, ends, x, batch.first, self._share),
                *(pooling.ends_of(layout), self.stream),
            )
            return pooled
        found = self._out(batch, last)
        pooled = self.work.matrix("pooled", self._n_rows(batch), layout.widths[-1])
        if layout.pooling == "max":
            pooling.greatest(pooled, self._latest(batch), found, batch.first, self.stream)
            return pooled
        alpha = None
        if layout.pooling == "attention":
            u, alpha, width = *self._attention(batch), layout.widths[-1]
            times(
                *(u, found, theta, self._at[-1, "W_a"], width, width),
                *(batch.step_bounds, batch.most_steps),
                stream=self.stream,
            )
            pooling.attend(
                *(u, alpha, theta, self._at[-1, "b_a"], self._at[-1, "v_a"]),
                *(batch.first, batch.n_sequences, self.stream),
            )
        pooling.average(pooled, found, alpha, batch.first, self.stream)
        return pooled

    def _latest(self, batch):
        return self.work.matrix(
            "latest", self._n_rows(batch), self.layout.widths[-1], np.dtype(np.int32)
        )

    def _attention(self, batch):
        """The rows u of pooling.py, and the weights of the steps."""
        work, n = self.work, batch.n_steps
        return work.rows("u", n, self.layout.widths[-1]), work.rows("alpha", n, 1)

    def attention(self, batch: DeviceBatch) -> Any:
        """Attention weights (S or more, 1) that the forward pass has left."""
        return self._attention(batch)[1]

    def _bounds(self, batch):
        """First rows of the head of each model, the most of a model, and all."""
        if self.per_step:
            return batch.step_bounds, batch.most_steps, batch.n_steps
        return batch.sequence_bounds, batch.n_sequences, self._n_rows(batch)

    def _outputs(self, theta, batch, found):
        layout, at = self.layout, self._at
        bounds, most, n = self._bounds(batch)
        if layout.head_size:
            hidden = self.work.rows("hidden", n, layout.head_size)
            times(
                *(hidden, found, theta, at[-1, "W_1"], layout.widths[-1], layout.head_size),
                *(bounds, most),
                stream=self.stream,
            )
            activation = head.TANH if layout.head_activation == "tanh" else head.RELU
            head.activate(hidden, theta, at[-1, "b_1"], bounds, most, activation, self.stream)
            found = hidden
        self._pooled, out = found, self.work.rows("out", n, layout.n_outputs)
        times(
            *(out, found, theta, at[-1, "W"], layout.head_inputs, layout.n_outputs, bounds, most),
            transposed=True,
            bias_at=at[-1, "b"],
            stream=self.stream,
        )
        return out

    # -- loss and gradient ---------------------------------------------------------

    def loss_and_grad(
        self,
        theta: Any,
        grad: Any,
        batch: DeviceBatch,
        loss: Any,
        total: Any,
        share: float,
        *,
        state: list[tuple[Any, Any]] | None = None,
        masks: dict[tuple[int, str], Any] | None = None,
        d_state: list[tuple[Any, Any]] | None = None,
    ) -> None:
        """Losses of a batch, and their gradients.

        Parameters
        ----------
        theta, batch, state, masks
            As for :meth:`forward`.
        grad : device array of shape (M, P)
            Receives the gradients.
        loss, total : device array of float64 of shape (M,)
            Receives the losses; ``share`` of them is added to ``total``.
        share : float
            See there.
        d_state : list of pairs of device arrays of shape (M B, H), optional
            Gradients of h and c that each cell ends with; receive those of what they begin with.
        """
        out = self.forward(theta, batch, keeps=True, state=state, masks=masks)
        bounds, most, n = self._bounds(batch)
        work, stream = self.work, self.stream
        d_out = work.rows("d_out", n, self.layout.n_outputs)
        row_loss = work.flat("row_loss", n)
        partial = work.matrix("losses", batch.n_models, head.n_partial(most), np.dtype(np.float64))
        head.losses(
            *(self._loss, self._loss_parameter, out, batch.y, batch.weight, d_out, row_loss),
            *(partial, bounds, most, stream),
        )
        head.add_losses(loss, partial, most, total, share, stream)
        d_rows = self._head_backward(theta, grad, batch, d_out)
        d_end, d_rows = self._pool_backward(theta, grad, batch, d_rows)
        for layer in reversed(range(self._n_layers)):
            d_outs = self._split(batch, layer, d_rows)
            for k, _ in self._cells(layer):
                self._run_back(theta, grad, batch, k, d_outs, d_end, state, masks or {}, d_state)
            if layer > 0:
                d_rows = self._leave(theta, batch, layer, d_rows, masks or {})
            d_end = None

    def _gram(self, grad, key, a, b, n_a, n_b, bounds, most):
        M = bounds.shape[0] - 1
        partial = self.work.flat("gram", gram_workspace(self.dtype, M, n_a, n_b, most))
        gram(
            *(grad, self._at[key], a, b, n_a, n_b, bounds, most, partial),
            stream=self.stream,
        )

    def _sums(self, grad, key, a, n, bounds, most):
        M = bounds.shape[0] - 1
        partial = self.work.flat("sums", column_sums_workspace(M, n, most))
        column_sums(grad, self._at[key], a, n, bounds, most, partial, stream=self.stream)

    def _head_backward(self, theta, grad, batch, d_out):
        """Gradient of what the head sees."""
        layout, at = self.layout, self._at
        bounds, most, n = self._bounds(batch)
        K, width, M1 = layout.n_outputs, layout.head_inputs, layout.head_size
        self._gram(grad, (-1, "W"), d_out, self._pooled, K, width, bounds, most)
        self._sums(grad, (-1, "b"), d_out, K, bounds, most)
        d = self.work.matrix("d_head", n, width)
        times(d, d_out, theta, at[-1, "W"], K, width, bounds, most, stream=self.stream)
        if not M1:
            return d
        activation = head.TANH if layout.head_activation == "tanh" else head.RELU
        head.activate_backward(d, self._pooled, bounds, most, activation, self.stream)
        seen, width = self._seen(batch), layout.widths[-1]
        self._gram(grad, (-1, "W_1"), seen, d, width, M1, bounds, most)
        self._sums(grad, (-1, "b_1"), d, M1, bounds, most)
        d_seen = self.work.matrix("d_seen", n, width)
        times(
            *(d_seen, d, theta, at[-1, "W_1"], M1, width, bounds, most),
            transposed=True,
            stream=self.stream,
        )
        return d_seen

    def _seen(self, batch):
        """What the head sees, after a forward pass."""
        layout, last = self.layout, self._n_layers - 1
        if self.per_step:
            return self._out(batch, last)
        if layout.pooling == "last" and not self._is_joined(last):
            return self.h_end(batch, len(layout.cells) - 1)[0]
        return self.work.matrix("pooled", self._n_rows(batch), layout.widths[-1])

    def _pool_backward(self, theta, grad, batch, d):
        """Gradients of the last hidden states, and of all steps' outputs; None for zero."""
        layout, last, stream = self.layout, self._n_layers - 1, self.stream
        self._d_pooled = d
        if self.per_step:
            return None, d
        if layout.pooling == "last":
            ends = [self._end_of("d_end", batch, k)[0] for k, _ in self._cells(last)]
            if not self._is_joined(last):
                return d, None
            pooling.last_backward(d, tuple(ends), self._share, stream)
            return ends, None
        width = layout.widths[-1]
        d_rows, seen = self.work.rows("d_rows", batch.n_steps, width), self._out(batch, last)
        if layout.pooling == "max":
            pooling.greatest_backward(d_rows, d, self._latest(batch), batch.first, stream)
            return None, d_rows
        if layout.pooling == "mean":
            pooling.average_backward(d_rows, d, None, batch.first, stream)
            return None, d_rows
        (u, alpha), steps = self._attention(batch), (batch.step_bounds, batch.most_steps)
        d_u = self.work.rows("d_u", batch.n_steps, width)
        d_score = self.work.rows("d_score", batch.n_steps, 1)
        pooling.attend_backward(
            *(d_u, d_score, d, self._seen(batch), seen, u, alpha, theta, self._at[-1, "v_a"]),
            *(batch.first, batch.n_sequences, stream),
        )
        times(
            *(d_rows, d_u, theta, self._at[-1, "W_a"], width, width, *steps),
            transposed=True,
            stream=stream,
        )
        pooling.average_backward(d_rows, d, alpha, batch.first, stream)
        self._gram(grad, (-1, "W_a"), seen, d_u, width, width, *steps)
        self._sums(grad, (-1, "b_a"), d_u, width, *steps)
        self._gram(grad, (-1, "v_a"), d_score, u, 1, width, *steps)
        return None, d_rows

    def _split(self, batch, layer, d_rows):
        """Gradient of what each direction wrote, from that of a layer's outputs."""
        if d_rows is None or self._share == 0:
            return d_rows
        width = self.layout.widths[layer]
        d_outs = self.work.rows(("d_outs", layer), batch.n_steps, 2 * width)
        rows.join_backward(
            *(None, d_outs, (), None, d_rows, batch.first, width, self._share, self.stream)
        )
        return d_outs

    def _run_back(self, theta, grad, batch, k, d_outs, d_end, state, masks, d_state):
        """Backpropagation through time of a cell, and the gradients of its weights."""
        layout, cell = self.layout, self.layout.cells[k]
        H, X, n = cell.hidden_size, cell.n_inputs + layout.bias, self._n_rows(batch)
        xh, gates = self.of_cell("xh", batch, k), self.of_cell("gates", batch, k)
        learned, passes = layout.learned_state, d_state is not None
        kind = self._kind(
            *(batch, k),
            keeps=True,
            every_step=d_outs is not None,
            begins=state is not None,
            learned=learned and state is None,
            passes=passes,
            masked=(k, "h") in masks,
        )
        if d_end is None:
            end, end_column = self.work.zeros(("no end", H), n, H), 0
        elif isinstance(d_end, list):
            end, end_column = d_end[self._cells(cell.layer)[0][0] != k], 0
        else:
            end, end_column = d_end, self._side(k)
        dh, dc = d_state[k] if passes else (xh, xh)
        dh_0, dc_0 = (dh, dc) if passes else (xh, xh)
        if learned and not passes:
            dh_0, dc_0 = (self.work.matrix((name, k), n, H) for name in ("dh_0", "dc_0"))
        c_0 = xh if state is None else state[k][1]
        d_peephole = self.work.matrix(("d_peephole", k), n, 3 * H) if self._peephole else xh
        grid = -(-batch.n_sequences // kind.NB), batch.n_models
        make_backward(kind)[grid, kind.threads, self.stream](
            *(theta, self._at[k, "W"] + X * 4 * H, *self._places(k), *self._variant),
            *(batch.first, batch.n_sequences, cell.reverse, c_0, masks.get((k, "h"), xh), gates),
            *(self.of_cell("c", batch, k), xh if d_outs is None else d_outs, self._side(k)),
            *(end, end_column, dh, dc, dh_0, dc_0, d_peephole),
        )
        steps = batch.step_bounds, batch.most_steps
        self._gram(grad, (k, "W"), xh, gates, X + H, 4 * H, *steps)
        sequences = batch.sequence_bounds, batch.n_sequences
        if self._peephole:
            self._sums(grad, (k, "peephole"), d_peephole, 3 * H, *sequences)
        if learned:
            # Of what the sequences have not begun with the gradient is zero.
            zeros = self.work.zeros(("no end", H), n, H)
            for key, d in (("h_0", dh_0), ("c_0", dc_0)):
                self._sums(grad, (k, key), d if state is None else zeros, H, *sequences)

    def _leave(self, theta, batch, layer, d_rows, masks):
        """Gradient of the outputs of the layer below."""
        cells, below = self._cells(layer), layer - 1
        F, steps = self.layout.widths[below], (batch.step_bounds, batch.most_steps)
        d_xh = self.work.rows("d_xh", batch.n_steps, F)
        for i, (k, cell) in enumerate(cells):
            G = 4 * cell.hidden_size
            times(
                *(d_xh, self.of_cell("gates", batch, k), theta, self._at[k, "W"], G, F, *steps),
                transposed=True,
                accumulate=i > 0,
                stream=self.stream,
            )
        d_below = self.work.rows(("d_out", below), batch.n_steps, F)
        above = d_rows if self._residual(layer) else None
        mask = masks.get((cells[0][0], "x"))
        rows.join_backward(
            *(d_below, None, (d_xh,), mask, above, batch.first, F, self._share, self.stream)
        )
        if self._residual(layer) and above is None:
            pooling.add_last_backward(
                self._d_pooled, d_below, batch.first, pooling.ends_of(self.layout), self.stream
            )
        return d_below
