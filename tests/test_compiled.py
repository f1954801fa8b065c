"""estimator.compile(): a step of a network in the user's own compiled code."""

import copy
import gc
import os
import pickle
import subprocess
import sys
import threading

import numba
import numpy as np
import pytest
from joblib import Parallel, delayed
from numba.core.errors import NumbaWarning
from scipy import LowLevelCallable, integrate, ndimage

from numba_lstm import LSTMClassifier, LSTMRegressor

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 9, 3))
Y = X[:, :, 0].mean(axis=1)
needs_jit = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="is about compiled code")


def fitted(kind=LSTMRegressor, y=Y, X=X, **options):
    options = {"hidden_size": 7, "max_iter": 2, "random_state": 0, "dtype": "float64"} | options
    return kind(**options).fit(X, y)


def walk(step, X):
    """The last output of each sequence."""
    out = []
    for x in X:
        state = step.new_state()
        for row in x:
            y = step(row, state)
        out.append(y)
    return np.array(out)


NETWORKS = {
    "plain": {},
    "float32": {"dtype": "float32", "hidden_size": 37},
    "stack": {"hidden_size": [5, 9], "residual": False},
    "residual": {"hidden_size": 6, "num_layers": 2, "residual": True},
    "projected": {"proj_size": 3},
    "gates": {"peephole": True, "coupled_gates": True, "cell_clip": 0.6},
    "norm": {"layer_norm": True, "learn_initial_state": True},
    "zoneout": {"zoneout_cell": 0.2, "zoneout_hidden": 0.1},
    "head": {"head_hidden_size": 5, "head_activation": "tanh"},
    "no bias": {"bias": False},
}


@pytest.mark.nojit
@pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)
def test_steps_are_the_predictions(options):
    """In float64 to the last bit, and in float32, too: it is the same arithmetic."""
    model = fitted(**options)
    found = walk(model.compile(), X[:5])
    np.testing.assert_array_equal(found, model.predict(X[:5]))


@pytest.mark.nojit
def test_several_outputs_and_classes():
    both = fitted(y=np.stack([Y, -Y], axis=1))
    np.testing.assert_array_equal(walk(both.compile(), X[:5]), both.predict(X[:5]))
    one_column = fitted(LSTMClassifier, y=np.where(Y > 0, "up", "down"))
    several = fitted(LSTMClassifier, y=np.digitize(Y, [-0.3, 0.3]))
    labels = fitted(LSTMClassifier, y=(X[:, -1] > 0).astype(int))
    for model in (one_column, several, labels):
        expected = model.predict_proba(X[:5])
        np.testing.assert_allclose(walk(model.compile(), X[:5]), expected, rtol=1e-12)


@needs_jit
def test_loops_in_parallel():
    model = fitted(dtype="float32", hidden_size=20)
    step = model.compile()
    start = step.new_state()

    @numba.njit(parallel=True)
    def run(X):
        out = np.empty(len(X))
        for i in numba.prange(len(X)):
            state = start.copy()
            for t in range(X.shape[1]):
                out[i] = step(X[i, t], state)
        return out

    np.testing.assert_array_equal(run(X), model.predict(X))
    np.testing.assert_array_equal(run(X.astype(np.float32)), model.predict(X.astype(np.float32)))


@needs_jit
def test_in_scipy():
    series = np.sin(np.arange(300) / 7)
    windows = np.lib.stride_tricks.sliding_window_view(series[:-1], 9)[..., np.newaxis]
    model = fitted(X=windows, y=series[9:])
    step, size = model.compile(), 9
    start = step.new_state()
    signature = "intc(CPointer(float64), intp, CPointer(float64), voidptr)"

    @numba.cfunc(signature)
    def last(values, n, out, data):
        state = start.copy()
        for t in range(n):
            out[0] = step(values[t], state)
        return 1

    name = "int (double *, npy_intp, double *, void *)"
    called = LowLevelCallable(last.ctypes, signature=name)
    # Of two dimensions, since its filter is of lines.
    found = ndimage.generic_filter(series, called, size=size, origin=0, mode="nearest")
    expected = model.predict(windows)
    np.testing.assert_array_equal(found[4 : 4 + len(expected)], expected)

    line = "intc(CPointer(float64), intp, CPointer(float64), intp, voidptr)"

    @numba.cfunc(line)
    def along(values, n, out, n_out, data):
        state = start.copy()
        for t in range(n_out):
            out[t] = step(values[t], state)
        return 1

    name = "int (double *, npy_intp, double *, npy_intp, void *)"
    rows = np.tile(series, (2, 1))
    called = LowLevelCallable(along.ctypes, signature=name)
    found = ndimage.generic_filter1d(rows, called, filter_size=1, axis=1)
    stream = model.stream()
    np.testing.assert_array_equal(found, [[stream.step(x) for x in series]] * 2)

    @numba.cfunc("float64(float64)")
    def after_one(x):
        state = start.copy()
        return step(x, state)

    area, _ = integrate.quad(LowLevelCallable(after_one.ctypes), -1, 1)
    points, weights = np.polynomial.legendre.leggauss(40)
    values = model.predict(points[:, np.newaxis, np.newaxis])
    assert area == pytest.approx(weights @ values, rel=1e-8)

    @numba.njit
    def slope(t, y):
        state = start.copy()
        for _ in range(3):
            push = step(y, state)
        return push - y

    solved = integrate.solve_ivp(slope, (0, 1), [0.5], rtol=1e-6)

    def by_predict(t, y):
        return model.predict(np.tile(y, (1, 3, 1))) - y

    expected = integrate.solve_ivp(by_predict, (0, 1), [0.5], rtol=1e-6)
    np.testing.assert_allclose(solved.y, expected.y, rtol=1e-12)


