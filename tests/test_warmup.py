"""Compiling ahead of time for an estimator that is yet to be fitted."""

import numpy as np
import pytest
from test_processes import MISSES, run

from numba_lstm import LSTMClassifier, LSTMRegressor, LSTMTransformer, warmup

# The estimator, whether with times, and its targets.
CASES = {
    "classes": (
        "LSTMClassifier(5, num_layers=2, dropout=0.1, missing='mask', pooling='attention', "
        "class_weight={0: 1, 1: 2, 2: 1}, dtype='float64')",
        False,
        "np.arange(40) % 3",
    ),
    "lbfgs": (
        "LSTMRegressor(5, solver='lbfgs', return_sequences=True, max_iter=3)",
        True,
        "X.copy()",
    ),
}

FIT = """
import numpy as np
X = np.random.default_rng(0).standard_normal((40, 12, 2))
y = {y}
if model.missing == "mask":
    X[3, 4:6] = np.nan
times = np.cumsum(np.ones((40, 12)), axis=1) ** 1.5 if {times} else None
model.fit(X, y, times=times).predict(X, times=times)
print(compiled)
"""


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_nothing_is_left_to_compile(tmp_path, case):
    made, times, y = case
    make = f"import numba_lstm\nfrom numba_lstm import *\nmodel = {made}\n"
    cache = {"NUMBA_CACHE_DIR": str(tmp_path)}
    run(f"{make}numba_lstm.warmup(estimator=model, times={times})", **cache)
    last = run(MISSES + make + FIT.format(y=y, times=times), **cache).splitlines()[-1]
    assert last == "[]"


def test_nothing_is_left_to_compile_for_lists(tmp_path):
    cache = {"NUMBA_CACHE_DIR": str(tmp_path)}
    run("import numba_lstm\nnumba_lstm.warmup()", **cache)
    code = """
import numpy as np
from numba_lstm import LSTMRegressor
rng = np.random.default_rng(0)
X = [rng.standard_normal((n, 2)) for n in rng.integers(2, 9, 40)]
LSTMRegressor(5, max_iter=5, batch_size=8).fit(X, rng.standard_normal(40)).predict(X)
print(compiled)
"""
    assert run(MISSES + code, **cache).splitlines()[-1] == "[]"


@pytest.mark.nojit
@pytest.mark.parametrize(
    "options",
    [
        {"early_stopping": True, "validation_fraction": 0.5},
        {"stateful": True, "batch_size": 3, "return_sequences": True},
        {"stateful": True, "batch_size": 1},
        {"missing": "mask", "tbptt_steps": 2},
        {"residual": True, "num_layers": 2, "hidden_size": [3, 3]},
        {"dtype": "float64", "standardize": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [LSTMRegressor, LSTMClassifier])
def test_an_estimator_leaves_nothing_behind(tmp_path, kind, options):
    given = np.random.RandomState(0)
    path = tmp_path / "progress"
    model = kind(**{"hidden_size": 3, "checkpoint": path, "random_state": given} | options)
    before, state = model.get_params(), str((np.random.get_state(), given.get_state()))  # noqa: NPY002
    for times in (False, True):
        warmup(estimator=model, times=times)
        warmup(estimator=model, times=times, shape=(6, 5, 2))
    assert str((np.random.get_state(), given.get_state())) == state  # noqa: NPY002
    assert model.get_params() == before
    assert not hasattr(model, "theta_")
    assert not path.exists()


@pytest.mark.nojit
def test_other_calls():
    warmup("float64", 1, solver="lbfgs", times=True)
    warmup(return_sequences=True, missing="mask", hidden_size=3)
    warmup(estimator=LSTMClassifier(3, class_weight={"yes": 1, "no": 2}))
    warmup(estimator=LSTMClassifier(3, class_weight="balanced", max_iter=7).set_params(verbose=1))
    for options in ({"dtype": "float64"}, {"n_jobs": 2}, {"hidden_size": 3}):
        with pytest.raises(ValueError, match=f"^{next(iter(options))}: an estimator was passed"):
            warmup(estimator=LSTMRegressor(), **options)
    for wrong in (LSTMTransformer(), LSTMRegressor, "float64"):
        with pytest.raises(TypeError, match="warmup takes"):
            warmup(estimator=wrong)
    with pytest.raises(ValueError, match="hidden_size"):
        warmup(estimator=LSTMRegressor(0))
