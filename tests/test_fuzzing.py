"""Calls in any order, with right and wrong arguments: a right result, or an error and no trace.

FUZZ_CALLS is how many calls to make, FUZZ_SEED another choice of them.
"""

import copy
import os
import warnings

import numpy as np
import reference
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError

from numba_lstm import LSTMClassifier, LSTMRegressor

CALLS_OF_AN_EXAMPLE = 10
CALLS = int(os.environ.get("FUZZ_CALLS", 5000))
SEED = os.environ.get("FUZZ_SEED")

RIGHT = {
    "hidden_size": [1, 2, 3, 5, [3, 3], [4, 2], np.int64(2)],
    "bidirectional": [False, True],
    "merge_mode": ["concat", "sum", "mean"],
    "go_backwards": [False, True],
    "residual": [False, True],
    "bias": [True, False],
    "proj_size": [0, 0, 1],
    "layer_norm": [False, True],
    "peephole": [False, True],
    "coupled_gates": [False, True],
    "cell_clip": [None, 0.5],
    "learn_initial_state": [False, True],
    "pooling": ["last", "mean", "max", "attention"],
    "head_hidden_size": [None, 3],
    "return_sequences": [False, True],
    "zoneout_cell": [0.0, 0.3],
    "solver": ["adam", "sgd", "rmsprop", "lbfgs"],
    "max_iter": [1, 2],
    "batch_size": ["auto", 1, 3],
    "early_stopping": [False, True],
    "validation_fraction": [0.1, 0.5],
    "clip_norm": [1.0, None],
    "learning_rate_init": [0.005, 1e30],
    "tbptt_steps": [None, 2],
    "stateful": [False, True],
    "memory": ["full", "recompute"],
    "warm_start": [False, True],
    "standardize": [True, False],
    "dtype": ["float32", "float64", np.float64],
}
WRONG = {
    "hidden_size": [0, -1, 2.5, "four", None, [], [2, 0]],
    "merge_mode": ["both"],
    "proj_size": [-1, 7, 1.5],
    "pooling": ["first", None],
    "cell_clip": [0.0, -1, "1"],
    "max_iter": [0, 1.5, None],
    "batch_size": [0, "all"],
    "learning_rate_init": [0.0, np.nan, "fast"],
    "validation_fraction": [0.0, 1.0],
    "dtype": ["float16", int, None, "abc"],
    "solver": ["newton"],
    "n_jobs": [0, "two"],
    "device": ["cuda"],
    "random_state": ["seed", -1],
}


def listed(options):
    """Pairs of a parameter's name and a value."""
    return [(name, value) for name, values in options.items() for value in values]


def arranged(array, rng):
    """The same numbers otherwise in memory."""
    way = rng.integers(6)
    if way == 1:
        return np.asfortranarray(array)
    if way == 2:  # every other one of a larger array
        wide = np.repeat(array, 2, axis=-1)
        return wide[..., ::2]
    if way == 3:
        return np.ascontiguousarray(array[::-1])[::-1]
    if way == 4:
        array = array.copy()
        array.setflags(write=False)
    if way == 5 and array.dtype.kind == "f":
        return array.astype(array.dtype.newbyteorder())
    return array


def numbers(shape, rng):
    """An array of one of many types, in one of many orders."""
    kind = ["f2", "f4", "f8", "i1", "i8", "u2", "?", "O"][rng.integers(8)]
    scale = 10.0 ** rng.integers(-3, 4)
    values = rng.standard_normal(shape) * (10 if kind == "i1" else scale)
    values = np.abs(values) if kind == "u2" else values
    return arranged(values.astype(kind), rng)


def draw_X(rng, F):
    """Sequences, and the number of their steps; now and then something that is none."""
    N, longest = rng.integers(1, 7), rng.integers(1, 6)
    form = rng.integers(8)
    if form == 0:
        lengths = rng.integers(1, longest + 1, N)
        X = [numbers((n, F), rng) for n in lengths]
        return (tuple(X) if rng.random() < 0.3 else X), lengths
    lengths = np.full(N, longest)
    if form == 1:
        return numbers((N, longest), rng), lengths
    X = numbers((N, longest, F), rng)
    if form == 2:
        return X.tolist(), lengths
    if form == 3:
        wrong = np.array(X, float)
        wrong.flat[rng.integers(wrong.size)] = rng.choice([np.nan, np.inf, -np.inf])
        wrongs = [
            wrong, X[:0], X[:, :0], X[0, 0], X[..., np.newaxis], X.astype(str), X + 1j, None, 3.0,
            "text", [X[0], X[0, :0]], [X[0], None], [[1.0], [2.0, [3.0]]], X.astype("M8[s]")
            if X.dtype.kind == "i" else {}, [X[0], X[0, :, :1].repeat(F + 1, axis=1)],
        ]  # fmt: skip
        return wrongs[rng.integers(len(wrongs))], lengths
    return X, lengths


