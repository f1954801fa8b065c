"""What all passes of a network over the device share: its shapes, and its arrays there."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from numba_lstm.cuda.products import column_sums, column_sums_workspace, gram, gram_workspace
from numba_lstm.cuda.rows import share_of
from numba_lstm.cuda.workspace import Workspace
from numba_lstm.cuda.zoneout import chances_of
from numba_lstm.parameters import Layout


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
    seeds : device array of int64 of shape (M,) or None
        Of what is drawn in the kernels, the units that stay as they were: 0 draws nothing.
        Needed where there are such units.
    first_step : int
        Number of the first time step, in training on windows.
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
    seeds: Any = None
    first_step: int = 0


class Frame:
    """A network's layers, the arrays of a batch, and where in theta the weights lie.

    Parameters
    ----------
    layout : Layout
        Its architecture.
    dtype : numpy.dtype
        float32 or float64.
    per_step : bool
        Whether every time step has an output.
    stream : stream
        Where everything is launched.
    precision : {"", "bf16", "tf32"}
        Of what the recurrence multiplies: see :class:`numba_lstm.cuda.kinds.Kind`.

    Attributes
    ----------
    work : Workspace
        The arrays.
    at : dict
        Offset in theta of each of the weights, by the keys of :class:`Layout`.
    share : float
        What of each direction goes into an output: see rows.py.
    peephole, varied : bool
        Whether cells have peepholes, or anything of (2p), (2l) and (2c).
    variant : tuple
        Limit of the pre-activations, and whether the gates are coupled.
    zoned : bool
        Whether some units stay as they were.
    chances : tuple
        With what probabilities: see zoneout.py.
    """

    def __init__(
        self,
        layout: Layout,
        dtype: np.dtype,
        per_step: bool,
        stream: Any,
        precision: str = "",
    ) -> None:
        self.layout = layout
        self.dtype = np.dtype(dtype)
        self.per_step = per_step
        self.stream = stream
        self.precision = precision
        self.work = Workspace(self.dtype)
        self.at = {key: place.start for key, place in layout.places.items()}
        self.n_layers = len(layout.hidden_sizes)
        self.share = share_of(layout)
        self.peephole = layout.peephole
        self.varied = layout.peephole or layout.coupled or layout.limit < math.inf
        self.variant = self.dtype.type(layout.limit), layout.coupled
        self.zoned, self.chances = any(layout.zoneout), chances_of(layout, self.dtype)

    def cells(self, layer):
        """Numbers and cells of a layer's directions."""
        return [(k, c) for k, c in enumerate(self.layout.cells) if c.layer == layer]

    def is_residual(self, layer):
        """Whether a layer's inputs are added to its outputs."""
        return self.layout.residual and layer > 0

    def writes_rows(self, layer):
        """Whether somebody needs the outputs of a layer at every time step."""
        below = layer < self.n_layers - 1
        return below or self.per_step or self.layout.pooling != "last"

    def is_joined(self, layer):
        """Whether a layer's outputs are others than those of its cells."""
        return self.share > 0 or self.is_residual(layer)

    def outs(self, batch: DeviceBatch, layer: int) -> Any:
        """Hidden states of all directions of a layer, side by side (S, D P)."""
        width = sum(cell.output_size for _, cell in self.cells(layer))
        return self.work.rows(("outs", layer), batch.n_steps, width)

    def out(self, batch, layer):
        """Outputs of a layer (S, width)."""
        if not self.is_joined(layer):
            return self.outs(batch, layer)
        return self.work.rows(("out", layer), batch.n_steps, self.layout.widths[layer])

    def of_cell(self, name: str, batch: DeviceBatch, k: int) -> Any:
        """What is kept of a cell: "xh", "gates" or "c" of each step, "c_end" of each sequence."""
        cell, work = self.layout.cells[k], self.work
        if name == "c_end":
            return work.matrix((name, k), self.n_rows(batch), cell.hidden_size)
        H = cell.hidden_size
        V = cell.n_inputs + self.layout.bias + H
        return work.rows((name, k), batch.n_steps, {"xh": V, "gates": 4 * H, "c": H}[name])

    def h_end(self, batch: DeviceBatch, k: int) -> tuple[Any, int]:
        """Last hidden states of a cell, and the column they begin with."""
        return self.end_of("h_end", batch, k)

    def end_of(self, name, batch, k):
        """A matrix of all directions of a layer, or of one alone where they are to be joined."""
        layer, n_rows = self.layout.cells[k].layer, self.n_rows(batch)
        if self.is_joined(layer):
            return self.work.matrix((name, k), n_rows, self.layout.cells[k].output_size), 0
        return self.work.matrix((name, layer), n_rows, self.layout.widths[layer]), self.side(k)

    def side(self, k):
        """Column that a direction begins with, side by side with the other."""
        cell = self.layout.cells[k]
        second = cell.reverse and self.layout.direction == "both"
        return cell.output_size if second else 0

    @staticmethod
    def n_rows(batch):
        """Sequences of all models."""
        return batch.n_models * batch.n_sequences

    def bounds(self, batch):
        """First rows of the head of each model, the most of a model, and all."""
        if self.per_step:
            return batch.step_bounds, batch.most_steps, batch.n_steps
        return batch.sequence_bounds, batch.n_sequences, self.n_rows(batch)

    def gram(self, grad, key, a, b, n_a, n_b, bounds, most):
        """Gradient of weights by name: the sum of products of two arrays' rows."""
        M = bounds.shape[0] - 1
        partial = self.work.flat("gram", gram_workspace(self.dtype, M, n_a, n_b, most))
        gram(
            *(grad, self.at[key], a, b, n_a, n_b, bounds, most, partial),
            stream=self.stream,
        )

    def sums(self, grad, key, a, n, bounds, most):
        """Gradient of a bias by name: the sum of rows."""
        M = bounds.shape[0] - 1
        partial = self.work.flat("sums", column_sums_workspace(M, n, most))
        column_sums(grad, self.at[key], a, n, bounds, most, partial, stream=self.stream)
