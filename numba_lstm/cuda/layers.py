"""The layers of a network on the device, forward and back, one launch after the other."""

from __future__ import annotations

from typing import Any

from numba_lstm.cuda import pooling, rows, tensor_backward, tensor_forward
from numba_lstm.cuda.device import multiprocessors
from numba_lstm.cuda.frame import Frame
from numba_lstm.cuda.kinds import Kind, is_fused, sequences_of_block
from numba_lstm.cuda.products import times
from numba_lstm.cuda.recurrent import make_backward, make_forward
from numba_lstm.cuda.tensor_cores import storage
from numba_lstm.cuda.tensor_packing import backward_division, forward_division, pack


class Layers(Frame):
    """All cells of a network, and what lies between its layers."""

    batch_size: int | None
    _mean: Any
    _inverse_scale: Any
    _d_pooled: Any

    def _enter(self, batch, layer, masks):
        """Inputs of a layer's cells."""
        cells = self.cells(layer)
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
        out = self.out(batch, layer) if self.is_joined(layer) else None
        x = self.out(batch, layer - 1) if self.is_residual(layer) else None
        rows.join(
            *(out, self.outs(batch, layer), x, xhs, mask, batch.first),
            *(self.share, self.layout.bias, self.stream),
        )

    def _kind(self, batch, k, **options):
        """What the kernels of a cell are compiled for."""
        H, dtype = self.layout.cells[k].hidden_size, self.dtype.name
        B = self.batch_size or batch.n_sequences
        NB = sequences_of_block(H, dtype, B, batch.n_models, multiprocessors(), self.precision)
        options |= {"varied": self.varied, "peephole": self.peephole, "zoned": self.zoned}
        return Kind(dtype, H, options.pop("X", 0), NB, precision=self.precision, **options)

    def _kernel(self, theta, at, batch, k, kind, backward=False):
        """A cell's kernel, and its first arguments: what it has the weights from."""
        if not kind.precision:
            return (make_backward if backward else make_forward)(kind), (theta, at)
        division = (backward_division if backward else forward_division)(kind)
        packed = self.work.matrix(
            *(("packed", k, backward), batch.n_models, division.size),
            storage(kind.precision)[0],
        )
        pack(packed, theta, at, division, self.stream)
        make = tensor_backward.make_backward if backward else tensor_forward.make_forward
        return make(kind), (packed, theta)

    def _run_cell(self, theta, batch, k, keeps, all_rows, state, masks):
        layout, cell = self.layout, self.layout.cells[k]
        every_step, H = all_rows or self.writes_rows(cell.layer), cell.hidden_size
        X, at = cell.n_inputs + layout.bias, self.at[k, "W"]
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
        kernel, weights = self._kernel(theta, at, batch, k, kind)
        kernel[grid, kind.threads, self.stream](
            *(*weights, *self._places(k), *self.variant, xh, X, gates, batch.first),
            *(batch.n_sequences, cell.reverse, h_0, c_0, masks.get((k, "h"), xh), gates, c),
            *(y, self.side(k), h_end, end_column),
            self.of_cell("c_end", batch, k),
            *self._zoneout(batch, k),
        )

    def _places(self, k):
        """Where peepholes and the learned state of a cell begin."""
        return self.at.get((k, "peephole"), 0), self.at.get((k, "h_0"), 0)

    def _zoneout(self, batch, k):
        """The last arguments of the recurrence's kernels."""
        seeds = batch.seeds if self.zoned else batch.first
        return seeds, batch.first_step, k, *self.chances

    def _split(self, batch, layer, d_rows):
        """Gradient of what each direction wrote, from that of a layer's outputs."""
        if d_rows is None or self.share == 0:
            return d_rows
        width = self.layout.widths[layer]
        d_outs = self.work.rows(("d_outs", layer), batch.n_steps, 2 * width)
        rows.join_backward(
            *(None, d_outs, (), None, d_rows, batch.first, width, self.share, self.stream)
        )
        return d_outs

    def _run_back(self, theta, grad, batch, k, d_outs, d_end, state, masks, d_state):
        """Backpropagation through time of a cell, and the gradients of its weights."""
        layout, cell = self.layout, self.layout.cells[k]
        H, X, n = cell.hidden_size, cell.n_inputs + layout.bias, self.n_rows(batch)
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
            end, end_column = d_end[self.cells(cell.layer)[0][0] != k], 0
        else:
            end, end_column = d_end, self.side(k)
        dh, dc = d_state[k] if passes else (xh, xh)
        dh_0, dc_0 = (dh, dc) if passes else (xh, xh)
        if learned and not passes:
            dh_0, dc_0 = (self.work.matrix((name, k), n, H) for name in ("dh_0", "dc_0"))
        c_0 = xh if state is None else state[k][1]
        d_peephole = self.work.matrix(("d_peephole", k), n, 3 * H) if self.peephole else xh
        grid = -(-batch.n_sequences // kind.NB), batch.n_models
        at = self.at[k, "W"] + X * 4 * H
        kernel, weights = self._kernel(theta, at, batch, k, kind, backward=True)
        kernel[grid, kind.threads, self.stream](
            *(*weights, *self._places(k), *self.variant),
            *(batch.first, batch.n_sequences, cell.reverse, c_0, masks.get((k, "h"), xh), gates),
            *(self.of_cell("c", batch, k), xh if d_outs is None else d_outs, self.side(k)),
            *(end, end_column, dh, dc, dh_0, dc_0, d_peephole),
            *self._zoneout(batch, k),
        )
        steps = batch.step_bounds, batch.most_steps
        self.gram(grad, (k, "W"), xh, gates, X + H, 4 * H, *steps)
        sequences = batch.sequence_bounds, batch.n_sequences
        if self.peephole:
            self.sums(grad, (k, "peephole"), d_peephole, 3 * H, *sequences)
        if learned:
            # Of what the sequences have not begun with the gradient is zero.
            zeros = self.work.zeros(("no end", H), n, H)
            for key, d in (("h_0", dh_0), ("c_0", dc_0)):
                self.sums(grad, (k, key), d if state is None else zeros, H, *sequences)

    def _leave(self, theta, batch, layer, d_rows, masks):
        """Gradient of the outputs of the layer below."""
        cells, below = self.cells(layer), layer - 1
        F, steps = self.layout.widths[below], (batch.step_bounds, batch.most_steps)
        d_xh = self.work.rows("d_xh", batch.n_steps, F)
        for i, (k, cell) in enumerate(cells):
            G = 4 * cell.hidden_size
            times(
                *(d_xh, self.of_cell("gates", batch, k), theta, self.at[k, "W"], G, F, *steps),
                transposed=True,
                accumulate=i > 0,
                stream=self.stream,
            )
        d_below = self.work.rows(("d_out", below), batch.n_steps, F)
        above = d_rows if self.is_residual(layer) else None
        mask = masks.get((cells[0][0], "x"))
        rows.join_backward(
            *(d_below, None, (d_xh,), mask, above, batch.first, F, self.share, self.stream)
        )
        if self.is_residual(layer) and above is None:
            pooling.add_last_backward(
                self._d_pooled, d_below, batch.first, pooling.ends_of(self.layout), self.stream
            )
        return d_below
