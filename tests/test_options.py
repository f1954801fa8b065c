"""What the estimators can be told of the cell, the head and truncated training."""

import pickle

import numpy as np
import pytest
import reference
from sklearn.base import clone

from numba_lstm import LSTMClassifier, LSTMRegressor

rng = np.random.default_rng(0)
X = rng.standard_normal((60, 12, 3))
Y = X[:, -1, 0] + X[:, -3, 1]
STEPS = np.cumsum(X[:, :, 0], axis=1)
SETTINGS = {"hidden_size": 6, "max_iter": 3, "random_state": 0, "dtype": "float64"}
OPTIONS = {
    "projection": {"proj_size": 4},
    "normalisation": {"layer_norm": True},
    "zoneout": {"zoneout_hidden": 0.2, "zoneout_cell": 0.4},
    "hidden layer": {"head_hidden_size": 5},
    "tanh": {"head_hidden_size": 5, "head_activation": "tanh"},
    "all": {
        "proj_size": 4, "layer_norm": True, "zoneout_hidden": 0.1, "zoneout_cell": 0.2,
        "head_hidden_size": 5, "num_layers": 2, "bidirectional": True, "peephole": True,
    },
}  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_predictions_are_the_reference(options):
    """Also after zoneout, which predicts in proportion to what it draws in training."""
    fitted = LSTMRegressor(**SETTINGS, **options).fit(X, Y)
    told = {
        "direction": "both" if options.get("bidirectional") else "forward",
        "zoneout": (fitted.zoneout_hidden, fitted.zoneout_cell),
        "head_activation": fitted.head_activation,
    }
    scaled = (X - fitted.input_mean_) / fitted.input_scale_
    out = reference.outputs(scaled, fitted.parameters_, False, **told)[:, 0]
    expected = out * fitted.target_scale_ + fitted.target_mean_
    np.testing.assert_allclose(fitted.predict(X), expected, rtol=0, atol=1e-12)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))
    np.testing.assert_array_equal(clone(fitted).fit(X, Y).theta_, fitted.theta_)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_states_and_streams(options):
    fitted = LSTMRegressor(**SETTINGS, **options).fit(X, Y)
    h, c = fitted.hidden_states(X)
    directions = 2 if fitted.bidirectional else 1
    assert h.shape[-1] == directions * (fitted.proj_size or 6)
    assert c.shape[-1] == directions * 6
    if directions == 2:
        return
    stream = fitted.stream(60)
    for t in range(12):
        found = stream.step(X[:, t])
    np.testing.assert_allclose(found, fitted.predict(X), atol=1e-13)
    np.testing.assert_allclose(stream.state[0], h[:, -1], atol=1e-13)
    _, state = fitted.predict(X[:, :7], return_state=True)
    rest = fitted.predict(X[:, 7:], initial_state=state)
    np.testing.assert_allclose(rest, fitted.predict(X), atol=1e-13)


def test_zoneout_keeps_as_many_units_as_it_says():
    """Of long sequences of zeros: each change of a cell is one that was not kept."""
    from conftest import Problem

    p = Problem([400] * 30, F=1, K=1, H=(8,), zoneout=(0.3, 0.7))
    p.network._draws = True
    state = p.network.no_state(30)
    kept = []
    for t in range(3):
        before = [part[0].copy() for part in state]
        begins = p.batch.starts + t
        step = p.batch._replace(starts=begins, lengths=np.ones(30, int))
        p.network.advance(p.theta, step, state, seed=5, first_step=t)
        if t > 0:
            kept.append([np.mean(a == b[0]) for a, b in zip(before, state, strict=True)])
    h, c = np.mean(kept, axis=0)
    assert abs(h - 0.3) < 0.07
    assert abs(c - 0.7) < 0.07


def test_zoneout_draws_anew_and_alike():
    settings = SETTINGS | {"zoneout_hidden": 0.3, "zoneout_cell": 0.3}
    fits = [LSTMRegressor(**settings, n_jobs=n).fit(X, Y) for n in (1, 2)]
    np.testing.assert_array_equal(fits[0].theta_, fits[1].theta_)
    other = LSTMRegressor(**(settings | {"random_state": 1, "warm_start": True})).fit(X, Y)
    assert len(set(np.round(other.fit(X, Y).loss_curve_, 12))) == 6


# -- memory, windows, states that go on ------------------------------------------------


@pytest.mark.parametrize("target", [Y, STEPS])
def test_recomputing_changes_nothing(target):
    settings = SETTINGS | {"return_sequences": target.ndim > 1, "num_layers": 2}
    full = LSTMRegressor(**settings).fit(X, target)
    recomputed = LSTMRegressor(**settings, memory="recompute").fit(X, target)
    np.testing.assert_allclose(recomputed.theta_, full.theta_, rtol=0, atol=1e-10)


def still(**options):
    """A regressor that takes steps too small to matter: its loss is that of one network."""
    return LSTMRegressor(
        **(SETTINGS | {"max_iter": 1, "learning_rate_init": 1e-15, "alpha": 0.0, **options})
    )


