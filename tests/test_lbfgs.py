"""Estimators with solver="lbfgs"."""

import warnings

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, make_regression
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_info

from numba_lstm import LSTMClassifier, LSTMRegressor, objective
from numba_lstm.training.penalised import PenalisedLoss

rng = np.random.default_rng(0)
X = rng.standard_normal((40, 6, 2))
Y = X[:, -1, 0] + X[:, -2, 1]
RAGGED = [rng.standard_normal((n, 2)) for n in rng.integers(1, 7, 40)]
STEPS = [x.cumsum(axis=0) for x in RAGGED]
WEIGHTS = "check_sample_weight_equivalence_on_dense_data"
SMALL = {"hidden_size": 4, "solver": "lbfgs", "max_iter": 15, "random_state": 0}


def regressor(**options):
    return LSTMRegressor(**SMALL | options)


@parametrize_with_checks(
    [
        LSTMRegressor(8, solver="lbfgs", max_iter=50, dtype="float64"),
        LSTMClassifier(8, solver="lbfgs", max_iter=50),
    ],
    expected_failed_checks=lambda estimator: {WEIGHTS: "rounding grows with the iterations"},
)
def test_scikit_learn_check(estimator, check):
    check(estimator)


def test_weights_are_repetitions():
    """To what rounding has grown to after a few iterations."""
    weight = rng.integers(0, 3, len(X))
    weighted = regressor(dtype="float64", max_iter=10).fit(X, Y, weight)
    repeated = regressor(dtype="float64", max_iter=10)
    repeated.fit(X.repeat(weight, axis=0), Y.repeat(weight))
    np.testing.assert_allclose(weighted.predict(X), repeated.predict(X), rtol=0, atol=1e-8)


def test_small_data_is_fitted():
    """What scikit-learn asks of its MLPRegressor: R2 above 0.95 on the data trained on."""
    data, target = load_diabetes(return_X_y=True)
    problems = [(data[:200], target[:200]), make_regression(200, 10, noise=1.0, random_state=0)]
    for x, y in problems:
        x = x[:, :, np.newaxis]
        model = LSTMRegressor(32, solver="lbfgs", max_iter=200, random_state=1).fit(x, y)
        assert model.score(x, y) > 0.95
    model = LSTMRegressor(16, solver="lbfgs", random_state=1, return_sequences=True)
    assert model.fit(RAGGED, STEPS).score(RAGGED, STEPS) > 0.95


@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_small_images_are_told_apart(n_classes):
    images, labels = load_digits(n_class=n_classes, return_X_y=True)
    x = MinMaxScaler().fit_transform(images[:200]).reshape(-1, 8, 8)  # read row by row
    model = LSTMClassifier(32, solver="lbfgs", random_state=1).fit(x[:150], labels[:150])
    assert model.score(x[:150], labels[:150]) > 0.95
    assert model.score(x[150:], labels[150:200]) > 0.8


def test_it_is_the_minimiser_on_the_objective():
    model = regressor(dtype="float64", alpha=0.01, max_iter=12)
    fun = objective(model, X, Y)
    curve = []

    def callback(intermediate_result):
        curve.append(fun.loss(intermediate_result.x) - fun._loss.penalty(intermediate_result.x))

    options = {"maxiter": 12, "gtol": model.tol}
    found = minimize(
        fun, fun.theta0, jac=True, method="L-BFGS-B", options=options, callback=callback
    )
    model.fit(X, Y)
    np.testing.assert_allclose(model.theta_, found.x, rtol=0, atol=1e-9)
    np.testing.assert_allclose(model.loss_curve_, curve, rtol=1e-9)
    assert model.n_iter_ == found.nit == 12


def test_float32_is_rounded_at_the_end():
    wide, narrow = regressor(dtype="float64").fit(X, Y), regressor().fit(X, Y)
    assert narrow.theta_.dtype == np.float32
    assert narrow.loss_ == pytest.approx(wide.loss_, rel=1e-2)
    assert narrow.predict(X).dtype == np.float64


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_number_of_threads_gives_the_same_bits(dtype):
    many = rng.standard_normal((200, 8, 2))
    fits = [regressor(n_jobs=n, dtype=dtype).fit(many, many[:, -1, 0]) for n in (1, 2, None)]
    for fit in fits[1:]:
        np.testing.assert_array_equal(fit.theta_, fits[0].theta_)


