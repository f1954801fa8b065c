"""Epochs of training with everything on the device: data, weights and the optimisers' moments.

The host draws the batches and launches kernels; it waits for the device once an epoch. M models
of one architecture are trained side by side, each with an order, a learning rate and data of
its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from numba_lstm.cpu.allocation import NOTHING
from numba_lstm.cuda.device import cuda, free_memory
from numba_lstm.cuda.limits import workspace_bytes
from numba_lstm.cuda.network import CudaNetwork
from numba_lstm.cuda.optimizers import Optimizers
from numba_lstm.cuda.passes import DeviceBatch, Passes
from numba_lstm.cuda.staging import Staging
from numba_lstm.training.data import Dataset
from numba_lstm.training.optimizers import Optimizer

# What is copied to the device at a time, and the share of its memory that data may take.
_SPAN_BYTES, _DATA_SHARE = 2**26, 0.5


class Model(NamedTuple):
    """One of the models that are trained: the arguments of ``network.epochs``."""

    network: CudaNetwork
    theta: np.ndarray
    optimizer: Optimizer
    generator: np.random.Generator
    training: Dataset


class _Planned(NamedTuple):
    """A batch of all models, on the host."""

    starts: np.ndarray
    first: np.ndarray
    step_bounds: np.ndarray
    sequence_bounds: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    values: np.ndarray
    masks: dict[tuple[int, str], np.ndarray]
    rates: np.ndarray


class DeviceEpochs:
    """Runs epochs of one model or of many.

    Parameters
    ----------
    models : sequence of Model
        Of one architecture, with the same number of sequences to learn from.
    batch_size : int
        Sequences of a batch.
    on_batch : callable
        Called before each batch; what it raises ends the epoch there.

    Raises
    ------
    MemoryError
        If the device has too little memory.
    """

    def __init__(
        self,
        models: Sequence[Model],
        batch_size: int,
        on_batch: Callable[[], None] = lambda: None,
    ) -> None:
        self._models, self._batch_size, self._on_batch = list(models), batch_size, on_batch
        network = models[0].network
        self._network, self._dtype = network, network.dtype
        self._n = len(models[0].training)
        resident = self._is_resident()
        self._check_memory(resident)
        self._values, self._places = self._upload_values() if resident else (None, None)
        self._stream = cuda.stream()
        self._passes = Passes(
            *(network.layout, network.dtype, network.per_step, network.loss),
            network.loss_parameter,
            *(self._stack("mean"), self._stack("inverse_scale")),
            stream=self._stream,
        )
        M, P = len(models), network.layout.size
        self._theta = cuda.to_device(np.stack([model.theta for model in models]))
        self._grad = cuda.to_device(np.zeros((M, P), self._dtype))
        self._loss, self._total = (cuda.to_device(np.zeros(M)) for _ in range(2))
        self._optimizers = Optimizers([model.optimizer for model in models])
        self._staging = Staging(self._stream)

    def run(self, order: np.ndarray, rates: Sequence[float]) -> float:
        """Run one epoch of the only model: see :class:`numba_lstm.training.epochs.Epochs`."""
        return self.run_all([order], [rates])[0]

    def run_all(
        self,
        orders: Sequence[np.ndarray | None],
        rates: Sequence[Sequence[float] | None],
    ) -> list[float]:
        """Run one epoch of all models.

        Parameters
        ----------
        orders : sequence of ndarray of int of shape (n,)
            For each model its sequences in the order in which batches take them; None leaves
            its weights as they are.
        rates : sequence of sequence of float
            For each model the learning rate of each batch.

        Returns
        -------
        list of float
            Mean losses; NaN of models that diverged.
        """
        frozen = np.array([order is None for order in orders], np.int8)
        self._optimizers.frozen.copy_to_device(frozen)
        self._total.copy_to_device(np.zeros(len(orders)))
        try:
            for span in self._spans(orders, rates):
                for batch, masks, batch_rates in self._staged(span):
                    self._on_batch()
                    self._step(batch, masks, batch_rates)
        finally:
            self._write_back()
        diverged = self._optimizers.diverged.copy_to_host() != 0
        means = self._total.copy_to_host() / self._n
        return [
            math.nan if bad else float(mean) for bad, mean in zip(diverged, means, strict=True)
        ]

    def _step(self, batch, masks, rates):
        """One step of all optimisers."""
        share = float(batch.n_sequences)
        self._passes.loss_and_grad(
            *(self._theta, self._grad, batch, self._loss, self._total, share), masks=masks
        )
        self._optimizers.step(self._theta, self._grad, self._loss, rates, self._stream)

    def _write_back(self):
        """Copy weights and moments to where the host has them."""
        self._stream.synchronize()
        for model, theta in zip(self._models, self._theta.copy_to_host(), strict=True):
            model.theta[...] = theta
        self._optimizers.write_back()

    # -- batches -------------------------------------------------------------------

    def _spans(self, orders, rates) -> Iterator[list[_Planned]]:
        """Yield batches, as many at a time as are to be copied at once."""
        span, n_bytes = [], 0
        for number, first in enumerate(range(0, self._n, self._batch_size)):
            planned = self._plan(orders, rates, number, first)
            parts = (*planned[:7], *planned.masks.values())
            n_bytes += sum(part.nbytes for part in parts)
            span.append(planned)
            if n_bytes > _SPAN_BYTES:
                yield span
                span, n_bytes = [], 0
        if span:
            yield span

    def _plan(self, orders, rates, number, first) -> _Planned:
        """Put a batch together: model after model, in each by falling length."""
        starts, lengths, y, weight, values, masks = [], [], [], [], [], []
        for m, (model, order) in enumerate(zip(self._models, orders, strict=True)):
            training, network = model.training, model.network
            order = training.index if order is None else order
            index = training.sequences.by_length(order[first : first + self._batch_size])
            targets = training.batch_targets(index, self._dtype)
            y.append(targets[0])
            weight.append(targets[1])
            lengths.append(training.sequences.lengths[index])
            if self._places is None:
                gathered, begins = training.sequences.gather(index)
                begins = begins + sum(len(part) for part in values)
                values.append(gathered)
            else:
                begins = self._places[m][index]
            starts.append(begins)
            drops = network.dropout if orders[m] is not None else NOTHING
            seed = int(model.generator.integers(1, 2**62)) if drops != NOTHING else 0
            drawn = network.masks(drops, len(index), seed)
            masks.append({(k, which): mask.astype(self._dtype) for k, which, mask in drawn})
        ends = np.cumsum([part.sum() for part in lengths])
        B, M = len(starts[0]), len(starts)
        kept = {
            key: np.concatenate([of.get(key, np.ones_like(mask)) for of in masks])
            for key, mask in next((of for of in masks if of), {}).items()
        }
        return _Planned(
            np.concatenate(starts),
            np.append(0, np.cumsum(np.concatenate(lengths))),
            np.append(0, ends),
            np.arange(M + 1) * B,
            np.concatenate(y),
            np.concatenate(weight),
            np.concatenate(values) if values else np.empty((0, 0)),
            kept,
            np.array([0.0 if rate is None else rate[number] for rate in rates]),
        )

    def _staged(self, span):
        """Copy a span to the device; yield its batches there, with masks and rates."""
        on_device = self._staging.copy(
            [[*planned[:7], planned.rates, *planned.masks.values()] for planned in span]
        )
        M = len(self._models)
        for planned, arrays in zip(span, on_device, strict=True):
            starts, first, steps, sequences, y, weight, values, rates, *masks = arrays
            batch = DeviceBatch(
                *(self._values if self._values is not None else values, starts, first),
                *(steps, sequences, M, len(planned.starts) // M),
                *(int(planned.first[-1]), int(np.diff(planned.step_bounds).max()), y, weight),
            )
            yield batch, dict(zip(planned.masks, masks, strict=True)), rates
        self._staging.used()

    # -- data ----------------------------------------------------------------------

    def _stack(self, name):
        return cuda.to_device(np.stack([getattr(model.network, name) for model in self._models]))

    def _shared(self):
        """Sequences that are different data, and for each model the number of its own."""
        found: dict[int, int] = {}
        different, numbers = [], []
        for model in self._models:
            sequences = model.training.sequences
            key = id(sequences.data) if type(sequences).__name__ == "Sequences" else id(sequences)
            if key not in found:
                found[key] = len(different)
                different.append(sequences)
            numbers.append(found[key])
        return different, numbers

    def _value_bytes(self):
        different, _ = self._shared()
        return sum(8 * int(one.lengths.sum()) * one.n_inputs for one in different)

    def _is_resident(self):
        """Whether the device holds all data at once."""
        n_bytes = self._value_bytes()
        return n_bytes <= _DATA_SHARE * free_memory(2 * n_bytes)

    def _check_memory(self, resident):
        M, layout, itemsize = len(self._models), self._network.layout, self._dtype.itemsize
        steps = max(
            int(np.sort(model.training.sequences.lengths)[::-1][: self._batch_size].sum())
            for model in self._models
        )
        needed = workspace_bytes(layout, itemsize, M * steps, M * self._batch_size)
        needed += 6 * M * layout.size * itemsize + 3 * _SPAN_BYTES
        needed += self._value_bytes() if resident else 0
        if needed > (free := free_memory(needed)):
            raise MemoryError(
                f"A batch of {self._batch_size} sequences, with up to {steps} time steps, "
                f"of {M} models needs about {needed / 2**20:,.0f} MiB on the GPU, which has "
                f"{free / 2**20:,.0f} MiB free. Use a smaller batch_size, fewer models at once, "
                "or device='cpu'."
            )

    def _upload_values(self):
        """Copy all data to the device; return them, and each model's rows of its sequences."""
        different, numbers = self._shared()
        exact = all(np.can_cast(_dtype_of(one), np.float32) for one in different)
        n_rows = sum(int(one.lengths.sum()) for one in different)
        F = different[0].n_inputs
        values = cuda.device_array((n_rows, F), np.float32 if exact else np.float64)
        places, row = [], 0
        for one in different:
            places.append(row + np.cumsum(one.lengths) - one.lengths)
            for index in np.array_split(np.arange(len(one)), -(-8 * n_rows * F // _SPAN_BYTES)):
                if len(index):
                    part, _ = one.gather(index)
                    values[row : row + len(part)].copy_to_device(part.astype(values.dtype))
                    row += len(part)
        return values, [places[number] for number in numbers]


def _dtype_of(sequences):
    data = sequences.data
    return np.result_type(*data) if isinstance(data, list) else data.dtype
