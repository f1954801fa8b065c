"""Sequences with their targets and weights, handed out in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from sklearn.preprocessing import StandardScaler

from numba_lstm.sequences import Batch, Sequences


@dataclass
class Dataset:
    """Some sequences, their targets and their weights.

    Attributes
    ----------
    sequences : Sequences
        All inputs.
    targets : ndarray of shape (N, K), or Sequences of N
        Values or class indices, one a sequence or one a time step.
    weight : ndarray of float64 of shape (N,)
        Weight of each sequence; of each of its steps, with a target for each.
    index : ndarray of int of shape (n,)
        The sequences that belong to this part of the data.
    class_weight : ndarray of float64 of shape (n_classes,), optional
        What the weight of a target is multiplied by, for each class.
    target_mean, target_scale : ndarray of float64 of shape (K,), or a number
        Standardisation of the targets.
    """

    sequences: Sequences
    targets: np.ndarray | Sequences
    weight: np.ndarray
    index: np.ndarray
    class_weight: np.ndarray | None = None
    target_mean: np.ndarray | float = 0.0
    target_scale: np.ndarray | float = 1.0

    def __post_init__(self) -> None:
        self.mean_weight = 1.0
        total = sum(self._targets_and_weight(index)[1].sum() for index in self.parts())
        self.mean_weight = total / len(self)

    def subset(self, index: np.ndarray) -> Dataset:
        """Return a part of the data, which shares its arrays."""
        return replace(self, index=index)

    def __len__(self) -> int:
        return len(self.index)

    def batch(self, index: np.ndarray, dtype: np.dtype) -> Batch:
        """Return some sequences, standardised targets and weights as a batch.

        The weights are such that the loss of a batch is the mean over its targets,
        each target's weight relative to the mean over the whole dataset: its
        expectation over batches is the weighted mean over the data.
        """
        index = self.sequences.by_length(index)
        values, starts = self.sequences.gather(index)
        y, weight = self._targets_and_weight(index)
        y = (y - self.target_mean) / self.target_scale
        weight = weight / (self.mean_weight * len(index))
        return Batch(values, starts, y.astype(dtype), weight.astype(dtype))

    def parts(self) -> Iterator[np.ndarray]:
        """Yield the index in parts of a moderate size, for a pass over the data."""
        return self.sequences.parts(self.index)

    def input_statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Weighted mean and inverse scale (F,) of the inputs over all time steps."""
        scaler = StandardScaler()
        for index in self.parts():
            values, _ = self.sequences.gather(index)
            weight = np.repeat(self.weight[index], self.sequences.lengths[index])
            scaler.partial_fit(values.astype(np.float64), sample_weight=weight)
        return scaler.mean_, 1.0 / scaler.scale_

    def target_statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Weighted mean and scale (K,) of the targets."""
        scaler = StandardScaler()
        for index in self.parts():
            y, weight = self._targets_and_weight(index)
            scaler.partial_fit(y.astype(np.float64), sample_weight=weight)
        return scaler.mean_, scaler.scale_

    def _targets_and_weight(self, index):
        """Targets (Q, K) and weights (Q,) of some sequences, in their order."""
        weight = self.weight[index]
        if isinstance(self.targets, Sequences):
            y, starts = self.targets.gather(index)
            weight = np.repeat(weight, np.diff(starts))
        else:
            y = self.targets[index]
        if self.class_weight is not None:
            weight = weight * self.class_weight[y[:, 0].astype(np.int64)]
        return y, weight
