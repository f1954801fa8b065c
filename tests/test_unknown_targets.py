"""Several targets for each sequence or step, some of which are not known: NaN."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import approx_fprime
from sklearn.base import clone
from sklearn.metrics import mean_pinball_loss, r2_score

from numba_lstm import LSTMClassifier, LSTMRegressor, fit_many, objective
from numba_lstm.losses import QUANTILE, null_output

pytestmark = pytest.mark.nojit
rng = np.random.default_rng(0)
N, T, K = 40, 6, 3
X = rng.standard_normal((N, T, 2))
STEPS = np.stack([X[..., 0].cumsum(1), X[..., 1] + 5, 3 * X.sum(2)], axis=2)
STEPS[rng.random(STEPS.shape) < 0.4] = np.nan
STEPS[3, 2] = STEPS[7] = np.nan
LAST = STEPS[:, -1]
WEIGHT = rng.uniform(0.5, 2, N)
CASES = {"last": (X, LAST), "steps": (X, STEPS)}
CASES["ragged"] = (
    [x[: 1 + i % T] for i, x in enumerate(X)],
    [y[: 1 + i % T] for i, y in enumerate(STEPS)],
)


def model(kind=LSTMRegressor, **options):
    settings = {"hidden_size": 4, "max_iter": 4, "random_state": 0, "batch_size": 16}
    return kind(**(settings | options))


def rows(y):
    """All targets (Q, K), whatever they belong to."""
    return np.concatenate(y) if np.ndim(y[0]) == 2 else np.asarray(y)


def weights(y):
    """Weights of all of these, NaN where nothing is known."""
    lengths = [len(one) if np.ndim(one) == 2 else 1 for one in y]
    known = ~np.isnan(rows(y))
    return np.where(known, np.repeat(WEIGHT, lengths)[:, np.newaxis], np.nan)


@pytest.mark.parametrize("case", CASES)
def test_the_loss_is_the_mean_over_what_is_known(case):
    """And so are the statistics; the gradient is the loss's, and so are the residuals."""
    x, y = CASES[case]
    given = model(return_sequences=case != "last", alpha=0.0, hidden_size=2, dtype="float64")
    f = objective(given, x, y, WEIGHT)
    made = f.estimator_from(f.theta0)
    truth, w = rows(y), weights(y)
    mean = np.nansum(w * truth, axis=0) / np.nansum(w, axis=0)
    np.testing.assert_allclose(made.target_mean_, mean)
    variance = np.nansum(w * (truth - mean) ** 2, axis=0) / np.nansum(w, axis=0)
    np.testing.assert_allclose(made.target_scale_, np.sqrt(variance))
    error = ((rows(made.predict(x)) - truth) / made.target_scale_) ** 2
    assert f.loss(f.theta0) == pytest.approx(np.nansum(w * error) / np.nansum(w))
    slope = approx_fprime(f.theta0, f.loss, 1e-7)
    np.testing.assert_allclose(f.grad(f.theta0), slope, atol=1e-5)
    residuals, jacobian = f.residuals(f.theta0), f.jacobian(f.theta0)
    assert residuals @ residuals / 2 == pytest.approx(f.loss(f.theta0))
    np.testing.assert_allclose(residuals @ jacobian, f.grad(f.theta0), atol=1e-12)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"loss": "huber"},
        {"loss": "absolute_error", "standardize": False},
        {"solver": "lbfgs", "max_iter": 20},
        {"memory": "recompute"},
    ],
    ids=str,
)
def test_fits(case, options):
    """In one thread as in two, and alone as among many; what is learned is finite."""
    x, y = CASES[case]
    given = model(return_sequences=case != "last", **options)
    fitted = clone(given).fit(x, y, WEIGHT)
    assert np.isfinite(fitted.loss_curve_).all()
    assert fitted.loss_curve_[-1] < fitted.loss_curve_[0]
    again = fit_many([clone(given).set_params(n_jobs=n) for n in (1, 2)], x, y, WEIGHT)
    for one in again:
        np.testing.assert_array_equal(one.theta_, fitted.theta_)


@pytest.mark.parametrize("case", CASES)
def test_scores(case):
    x, y = CASES[case]
    fitted = model(return_sequences=case != "last").fit(x, y, X_val=x, y_val=y)
    truth, found = rows(y), rows(fitted.predict(x))
    known = ~np.isnan(truth)
    expected = [r2_score(truth[rows, k], found[rows, k]) for k, rows in enumerate(known.T)]
    assert fitted.score(x, y) == pytest.approx(np.mean(expected))
    mean = np.nanmean(truth, axis=0)
    loss, null = (
        np.nanmean(((truth - guess) / fitted.target_scale_) ** 2) for guess in (found, mean)
    )
    assert fitted.validation_scores_[-1] == pytest.approx(1 - loss / null, abs=1e-5)


