"""Data at the ends of what numbers can be: finite results, or a clear error beforehand."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from numba_lstm import LSTMClassifier, LSTMRegressor

rng = np.random.default_rng(0)
N, T, F = 12, 5, 2
X = rng.standard_normal((N, T, F))
Y = X[:, -1, 0] - X[:, -2, 1]
DTYPES = "float32", "float64"
ESTIMATORS = LSTMRegressor, LSTMClassifier
VARIANTS = {
    "plain": {},
    "normalisation": {"layer_norm": True},
    "zoneout": {"zoneout_hidden": 0.3, "zoneout_cell": 0.3},
    "mask": {"missing": "mask"},
    "attention": {"pooling": "attention"},
}


@pytest.fixture(autouse=True)
def only_warnings_of_convergence():
    """Whatever NumPy or scikit-learn warns of is an error; that training diverged is not."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def make(estimator=LSTMRegressor, **options):
    settings = {"hidden_size": 4, "max_iter": 2, "batch_size": 5, "random_state": 0}
    return estimator(**(settings | options))


def targets(estimator):
    return Y if estimator is LSTMRegressor else Y > 0


def scaled(factor, dtype):
    """X times a factor, as far as the dtype goes: what would be infinite is its largest."""
    top = float(np.finfo(dtype).max)
    return np.clip(X * min(factor, top / 10), -top, top).astype(dtype)


def changed(value, dtype, step=2):
    x = X.astype(dtype)
    x[3, step, 1] = value
    return x


def extremes(dtype):
    """Inputs (N, T, F), all finite."""
    info = np.finfo(dtype)
    return {
        "1e30": scaled(1e30, dtype),
        "nearly all": scaled(np.inf, dtype),
        "all": np.where(X < 0, info.min, info.max).astype(dtype),
        "one": changed(info.max, dtype),
        "the last": changed(info.min, dtype, T - 1),
        "denormal": np.full(X.shape, info.smallest_subnormal) * np.sign(X).astype(dtype),
        "tiny": scaled(float(info.tiny), dtype),
        "zeros": np.zeros_like(X, dtype),
        "constant": np.full_like(X, 0.1, dtype),
        "a large constant": np.full_like(X, info.max / 2, dtype),
        "far off": (X + 1e12).astype(dtype),
    }


def check_finite(fitted, x, times=None):
    """Outputs, states and streams of finite inputs are finite."""
    options = {} if times is None else {"times": times}
    if isinstance(fitted, LSTMClassifier):
        p = fitted.predict_proba(x, **options)
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
        assert ((p >= 0) & (p <= 1)).all()
        assert np.isin(fitted.predict(x, **options), fitted.classes_).all()
    else:
        assert np.isfinite(fitted.predict(x, **options)).all()
    for part in fitted.hidden_states(x, **options):
        assert np.isfinite(part).all()
    for gate in fitted.gate_activations(x, **options):
        assert np.isfinite(gate).all()
    if fitted.pooling != "last":
        np.testing.assert_allclose(fitted.attention_weights(x).sum(axis=1), 1, rtol=1e-5)
        return
    stream = fitted.stream(len(x))
    for t in range(x.shape[1]):
        out = stream.step(x[:, t], *([] if times is None else [times[:, t]]))
        assert isinstance(fitted, LSTMClassifier) or np.isfinite(out).all()
    for part in stream.state:
        assert np.isfinite(part).all()


def check_finite_fit(fitted):
    for name in ("theta_", "loss_curve_", "input_mean_", "input_scale_", "target_scale_"):
        assert np.isfinite(getattr(fitted, name)).all(), name
    assert (fitted.input_scale_ > 0).all()


def refuses(model, message, *args, **options):
    """A fit that fails, and leaves no trace."""
    before = vars(model).copy()
    with pytest.raises(ValueError, match=message):
        model.fit(*args, **options)
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is value for name, value in before.items())


# -- inputs ----------------------------------------------------------------------------


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_predictions_of_any_finite_input(variant, estimator, dtype, standardize):
    fitted = make(estimator, dtype=dtype, standardize=standardize, **VARIANTS[variant])
    fitted.fit(X, targets(estimator))
    for of in DTYPES:
        for x in extremes(of).values():
            check_finite(fitted, x)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_fits_to_any_finite_input(variant, estimator, dtype, standardize):
    refused = set()
    for of in DTYPES:
        for name, x in extremes(of).items():
            model = make(estimator, dtype=dtype, standardize=standardize, **VARIANTS[variant])
            # The squares of float32 fit float64, in which the statistics are made; of the
            # differences from the first value, which in a constant feature are none.
            if standardize and of == "float64" and np.ptp(x / 2) > 1e153:
                refuses(model, "X, feature [01] .* too large: their", x, targets(estimator))
                refused.add(name)
                continue
            model.fit(x, targets(estimator))
            check_finite_fit(model)
            check_finite(model, x)
            check_finite(model, X)
    large = {"nearly all", "all", "one", "the last"}
    assert refused == (large if standardize else set())


