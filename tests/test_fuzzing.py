"""Calls in any order, with right and wrong arguments: a right result, or an error and no trace.

FUZZ_CALLS is how many calls to make, FUZZ_SEED another choice of them.
"""

import contextlib
import copy
import os
import warnings
from functools import partial

import numpy as np
import reference
from fuzzing import (
    RIGHT,
    WRONG,
    draw_state,
    draw_times,
    draw_weight,
    draw_X,
    draw_y,
    listed,
)
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError

from numba_lstm import LSTMClassifier, LSTMRegressor

CALLS_OF_AN_EXAMPLE = 10
CALLS = int(os.environ.get("FUZZ_CALLS", 5000))
SEED = os.environ.get("FUZZ_SEED")


def same(a, b):
    """Whether two attributes, or arguments, are the same through and through."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        return all(map(same, a.flat, b.flat)) if a.dtype == object else a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.random.Generator):
        return same(a.bit_generator.state, b.bit_generator.state)
    if hasattr(a, "__dict__") and not isinstance(a, type):
        return same(vars(a), vars(b))
    return a is b or a == b or (a != a and b != b)


def seen(x, mean):
    """What a network sees of inputs with gaps: the last value, a flag, for how long."""
    rows, last, since = [], np.array(mean), np.zeros(len(mean))
    for row in x:
        gap = np.isnan(row)
        last, since = np.where(gap, last, row), np.where(gap, since + 1, 0)
        rows.append([*last, *gap, *np.log1p(since)])
    return np.array(rows)


def moments(times, n):
    """Times of each sequence, numbers or seconds."""
    times = [times] * n if np.ndim(times[0]) == 0 else times
    dates = np.asarray(times[0]).dtype.kind == "M"
    return [np.asarray(t).astype("M8[s]").astype(float) if dates else np.asarray(t) for t in times]


def decay_of(times, scale):
    """Baytas et al. (2017): 1 / log(e + gap), less 1; gaps of 1 change nothing."""
    if np.isnan(scale):  # no time had passed between any two steps
        return np.zeros(len(times))
    return np.append(0, 1 / np.log(np.e + np.diff(times) / scale - 1) - 1)


def expected(model, X, times=None):
    """Outputs of the naive network in the targets' units, of all sequences in a row."""
    sequences = [np.asarray(x, np.float64) for x in X]
    sequences = [x[:, np.newaxis] if x.ndim == 1 else x for x in sequences]
    if model._masks:
        F = sequences[0].shape[1]
        sequences = [seen(x, model.input_mean_[:F]) for x in sequences]
    scaled = [(x - model.input_mean_) / model.input_scale_ for x in sequences]
    decays = None
    if times is not None:
        decays = [decay_of(t, model.time_scale_) for t in moments(times, len(X))]
    layout = model._layout  # of the network as it was fitted: parameters may have changed since
    return reference.outputs(
        scaled,
        model.parameters_,
        model._targets.per_step,
        decays=decays,
        pooling=layout.pooling,
        head_activation=layout.head_activation,
        direction=layout.direction,
        merge=layout.merge,
        residual=layout.residual,
        coupled=layout.coupled,
        limit=layout.limit,
        zoneout=layout.zoneout,
    )


def check_predictions(model, X, found, times=None):
    per_step, columns = model._targets.per_step, model._targets.has_columns
    if per_step and isinstance(found, list):
        assert [len(y) for y in found] == [len(x) for x in X]
        found = np.concatenate(found)
    elif per_step:
        assert found.shape[:2] == np.shape(X)[:2]
        found = found.reshape(-1, *found.shape[2:])
    else:
        assert len(found) == len(X)
    assert found.ndim == 1 + columns
    # Weights that have not been kept small by steps of a sensible size round more, not less.
    size = max(1.0, float(np.abs(model.theta_).max())) ** 2
    if isinstance(model, LSTMClassifier):
        assert np.isin(found, model.classes_).all()
        return
    assert found.dtype == np.float64
    assert np.isfinite(found).all()
    if size > 100:
        return
    with np.errstate(over="ignore"):
        out = expected(model, X, times)
    rounding = (2e-4 if model.theta_.dtype == np.float32 else 1e-9) * size
    reach = np.abs(out).max() + 1
    found = (found.reshape(out.shape) - model.target_mean_) / model.target_scale_
    rounding *= 1 + np.max(np.abs(model.target_mean_) / model.target_scale_) * 1e-6
    np.testing.assert_allclose(found, out, rtol=0, atol=rounding * reach)


def check_states(model, X, states):
    for part in states:
        assert len(part) == len(X)
        for x, rows in zip(X, part, strict=True):
            assert len(rows) == len(x)
            assert rows.dtype == model.theta_.dtype
            assert np.isfinite(rows).all()


METHODS = ["fit", "fit", "partial_fit", "predict", "predict", "score", "hidden_states", "set"]
METHODS += ["predict_proba", "attention_weights", "stream"]