def test_ends_where_the_gradient_is_small():
    n_iter = [0]
    for tol in (1e-2, 1e-3):
        model = regressor(alpha=0.01, max_iter=500, dtype="float64", tol=tol).fit(X, Y)
        fun = objective(model, X, Y, from_fitted=True)
        assert np.abs(fun.grad(model.theta_)).max() <= tol
        assert n_iter[-1] < model.n_iter_ < 500
        n_iter.append(model.n_iter_)


def test_reaching_max_iter_is_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert regressor(max_iter=2).fit(X, Y).n_iter_ == 2


def test_alpha_shrinks_what_decays():
    norms = []
    for alpha in (0.0, 0.01, 0.1):
        model = regressor(alpha=alpha, max_iter=100).fit(X, Y + 5)
        norms.append(np.linalg.norm(model.parameters_["head_weight"]))
    assert norms[0] > norms[1] > norms[2]


def test_nothing_to_do_is_one_iteration():
    model = regressor(alpha=1.0, max_iter=300, dtype="float64", tol=1e-3).fit(X, Y)
    theta, n_iter = model.theta_.copy(), model.n_iter_
    model.set_params(warm_start=True, tol=0.1).fit(X, Y)
    np.testing.assert_array_equal(model.theta_, theta)
    assert model.n_iter_ == len(model.loss_curve_) == n_iter + 1
    assert model.loss_curve_[-1] == pytest.approx(model.loss_curve_[-2], rel=1e-12)


def test_goes_on_from_the_weights_before_and_changes_solvers():
    model = regressor(warm_start=True, max_iter=5).fit(X, Y)
    before = model.loss_
    model.fit(X, Y)
    assert model.n_iter_ == 10
    assert model.loss_ < before
    model.set_params(solver="adam").fit(X, Y).partial_fit(X, Y)
    model.set_params(solver="lbfgs").fit(X, Y)
    assert model.n_iter_ == 21
    assert model.loss_ < before


def test_validation_is_watched():
    model = regressor().fit(X[:30], Y[:30], X_val=X[30:], y_val=Y[30:])
    assert len(model.validation_scores_) == model.n_iter_
    score = model.score(X[30:], Y[30:])
    residual = np.mean((model.predict(X[30:]) - Y[30:]) ** 2)
    assert model.validation_scores_[-1] == pytest.approx(1 - residual / Y[30:].var(), rel=1e-3)
    assert model.validation_scores_[-1] == pytest.approx(score, abs=1e-3)
    alone = regressor().fit(X[:30], Y[:30])
    np.testing.assert_array_equal(alone.theta_, model.theta_)


def test_it_says_what_it_does(capsys):
    regressor(verbose=True, max_iter=3).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["epoch", f"{n}/3"] for n in (1, 2, 3)]


REFUSED = {
    "dropout": 0.1, "input_dropout": 0.1, "recurrent_dropout": 0.1, "zoneout_hidden": 0.1,
    "zoneout_cell": 0.1, "stateful": True, "tbptt_steps": 2, "early_stopping": True,
    "checkpoint": "file",
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), REFUSED.items())
def test_what_it_does_not_go_with(name, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = regressor(warm_start=True).fit(X, Y)
    theta = model.theta_
    with pytest.raises(ValueError, match=f"{name}=") as error:
        model.set_params(**{name: value}).fit(X, Y)
    assert "solver='lbfgs'" in str(error.value)
    assert model.theta_ is theta
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("estimator", [LSTMRegressor, LSTMClassifier])
def test_there_are_no_partial_fits(estimator):
    """As with MLPClassifier."""
    for model in (estimator(4, solver="lbfgs"), MLPClassifier(solver="lbfgs")):
        assert not hasattr(model, "partial_fit")
        with pytest.raises(AttributeError, match="partial_fit"):
            model.partial_fit(X[:, 0], Y)
    assert hasattr(clone(model).set_params(solver="adam"), "partial_fit")


def test_batches_and_rates_do_not_count():
    other = regressor(batch_size=3, learning_rate_init=1.0, momentum=0.1, clip_norm=1e-9)
    other.set_params(learning_rate="cosine", n_iter_no_change=1, shuffle=False)
    np.testing.assert_array_equal(other.fit(X, Y).theta_, regressor().fit(X, Y).theta_)


def test_blas_has_its_threads_back(monkeypatch):
    def threads():
        return {info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"}

    before, during = threads(), []
    compute = PenalisedLoss.value_and_grad

    def watched(self, theta):
        during.append(threads())
        return compute(self, theta)

    monkeypatch.setattr(PenalisedLoss, "value_and_grad", watched)
    regressor().fit(X, Y)
    assert during
    assert all(found == {1} for found in during)
    assert threads() == before
