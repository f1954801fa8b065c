"""Dropout: what is dropped, its gradient, and that predictions know nothing of it."""

import numpy as np
import pytest
import reference
from conftest import central_differences

from numba_lstm import LSTMClassifier, LSTMRegressor

LENGTHS = [2, 6, 1, 4, 4]
CASES = {
    "inputs": {"H": (3,), "dropout": (0.4, 0, 0)},
    "recurrent": {"H": (3,), "dropout": (0, 0, 0.5)},
    "between": {"H": (3, 2), "dropout": (0, 0.4, 0)},
    "all": {"H": (3, 3), "dropout": (0.2, 0.4, 0.3), "residual": True, "learned_state": True},
    "all, both": {"H": (3, 2, 2), "dropout": (0.2, 0.4, 0.3), "direction": "both"},
    "all, both, residual": {
        "H": (2, 2), "dropout": (0.3, 0.4, 0.3), "direction": "both", "merge": "mean",
        "residual": True, "peephole": True,
    },
}  # fmt: skip


@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_gradient_is_the_slope_of_the_loss(make_problem, case, per_step):
    """Of the same draw: loss_and_grad begins with the same generator each time."""
    p = make_problem(LENGTHS, F=3, K=2, per_step=per_step, **case)
    _, gradient = p.loss_and_grad()
    expected = central_differences(p)
    assert np.abs(gradient - expected).max() <= 1e-6 * np.abs(expected).max()
    undropped, _ = p.network.loss_and_grad(p.theta, p.batch)
    assert p.loss_and_grad()[0] != undropped


@pytest.mark.nojit
def test_the_same_units_are_dropped_at_every_step(make_problem):
    p = make_problem(LENGTHS, F=3, H=4, K=1, dropout=(0.4, 0, 0.5))
    loss, _ = p.loss_and_grad()
    seed = int(np.random.default_rng(0).integers(1, 2**62))
    x_mask = (np.random.default_rng((seed, 0, 0)).random((5, 3)) >= 0.4) / 0.6
    h_mask = (np.random.default_rng((seed, 0, 1)).random((5, 4)) >= 0.5) / 0.5
    h = [
        reference.lstm(x * of_x, p.named, h_mask=of_h)[0][-1]
        for x, of_x, of_h in zip(p.in_order, x_mask, h_mask, strict=True)
    ]
    out = np.array(h) @ p.named["head_weight"].T + p.named["head_bias"]
    expected = reference.loss(out, p.batch.y, p.batch.weight, "squared_error")
    assert loss == pytest.approx(expected, rel=1e-12)


def test_threads_change_nothing(make_problem):
    results = set()
    for n_threads in (1, 2):
        p = make_problem(LENGTHS * 9, F=3, K=1, n_threads=n_threads, **CASES["all, both"])
        loss, gradient = p.loss_and_grad()
        results.add((loss, gradient.tobytes()))
    assert len(results) == 1


rng = np.random.default_rng(0)
X = rng.standard_normal((60, 8, 6))
Y = X[:, -1, 0] + rng.standard_normal(60)


def test_it_regularises():
    """Little data and noise: without dropout the noise is learned by heart."""
    settings = {"hidden_size": 24, "num_layers": 2, "max_iter": 80, "random_state": 0}
    dropped = {"input_dropout": 0.3, "dropout": 0.3, "recurrent_dropout": 0.3}
    plain = LSTMRegressor(**settings).fit(X, Y)
    regularised = LSTMRegressor(**settings, **dropped).fit(X, Y)
    assert regularised.score(X, Y) < plain.score(X, Y)
    X_new = rng.standard_normal((500, 8, 6))
    y_new = X_new[:, -1, 0]
    assert regularised.score(X_new, y_new) > plain.score(X_new, y_new)


@pytest.mark.parametrize("kind", ["dropout", "input_dropout", "recurrent_dropout"])
def test_each_seed_has_its_draws_and_predictions_have_none(kind):
    settings = {"hidden_size": 4, "num_layers": 2, "max_iter": 2}
    fits = [LSTMRegressor(**settings, random_state=s, **{kind: 0.5}).fit(X, Y) for s in (0, 0, 1)]
    np.testing.assert_array_equal(fits[0].theta_, fits[1].theta_)
    assert (fits[0].theta_ != fits[2].theta_).any()
    without = LSTMRegressor(**settings, random_state=0).fit(X, Y)
    assert (fits[0].theta_ != without.theta_).any()
    np.testing.assert_array_equal(fits[0].predict(X), fits[0].predict(X))
    fits[0].set_params(**{kind: 0.0})
    np.testing.assert_array_equal(fits[0].predict(X), fits[1].predict(X))


def test_a_fit_that_goes_on_draws_on():
    settings = {"hidden_size": 4, "recurrent_dropout": 0.3, "random_state": 0}
    whole = LSTMRegressor(**settings, max_iter=4).fit(X, Y)
    parts = LSTMRegressor(**settings, max_iter=2, warm_start=True).fit(X, Y).fit(X, Y)
    np.testing.assert_array_equal(parts.theta_, whole.theta_)


def test_dropout_between_one_layer_and_none_warns():
    with pytest.warns(UserWarning, match="there is one layer only"):
        LSTMClassifier(3, dropout=0.5, max_iter=1).fit(X, Y > 0)
    with pytest.raises(ValueError, match="recurrent_dropout"):
        LSTMRegressor(3, recurrent_dropout=1.0).fit(X, Y)