def draw_y(rng, classifier, per_step, lengths):
    """Targets that fit the sequences, for the most part."""
    if rng.random() < 0.1:
        per_step = not per_step
    K = [(), (), (), (1,), (2,)][rng.integers(5)]
    n = len(lengths) + (rng.random() < 0.05)

    def some(shape):
        if classifier:
            y = rng.integers(0, 2 if K else rng.integers(2, 4), shape)
            return y.astype([int, float, bool, str, object][0 if K else rng.integers(5)])
        return numbers(shape, rng)

    y = some((n, *K))
    if per_step and len(set(lengths)) == 1:
        y = some((n, lengths[0], *K))
    elif per_step:
        y = [some((m, *K)) for m in lengths]
    if rng.random() < 0.1:
        wrongs = [None, "text", 1.0, [], [np.nan] * n, ["a", 1.0] * n, [None] * n, {}, [1j] * n]
        wrongs += [np.full((n, 1, 1, 1), 1.0), np.full(n, np.inf), ["few", "words"] * n]
        y = wrongs[rng.integers(len(wrongs))]
    return y


def draw_weight(rng, n):
    found = rng.integers(12)
    if found == 0:
        wrongs = [np.zeros(n), -np.ones(n), np.full(n, np.nan), np.ones(n + 1), "one"]
        return wrongs[rng.integers(len(wrongs))]
    if found < 4:
        return arranged(rng.integers(0, 3, n).astype(["f4", "f8", "i8"][found - 1]), rng)
    return None


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


def expected(model, X):
    """Outputs of the naive network in the targets' units, of all sequences in a row."""
    sequences = [np.asarray(x, np.float64) for x in X]
    sequences = [x[:, np.newaxis] if x.ndim == 1 else x for x in sequences]
    scaled = [(x - model.input_mean_) / model.input_scale_ for x in sequences]
    layout = model._layout  # of the network as it was fitted: parameters may have changed since
    return reference.outputs(
        scaled,
        model.parameters_,
        model._targets.per_step,
        pooling=layout.pooling,
        head_activation=layout.head_activation,
        direction=layout.direction,
        merge=layout.merge,
        residual=layout.residual,
        coupled=layout.coupled,
        limit=layout.limit,
        zoneout=layout.zoneout,
    )


def check_predictions(model, X, found):
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
        out = expected(model, X)
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


def call(model, rng, F):
    """One call, which must end well or leave no trace; returns its name and how it ended."""
    classifier = isinstance(model, LSTMClassifier)
    name = ["fit", "fit", "partial_fit", "predict", "predict", "score", "hidden_states", "set"][
        rng.integers(8)
    ]
    if name == "set":
        wrong = rng.random() < 0.1
        pairs = listed(WRONG if wrong else RIGHT)
        option, value = pairs[rng.integers(len(pairs))]
        model.set_params(**{option: value})
        return name, None
    X, lengths = draw_X(rng, F if rng.random() < 0.95 else F + 1)
    if name == "partial_fit" and model.solver == "lbfgs":
        assert not hasattr(model, name)
        return name, "AttributeError"
    args = {"X": X}
    if name in ("fit", "partial_fit", "score"):
        args["y"] = draw_y(rng, classifier, model.return_sequences, lengths)
        args["sample_weight"] = draw_weight(rng, len(lengths))
    if name == "fit" and rng.random() < 0.2:
        args["X_val"], lengths = draw_X(rng, F)
        args["y_val"] = draw_y(rng, classifier, model.return_sequences, lengths)
    if name == "hidden_states":
        args["layer"] = [-1, -1, -1, 0, 0, 1, 5, "last"][rng.integers(8)]
    given, before = copy.deepcopy(args), copy.deepcopy(vars(model))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what scikit-learn and the library warn of is meant
            warnings.simplefilter("error", RuntimeWarning)
            found = getattr(model, name)(**args)
    except (ValueError, TypeError, NotFittedError) as error:
        assert same(vars(model), before), name
        ended = type(error).__name__
    else:
        ended = None
        if name in ("fit", "partial_fit"):
            assert found is model
            assert np.isfinite(model.theta_).all()
            assert np.isfinite(model.loss_curve_).all()
            found = model.predict(X)
            check_predictions(model, X, found)
        else:
            assert same(vars(model), before), name
            if name == "predict":
                check_predictions(model, X, found)
            elif name == "hidden_states":
                check_states(model, X, found)
            else:
                assert not np.isinf(found)
    assert same(args, given), name
    return name, ended


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
