"""A training step that goes on from the last one of its kind is the same step, to the bit."""

import gc
import weakref

import numpy as np
import pytest

from numba_lstm import LSTMRegressor, losses
from numba_lstm.network import _ALIKE, Network
from numba_lstm.parameters import Layout, initialise
from numba_lstm.sequences import Batch
from numba_lstm.training.data import Dataset

F, K = 3, 2
rng = np.random.default_rng(0)


def make_network(dtype, n_threads=1, **architecture):
    layout = Layout(F, (5,), K, **architecture)
    return Network(
        layout, dtype, per_step=False, loss=losses.SQUARED_ERROR, loss_parameter=0.0,
        mean=np.zeros(F), scale=np.ones(F), n_threads=n_threads,
    )  # fmt: skip


def make_batch(B, T, dtype, of=np.float64, M=400):
    starts = rng.permutation(M // T)[:B] * T
    lengths = np.full(B, T)
    values = rng.standard_normal((M, F)).astype(of)
    y, weight = rng.standard_normal((B, K)), rng.random(B)
    return Batch(values, starts, lengths, y.astype(dtype), weight.astype(dtype))


@pytest.mark.nojit
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_steps_in_turn_are_those_of_a_new_network(dtype, n_threads):
    """Whatever changes from step to step: sizes, dtypes of the inputs, places, weights."""
    network = make_network(dtype, n_threads)
    first, second = (initialise(network.layout, rng, np.dtype(dtype)) for _ in range(2))
    grads = [np.empty_like(first) for _ in range(2)]
    for call in range(5 * _ALIKE):
        B, T = [(12, 4), (12, 4), (12, 4), (7, 4), (12, 5)][call % 5 if call % 3 == 0 else 0]
        batch = make_batch(B, T, dtype, np.float32 if call % 11 == 10 else np.float64)
        if call % 13 == 12:
            batch = batch._replace(lengths=np.sort(rng.integers(1, T + 1, B))[::-1])
        late = call > 3 * _ALIKE
        theta, grad = second if late else first, grads[late]
        theta += dtype(0.01)
        before = [np.copy(part) for part in batch[:5]]
        loss, found = network.loss_and_grad(theta, batch, grad)
        assert found is grad
        if call % 4 == 0 or call > 4 * _ALIKE:
            expected, slope = make_network(dtype).loss_and_grad(theta, batch)
            assert loss == expected
            np.testing.assert_array_equal(grad, slope)
        for part, copy in zip(batch[:5], before, strict=True):
            np.testing.assert_array_equal(part, copy)
    assert network._step is not None
    assert network._step.theta is second


@pytest.mark.nojit
def test_states_take_steps_of_their_own():
    network = make_network(np.float64)
    theta = initialise(network.layout, rng, np.dtype(np.float64))
    grad = np.empty_like(theta)
    for _ in range(_ALIKE + 1):
        batch = make_batch(6, 3, np.float64)
        network.loss_and_grad(theta, batch, grad)
    assert network._step is not None
    state = network.no_state(6)
    for part in (*state.h, *state.c):
        part += 0.5
    loss, _ = network.loss_and_grad(theta, batch, grad, state=state)
    expected, slope = make_network(np.float64).loss_and_grad(theta, batch, state=state)
    assert loss == expected
    np.testing.assert_array_equal(grad, slope)
    plain = network.loss_and_grad(theta, batch, grad)[0]
    assert plain == make_network(np.float64).loss_and_grad(theta, batch)[0]
    assert plain != loss


def test_a_gradient_is_not_kept_alive():
    network = make_network(np.float64)
    theta = initialise(network.layout, rng, np.dtype(np.float64))
    rows = np.empty((2, len(theta)))
    network.loss_and_grad(theta, make_batch(6, 3, np.float64), rows[1])
    alive = weakref.ref(rows)
    del rows
    gc.collect()
    assert alive() is None


class Repeats:
    """A splitter that trains on each of some sequences three times."""

    def split(self, X, y=None, groups=None):
        yield np.tile(np.arange(30), 3), np.arange(30, len(X))

    def get_n_splits(self, X=None, y=None, groups=None):
        return 1


def test_more_sequences_in_a_batch_than_there_are():
    X = rng.standard_normal((40, 5, F))
    model = LSTMRegressor(4, max_iter=3, batch_size=64, random_state=0)
    model.set_params(early_stopping=True, validation_split=Repeats())
    of_array = model.fit(X, X[:, 0, 0]).loss_curve_
    of_list = model.fit(list(X), X[:, 0, 0]).loss_curve_
    np.testing.assert_allclose(of_array, of_list, rtol=1e-6)


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("weight", [None, np.full(90, 3.0)], ids=["no weights", "equal ones"])
def test_fits_whose_weights_are_looked_up_or_not(monkeypatch, weight, unknown):
    X = rng.standard_normal((90, 4, F))
    y = X[:, -1, :2] + 1
    if unknown:
        y[::7, 1] = np.nan
    model = LSTMRegressor(4, max_iter=12, batch_size=8, random_state=0)
    found = model.fit(X, y, sample_weight=weight).loss_curve_
    monkeypatch.setattr(Dataset, "_common_weight", None)
    assert model.fit(X, y, sample_weight=weight).loss_curve_ == found
    assert found[-1] < found[0]
