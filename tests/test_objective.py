"""The loss as a function of the weights: its values and its derivatives."""

import numpy as np
import pytest
import reference
from objectives import PROBLEMS, SMOOTH, WEIGHT, N, T, X, Y, moved, regressor, rng
from sklearn.base import clone

from numba_lstm import objective
from numba_lstm.times import decay


def targets(y, fun):
    """All targets in a row (Q, K), as the reference takes them."""
    if isinstance(y, list):
        y = np.concatenate(y)
    known = fun._attributes["_targets"]
    if known.classes is not None and not known.multilabel:
        return np.searchsorted(known.classes, np.ravel(y))
    y = np.reshape(y, (-1, known.n_outputs))
    if known.multilabel:
        return y
    return (y - fun._attributes["target_mean_"]) / fun._attributes["target_scale_"]


def expected_loss(estimator, X, y, weight, fun, theta, parameter=0.5, decays=None, **told):
    """Mean loss of the naive network, and the penalty."""
    known = fun._attributes
    per_step = estimator.return_sequences
    scaled = [(x - known["input_mean_"]) / known["input_scale_"] for x in X]
    named = {name: view.copy() for name, view in fun.named(theta).items()}
    out = reference.outputs(scaled, named, per_step, decays=decays, **told)
    rows = targets(y, fun)
    weight = np.repeat(weight, [len(x) for x in X]) if per_step else weight.copy()
    if rows.ndim == 2:
        weight[np.isnan(rows[:, 0])] = 0
    kind = getattr(estimator, "loss", "log_loss")
    if known["_targets"].multilabel:
        kind = "labels"
    elif getattr(estimator, "class_weight", None):
        by_class = [estimator.class_weight[name] for name in known["classes_"]]
        weight = weight * np.take(by_class, rows)
    counts = weight > 0
    share = weight[counts] / weight.sum()
    mean = reference.loss(out[counts], rows[counts], share, kind, parameter)
    decaying = [
        view for name, view in named.items()
        if not any(word in name for word in ("bias", "norm", "initial"))
    ]  # fmt: skip
    return mean + estimator.alpha / 2 * sum((view**2).sum() for view in decaying)


@pytest.mark.parametrize("name", PROBLEMS)
def test_loss_is_the_naive_networks(name):
    estimator, X, y, told = PROBLEMS[name]
    fun = objective(estimator, X, y, WEIGHT)
    theta = moved(fun)
    expected = expected_loss(estimator, X, y, WEIGHT, fun, theta, **told)
    loss, grad = fun(theta)
    assert grad.shape == fun.theta0.shape
    assert loss == pytest.approx(expected, rel=1e-11)
    assert fun.loss(theta) == pytest.approx(loss, rel=1e-14)
    np.testing.assert_array_equal(fun.grad(theta), grad)


def test_loss_with_times():
    times = np.cumsum(rng.uniform(0.1, 2, (N, T)), axis=1)
    fun = objective(regressor, X, Y, WEIGHT, times=times)
    theta = moved(fun)
    gaps = np.diff(times, axis=1, prepend=times[:, :1]).ravel()
    # As the library makes them, whose own tests hold them against the paper.
    decays = decay(gaps, np.full(N, T), fun._attributes["time_scale_"]).reshape(N, T)
    expected = expected_loss(regressor, X, Y, WEIGHT, fun, theta, decays=decays)
    assert fun.loss(theta) == pytest.approx(expected, rel=1e-11)
    made = fun.estimator_from(theta)
    assert made.predict(X, times=times).shape == (N,)
    assert made.time_scale_ == fun._attributes["time_scale_"]


@pytest.mark.parametrize("name", PROBLEMS)
def test_gradient_is_that_of_the_loss(name):
    estimator, X, y, _ = PROBLEMS[name]
    fun = objective(estimator, X, y, WEIGHT)
    theta, step = moved(fun), 1e-4
    slopes = [
        (8 * (fun.loss(theta + e) - fun.loss(theta - e))
         - (fun.loss(theta + 2 * e) - fun.loss(theta - 2 * e))) / (12 * step)
        for e in step * np.eye(theta.size)
    ]  # fmt: skip
    grad = fun.grad(theta)
    np.testing.assert_allclose(grad, slopes, rtol=0, atol=1e-6 * np.abs(grad).max())


@pytest.mark.parametrize("name", SMOOTH)
def test_products_with_the_hessian(name):
    """Beside a difference of the eighth order."""
    estimator, X, y, _ = PROBLEMS[name]
    fun = objective(estimator, X, y, WEIGHT)
    theta, v = moved(fun), rng.standard_normal(fun.theta0.size)
    step = 0.003 / np.linalg.norm(v)
    expected = sum(
        factor * (fun.grad(theta + n * step * v) - fun.grad(theta - n * step * v))
        for n, factor in ((1, 4 / 5), (2, -1 / 5), (3, 4 / 105), (4, -1 / 280))
    )
    expected /= step
    error = np.linalg.norm(fun.hessp(theta, v) - expected)
    assert error < 1e-8 * np.linalg.norm(expected)
    np.testing.assert_array_equal(fun.hessp(theta, 0 * v), 0 * v)
    np.testing.assert_allclose(fun.hessp(theta, 1e6 * v), 1e6 * fun.hessp(theta, v), rtol=1e-9)


