"""Sequences with their targets and weights, handed out in batches."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from numba_lstm._warning import warn
from numba_lstm.sequences import Batch, Room, Sequences
from numba_lstm.training.statistics import mean_and_scale

# Targets that are looked up together, about.
_AT_ONCE = 8192

# Of features that were never seen, so that nothing is left of a value, in float32 too.
FAR = 1e30


@dataclass
class Dataset:
    """Some sequences, their targets and their weights.

    Attributes
    ----------
    sequences : Sequences
        All inputs.
    targets : ndarray of shape (N, K), or Sequences of N
        Values or class indices, one a sequence or one a time step; NaN where there is none.
    weight : ndarray of float64 of shape (N,)
        Weight of each sequence; of each of its steps, with a target for each.
    index : ndarray of int of shape (n,)
        The sequences that belong to this part of the data.
    step_weight : Sequences, optional
        Weights (T_i, 1) of the steps instead; ``weight`` is then their mean over a sequence.
    class_weight : ndarray of float64 of shape (n_classes,), optional
        What the weight of a target is multiplied by, for each class.
    target_mean, target_scale : ndarray of float64 of shape (K,), or a number
        Standardisation of the targets.
    """

    sequences: Sequences
    targets: np.ndarray | Sequences
    weight: np.ndarray
    index: np.ndarray
    step_weight: Sequences | None = None
    class_weight: np.ndarray | None = None
    target_mean: np.ndarray | float = 0.0
    target_scale: np.ndarray | float = 1.0

    @functools.cached_property
    def mean_weight(self) -> float:
        """Mean over the sequences of the sum of their targets' weights."""
        total = sum(_counted(*self._targets_and_weight(index)).sum() for index in self.parts())
        if not total > 0:
            raise ValueError(
                "All weights are zero in the training or in the validation part of the data "
                "(sample_weight times class_weight; a step whose target is NaN has none): "
                "nothing is left to compute a loss of."
            )
        return float(total) / len(self)

    @functools.cached_property
    def _common_weight(self):
        """The weight of each target, if they have the same and none is unknown, or None.

        It is then not looked up for each batch: 4 us less, and 15 less with cold caches.
        """
        y, weight = self.targets, self.weight
        if isinstance(y, Sequences) or self.class_weight is not None or not len(weight):
            return None
        with np.errstate(all="ignore"):
            is_known = y.dtype.kind != "f" or np.isfinite(y.sum())
        return weight[0] if is_known and weight.min() == weight.max() else None

    def check_targets(self, dtype: np.dtype) -> None:
        """Refuse standardised targets whose squares overflow, also those without a weight."""
        limit = np.sqrt(np.finfo(dtype).max)
        for index in self.parts():
            with np.errstate(over="ignore"):
                y = (self._targets_and_weight(index)[0] - self.target_mean) / self.target_scale
            if y.size and not (largest := np.nanmax(np.abs(y))) <= limit:
                raise ValueError(
                    f"A target is {largest:.1e} in the units of the network, the square of which "
                    f"overflows in {np.dtype(dtype).name}. Divide y by a constant first, leave "
                    "such sequences out, or try standardize=True or dtype='float64'."
                )

    def n_counted(self) -> int:
        """How many targets have a weight."""
        return sum(int(np.sum(self._targets_and_weight(i)[1] > 0)) for i in self.parts())

    def subset(self, index: np.ndarray) -> Dataset:
        """Return a part of the data, which shares its arrays."""
        return replace(self, index=index)

    def __len__(self) -> int:
        return len(self.index)

    def batch(self, index: np.ndarray, dtype: np.dtype, room: Room | None = None) -> Batch:
        """Return some sequences, standardised targets and weights as a batch.

        See :meth:`Sequences.batch` for ``room``.

        The weights are divided by the number of the batch's sequences and by their mean
        sum over a sequence of the whole dataset: the expectation of a batch's loss is the
        weighted mean over all targets of the dataset.
        """
        index = self.sequences.by_length(index)
        y, weight = self.batch_targets(index, dtype, len(index))
        values, starts, lengths, _, _, decay = self.sequences.batch(index, room)
        return Batch(values, starts, lengths, y, weight, decay)

    def batches(
        self, order: np.ndarray, size: int, dtype: np.dtype, room: Room
    ) -> Iterator[tuple[Batch, np.ndarray]]:
        """Yield the batches of an epoch, and the lengths of their sequences as they came.

        What goes with each batch is looked up for many at once, unless each step has a target:
        37 us less for a batch of 64 sequences of many lengths.

        Parameters
        ----------
        order : ndarray of int of shape (n,)
            The sequences, in the order in which batches take them.
        size : int
            Sequences of a batch.
        dtype, room
            As for :meth:`batch`; the next batch may overwrite the last one.
        """
        n, sequences = len(order), self.sequences
        if isinstance(self.targets, Sequences):
            for first in range(0, n, size):
                index = order[first : first + size]
                yield self.batch(index, dtype, room), sequences.lengths[index]
            return
        span = size * max(1, _AT_ONCE // (size * self.targets.shape[1]))
        whole = n // size * size
        for begin, end in itertools.pairwise([*range(0, whole, span), whole, n]):
            if begin == end:
                continue
            asked = order[begin:end]
            index = sequences.by_length(asked, size)
            given = sequences.lengths[asked]
            y, weight = self.batch_targets(index, dtype, min(size, len(index)))
            together = sequences.batch(index) if sequences.is_in_place else None
            for first in range(0, len(index), size):
                of = slice(first, first + size)
                if together is None:
                    part = sequences.batch(index[of], room)
                else:
                    part = together
                    part = part._replace(starts=part.starts[of], lengths=part.lengths[of])
                yield part._replace(y=y[of], weight=weight[of]), given[of]

    def batch_targets(
        self, index: np.ndarray, dtype: np.dtype, n: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the targets and weights, in their order, of sequences in batches of n."""
        targets: Any = self.targets
        if self._common_weight is not None:
            y, weight = targets[index], np.full(len(index), self._common_weight)
        else:
            y, weight = self._targets_and_weight(index)
        y = (y - self.target_mean) / self.target_scale
        weight = weight / (self.mean_weight * n)
        return y.astype(dtype, copy=False), weight.astype(dtype, copy=False)

    def all_targets(self, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
        """Return all targets, standardised, and weights, those of the known ones a sum of 1."""
        parts = [self._targets_and_weight(index) for index in self.parts()]
        y = (np.concatenate([part[0] for part in parts]) - self.target_mean) / self.target_scale
        weight = np.concatenate([part[1] for part in parts])
        return y.astype(dtype), (weight / _counted(y, weight).sum()).astype(dtype)

    def parts(self, max_steps: int | None = None) -> Iterable[np.ndarray]:
        """Return the index in parts of a moderate size, for a pass over the data."""
        return self.sequences.parts(self.index, max_steps)

    def hash_into(self, found: Any) -> None:
        """Update a hash of :mod:`hashlib` by all that training sees of the data."""
        for part in (self.index, self.sequences.gaps):
            found.update(b"" if part is None else np.ascontiguousarray(part).tobytes())
        for index in self.parts():
            values, _ = self.sequences.gather(index)
            for part in (self.sequences.lengths[index], values, *self._targets_and_weight(index)):
                found.update(f"{part.dtype}{part.shape}".encode() + part.tobytes())

    def input_statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Weighted mean and scale (F,) of the inputs over all time steps.

        A feature that is nowhere seen has so large a scale that it counts for nothing when it is.
        """

        def chunks():
            for index in self.parts():
                values, _ = self.sequences.gather(index)
                yield values, np.repeat(self.weight[index], self.sequences.lengths[index])

        mean, scale, is_seen = _statistics(chunks(), "X, feature")
        if not is_seen.all():
            warn(
                f"X is NaN at every time step of the training part in {_features(~is_seen)}: "
                "values seen later will count for nothing, until a fit that begins anew.",
                UserWarning,
            )
        return mean, np.where(is_seen, scale, FAR)

    def target_statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Weighted mean and scale (K,) of the targets."""
        chunks = (self._targets_and_weight(index) for index in self.parts())
        mean, scale, is_seen = _statistics(chunks, "y, output")
        if not is_seen.all():
            raise ValueError(
                f"y, output {np.argmin(is_seen)} has no value with a weight in the training part "
                "of the data. Leave such outputs out."
            )
        return mean, scale

    def _targets_and_weight(self, index):
        """Targets (Q, K) and weights (Q,) of some sequences, in their order.

        Unknown targets are NaN; a row in which none is known is the mean, and has no weight.
        """
        weight = self.weight[index]
        if isinstance(self.targets, Sequences):
            y, _ = self.targets.gather(index)
            if self.step_weight is None:
                weight = np.repeat(weight, self.sequences.lengths[index])
            else:
                weight = self.step_weight.gather(index)[0][:, 0]
        else:
            y = self.targets[index]
        if y.dtype.kind == "f" and (missing := np.isnan(y)).any():
            nothing = missing.all(axis=1)
            weight = np.where(nothing, 0, weight)
            y = np.where(nothing[:, np.newaxis], self.target_mean, y)
        if self.class_weight is not None:
            weight = weight * self.class_weight[y[:, 0].astype(np.int64)]
        return y, weight


def _counted(y, weight):
    """Weights of rows of targets, as far as these are known."""
    if y.dtype.kind != "f":
        return weight
    return weight * (y == y).mean(axis=1)


def _features(which):
    """Say which features these are."""
    numbers = [str(j) for j in np.flatnonzero(which)]
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return f"feature{'s' * (len(numbers) > 1)} {', '.join(numbers[:5])}{more}"


def _statistics(parts, where):
    """Mean and scale of the columns of (values, weight) pairs, and which of them have a value."""
    mean, scale, is_seen = mean_and_scale(part for part in parts if part[1].any())
    if not is_seen.size:
        raise ValueError(
            "All weights are zero in the training part of the data, as far as "
            f"{where.split(',')[0]} is known: nothing is left to learn from."
        )
    finite = np.isfinite(mean) & np.isfinite(scale)
    if not finite.all():
        raise ValueError(
            f"The values of {where} {np.argmin(finite)} are too large: their variance overflows. "
            "Divide them by a constant first."
        )
    return mean, scale, is_seen