@pytest.mark.parametrize("n_steps", [1, 5, 12, 50])
@pytest.mark.parametrize("per_step", [False, True])
def test_windows_see_what_one_long_pass_sees(n_steps, per_step):
    target = STEPS if per_step else Y
    ragged = [x[: 1 + 2 * i % 12] for i, x in enumerate(X)]
    targets = [y[: len(x)] for x, y in zip(ragged, STEPS, strict=True)] if per_step else Y
    for data, y in ((X, target), (ragged, targets)):
        options = {"return_sequences": per_step, "batch_size": 16}
        whole = still(**options).fit(data, y)
        parts = still(**options, tbptt_steps=n_steps).fit(data, y)
        assert parts.loss_ == pytest.approx(whole.loss_, rel=1e-10)


def test_stateful_training_sees_what_one_long_pass_sees():
    """Three series of 96 steps, cut into windows of 12 that come batch by batch."""
    series = rng.standard_normal((3, 96, 2))
    y = np.cumsum(series[:, :, 0], axis=1)
    pieces = series.reshape(3, 8, 12, 2).swapaxes(0, 1).reshape(24, 12, 2)
    y_pieces = y.reshape(3, 8, 12).swapaxes(0, 1).reshape(24, 12)
    whole = still(return_sequences=True).fit(series, y)
    for options in ({}, {"tbptt_steps": 5}):
        stateful = still(return_sequences=True, stateful=True, batch_size=3, **options)
        assert stateful.fit(pieces, y_pieces).loss_ == pytest.approx(whole.loss_, rel=1e-9)
    stateless = still(return_sequences=True, batch_size=3).fit(pieces, y_pieces)
    assert abs(stateless.loss_ - whole.loss_) > 1e-4
    one = still(return_sequences=True, stateful=True).fit(pieces[::3], y_pieces[::3])
    alone = still(return_sequences=True, standardize=True).fit(series[:1], y[:1])
    assert one.loss_ == pytest.approx(alone.loss_, rel=1e-9)


def test_stateful_pieces_of_many_lengths():
    """The longest of a batch comes first inside; states go on with their own series."""
    cuts = [(0, 4, 9, 30), (0, 11, 13, 30)]
    series, y = X[:2].repeat(3, axis=1)[:, :30], STEPS[:2].repeat(3, axis=1)[:, :30]
    pieces = [series[i, c[k] : c[k + 1]] for k in range(3) for i, c in enumerate(cuts)]
    targets = [y[i, c[k] : c[k + 1]] for k in range(3) for i, c in enumerate(cuts)]
    options = {"return_sequences": True, "learn_initial_state": True}
    found = still(**options, stateful=True, batch_size=2).fit(pieces, targets)
    whole = still(**options).fit(series, y)
    states = [None, None]
    errors = []
    for k in range(6):
        out, states[k % 2] = whole.predict(
            pieces[k][np.newaxis], initial_state=states[k % 2], return_state=True
        )
        errors.append((out[0] - targets[k]) / whole.target_scale_)
    batches = [np.concatenate(errors[k : k + 2]) for k in (0, 2, 4)]
    # Each batch's loss is divided by the mean number of steps of all sequences.
    expected = sum(float((e**2).sum()) for e in batches) / 60
    assert found.loss_ == pytest.approx(expected, rel=1e-9)


def test_truncated_training_learns():
    """To count: the state has to go on over window after window."""
    marks = (rng.random((40, 200, 1)) < 0.05).astype(float)
    y = np.cumsum(marks[:, :, 0], axis=1) % 2
    settings = {"return_sequences": True, "random_state": 0, "hidden_size": 16}
    settings |= {"learning_rate_init": 0.01, "batch_size": 8, "max_iter": 30}
    fitted = LSTMClassifier(**settings, tbptt_steps=20).fit(marks[:30], y[:30])
    assert fitted.score(marks[30:], y[30:]) > 0.95


ERRORS = [
    ({"proj_size": 6}, "proj_size=6 projects to as many"),
    ({"proj_size": -1}, "proj_size"),
    ({"layer_norm": True, "bias": False}, "shifts that take the place of biases"),
    ({"zoneout_cell": 1.0}, "zoneout_cell"),
    ({"head_hidden_size": 0}, "head_hidden_size"),
    ({"head_activation": "gelu"}, "head_activation"),
    ({"memory": "recompute", "bidirectional": True}, "memory='recompute'.*bidirectional=True"),
    ({"memory": "recompute", "pooling": "mean"}, "memory='recompute'.*pooling='mean'"),
    ({"tbptt_steps": 5, "go_backwards": True}, "tbptt_steps=5.*go_backwards=True"),
    ({"tbptt_steps": 0}, "tbptt_steps"),
    ({"stateful": True, "batch_size": 7}, "60 sequences, not a multiple"),
    ({"stateful": True, "early_stopping": True}, "early_stopping=True would set"),
]


@pytest.mark.parametrize(("options", "message"), ERRORS)
def test_errors_come_before_any_work(options, message):
    estimator = LSTMRegressor(**(SETTINGS | options))
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, Y)
    assert not hasattr(estimator, "theta_")


@pytest.mark.parametrize(
    "options", [{"proj_size": 3}, {"layer_norm": True}, {"zoneout_cell": 0.1}]
)
def test_a_warm_start_needs_the_same_network(options):
    fitted = LSTMRegressor(**SETTINGS, warm_start=True).fit(X, Y).set_params(**options)
    (name, value), *_ = options.items()
    with pytest.raises(ValueError, match=f"cannot go on with .*{name}={value}"):
        fitted.fit(X, Y)