SQUARED = ["squared", "several outputs", "ragged", "every step", "ragged steps", "stack"]


@pytest.mark.parametrize("name", SQUARED)
@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_residuals_and_their_derivatives(name, alpha):
    estimator, X, y, _ = PROBLEMS[name]
    fun = objective(clone(estimator).set_params(alpha=alpha), X, y, WEIGHT)
    theta = moved(fun)
    residuals, jacobian = fun.residuals(theta), fun.jacobian(theta)
    loss, grad = fun(theta)
    assert 0.5 * residuals @ residuals == pytest.approx(loss, rel=1e-13)
    np.testing.assert_allclose(jacobian.T @ residuals, grad, rtol=0, atol=1e-13)
    step = 1e-5
    for j in rng.integers(0, theta.size, 10):
        e = step * np.eye(theta.size)[j]
        slope = (fun.residuals(theta + e) - fun.residuals(theta - e)) / (2 * step)
        np.testing.assert_allclose(jacobian[:, j], slope, rtol=0, atol=1e-8)


def test_residuals_are_in_the_order_of_X():
    for name in SQUARED:
        estimator, X, y, _ = PROBLEMS[name]
        fun = objective(clone(estimator).set_params(alpha=0), X, y, WEIGHT)
        model = fun.estimator_from(fun.theta0)
        found, truth = model.predict(X), y
        weight = WEIGHT
        if estimator.return_sequences:
            weight = np.repeat(WEIGHT, [len(x) for x in X])
            found, truth = np.concatenate(list(found)), np.concatenate(list(truth))
            weight = np.where(np.isnan(truth), 0, weight)
        K = model.n_outputs_
        error = (found - truth).reshape(-1, K) / model.target_scale_
        expected = error * np.sqrt(2 * weight / weight.sum() / K)[:, np.newaxis]
        found = fun.residuals(fun.theta0)
        atol = 1e-5  # the model predicts in float32
        np.testing.assert_allclose(found, expected[weight > 0].ravel(), rtol=0, atol=atol)


def test_many_batches_are_one(monkeypatch):
    from numba_lstm.sequences import Sequences

    whole = [objective(*PROBLEMS[name][:3], WEIGHT) for name in ("ragged steps", "squared")]
    parts = Sequences.parts
    monkeypatch.setattr(Sequences, "parts", lambda self, i=None, m=None: parts(self, i, 7))
    cut = [objective(*PROBLEMS[name][:3], WEIGHT) for name in ("ragged steps", "squared")]
    for one, many in zip(whole, cut, strict=True):
        assert len(one._loss.parts) == 1
        assert len(many._loss.parts) > 3
        theta = moved(one)
        assert many.loss(theta) == pytest.approx(one.loss(theta), rel=1e-13)
        np.testing.assert_allclose(many.grad(theta), one.grad(theta), rtol=0, atol=1e-14)
        np.testing.assert_allclose(many.residuals(theta), one.residuals(theta), atol=1e-14)
        np.testing.assert_allclose(many.jacobian(theta), one.jacobian(theta), atol=1e-13)


def test_missing_values():
    gappy = np.where(rng.random(X.shape) < 0.2, np.nan, X)
    fun = objective(clone(regressor).set_params(missing="mask", dtype="float64"), gappy, Y)
    model = fun.estimator_from(moved(fun))
    loss = np.mean(((model.predict(gappy) - Y) / model.target_scale_) ** 2)
    assert fun.loss(model.theta_) - fun._loss.penalty(model.theta_) == pytest.approx(loss)


def test_any_number_of_threads_gives_the_same_bits():
    many = rng.standard_normal((100, 8, 2))
    funs = [
        objective(clone(regressor).set_params(n_jobs=n), many, many[:, 0, 0]) for n in (1, 2)
    ]  # fmt: skip
    results = [fun(funs[0].theta0) for fun in funs]
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_arrays_of_any_kind_are_weights():
    fun = objective(regressor, X, Y)
    loss, grad = fun(fun.theta0)
    fixed = fun.theta0.copy()
    fixed.setflags(write=False)
    for theta in (fixed, fun.theta0.tolist(), np.repeat(fun.theta0, 2)[::2]):
        assert fun(theta)[0] == loss
        assert fun.loss(theta) == loss
    np.testing.assert_array_equal(fun(fixed)[1], grad)


def test_losses_beyond_measure_are_infinite_or_nan_without_a_warning(recwarn):
    fun = objective(regressor, X, Y)
    assert not np.isfinite(fun(np.full(fun.theta0.size, 1e200))[0])
    assert not np.isfinite(fun.loss(np.full(fun.theta0.size, np.nan)))
    assert not recwarn.list
