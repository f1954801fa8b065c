"""From the layers' outputs to the network's, its losses, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from numba_lstm.cuda import head, pooling
from numba_lstm.cuda.frame import DeviceBatch, Frame
from numba_lstm.cuda.products import times


class Outputs(Frame):
    """Pooling and head, and their gradients."""

    def _rows_of_head(self, theta, batch):
        """What the head sees: rows of sequences, or of time steps."""
        layout, last = self.layout, self.n_layers - 1
        if self.per_step:
            return self.out(batch, last)
        if layout.pooling == "last":
            if not self.is_joined(last):
                return self.h_end(batch, len(layout.cells) - 1)[0]
            pooled = self.work.matrix("pooled", self.n_rows(batch), layout.widths[-1])
            ends = tuple(self.h_end(batch, k)[0] for k, _ in self.cells(last))
            x = self.out(batch, last - 1) if self.is_residual(last) else None
            pooling.last(
                *(pooled, ends, x, batch.first, self.share),
                *(pooling.ends_of(layout), self.stream),
            )
            return pooled
        found = self.out(batch, last)
        pooled = self.work.matrix("pooled", self.n_rows(batch), layout.widths[-1])
        if layout.pooling == "max":
            pooling.greatest(pooled, self._latest(batch), found, batch.first, self.stream)
            return pooled
        alpha = None
        if layout.pooling == "attention":
            (u, alpha), width = self._attention(batch), layout.widths[-1]
            times(
                *(u, found, theta, self.at[-1, "W_a"], width, width),
                *(batch.step_bounds, batch.most_steps),
                stream=self.stream,
            )
            pooling.attend(
                *(u, alpha, theta, self.at[-1, "b_a"], self.at[-1, "v_a"]),
                *(batch.first, batch.n_sequences, self.stream),
            )
        pooling.average(pooled, found, alpha, batch.first, self.stream)
        return pooled

    def _latest(self, batch):
        return self.work.matrix(
            "latest", self.n_rows(batch), self.layout.widths[-1], np.dtype(np.int32)
        )

    def _attention(self, batch):
        """The rows u of pooling.py, and the weights of the steps."""
        work, n = self.work, batch.n_steps
        return work.rows("u", n, self.layout.widths[-1]), work.rows("alpha", n, 1)

    def attention(self, batch: DeviceBatch) -> Any:
        """Attention weights (S or more, 1) that the forward pass has left."""
        return self._attention(batch)[1]

    def _outputs(self, theta, batch, found):
        layout, at = self.layout, self.at
        bounds, most, n = self.bounds(batch)
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

    def _head_backward(self, theta, grad, batch, d_out):
        """Gradient of what the head sees."""
        layout, at = self.layout, self.at
        bounds, most, n = self.bounds(batch)
        K, width, M1 = layout.n_outputs, layout.head_inputs, layout.head_size
        self.gram(grad, (-1, "W"), d_out, self._pooled, K, width, bounds, most)
        self.sums(grad, (-1, "b"), d_out, K, bounds, most)
        d = self._of_head("d_head", n, width)
        times(d, d_out, theta, at[-1, "W"], K, width, bounds, most, stream=self.stream)
        if not M1:
            return d
        activation = head.TANH if layout.head_activation == "tanh" else head.RELU
        head.activate_backward(d, self._pooled, bounds, most, activation, self.stream)
        seen, width = self._seen(batch), layout.widths[-1]
        self.gram(grad, (-1, "W_1"), seen, d, width, M1, bounds, most)
        self.sums(grad, (-1, "b_1"), d, M1, bounds, most)
        d_seen = self._of_head("d_seen", n, width)
        times(
            *(d_seen, d, theta, at[-1, "W_1"], M1, width, bounds, most),
            transposed=True,
            stream=self.stream,
        )
        return d_seen

    def _of_head(self, name, n, width):
        """A matrix of the head's rows; of sequences exactly, which grids are made for."""
        return (self.work.rows if self.per_step else self.work.matrix)(name, n, width)

    def _seen(self, batch):
        """What the head sees, after a forward pass."""
        layout, last = self.layout, self.n_layers - 1
        if self.per_step:
            return self.out(batch, last)
        if layout.pooling == "last" and not self.is_joined(last):
            return self.h_end(batch, len(layout.cells) - 1)[0]
        return self.work.matrix("pooled", self.n_rows(batch), layout.widths[-1])

    def _pool_backward(self, theta, grad, batch, d):
        """Gradients of the last hidden states, and of all steps' outputs; None for zero."""
        layout, last, stream = self.layout, self.n_layers - 1, self.stream
        self._d_pooled = d
        if self.per_step:
            return None, d
        if layout.pooling == "last":
            ends = [self.end_of("d_end", batch, k)[0] for k, _ in self.cells(last)]
            if not self.is_joined(last):
                return d, None
            pooling.last_backward(d, tuple(ends), self.share, stream)
            return ends, None
        width = layout.widths[-1]
        d_rows, seen = self.work.rows("d_rows", batch.n_steps, width), self.out(batch, last)
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
            *(d_u, d_score, d, self._seen(batch), seen, u, alpha, theta, self.at[-1, "v_a"]),
            *(batch.first, batch.n_sequences, stream),
        )
        times(
            *(d_rows, d_u, theta, self.at[-1, "W_a"], width, width, *steps),
            transposed=True,
            stream=stream,
        )
        pooling.average_backward(d_rows, d, alpha, batch.first, stream)
        self.gram(grad, (-1, "W_a"), seen, d_u, width, width, *steps)
        self.sums(grad, (-1, "b_a"), d_u, width, *steps)
        self.gram(grad, (-1, "v_a"), d_score, u, 1, width, *steps)
        return None, d_rows
