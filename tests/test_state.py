"""Predictions that go on from where others ended."""

import numpy as np
import pytest

from numba_lstm import LSTMClassifier, LSTMRegressor

rng = np.random.default_rng(0)
X = rng.standard_normal((12, 10, 2))
Y = np.cumsum(X[:, :, 0], axis=1)
RAGGED = [x[: 1 + i % 7] for i, x in enumerate(X)]

NETWORKS = {
    "one layer": {},
    "two layers": {"hidden_size": [4, 3]},
    "a learned state": {"learn_initial_state": True},
    "all": {"num_layers": 2, "residual": True, "peephole": True, "learn_initial_state": True},
}
over_networks = pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)


def fitted(**options):
    options = {"hidden_size": 4, "max_iter": 3, "random_state": 0, **options}
    return LSTMRegressor(return_sequences=True, **options).fit(X, Y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@over_networks
def test_in_two_parts_or_in_one(options, dtype):
    model = fitted(dtype=dtype, **options)
    expected = model.predict(X)
    first, state = model.predict(X[:, :4], return_state=True)
    then, _ = model.predict(X[:, 4:], initial_state=state, return_state=True)
    np.testing.assert_array_equal(np.concatenate([first, then], axis=1), expected)
    np.testing.assert_array_equal(model.predict(X[:, 4:], initial_state=state), then)


@over_networks
def test_lists_of_many_lengths(options):
    model = fitted(**options)
    _, state = model.predict(RAGGED, return_state=True)
    rest = [x[len(part) :] for x, part in zip(X, RAGGED, strict=True)]
    then = model.predict(rest, initial_state=state)
    whole = model.predict(X)
    for i, (part, found) in enumerate(zip(RAGGED, then, strict=True)):
        np.testing.assert_array_equal(found, whole[i, len(part) :])


def test_what_it_ends_with_is_the_last_hidden_state():
    model = fitted(bidirectional=True, num_layers=2, hidden_size=[4, 3])
    _, (h, c) = model.predict(X, return_state=True)
    assert [part.shape for part in (*h, *c)] == [(12, 8), (12, 6)] * 2
    for layer, H in enumerate((4, 3)):
        h_t, c_t = model.hidden_states(X, layer=layer)
        for end, steps in ((h[layer], h_t), (c[layer], c_t)):
            np.testing.assert_array_equal(end[:, :H], steps[:, -1, :H])
            np.testing.assert_array_equal(end[:, H:], steps[:, 0, H:])


def test_a_stream_s_state_is_the_same():
    model = fitted()
    _, (h, c) = model.predict(X, return_state=True)
    stream = model.stream(len(X))
    for t in range(X.shape[1]):
        stream.step(X[:, t])
    np.testing.assert_array_equal(stream.state, (h, c))


def test_many_sequences_in_several_batches():
    model = LSTMRegressor(64, max_iter=1, random_state=0).fit(X, Y[:, -1])
    many = np.tile(X, (600, 30, 1))
    y, state = model.predict(many, return_state=True)
    again, _ = model.predict(many[12:24], return_state=True)
    np.testing.assert_array_equal(y[12:24], again)
    assert state[0].shape == (7200, 64)
    np.testing.assert_array_equal(state[0][:12], state[0][-12:])


def test_classes():
    labels = np.where(Y > 0, "up", "down")
    model = LSTMClassifier(4, return_sequences=True, max_iter=3, random_state=0).fit(X, labels)
    first, state = model.predict(X[:, :4], return_state=True)
    then = model.predict(X[:, 4:], initial_state=state)
    np.testing.assert_array_equal(np.hstack([first, then]), model.predict(X))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (np.zeros((12, 4)), "is a ndarray; it is a pair"),
        ((np.zeros((12, 4)),), "it is a pair"),
        ((np.zeros((12, 4)), np.zeros((11, 4))), r"c of initial_state is of shapes \[\(11, 4"),
        ((np.zeros((12, 3)), np.zeros((12, 4))), r"h of initial_state is of shapes \[\(12, 3"),
        ((np.zeros((12, 4)), np.full((12, 4), "a")), "c of initial_state is no numbers"),
        ((np.full((12, 4), 1e300),) * 2, "h of initial_state contains NaN or infinity, or what"),
        ((None, None), "h of initial_state is no numbers"),
        ((np.zeros((12, 4)), np.full((12, 4), np.nan)), "c of initial_state contains NaN"),
    ],
)
def test_a_state_of_the_wrong_kind_is_refused(state, message):
    with pytest.raises(ValueError, match=message):
        fitted().predict(X, initial_state=state)


@pytest.mark.parametrize("state", [(None, None), (1, 2), None, ([[0.0], [0.0, 1.0]], 1)])
def test_a_state_of_several_layers_that_is_none(state):
    model = LSTMRegressor(4, num_layers=2, max_iter=1).fit(X, Y[:, -1])
    with pytest.raises(ValueError, match="state"):
        model.stream().state = state
    if state is not None:
        with pytest.raises(ValueError, match="state"):
            model.predict(X, initial_state=state)


def test_probabilities_go_on_as_well():
    labels = np.where(Y > 0, "up", "down")
    model = LSTMClassifier(4, return_sequences=True, max_iter=3, random_state=0).fit(X, labels)
    first, state = model.predict_proba(X[:, :4], return_state=True)
    then = model.predict_proba(X[:, 4:], initial_state=state)
    np.testing.assert_array_equal(np.hstack([first, then]), model.predict_proba(X))