def arguments(model, name, rng, F):
    """What to call a method with."""
    per_step, classifier = model.return_sequences, isinstance(model, LSTMClassifier)
    X, lengths = draw_X(rng, F if rng.random() < 0.95 else F + 1)
    args = {"X": X}
    timed = getattr(model, "time_scale_", None) is not None
    if rng.random() < (0.9 if timed else 0.1):
        args["times"] = draw_times(rng, lengths)
    if name in ("fit", "partial_fit", "score"):
        args["y"] = draw_y(rng, classifier, per_step, lengths)
        args["sample_weight"] = draw_weight(rng, len(lengths))
    if name == "fit" and rng.random() < 0.2:
        args["X_val"], lengths = draw_X(rng, F)
        args["y_val"] = draw_y(rng, classifier, per_step, lengths)
        if "times" in args:
            args["times_val"] = draw_times(rng, lengths)
    if name == "hidden_states":
        args["layer"] = [-1, -1, -1, 0, 0, 1, 5, "last"][rng.integers(8)]
    if name == "predict" and rng.random() < 0.3:
        args["return_state"] = True
        if hasattr(model, "theta_") and rng.random() < 0.5:
            args["initial_state"] = draw_state(model, rng, len(lengths))
    return args


def stream_through(model, X, times=None):
    """Outputs of the first sequence, step by step, and what predict has for it."""
    model.predict(X, times=times)  # which checks what a stream never sees
    x = X[0]
    steps = [None] * len(x) if times is None else (times if np.ndim(times[0]) == 0 else times[0])
    stream = model.stream()
    found = [stream.step(row, time) for row, time in zip(x, steps, strict=True)]
    state = stream.state
    for wrong in (np.full(np.shape(x[0]), np.inf), "text", np.zeros((1, 2, 3))):
        with contextlib.suppress(ValueError, TypeError):
            stream.step(wrong, steps[-1])
            raise AssertionError("a wrong step was taken")
    assert same(stream.state, state)
    given = None if times is None else [steps]
    return found if model._targets.per_step else found[-1:], model.predict([x], times=given)


def call(model, rng, F):
    """One call, which must end well or leave no trace; returns its name and how it ended."""
    name = METHODS[rng.integers(len(METHODS))]
    if name == "set":
        wrong = rng.random() < 0.1
        pairs = listed(WRONG if wrong else RIGHT)
        option, value = pairs[rng.integers(len(pairs))]
        model.set_params(**{option: value})
        return name, None
    if name == "partial_fit" and model.solver == "lbfgs":
        assert not hasattr(model, name)
        return name, "AttributeError"
    args = arguments(model, name, rng, F)
    given, before = copy.deepcopy(args), copy.deepcopy(vars(model))
    method = getattr(model, name, None)
    if name == "predict_proba" and method is None:
        return name, None
    if name == "stream":
        method = partial(stream_through, model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what scikit-learn and the library warn of is meant
            warnings.simplefilter("error", RuntimeWarning)
            found = method(**args)
    except (ValueError, TypeError, NotFittedError) as error:
        assert same(vars(model), before), name
        ended = type(error).__name__
    else:
        ended = None
        check_result(model, name, args, found, before)
    assert same(args, given), name
    return name, ended


def check_result(model, name, args, found, before):
    X, times = args["X"], args.get("times")
    if name in ("fit", "partial_fit"):
        assert found is model
        assert np.isfinite(model.theta_).all()
        assert np.isfinite(model.loss_curve_).all()
        check_predictions(model, X, model.predict(X, times=times), times)
        return
    assert same(vars(model), before), name
    if name == "predict" and "return_state" in args:
        found, state = found
        arrays = [one for part in state for one in (part if isinstance(part, list) else [part])]
        assert all(len(one) == len(X) and np.isfinite(one).all() for one in arrays)
        if "initial_state" not in args:
            check_predictions(model, X, found, times)
    elif name == "predict":
        check_predictions(model, X, found, times)
    elif name == "hidden_states":
        check_states(model, X, found)
    elif name == "attention_weights":
        for x, weights in zip(X, found, strict=True):
            assert len(weights) == len(x)
            assert abs(weights.sum() - 1) < 1e-5
    elif name == "predict_proba":
        for p in found:
            assert ((p >= 0) & (p <= 1)).all()
    elif name == "stream":
        stepped, whole = found
        whole = whole[0] if model._targets.per_step else whole
        if np.asarray(whole).dtype.kind == "f":
            size = (1 + np.abs(whole).max()) * max(1.0, np.abs(model.theta_).max())
            np.testing.assert_allclose(stepped, whole, rtol=0, atol=1e-5 * size)
    else:
        assert not np.isinf(found)


def run_calls(seed_of_example, classifier, options, F, ends):
    rng = np.random.default_rng(seed_of_example)
    estimator = LSTMClassifier if classifier else LSTMRegressor
    model = estimator(**({"hidden_size": 3, "max_iter": 1} | dict(options)), random_state=0)
    for _ in range(CALLS_OF_AN_EXAMPLE):
        ends.append(call(model, rng, F))


few_options = st.lists(st.sampled_from(listed(RIGHT)), max_size=4)


def test_any_calls_end_well_or_leave_no_trace():
    ends = []

    @settings(
        max_examples=max(1, CALLS // CALLS_OF_AN_EXAMPLE),
        deadline=None,
        derandomize=SEED is None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**32), st.booleans(), few_options, st.integers(1, 3))
    def many(seed_of_example, classifier, options, F):
        run_calls(seed_of_example, classifier, options, F, ends)

    (many if SEED is None else seed(int(SEED))(many))()
    if CALLS >= 1000:  # else what follows is a matter of chance
        for name in ("fit", "partial_fit", "predict", "score", "hidden_states"):
            well = [ended is None for found, ended in ends if found == name]
            assert 0.03 < np.mean(well) < 0.95, name
