"""Batches of an epoch, which are looked up together, beside the same ones one by one."""

import numpy as np
import pytest

from numba_lstm.cpu import plan
from numba_lstm.cpu.allocation import Needs
from numba_lstm.cpu.workspace import Buffers
from numba_lstm.inputs import check_sequences
from numba_lstm.missing import MaskedSequences
from numba_lstm.parameters import Layout
from numba_lstm.sequences import Room
from numba_lstm.training import data
from numba_lstm.training.data import Dataset

N, F = 23, 2
RNG = np.random.default_rng(0)
ARRAY = RNG.standard_normal((N, 4, F))
LISTS = [RNG.standard_normal((n, F)) for n in RNG.integers(1, 6, N)]
TARGETS = RNG.standard_normal((N, 3))
UNKNOWN = np.where(RNG.random((N, 3)) < 0.4, np.nan, TARGETS)
WEIGHT = RNG.random(N) + 0.5


def per_step(X):
    return check_sequences([RNG.standard_normal((len(x), 2)) for x in X])


CASES = {
    "array": (ARRAY, TARGETS, np.ones(N), {}),
    "float32": (ARRAY.astype(np.float32), TARGETS, WEIGHT, {"target_scale": 3.0}),
    "integers": (np.arange(N * 8).reshape(N, 4, 2), TARGETS, WEIGHT, {}),
    "lists": (LISTS, TARGETS, np.ones(N), {"target_mean": 1.5}),
    "unknown": (LISTS, UNKNOWN, WEIGHT, {"target_mean": np.zeros(3)}),
    "classes": (ARRAY, RNG.integers(0, 2, (N, 1)), WEIGHT, {"class_weight": np.array([1, 3.0])}),
    "every step": (LISTS, per_step(LISTS), WEIGHT, {}),
    "every step of an array": (ARRAY, per_step(ARRAY), WEIGHT, {}),
    "masked": (LISTS, TARGETS, WEIGHT, {}),
    "times": (ARRAY, TARGETS, WEIGHT, {}),
    "times of lists": (LISTS, TARGETS, WEIGHT, {}),
}


def rows_of(batch, k):
    """Inputs of sequence k of a batch, and what its steps let decay."""
    rows = slice(batch.starts[k], batch.starts[k] + batch.lengths[k])
    return batch.values[rows], None if batch.decay is None else batch.decay[rows]


@pytest.mark.nojit
@pytest.mark.parametrize("size", [1, 5, 23, 40])
@pytest.mark.parametrize("at_once", [1, 40, 8192])
@pytest.mark.parametrize("name", CASES)
def test_batches_are_those_of_one_call_each(name, at_once, size, monkeypatch):
    monkeypatch.setattr(data, "_AT_ONCE", at_once)
    X, targets, weight, options = CASES[name]
    sequences = check_sequences(X)
    if "times" in name:
        sequences.decay = RNG.random(sequences.lengths.sum())
    if name == "masked":
        sequences = MaskedSequences(sequences, np.zeros(F))
    dataset = Dataset(sequences, targets, weight, np.arange(N), **options)
    order, dtype = RNG.permutation(N)[2:], np.dtype(np.float32)
    found = 0
    for batch, lengths in dataset.batches(order, size, dtype, Room()):
        index = order[found : found + size]
        expected = dataset.batch(index, dtype)
        np.testing.assert_array_equal(lengths, sequences.lengths[index])
        np.testing.assert_array_equal(batch.lengths, expected.lengths)
        np.testing.assert_array_equal(batch.y, expected.y)
        np.testing.assert_array_equal(batch.weight, expected.weight)
        assert batch.y.dtype == batch.weight.dtype == dtype
        for k in range(len(index)):
            for own, other in zip(rows_of(batch, k), rows_of(expected, k), strict=True):
                np.testing.assert_array_equal(own, other)
        found += len(index)
    assert found == len(order)


@pytest.mark.nojit
@pytest.mark.parametrize("B", [1, 2, 17, 64, 150])
def test_blocks_of_a_batch_take_as_long(B):
    rng = np.random.default_rng(B)
    lengths = np.sort(rng.integers(1, 100, B))[::-1].copy()
    n_blocks = min(B, 2 * -(-B // 32))
    ends, blocks = np.empty(B + 1, np.int64), np.empty(n_blocks + 1, np.int64)
    plan.cut(lengths, ends, blocks)
    np.testing.assert_array_equal(ends, np.append(0, np.cumsum(lengths)))
    work = np.cumsum(lengths * (1 + 2 * n_blocks / ends[-1] * lengths))
    inside = 1 + np.searchsorted(work, np.arange(1, n_blocks) / n_blocks * work[-1])
    np.testing.assert_array_equal(blocks, [0, *inside, B])


def test_long_and_short_batches_have_the_same_buffers():
    """Long ones need more rows, short ones more tasks: neither has to make room again."""
    buffers = Buffers(Layout(2, (3,), 1), np.dtype(np.float32), False)
    sizes, made = [(500, 8, 8, 2), (120, 8, 8, 4)], []
    for k in range(6):
        work = buffers.room(Needs("train"), *sizes[k % 2])
        if not any(work is other for other in made):
            made.append(work)
    assert len(made) == 2