@pytest.mark.nojit
def test_states_go_their_own_ways():
    model = fitted()
    step = model.compile()
    state = step.new_state()
    for x in X[0, :4]:
        step(x, state)
    kept = state.copy()
    first = [step(x, state) for x in X[0, 4:]]
    assert [step(x, kept) for x in X[0, 4:]] == first
    assert walk(step, X[:1]) == first[-1]


@pytest.mark.nojit
def test_weights_stay_as_they_are():
    model = fitted()
    step, expected = model.compile(), model.predict(X[:3])
    assert model.compile() is step
    model.fit(X, 3 * Y + 1)
    other = model.compile()
    assert other is not step
    other_expected = model.predict(X[:3])
    del model
    gc.collect()
    np.testing.assert_array_equal(walk(step, X[:3]), expected)
    np.testing.assert_array_equal(walk(other, X[:3]), other_expected)


@pytest.mark.nojit
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_wrong_numbers_give_nan_and_change_nothing(wrong):
    step = fitted().compile()
    state = step.new_state()
    first = step(X[0, 0], state)
    before = state.copy()
    assert np.isnan(step(np.array([0, wrong, 0]), state))
    again = before.copy()
    assert step(X[0, 1], state) == step(X[0, 1], again) != first


@needs_jit
def test_wrong_arguments_are_refused():
    step, other = fitted().compile(), fitted(hidden_size=3).compile()
    state = step.new_state()
    with pytest.raises(ValueError, match="features"):
        step(X[0, 0, :2], state)
    with pytest.raises(ValueError, match="features"):
        step(0.5, state)
    with pytest.raises(ValueError, match="another network"):
        step(X[0, 0], other.new_state())


@needs_jit
def test_arguments_of_wrong_types_are_refused_in_a_line():
    step = fitted().compile()
    state = step.new_state()
    fixed = state.copy()
    fixed.setflags(write=False)

    @numba.njit
    def around(x, state):
        return step(x, state)

    for call in (step, around):
        for x, given, match in (
            ("0.5", state, "x is unicode_type; a step takes an array of numbers"),
            (X[0, 0].tolist(), state, "x is reflected list.*; a step takes an array of numbers"),
            (tuple(X[0, 0]), state, "x is UniTuple.*; a step takes an array of numbers"),
            (None, state, "x is none; a step takes an array of numbers"),
            (X[0], state, "x has 2 dimensions"),
            (X[0, 0], state.astype(np.float32), "state is .*float32.* use step.new_state()"),
            (X[0, 0], None, "state is none; .* use step.new_state()"),
            (X[0, 0], fixed, "state is read-only"),
        ):
            with pytest.raises(TypeError, match=f"^{match}") as refused:
                call(x, given)
            assert len(str(refused.value)) < 150
        np.testing.assert_array_equal(state, step.new_state())
        assert np.isfinite(call(X[0, 0], state.copy()))


@pytest.mark.nojit
def test_networks_that_have_no_steps():
    times = np.cumsum(np.ones(X.shape[:2]), axis=1)
    gaps = np.where(RNG.random(X.shape) < 0.2, np.nan, X)
    cases = [
        (fitted(bidirectional=True), "compile.* one time step after the other"),
        (fitted(pooling="mean"), "pooling='mean'"),
        (fitted(missing="mask", X=gaps), "missing='mask'"),
        (LSTMRegressor(3, max_iter=1).fit(X, Y, times=times), "times"),
    ]
    for model, match in cases:
        with pytest.raises(ValueError, match=match):
            model.compile()


@needs_jit
def test_copies_and_pickles_are_the_same_step():
    step = fitted(cell_clip=2.0).compile()
    assert copy.deepcopy(step) is step
    assert pickle.loads(pickle.dumps(step)) is step
    state = step.new_state()
    found = Parallel(2)(delayed(first_of)(step, x) for x in X[:4, 0])
    assert found == [step(x, state.copy()) for x in X[:4, 0]]


@needs_jit
def test_threads_that_compile_at_once_have_one_step():
    model, ready = fitted(random_state=5), threading.Barrier(2)
    found = Parallel(2, backend="threading")(
        delayed(lambda: (ready.wait(60), model.compile())[1])() for _ in range(2)
    )
    assert found[0] is found[1] is model.compile()


def first_of(step, x):
    return step(x, step.new_state())


@needs_jit
def test_a_state_of_zeros_is_a_beginning():
    """Nothing in it is the network's own."""
    for options in ({"cell_clip": 0.3}, {"zoneout_cell": 0.5, "zoneout_hidden": 0.5}):
        step = fitted(**options).compile()
        state = step.new_state()
        assert step(X[0, 0], np.zeros_like(state)) == step(X[0, 0], state)


CACHED = """
import sys
import warnings
import numba
import numpy as np
from numba_lstm import LSTMRegressor

X = np.random.default_rng(0).standard_normal((20, 5, 2))
step = LSTMRegressor(4, max_iter=1, random_state=int(sys.argv[1])).fit(X, X[:, 0, 0]).compile()

@numba.njit(cache=True)
def first(x, state):
    return step(x, state)

with warnings.catch_warnings(record=True) as found:
    warnings.simplefilter("always")
    value = first(X[0, 0], step.new_state())
assert value == step(X[0, 0], step.new_state())
print([one.category.__name__ for one in found])
"""


@needs_jit
def test_no_cache_keeps_an_address(tmp_path):
    """In another process it would be somebody else's memory."""
    script = tmp_path / "script.py"
    script.write_text(CACHED)
    for seed in "12":
        found = subprocess.run(
            [sys.executable, script, seed],
            env=os.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == 0, found.stderr
        assert NumbaWarning.__name__ in found.stdout
