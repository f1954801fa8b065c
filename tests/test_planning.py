"""Batches for a GPU, put together on the host: the same ones that the CPU takes."""

import numpy as np
import pytest

from numba_lstm import losses
from numba_lstm.cpu.allocation import Drops
from numba_lstm.cuda.planning import Model, plan_epoch
from numba_lstm.inputs import check_sequences
from numba_lstm.network import Network
from numba_lstm.parameters import Layout
from numba_lstm.training.data import Dataset

LENGTHS = {"ragged": [3, 1, 4, 2, 5, 1, 2], "equal": [3] * 7}


def dataset(lengths, per_step, seed):
    rng = np.random.default_rng(seed)
    X = [rng.standard_normal((n, 2)) for n in lengths]
    if len(set(lengths)) == 1:
        X = np.stack(X)
    y = rng.standard_normal((len(X), 2))
    if per_step:
        y = check_sequences([rng.standard_normal((n, 2)) for n in lengths])
    index = np.delete(np.arange(len(X)), 2)
    return Dataset(check_sequences(X), y, rng.random(len(X)) + 0.5, index, target_scale=3.0)


def model(data, per_step, dropout=(0, 0, 0), seed=0):
    options = {"per_step": per_step, "loss": losses.SQUARED_ERROR, "loss_parameter": 0.0}
    options |= {"mean": np.zeros(2), "scale": np.ones(2), "n_threads": 1}
    dtype = np.dtype(np.float32)
    network = Network(Layout(2, (3,), 2), dtype, dropout=Drops(*dropout), **options)
    return Model(network, np.empty(0), None, np.random.default_rng(seed), data)


@pytest.mark.parametrize("at_once", [1, 64])
@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("resident", [True, False])
def test_batches_are_those_of_the_cpu(lengths, per_step, at_once, resident):
    M, size = 2, 4
    datasets = [dataset(lengths, per_step, seed) for seed in range(M)]
    orders = [np.random.default_rng(k).permutation(data.index) for k, data in enumerate(datasets)]
    rates = [[0.1, 0.2], [0.3, 0.4]]
    places = None
    if resident:
        places = [100 * m + np.cumsum(lengths) - lengths for m in range(M)]
    models = [model(data, per_step) for data in datasets]
    planned = list(plan_epoch(models, orders, rates, size, places, at_once))
    assert [batch.n_sequences for batch in planned] == [4, 2]
    for number, batch in enumerate(planned):
        B = batch.n_sequences
        starts, first, steps, sequences, y, weight, now, seeds, *values = batch.arrays
        assert list(seeds) == [0, 0]  # nothing is drawn
        assert list(now) == [rate[number] for rate in rates]
        assert list(sequences) == [0, B, 2 * B]
        assert list(steps) == list(first[::B])
        assert batch.n_steps == first[-1]
        assert batch.most_steps == max(np.diff(steps))
        row = 0
        for m, (data, order) in enumerate(zip(datasets, orders, strict=True)):
            index = order[number * size : number * size + B]
            expected = data.batch(index, np.dtype(np.float32))
            own = slice(m * B, (m + 1) * B)
            assert list(np.diff(first)[own]) == list(expected.lengths)
            Q = len(expected.weight)
            np.testing.assert_array_equal(y[row : row + Q], expected.y)
            np.testing.assert_array_equal(weight[row : row + Q], expected.weight)
            row += Q
            members = data.sequences.by_length(index)
            if resident:
                assert list(starts[own]) == list(places[m][members])
                assert not values
                continue
            for start, member, length in zip(starts[own], members, expected.lengths, strict=True):
                np.testing.assert_array_equal(
                    values[0][start : start + length], data.sequences.gather([member])[0]
                )
        assert row == len(weight)


def test_seeds_of_what_stays_as_it_was_are_the_cpus():
    data = dataset(LENGTHS["equal"], False, 0)
    given = model(data, False)
    layout = given.network.layout._replace(zoneout=(0.0, 0.5))
    given.network.layout = layout
    generator = np.random.default_rng(0)
    for batch in plan_epoch([given], [data.index], [[0.1, 0.1]], 4, None, 64):
        assert list(batch.arrays[7]) == [int(generator.integers(1, 2**62))]
        assert not batch.masks


def test_what_is_dropped_is_what_the_cpu_drops():
    data = dataset(LENGTHS["equal"], False, 0)
    models = [model(data, False, (0.3, 0.0, 0.4), seed) for seed in range(2)]
    orders, rates = [data.index, None], [[0.1, 0.1], None]
    generator, network = np.random.default_rng(0), models[0].network
    for batch in plan_epoch(models, orders, rates, 4, None, 64):
        B, seed = batch.n_sequences, int(generator.integers(1, 2**62))
        drawn = {(k, which): mask for k, which, mask in network.masks(network.dropout, B, seed)}
        assert list(batch.arrays[7]) == [seed, 0]
        assert batch.masks.keys() == drawn.keys()
        for key, mask in drawn.items():
            np.testing.assert_array_equal(batch.masks[key][:B], mask.astype(np.float32))
    # A model that stays as it is draws nothing.
    assert models[1].generator.random() == np.random.default_rng(1).random()