def test_scores_of_what_is_masked_or_known_once():
    fitted = model().fit(X, LAST)
    masked = np.ma.masked_array(np.where(np.isnan(LAST), 1e6, LAST), np.isnan(LAST))
    assert fitted.score(X, masked) == fitted.score(X, LAST)
    once = LAST.copy()
    once[np.flatnonzero(~np.isnan(once[:, 1]))[1:], 1] = np.nan
    truth, found = once[:, [0, 2]], fitted.predict(X)[:, [0, 2]]
    known = ~np.isnan(truth)
    expected = [r2_score(truth[rows, k], found[rows, k]) for k, rows in enumerate(known.T)]
    assert fitted.score(X, once) == pytest.approx(np.mean(expected))
    one = model().fit(X, X[:, 0, 0])
    hidden = np.ma.masked_array(X[:, 0, 0], np.arange(N) == 3)
    with pytest.raises(ValueError, match=r"NaN: target 3"):
        one.score(X, hidden)
    labels = model(LSTMClassifier).fit(X, X[:, 0, 0] > 0)
    with pytest.raises(ValueError, match="masked for sequence 3"):
        labels.score(X, np.ma.masked_array(X[:, 0, 0] > 0, np.arange(N) == 3))
    with pytest.raises(ValueError, match="sample_weight contains NaN"):
        model().fit(X, X[:, 0, 0], np.ma.masked_array(WEIGHT, np.arange(N) == 3))


def test_a_broken_theta_has_no_residuals_of_zero():
    f = objective(model(), X, LAST)
    assert np.isnan(f.residuals(np.full_like(f.theta0, np.nan))).any()


def test_rows_of_which_nothing_is_known_are_of_no_size():
    far = np.where(np.isnan(LAST), np.nan, 1e20)
    assert np.isfinite(model().fit(X, far).theta_).all()


@pytest.mark.parametrize("kind", ["masked", "Int64", "object"])
def test_forms_of_labels_that_are_not_known(kind):
    y = np.where(np.isnan(LAST), np.nan, LAST > 1)
    expected = model(LSTMClassifier).fit(X, y).theta_
    if kind == "masked":
        given = np.ma.masked_array(np.where(np.isnan(y), -1, y).astype(int), np.isnan(y))
    elif kind == "Int64":
        given = pd.DataFrame(y).astype("Int64")
    else:
        given = np.where(np.isnan(y), None, y)
    np.testing.assert_array_equal(model(LSTMClassifier).fit(X, given).theta_, expected)


def test_the_best_constant():
    y, w = rows(STEPS), np.repeat(WEIGHT, T)
    found = null_output(QUANTILE, 0.8, y, w, K)
    for k in range(K):
        known = ~np.isnan(y[:, k])
        losses = [
            mean_pinball_loss(y[known, k], np.full(known.sum(), c), alpha=0.8,
                              sample_weight=w[known])
            for c in y[known, k]
        ]  # fmt: skip
        assert found[k] == y[known, k][np.argmin(losses)]
    nowhere = np.where(np.arange(K) == 1, np.nan, y)
    assert np.isfinite(null_output(QUANTILE, 0.8, nowhere, w, K)).all()


@pytest.mark.parametrize("per_step", [False, True])
def test_labels(per_step):
    """The same: unknown ones count neither as 0 nor as 1."""
    y = np.where(np.isnan(STEPS), np.nan, STEPS > 1)
    y = y if per_step else y[:, -1]
    fitted = model(LSTMClassifier, return_sequences=per_step, max_iter=30).fit(X, y)
    assert fitted.loss_curve_[-1] < 0.9 * fitted.loss_curve_[0]
    flat, found = rows(y) if per_step else y, rows(fitted.predict(X)) if per_step else None
    found = fitted.predict(X) if found is None else found
    some = ~np.isnan(flat).all(axis=1)
    right = ((found == flat) | np.isnan(flat)).all(axis=1)
    assert fitted.score(X, y) == pytest.approx(right[some].mean())
    f = objective(model(LSTMClassifier, return_sequences=per_step, alpha=0.0), X, y)
    p = rows(f.estimator_from(f.theta0).predict_proba(X)) if per_step else None
    p = f.estimator_from(f.theta0).predict_proba(X) if p is None else p
    loss = -np.nanmean(np.where(np.isnan(flat), np.nan, np.log(np.where(flat == 1, p, 1 - p))))
    assert f.loss(f.theta0) == pytest.approx(loss, rel=1e-5)
    mask = np.ma.masked_invalid(y)
    np.testing.assert_array_equal(clone(fitted).fit(X, mask).theta_, fitted.theta_)


def test_what_is_refused():
    nowhere = np.where(np.arange(K) == 1, np.nan, LAST)
    with pytest.raises(ValueError, match="output 1 has no value with a weight"):
        model().fit(X, nowhere)
    with pytest.raises(ValueError, match=r"NaN: target 3\. Leave such"):
        model().fit(X, np.where(np.arange(N) == 3, np.nan, X[:, 0, 0]))
    with pytest.raises(ValueError, match="infinity: target 3, output 1"):
        model().fit(X, np.where((np.arange(N) == 3)[:, None] & (np.arange(K) == 1), np.inf, LAST))
    with pytest.raises(ValueError, match="All weights are zero"):
        model().fit(X, LAST * np.nan)
