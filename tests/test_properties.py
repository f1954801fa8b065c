"""What must hold whatever the data: causality, permutations, padding, threads, copies."""

import io
import pickle

import cloudpickle
import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numba_lstm import LSTMClassifier, LSTMRegressor

slow = settings(max_examples=25, deadline=None)
shapes = st.fixed_dictionaries(
    {
        "lengths": st.lists(st.integers(1, 9), min_size=1, max_size=40),
        "F": st.integers(1, 5),
        "H": st.integers(1, 20),
        "dtype": st.sampled_from(["float32", "float64"]),
        "seed": st.integers(0, 2**16),
    }
)


def draw(case):
    """Return ragged sequences and an estimator fitted on other ones for a moment."""
    rng = np.random.default_rng(case["seed"])
    sequences = [rng.standard_normal((n, case["F"])) for n in case["lengths"]]
    model = LSTMRegressor(
        case["H"], dtype=case["dtype"], max_iter=1, random_state=0, return_sequences=True
    )
    X = rng.standard_normal((8, 4, case["F"]))
    return model.fit(X, rng.standard_normal((8, 4))), sequences, rng


@slow
@given(shapes)
def test_later_steps_do_not_reach_back(case):
    model, sequences, rng = draw(case)
    t = rng.integers(1, max(case["lengths"]) + 1)
    changed = [x.copy() for x in sequences]
    for x in changed:
        x[t:] = rng.standard_normal(x[t:].shape)
    for before, after in zip(
        model.hidden_states(sequences)[0], model.hidden_states(changed)[0], strict=True
    ):
        np.testing.assert_array_equal(before[:t], after[:t])


@slow
@given(shapes)
def test_sequences_do_not_see_one_another(case):
    """In another order, in parts or alone: the same bits."""
    model, sequences, rng = draw(case)
    expected = model.predict(sequences)
    order = rng.permutation(len(sequences))
    for i, found in zip(order, model.predict([sequences[i] for i in order]), strict=True):
        np.testing.assert_array_equal(found, expected[i])
    half = len(sequences) // 2 + 1
    for i, found in enumerate(model.predict(sequences[:half])):
        np.testing.assert_array_equal(found, expected[i])
    for x, found in zip(sequences[:3], expected, strict=False):
        np.testing.assert_array_equal(model.predict([x])[0], found)


@slow
@given(shapes)
def test_padding_changes_nothing(case):
    """A sequence padded to the longest has the same states up to its end."""
    model, sequences, rng = draw(case)
    longest = max(case["lengths"])
    padded = np.stack(
        [
            np.vstack([x, rng.standard_normal((longest - len(x), x.shape[1])) * 1e3])
            for x in sequences
        ]
    )
    h, c = model.hidden_states(padded)
    for i, (h_i, c_i) in enumerate(zip(*model.hidden_states(sequences), strict=True)):
        np.testing.assert_array_equal(h[i, : len(h_i)], h_i)
        np.testing.assert_array_equal(c[i, : len(c_i)], c_i)


@slow
@given(shapes)
def test_states_stay_in_their_bounds(case):
    model, sequences, _ = draw(case)
    big = [x * 1e4 for x in sequences]
    gates = model.gate_activations(big)
    for name, part in gates._asdict().items():
        lowest = -1 if name == "candidate" else 0
        assert all((lowest <= x).all() and (x <= 1).all() for x in part)
    h, c = model.hidden_states(big)
    for h_i, c_i in zip(h, c, strict=True):
        assert np.abs(h_i).max() <= 1
        steps = np.arange(1, len(c_i) + 1)[:, np.newaxis]
        assert (np.abs(c_i) <= steps * (1 + 1e-6)).all()


def sine(n=200, noise=0.1, seed=0):
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 6, (n, 1))
    waves = np.sin(phase + 0.3 * np.arange(26)) + noise * rng.standard_normal((n, 26))
    return waves[:, :25], waves[:, 25]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ragged", [False, True])
def test_threads_change_nothing(dtype, ragged):
    X, y = sine()
    if ragged:
        X = [x[: 5 + i % 20] for i, x in enumerate(X)]
    models = [
        LSTMRegressor(37, max_iter=3, random_state=0, dtype=dtype, n_jobs=n_jobs).fit(X, y)
        for n_jobs in (1, 2, None)
    ]
    for model in models[1:]:
        np.testing.assert_array_equal(model.theta_, models[0].theta_)
        np.testing.assert_array_equal(model.predict(X), models[0].predict(X))


@pytest.mark.parametrize("estimator", [LSTMRegressor, LSTMClassifier])
def test_one_seed_gives_one_model(estimator):
    X, y = sine()
    y = y if estimator is LSTMRegressor else y > 0
    options = {"max_iter": 3, "early_stopping": True, "learning_rate": "plateau"}
    first, second = (estimator(**options, random_state=1).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(first.theta_, second.theta_)
    assert first.loss_curve_ == second.loss_curve_
    other = estimator(**options, random_state=2).fit(X, y)
    assert not np.array_equal(first.theta_, other.theta_)
    same = estimator(**options, random_state=np.random.RandomState(1)).fit(X, y)
    np.testing.assert_array_equal(first.theta_, same.theta_)


def through_joblib(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


@pytest.mark.parametrize(
    "travel",
    [
        lambda m: pickle.loads(pickle.dumps(m)),
        lambda m: pickle.loads(cloudpickle.dumps(m)),
        through_joblib,
    ],
    ids=["pickle", "cloudpickle", "joblib"],
)
def test_copies_predict_the_same_and_go_on_the_same(travel):
    X, y = sine()
    model = LSTMRegressor(8, max_iter=2, random_state=0).fit(X, y)
    copied = travel(model)
    np.testing.assert_array_equal(copied.predict(X), model.predict(X))
    model.partial_fit(X, y)
    np.testing.assert_array_equal(copied.partial_fit(X, y).theta_, model.theta_)


def test_model_mapped_from_a_file(tmp_path):
    X, y = sine()
    model = LSTMRegressor(8, max_iter=2, random_state=0).fit(X, y)
    joblib.dump(model, tmp_path / "model")
    mapped = joblib.load(tmp_path / "model", mmap_mode="r")
    assert not mapped.theta_.flags.writeable
    np.testing.assert_array_equal(mapped.predict(X), model.predict(X))
    np.testing.assert_array_equal(mapped.partial_fit(X, y).theta_, model.partial_fit(X, y).theta_)
