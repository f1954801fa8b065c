"""The network on a GPU, with the face of the one on the CPU: arrays of the host in and out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from numba_lstm.base_network import BaseNetwork
from numba_lstm.cpu.allocation import NOTHING
from numba_lstm.cuda.device import tells_of_memory, to_device
from numba_lstm.cuda.frame import DeviceBatch
from numba_lstm.cuda.passes import Passes
from numba_lstm.parameters import Layout
from numba_lstm.sequences import Batch
from numba_lstm.states import State, States

if TYPE_CHECKING:
    from numba_lstm.cuda.epochs import DeviceEpochs
    from numba_lstm.training.data import Dataset
    from numba_lstm.training.loop import LoopSettings
    from numba_lstm.training.optimizers import Optimizer


class CudaNetwork(BaseNetwork):
    """LSTM layers, pooling and a head, on a GPU.

    Parameters
    ----------
    layout, dtype, **options
        As for :class:`numba_lstm.base_network.BaseNetwork`; there are kernels for the layout.
    precision : {"", "bf16", "tf32"}
        Of what the recurrence multiplies: see :class:`numba_lstm.cuda.kinds.Kind`.
    """

    # What a part of a prediction may take: enough for all multiprocessors.
    room = 2**28

    def __init__(
        self, layout: Layout, dtype: np.dtype, *, precision: str = "", **options: Any
    ) -> None:
        super().__init__(layout, dtype, **options)
        self.precision = precision
        self._passes = Passes(
            *(layout, self.dtype, self.per_step, self.loss, self.loss_parameter),
            *(_row(self.mean), _row(self.inverse_scale)),
            precision=precision,
        )

    def epochs(
        self,
        theta: np.ndarray,
        optimizer: Optimizer,
        generator: np.random.Generator,
        training: Dataset,
        settings: LoopSettings,
        on_batch: Callable[[], None] = lambda: None,
    ) -> DeviceEpochs:
        """What runs epochs of training on the device: see training/epochs.py."""
        from numba_lstm.cuda.epochs import DeviceEpochs
        from numba_lstm.cuda.planning import Model

        model = Model(self, theta, optimizer, generator, training)
        return DeviceEpochs([model], settings.batch_size, on_batch)

    @tells_of_memory()
    def loss_and_grad_of_window(
        self,
        theta: np.ndarray,
        batch: Batch,
        grad: np.ndarray,
        seed: int = 0,
        *,
        state: State | None = None,
        end: State | None = None,
        d_state: State | None = None,
        first_step: int = 0,
    ) -> float:
        """Loss and gradient of a batch; see :meth:`BaseNetwork.loss_and_grad_of_window`."""
        on_device = self._upload(batch, seed, first_step)
        loss, total = (_device(np.zeros(1)) for _ in range(2))
        grads = _row(grad)
        passed = self._upload_state(d_state)
        self._passes.loss_and_grad(
            *(_row(theta), grads, on_device, loss, total, 1.0),
            state=self._upload_state(state),
            masks=self._upload_masks(len(batch.lengths), seed),
            d_state=passed,
        )
        if end is not None:
            self._take_state(end, on_device)
        if d_state is not None and passed is not None:
            for k, pair in enumerate(passed):
                d_state.h[k][...], d_state.c[k][...] = (part.copy_to_host() for part in pair)
        grad[...] = grads.copy_to_host()[0]
        return float(loss.copy_to_host()[0])

    @tells_of_memory()
    def predict(self, theta: np.ndarray, batch: Batch, state: State | None = None) -> np.ndarray:
        """Outputs (Q, K) of a batch; see :meth:`BaseNetwork.predict`."""
        out, _ = self._forward(theta, batch, state)
        n = int(batch.lengths.sum()) if self.per_step else len(batch.lengths)
        return out.copy_to_host()[:n]

    @tells_of_memory()
    def attention(self, theta: np.ndarray, batch: Batch) -> np.ndarray:
        """Attention weights (S,) of a batch's steps, which sum to 1 for each sequence."""
        _, on_device = self._forward(theta, batch, None)
        return self._passes.attention(on_device).copy_to_host()[: on_device.n_steps, 0]

    @tells_of_memory()
    def advance(
        self, theta: np.ndarray, batch: Batch, state: State, seed: int = 0, first_step: int = 0
    ) -> None:
        """Move the state of a batch's sequences on by its steps."""
        self._forward(theta, batch, state, seed, first_step)

    @tells_of_memory()
    def states(self, theta: np.ndarray, batch: Batch, layer: int = -1) -> States:
        """Hidden states, cells and gates of one layer at every time step of a batch."""
        _, on_device = self._forward(theta, batch, None, keeps=True)
        n = on_device.n_steps
        layer = range(len(self.layout.hidden_sizes))[layer]
        h = self._passes.outs(on_device, layer).copy_to_host()[:n]
        c, gates = [], []
        for k, cell in enumerate(self.layout.cells):
            if cell.layer == layer:
                c.append(self._passes.of_cell("c", on_device, k).copy_to_host()[:n])
                found = self._passes.of_cell("gates", on_device, k).copy_to_host()[:n]
                gates.append(found.reshape(n, 4, cell.hidden_size))
        return States(h, np.concatenate(c, axis=1), np.concatenate(gates, axis=2).reshape(n, -1))

    def _forward(self, theta, batch, state, seed=0, first_step=0, keeps=False):
        self._check_vector(theta, "theta")
        on_device = self._upload(batch._replace(y=None, weight=None), seed, first_step)
        out = self._passes.forward(
            *(_row(theta), on_device),
            keeps=keeps,
            all_rows=keeps,
            state=self._upload_state(state),
            masks=self._upload_masks(len(batch.lengths), seed),
        )
        if state is not None:
            self._take_state(state, on_device)
        return out, on_device

    def _upload(self, batch, seed=0, first_step=0):
        """Copy a batch to the device: of its values only the rows that are its own."""
        lengths = np.asarray(batch.lengths, np.int64)
        first = np.append(0, np.cumsum(lengths))
        values, S = batch.values, int(first[-1])
        begin = int(batch.starts[0])
        if not (batch.starts == begin + first[:-1]).all():
            rows = np.repeat(batch.starts - first[:-1], lengths) + np.arange(S)
            values, begin = values[rows], 0
        values = np.ascontiguousarray(values[begin : begin + S])
        if values.dtype not in (np.float32, np.float64):
            values = values.astype(np.float64)
        bounds = [_device(np.array([0, n], np.int64)) for n in (S, len(lengths))]
        y, weight = (
            None if part is None else _device(np.ascontiguousarray(part, self.dtype))
            for part in (batch.y, batch.weight)
        )
        return DeviceBatch(
            *(_device(values), _device(first[:-1]), _device(first), *bounds),
            *(1, len(lengths), S, S, y, weight),
            seeds=_device(np.array([seed], np.int64)) if any(self.layout.zoneout) else None,
            first_step=first_step,
        )

    def _upload_masks(self, B, seed):
        drops = self.dropout if seed else NOTHING
        return {
            (k, which): _device(mask.astype(self.dtype))
            for k, which, mask in self.masks(drops, B, seed)
        }

    @staticmethod
    def _upload_state(state):
        if state is None:
            return None
        return [
            tuple(_device(np.ascontiguousarray(part)) for part in pair)
            for pair in zip(*state, strict=True)
        ]

    def _take_state(self, state, batch):
        for k, cell in enumerate(self.layout.cells):
            h_end, column = self._passes.h_end(batch, k)
            state.h[k][...] = h_end.copy_to_host()[:, column : column + cell.output_size]
            state.c[k][...] = self._passes.of_cell("c_end", batch, k).copy_to_host()


def _device(array):
    return to_device(array)


def _row(vector):
    """Copy a vector to the device, as a matrix of one row."""
    # An axis that np.newaxis makes has stride 0, and Numba compiles a kernel of its own for it.
    return _device(vector.reshape(1, -1))