@pytest.mark.parametrize("dtype", DTYPES)
def test_times_far_apart(dtype):
    times = np.cumsum(rng.random((N, T)), axis=1)
    times[0] *= 1e300
    times[1] *= 1e-300
    fitted = make(dtype=dtype).fit(X, Y, times=times)
    check_finite_fit(fitted)
    for x in extremes("float64").values():
        check_finite(fitted, x, times)
        check_finite(fitted, x, times * 1e-3)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_single_step_and_a_single_sequence(variant, estimator, standardize):
    y = targets(estimator)
    for x in (X[:, :1], np.zeros((N, 1, 1))):
        model = make(estimator, standardize=standardize, **VARIANTS[variant]).fit(x, y)
        check_finite_fit(model)
        check_finite(model, x)
        check_finite(model, x[:1])
    model = make(estimator, standardize=standardize, **VARIANTS[variant])
    if estimator is LSTMClassifier:
        refuses(model, "one class", X[:1], y[:1])
        return
    for x in (X[:1], X[:1, :1]):
        model.fit(x, y[:1])
        check_finite_fit(model)
        check_finite(model, x)
        if standardize:  # of one target the mean is all there is to learn
            assert model.predict(x) == pytest.approx(y[:1], abs=1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("per_step", [False, True])
def test_a_long_series(dtype, per_step):
    series = np.cumsum(rng.standard_normal((2, 20_000, 1)), axis=1)
    y = series[:, :, 0] if per_step else series[:, -1, 0]
    model = make(dtype=dtype, return_sequences=per_step, forget_bias=30.0).fit(series, y)
    check_finite_fit(model)
    found, state = model.predict(series, return_state=True)
    assert found.shape == y.shape
    assert np.isfinite(found).all()
    half, middle = model.predict(series[:, :12_345], return_state=True)
    rest = model.predict(series[:, 12_345:], initial_state=middle)
    np.testing.assert_array_equal(rest, found[:, 12_345:] if per_step else found)
    assert np.isfinite(half).all()
    assert all(np.isfinite(part).all() for part in state)


# -- targets and weights ---------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile"])
def test_targets_of_any_scale(loss, dtype):
    """Standardised, they are learned alike whatever their units, and come back in them."""
    plain = make(dtype=dtype, loss=loss).fit(X, Y)
    for scale, offset in ((1e30, 0), (1e38, 0), (1e150, 0), (1e-150, 0), (1, 1e12)):
        y = Y * scale + offset
        model = make(dtype=dtype, loss=loss).fit(X, y)
        rounding = 1e-3 if offset else 1e-4  # of targets that have four digits left
        found = (model.predict(X) - offset) / scale
        np.testing.assert_allclose(found, plain.predict(X), atol=rounding)
    for y in (np.zeros(N), np.full(N, 1e30), np.full(N, 1e12)):
        model = make(dtype=dtype, loss=loss).fit(X, y)
        check_finite_fit(model)
        assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_targets_too_large(dtype, per_step, early_stopping):
    y = np.tile(Y[:, np.newaxis], T) if per_step else Y
    one = y.copy()
    one[0] = 1e300
    options = {"dtype": dtype, "return_sequences": per_step, "early_stopping": early_stopping}
    options["validation_fraction"] = 0.3
    for wrong in (y * 1e300, np.where(y > 0, 1.7e308, -1.7e308), one):
        # One that is set aside for validation leaves no trace in the statistics.
        refuses(make(**options), "y, output 0 .* too large|A target is 1.0e[+]300", X, wrong)
    options["standardize"] = False
    too_large = [1e300, 1e155] + [1e20, 1e38] * (dtype == "float32")
    for scale in too_large:
        refuses(make(**options), f"overflows in {dtype}. Divide y", X, y * scale)
    model = make(**options).fit(X, y)
    before = model.theta_.copy()
    model.set_params(warm_start=True)
    refuses(model, "A target is 1.0e[+]300 in the units of the network", X, one)
    np.testing.assert_array_equal(model.theta_, before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_weights_of_zero_and_of_any_scale(estimator, dtype):
    y = targets(estimator)
    weight = np.arange(N) % 3.0
    settings = {"shuffle": False, "dtype": dtype}
    model = make(estimator, **settings).fit(X, y, sample_weight=weight)
    check_finite_fit(model)
    wild = X.copy()
    wild[weight == 0] = 1e150  # what has no weight leaves no trace
    again = make(estimator, **settings).fit(wild, y, sample_weight=weight)
    np.testing.assert_array_equal(again.theta_, model.theta_)
    check_finite(again, wild)
    for scale in (2.0**-500, 2.0**300):  # powers of 2, so that nothing is rounded
        again = make(estimator, **settings).fit(X, y, sample_weight=weight * scale)
        np.testing.assert_allclose(again.theta_, model.theta_, atol=1e-5)
    refuses(make(estimator), "is zero for every sequence", X, y, sample_weight=np.zeros(N))


# -- training that explodes ------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "sgd", "rmsprop"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_steps_far_too_large(estimator, dtype, solver):
    y, rate = targets(estimator), 1e38 if dtype == "float32" else 1e307
    options = {"solver": solver, "clip_norm": None, "dtype": dtype, "max_iter": 5}
    model = make(estimator, learning_rate_init=rate, **options)
    with pytest.warns(ConvergenceWarning, match="Training diverged in epoch"):
        model.fit(X, y)
    assert np.isfinite(model.theta_).all()
    assert np.isfinite(model.loss_curve_).all()
    check_finite(model, X)
    model.set_params(warm_start=True, learning_rate_init=0.01, clip_norm=1.0)
    check_finite_fit(model.fit(X, y))


@pytest.mark.parametrize("kind", [LSTMRegressor, LSTMClassifier])
@pytest.mark.parametrize("options", [{}, {"head_hidden_size": 3}, {"proj_size": 2}])
def test_weights_that_explode_in_the_last_step(kind, options):
    """The loss was that of the weights before: nothing but the weights tells."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((12, 4, 2))
    y = X[:, -1, 0] > 0 if kind is LSTMClassifier else X[:, -1, 0]
    model = kind(4, max_iter=1, learning_rate_init=1e30, random_state=0, **options)
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y)
    found = model.predict_proba(X) if kind is LSTMClassifier else model.predict(X)
    assert np.isfinite(found).all()
    assert np.abs(model.theta_).max() < 10
