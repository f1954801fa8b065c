"""The batches of an epoch of M models, put together on the host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from numba_lstm.base_network import BaseNetwork
from numba_lstm.sequences import Sequences
from numba_lstm.training.data import Dataset
from numba_lstm.training.optimizers import Optimizer


class Model(NamedTuple):
    """One of the models that are trained side by side.

    Attributes
    ----------
    network : BaseNetwork
        The function to minimise.
    theta : ndarray of shape (P,)
        Its weights; overwritten.
    optimizer : Optimizer
        Moves them.
    generator : numpy.random.Generator
        Draws what is dropped.
    training : Dataset
        The data.
    """

    network: BaseNetwork
    theta: np.ndarray
    optimizer: Optimizer
    generator: np.random.Generator
    training: Dataset


class Planned(NamedTuple):
    """A batch of all models: model after model, in each by falling length.

    Attributes
    ----------
    arrays : list of ndarray
        What the device needs: starts, first, step_bounds, sequence_bounds, y and weight of
        :class:`numba_lstm.cuda.frame.DeviceBatch`, the learning rates (M,) in float64, the seeds
        (M,), and the batch's values if they are not there already.
    n_sequences, n_steps, most_steps : int
        Of a model, of all, and of one at most.
    masks : dict of ndarray
        What is dropped, of all models, by number of the cell and "x" or "h".
    """

    arrays: list[np.ndarray]
    n_sequences: int
    n_steps: int
    most_steps: int
    masks: dict[tuple[int, str], np.ndarray]

    @property
    def nbytes(self) -> int:
        """Bytes that are copied."""
        return sum(array.nbytes for array in (*self.arrays, *self.masks.values()))


class _Part(NamedTuple):
    """Some batches of one model, one after another."""

    members: np.ndarray
    lengths: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    ends: np.ndarray  # of the sequences' rows in y


def plan_epoch(
    models: Sequence[Model],
    orders: Sequence[np.ndarray | None],
    rates: Sequence[Sequence[float] | None],
    batch_size: int,
    places: list[np.ndarray] | None,
    at_once: int,
) -> Iterator[Planned]:
    """Yield the batches of an epoch.

    Parameters
    ----------
    models : sequence of Model
        Of one architecture, with n sequences each.
    orders, rates
        For each model its sequences in their order, and the learning rate of each batch; None
        for models that stay as they are.
    batch_size : int
        Sequences of a batch and model.
    places : list of ndarray, optional
        For each model, the row of each of its sequences among the values on the device; without
        it the values of each batch go with it.
    at_once : int
        Batches whose targets are looked up at once.
    """
    n = len(models[0].training)
    for begin in range(0, n, batch_size * at_once):
        stop = min(begin + batch_size * at_once, n)
        whole = begin + (stop - begin) // batch_size * batch_size
        for first, last in ((begin, whole), (whole, stop)):
            if first == last:
                continue
            B = min(batch_size, last - first)
            parts = [
                _part(model.training, order, first, last, B, model.network.dtype)
                for model, order in zip(models, orders, strict=True)
            ]
            for k in range(first, last, B):
                now = [None if r is None else r[k // batch_size] for r in rates]
                yield _assemble(
                    models, orders, now, parts, slice(k - first, k - first + B), places
                )


def _part(training, order, first, last, B, dtype) -> _Part:
    """Some sequences of a model, batch after batch, with their targets."""
    order = training.index if order is None else order
    sequences = training.sequences
    index = order[first:last]
    if isinstance(sequences.data, list):
        batches = np.split(index, range(B, len(index), B))
        index = np.concatenate([sequences.by_length(batch) for batch in batches])
    y, weight = training.batch_targets(index, dtype, B)
    lengths = sequences.lengths[index]
    per_step = isinstance(training.targets, Sequences)
    ends = np.append(0, np.cumsum(lengths if per_step else np.ones_like(lengths)))
    return _Part(index, lengths, y, weight, ends)


def _assemble(models, orders, rates, parts, where, places) -> Planned:
    """Put a batch of all models together."""
    lengths = np.concatenate([part.lengths[where] for part in parts])
    M, B = len(parts), len(lengths) // len(parts)
    rows = [slice(part.ends[where.start], part.ends[where.stop]) for part in parts]
    first = np.append(0, np.cumsum(lengths))
    values: list[np.ndarray] = []
    if places is None:
        gathered = [
            model.training.sequences.gather(part.members[where])
            for model, part in zip(models, parts, strict=True)
        ]
        before = np.append(0, np.cumsum([len(part) for part, _ in gathered]))
        starts = [begin + k for (_, begin), k in zip(gathered, before, strict=False)]
        values = [np.concatenate([part for part, _ in gathered])]
    else:
        starts = [place[part.members[where]] for place, part in zip(places, parts, strict=True)]
    step_bounds = first[::B]
    seeds = [_seed(model, order) for model, order in zip(models, orders, strict=True)]
    arrays = [
        np.concatenate(starts).astype(np.int64),
        first.astype(np.int64),
        step_bounds.astype(np.int64),
        np.arange(M + 1, dtype=np.int64) * B,
        np.concatenate([part.y[own] for part, own in zip(parts, rows, strict=True)]),
        np.concatenate([part.weight[own] for part, own in zip(parts, rows, strict=True)]),
        np.array([0.0 if rate is None else rate for rate in rates]),
        np.array(seeds, np.int64),
        *values,
    ]
    most = int(np.diff(step_bounds).max())
    return Planned(arrays, B, int(first[-1]), most, _masks(models, seeds, B))


def _seed(model, order) -> int:
    """Seed of what is dropped in a batch, and of what stays as it was: as on the CPU."""
    draws = model.network.draws and order is not None
    return int(model.generator.integers(1, 2**62)) if draws else 0


def _masks(models, seeds, B) -> dict[tuple[int, str], np.ndarray]:
    """Draw what is dropped, as the CPU does: the same seeds in the same order."""
    found: list[dict[Any, np.ndarray]] = []
    for model, seed in zip(models, seeds, strict=True):
        drawn = model.network.masks(model.network.dropout, B, seed)
        found.append({(k, which): mask for k, which, mask in drawn})
    dtype = models[0].network.dtype
    return {key: np.concatenate([masks[key] for masks in found]).astype(dtype) for key in found[0]}
