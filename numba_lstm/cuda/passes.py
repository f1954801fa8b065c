"""A batch through the whole network on the device, forward and back: a list of launches.

M models of one architecture go side by side. Nothing here waits for the device.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from numba_lstm.cuda import head
from numba_lstm.cuda.frame import DeviceBatch
from numba_lstm.cuda.layers import Layers
from numba_lstm.cuda.outputs import Outputs
from numba_lstm.parameters import Layout


class Passes(Layers, Outputs):
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
    batch_size : int, optional
        Sequences of most batches: for a smaller one no kernels of its own are compiled.
    precision : {"", "bf16", "tf32"}
        Of what the recurrence multiplies: see :class:`numba_lstm.cuda.kinds.Kind`.
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
        batch_size: int | None = None,
        precision: str = "",
    ) -> None:
        super().__init__(layout, dtype, per_step, stream, precision)
        self.batch_size = batch_size
        self._loss, self._loss_parameter = loss, loss_parameter
        self._mean, self._inverse_scale = mean, inverse_scale

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
        for layer in range(self.n_layers):
            self._enter(batch, layer, masks)
            for k, _ in self.cells(layer):
                self._run_cell(theta, batch, k, keeps, all_rows, state, masks)
        if self.writes_rows(layer) and self.is_joined(layer):
            self._join(batch, layer, (), None)
        return self._outputs(theta, batch, self._rows_of_head(theta, batch))

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
        bounds, most, n = self.bounds(batch)
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
        for layer in reversed(range(self.n_layers)):
            d_outs = self._split(batch, layer, d_rows)
            for k, _ in self.cells(layer):
                self._run_back(theta, grad, batch, k, d_outs, d_end, state, masks or {}, d_state)
            if layer > 0:
                d_rows = self._leave(theta, batch, layer, d_rows, masks or {})
            d_end = None
