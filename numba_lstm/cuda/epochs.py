"""Epochs of training with everything on the device: data, weights and the optimisers' moments.

The host draws the batches and launches kernels; it waits for the device once an epoch. M models
of one architecture are trained side by side, each with an order, a learning rate and data of
its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from numba_lstm.cuda.device import cuda, device_array, free_memory, tells_of_memory, to_device
from numba_lstm.cuda.frame import DeviceBatch
from numba_lstm.cuda.limits import workspace_bytes
from numba_lstm.cuda.optimizers import Optimizers
from numba_lstm.cuda.passes import Passes
from numba_lstm.cuda.planning import Model, plan_epoch
from numba_lstm.cuda.staging import Staging
from numba_lstm.cuda.tensor_packing import packed_bytes

# What is copied to the device at a time, the share of its memory that data may take, and the
# batches whose targets are looked up at a time.
_SPAN_BYTES, _DATA_SHARE = 2**26, 0.5
_BATCHES_AT_ONCE = 64


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

    @tells_of_memory()
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
        self._values: Any = None
        self._places: list[np.ndarray] | None = None
        if resident:
            self._values, self._places = self._upload_values()
        self._stream = cuda.stream()
        self._passes = Passes(
            *(network.layout, network.dtype, network.per_step, network.loss),
            network.loss_parameter,
            *(self._stack("mean"), self._stack("inverse_scale")),
            stream=self._stream,
            batch_size=batch_size,
            precision=network.precision,
        )
        M, P = len(models), network.layout.size
        self._theta = to_device(np.stack([model.theta for model in models]))
        self._grad = to_device(np.zeros((M, P), self._dtype))
        self._loss, self._total = (to_device(np.zeros(M)) for _ in range(2))
        self._optimizers = Optimizers([model.optimizer for model in models])
        self._staging = Staging(self._stream)

    def run(self, order: np.ndarray, rates: Sequence[float]) -> float:
        """Run one epoch of the only model: see :class:`numba_lstm.training.epochs.Epochs`."""
        return self.run_all([order], [rates])[0]

    @tells_of_memory()
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

        Raises
        ------
        MemoryError
            If the device runs out of memory.
        """
        frozen = np.array([order is None for order in orders], np.int8)
        self._optimizers.frozen.copy_to_device(frozen)
        self._total.copy_to_device(np.zeros(len(orders)))
        try:
            for batch, masks, now in self._batches(orders, rates):
                self._on_batch()
                self._step(batch, masks, now)
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

    def _batches(self, orders, rates) -> Iterator[tuple]:
        """Yield the batches of an epoch on the device, with masks and learning rates.

        While those of a span are computed, the next one's are put together and copied.
        """
        span, n_bytes = [], 0
        planned = plan_epoch(
            self._models, orders, rates, self._batch_size, self._places, _BATCHES_AT_ONCE
        )
        for batch in planned:
            span.append(batch)
            n_bytes += batch.nbytes
            if n_bytes > _SPAN_BYTES:
                yield from self._copied(span)
                span, n_bytes = [], 0
        if span:
            yield from self._copied(span)

    def _copied(self, span):
        groups = [[*batch.arrays, *batch.masks.values()] for batch in span]
        for planned, arrays in zip(span, self._staging.copy(groups), strict=True):
            own, masks = arrays[: len(planned.arrays)], arrays[len(planned.arrays) :]
            starts, first, steps, sequences, y, weight, rates, seeds, *values = own
            batch = DeviceBatch(
                *(values[0] if values else self._values, starts, first, steps, sequences),
                *(len(self._models), planned.n_sequences, planned.n_steps, planned.most_steps),
                *(y, weight, seeds),
            )
            yield batch, dict(zip(planned.masks, masks, strict=True)), rates
        self._staging.used()

    # -- data ----------------------------------------------------------------------

    def _stack(self, name):
        return to_device(np.stack([getattr(model.network, name) for model in self._models]))

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
        needed += M * packed_bytes(layout, self._network.precision)
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
        values = device_array((n_rows, F), np.float32 if exact else np.float64)
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
