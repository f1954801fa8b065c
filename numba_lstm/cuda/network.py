"""The network on a GPU, with the face of the one on the CPU: arrays of the host in and out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from numba_lstm.base_network import BaseNetwork
from numba_lstm.cpu.allocation import NOTHING
from numba_lstm.cuda.device import cuda
from numba_lstm.cuda.passes import DeviceBatch, Passes
from numba_lstm.parameters import Layout
from numba_lstm.sequences import Batch
from numba_lstm.states import State, States

# Hidden units of a layer, at most: a block has four threads for each, and 1,024 threads.
_MOST_UNITS = 256


def check_layout(layout: Layout) -> None:
    """Refuse a network that there are no kernels for.

    Raises
    ------
    ValueError
        If a layer has more than 256 units, or a cell is of a kind that only the CPU has.
    """
    if max(layout.hidden_sizes) > _MOST_UNITS:
        raise ValueError(
            f"hidden_size={max(layout.hidden_sizes)}: the GPU's kernels have {_MOST_UNITS} units "
            "at most, whose states one multiprocessor holds. Use device='cpu', or smaller layers."
        )
    kinds = {
        "proj_size": layout.proj_size > 0,
        "layer_norm": layout.norm,
        "zoneout_hidden or zoneout_cell": any(layout.zoneout),
        "times": layout.decays,
    }
    found = [name for name, there in kinds.items() if there]
    if found:
        raise ValueError(
            f"A network with {', '.join(found)} runs on the CPU only. Use device='cpu', or "
            "leave that out."
        )


class CudaNetwork(BaseNetwork):
    """LSTM layers, pooling and a head, on a GPU.

    Parameters
    ----------
    layout, dtype, **options
        As for :class:`numba_lstm.base_network.BaseNetwork`.

    Raises
    ------
    ValueError
        If there are no kernels for the network.
    """

    # What a part of a prediction may take: enough for all multiprocessors.
    room = 2**28

    def __init__(self, layout: Layout, dtype: np.dtype, **options: Any) -> None:
        super().__init__(layout, dtype, **options)
        check_layout(layout)
        self._passes = Passes(
            *(layout, self.dtype, self.per_step, self.loss, self.loss_parameter),
            *(_device(self.mean[np.newaxis]), _device(self.inverse_scale[np.newaxis])),
        )

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
        on_device = self._upload(batch)
        loss, total = (_device(np.zeros(1)) for _ in range(2))
        grads = _device(grad[np.newaxis])
        passed = self._upload_state(d_state)
        self._passes.loss_and_grad(
            *(_device(theta[np.newaxis]), grads, on_device, loss, total, 1.0),
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

    def predict(self, theta: np.ndarray, batch: Batch, state: State | None = None) -> np.ndarray:
        """Outputs (Q, K) of a batch; see :meth:`BaseNetwork.predict`."""
        out, _ = self._forward(theta, batch, state)
        n = int(batch.lengths.sum()) if self.per_step else len(batch.lengths)
        return out.copy_to_host()[:n]

    def attention(self, theta: np.ndarray, batch: Batch) -> np.ndarray:
        """Attention weights (S,) of a batch's steps, which sum to 1 for each sequence."""
        _, on_device = self._forward(theta, batch, None)
        return self._passes.attention(on_device).copy_to_host()[: on_device.n_steps, 0]

    def advance(
        self, theta: np.ndarray, batch: Batch, state: State, seed: int = 0, first_step: int = 0
    ) -> None:
        """Move the state of a batch's sequences on by its steps."""
        self._forward(theta, batch, state, seed)

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

    def _forward(self, theta, batch, state, seed=0, keeps=False):
        self._check_vector(theta, "theta")
        on_device = self._upload(batch._replace(y=None, weight=None))
        out = self._passes.forward(
            *(_device(theta[np.newaxis]), on_device),
            keeps=keeps,
            all_rows=keeps,
            state=self._upload_state(state),
            masks=self._upload_masks(len(batch.lengths), seed),
        )
        if state is not None:
            self._take_state(state, on_device)
        return out, on_device

    def _upload(self, batch):
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
        )

    def _upload_masks(self, B, seed):
        drops = self.dropout if seed else NOTHING
        return {
            (k, which): _device(mask.astype(self.dtype))
            for k, which, mask in self._masks(drops, B, seed)
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
    return cuda.to_device(array)


def workspace_bytes(layout: Layout, itemsize: int, n_steps: int, n_sequences: int) -> int:
    """Bytes that a step of training takes on the device, beside data and weights.

    Parameters
    ----------
    layout : Layout
        The network's.
    itemsize : int
        Bytes of a number.
    n_steps, n_sequences : int
        Time steps and sequences of the largest batch, of all models together.
    """
    per_step = sum(2 * c.n_inputs + 1 + 8 * c.hidden_size for c in layout.cells)
    per_step += 3 * sum(layout.widths) + layout.head_size + 2 * layout.n_outputs
    per_sequence = sum(12 * cell.hidden_size for cell in layout.cells) + 4 * layout.widths[-1]
    return itemsize * math.ceil(n_steps * per_step + n_sequences * per_sequence)
