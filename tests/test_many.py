"""Many fits at once: what each would have been alone, or an error before there is any work."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline

from numba_lstm import LSTMClassifier, LSTMRegressor, LSTMTransformer, fit_many
from numba_lstm.network import Network
from numba_lstm.training.optimizers import Optimizer

rng = np.random.default_rng(0)
N, T = 24, 5
X = rng.standard_normal((N, T, 2))
Y = (X[:, -1, 0] + 0.5 * X[:, 0, 1] > 0).astype(float)
RAGGED = [x[: 2 + i % 4] for i, x in enumerate(X)]
WEIGHT = rng.uniform(0.5, 2, N)
TIMES = np.cumsum(rng.uniform(0.1, 3, (N, T)), axis=1)


def regressor(**parameters):
    basic = {"hidden_size": 3, "max_iter": 3, "batch_size": 8, "random_state": 0}
    return LSTMRegressor(**(basic | parameters))


def classifier(**parameters):
    basic = {"hidden_size": 4, "max_iter": 3, "batch_size": 8, "random_state": 0}
    return LSTMClassifier(**(basic | parameters))


def state(estimator):
    """All that a fit has left, the optimiser and the generator included."""
    return (
        pickle.dumps(
            {
                name: vars(value) if name == "_optimizer" else value
                for name, value in vars(estimator).items()
                if name not in estimator.get_params() and name != "_generator"
            }
        )
        + repr(estimator._generator.bit_generator.state).encode()
    )


def is_untouched(estimator):
    return vars(estimator) == estimator.get_params(deep=False)


ALONE = {"n_jobs": 1}  # threads that wait for one another are slow on a machine that is not idle
KINDS = [
    regressor(),
    regressor(hidden_size=2, n_jobs=2),
    regressor(hidden_size=[3, 4], dropout=0.3, learning_rate_init=0.02, **ALONE),
    regressor(early_stopping=True, validation_fraction=0.3, n_iter_no_change=1, **ALONE),
    regressor(solver="lbfgs", max_iter=5, **ALONE),
    regressor(learning_rate="cosine", solver="sgd", random_state=7, dtype="float64", **ALONE),
    regressor(tbptt_steps=2, **ALONE),
    classifier(**ALONE),
    classifier(bidirectional=True, pooling="attention", zoneout_cell=0.2, **ALONE),
]


@settings(max_examples=15, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=5),
    n_jobs=st.sampled_from([None, 1, 2, 3, -1]),
    data=st.sampled_from([(X,), (RAGGED,), (X, WEIGHT)]),
    shares=st.booleans(),
)
def test_each_is_as_its_own_fit_leaves_it(kinds, n_jobs, data, shares):
    """To the bit, whatever the number of threads; in order, if they share a random state."""
    expected, found = ([clone(kind) for kind in kinds] for _ in range(2))
    for models in (expected, found) if shares else ():
        random_state = np.random.RandomState(3)
        for model in models:
            model.random_state = random_state
    for model in expected:
        model.fit(data[0], Y, *data[1:])
    fitted = fit_many(found, data[0], Y, *data[1:], n_jobs=n_jobs)
    assert [id(model) for model in fitted] == [id(model) for model in found]
    for model, other in zip(expected, found, strict=True):
        assert state(model) == state(other)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_data_of_their_own(n_jobs):
    """Of other shapes, with weights and times or without."""
    Xs = [X, RAGGED, X[:10, :, :1], X[:, :, 0]]
    ys = [Y, Y, X[:10, -1], Y]
    weights, times = [None, WEIGHT, None, WEIGHT], [TIMES, None, None, TIMES]
    expected = [
        regressor(random_state=k).fit(Xs[k], ys[k], weights[k], times=times[k]) for k in range(4)
    ]
    found = [regressor(random_state=k) for k in range(4)]
    fit_many(found, Xs, ys, weights, times=times, each=True, n_jobs=n_jobs)
    assert list(map(state, found)) == list(map(state, expected))
    again = fit_many(list(map(clone, found[:2])), X[:2, np.newaxis], Y[:2, np.newaxis], each=True)
    assert state(again[1]) == state(clone(found[1]).fit(X[1:2], Y[1:2]))
    shared = [regressor(random_state=k) for k in range(2)]
    fit_many(shared, X, Y, WEIGHT, times=TIMES, n_jobs=n_jobs)
    assert state(shared[1]) == state(regressor(random_state=1).fit(X, Y, WEIGHT, times=TIMES))


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_validation_data(n_jobs):
    """The same for all, of each its own, or a part of each that keeps groups together."""
    early = {"early_stopping": True, "n_iter_no_change": 1, "max_iter": 9}
    held = {"X_val": X[:8], "y_val": Y[:8], "sample_weight_val": WEIGHT[:8]}
    held |= {"times": TIMES[8:], "times_val": TIMES[:8]}
    found = fit_many([regressor(random_state=k, **early) for k in range(3)], X[8:], Y[8:],
                     n_jobs=n_jobs, **held)  # fmt: skip
    expected = [regressor(random_state=k, **early).fit(X[8:], Y[8:], **held) for k in range(3)]
    assert list(map(state, found)) == list(map(state, expected))
    own = [{"X_val": X[k:8], "y_val": Y[k:8]} for k in range(3)]
    given = {name: [one[name] for one in own] for name in own[0]}
    found = fit_many([regressor(**early) for _ in own], [X[8:]] * 3, [Y[8:]] * 3, each=True,
                     n_jobs=n_jobs, **given)  # fmt: skip
    expected = [regressor(**early).fit(X[8:], Y[8:], **one) for one in own]
    assert list(map(state, found)) == list(map(state, expected))
    apart = regressor(validation_split=GroupKFold(3), **early)
    groups = np.arange(N) % 4
    found = fit_many([clone(apart), clone(apart)], X, Y, groups=groups, n_jobs=n_jobs)
    assert [state(one) for one in found] == [state(clone(apart).fit(X, Y, groups=groups))] * 2
    with pytest.raises(ValueError, match="X_val was given without y_val"):
        fit_many([regressor()], X, Y, X_val=X)
    with pytest.raises(ValueError, match="y_val has 1 entries for 2 estimators"):
        fit_many([regressor(), regressor()], [X, X], [Y, Y], X_val=[X, X], y_val=[Y], each=True)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_fits_that_go_on(tmp_path, n_jobs):
    """After a fit before, and after one that was killed."""
    expected = [regressor(warm_start=True, random_state=k).fit(X, Y).fit(X, Y) for k in range(3)]
    found = [regressor(warm_start=True, random_state=k) for k in range(3)]
    fit_many(fit_many(found, X, Y, n_jobs=n_jobs), X, Y, n_jobs=n_jobs)
    assert list(map(state, found)) == list(map(state, expected))

    given = [{"checkpoint": tmp_path / str(k), "random_state": k} for k in range(3)]
    whole = [regressor(max_iter=6, **options).fit(X, Y) for options in given]
    models, step, steps = [regressor(max_iter=6, **o) for o in given], Optimizer.step, []

    def dies(self, *arguments):
        steps.append(1)
        if len(steps) > 25:
            raise SystemExit  # as if it were killed
        return step(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Optimizer, "step", dies)
        with pytest.raises(SystemExit):
            fit_many(models, X, Y, n_jobs=n_jobs)
    assert any(tmp_path.iterdir())
    again = fit_many([regressor(max_iter=6, **o) for o in given], X, Y, n_jobs=n_jobs)
    assert [m.theta_.tobytes() for m in again] == [m.theta_.tobytes() for m in whole]
    assert not any(tmp_path.iterdir())


class OwnFit(LSTMRegressor):
    def fit(self, X, y):
        return super().fit(X + 1, y)


ONE = regressor()
REFUSED = {
    "none at all": ([], {}, ValueError, "estimators is empty"),
    "one": (regressor(), {}, TypeError, "Pass a list"),
    "a class": ([LSTMRegressor], {}, TypeError, r"estimators\[0\] is <class"),
    "a pipeline": ([ONE, make_pipeline(regressor())], {}, TypeError, "Of a pipeline pass"),
    "a transformer": ([LSTMTransformer(regressor())], {}, TypeError, r"estimators\[0\]"),
    "a fit of its own": ([ONE, OwnFit()], {}, TypeError, "OwnFit, whose class has a fit"),
    "one twice": ([regressor(), ONE, ONE], {}, ValueError, r"\[1\] and estimators\[2\] are one"),
    "one file": (
        [regressor(checkpoint="a"), regressor(checkpoint="./a")], {}, ValueError, "one checkpoint",
    ),
    "n_jobs": ([ONE], {"n_jobs": 0}, ValueError, "n_jobs=0"),
    "a parameter": ([ONE, regressor(alpha=-1)], {}, ValueError, "alpha"),
    "data": ([ONE], {"X": X[:3]}, ValueError, "3"),
    "too few": ([ONE, regressor()], {"X": [X], "y": [Y], "each": True}, ValueError, "X has 1 ent"),
    "too many": ([ONE], {"X": [X], "y": [Y] * 2, "each": True}, ValueError, "y has 2 entries"),
    "weights": (
        [ONE], {"X": [X], "y": [Y], "sample_weight": WEIGHT, "each": True}, ValueError,
        "sample_weight has 24 entries",
    ),
    "a generator": ([ONE], {"X": iter([X]), "y": [Y], "each": True}, TypeError, "X is a list_it"),
    "no y": ([ONE], {"X": [X], "y": None, "each": True}, TypeError, "y is a NoneType"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_errors_come_before_any_work(name, monkeypatch):
    monkeypatch.setattr(Optimizer, "step", lambda *args: pytest.fail("something is trained"))
    estimators, given, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        fit_many(estimators, **({"X": X, "y": Y} | given))
    for estimator in (ONE, *(estimators if isinstance(estimators, list) else [estimators])):
        assert not isinstance(estimator, LSTMRegressor) or is_untouched(estimator)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_unfit_data_of_the_last_are_found_before_the_first_is_trained(n_jobs):
    models = [regressor(), regressor(), regressor(warm_start=True).fit(X, Y)]
    before = state(models[2])
    bad = X.copy()
    bad[3, 1, 0] = np.nan
    for last, weight, message in ((bad, None, "NaN"), (X, np.zeros(N), "is zero")):
        with pytest.raises(ValueError, match=message) as caught:
            fit_many(models, [X, X, last], [Y] * 3, [None, None, weight], each=True, n_jobs=n_jobs)
        assert caught.value.__notes__ == ["This is estimators[2] of fit_many."]
    assert is_untouched(models[0])
    assert is_untouched(models[1])
    assert state(models[2]) == before


def test_threads_of_each(monkeypatch):
    """One, where several are trained at once, if they do not ask for another number."""
    from numba_lstm.cpu.threads import resolve_n_jobs

    found = {}

    def noted(self, layout, dtype, *, n_threads, **options):
        found[layout.hidden_sizes[0]] = n_threads
        make(self, layout, dtype, n_threads=n_threads, **options)

    make = Network.__init__
    monkeypatch.setattr(Network, "__init__", noted)
    cores = resolve_n_jobs(None)
    for n_jobs, own in ((2, 1 if resolve_n_jobs(2) > 1 else cores), (1, cores)):
        fit_many([regressor(), regressor(hidden_size=5, n_jobs=2)], X, Y, n_jobs=n_jobs)
        assert found == {3: own, 5: resolve_n_jobs(2)}


def test_callbacks():
    callback = pytest.importorskip("sklearn.callback", reason="new in scikit-learn 1.9")
    monitor = callback.ScoringMonitor(scoring="r2")
    base = regressor().set_callbacks(monitor, callback.ProgressBar())
    models = [clone(base).set_params(max_iter=k) for k in (2, 3, 4)]
    fit_many(models, X, Y, n_jobs=2)
    assert [model.n_iter_ for model in models] == [2, 3, 4]
    logs = [log.data for log in monitor.get_logs(select="all")]
    scores = [[row["r2"] for row in log if row["task_name"] == "epoch"] for log in logs]
    assert sorted(map(len, scores)) == [2, 3, 4]
    for model in models:
        last = next(one[-1] for one in scores if len(one) == model.n_iter_)
        assert last == pytest.approx(model.score(X, Y))
        assert not hasattr(model, "_callback_fit_ctx")
