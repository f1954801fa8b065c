"""How many fits at once end: with an error in one, by Ctrl-C, with a warning."""

import _thread
import signal
import threading
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from numba_lstm import LSTMRegressor, fit_many
from numba_lstm.cpu.threads import resolve_n_jobs
from numba_lstm.training.optimizers import Optimizer

N = 24
X = np.random.default_rng(0).standard_normal((N, 5, 2))
Y = X[:, -1, 0] + 0.5 * X[:, 0, 1]


def regressor(**parameters):
    basic = {"hidden_size": 3, "max_iter": 3, "batch_size": 8, "random_state": 0}
    return LSTMRegressor(**(basic | parameters))


def is_untouched(estimator):
    return vars(estimator) == estimator.get_params(deep=False)


def assert_fitted_alike(model, other):
    np.testing.assert_array_equal(model.theta_, other.theta_)
    assert model.loss_curve_ == other.loss_curve_


def fails_once(begun, mark=0.5):
    """A step of the optimiser that fails where alpha is ``mark``, once another has begun."""
    step = Optimizer.step

    def fails(self, *arguments):
        if self.settings.alpha == mark:
            assert begun.wait(60)
            raise MemoryError("no room")
        begun.set()
        return step(self, *arguments)

    return fails


def test_a_training_that_fails(monkeypatch):
    """Those under way go on to their ends, and no other begins."""
    models = [regressor(alpha=0.5), regressor(max_iter=50), *(regressor() for _ in range(20))]
    expected = clone(models[1]).fit(X, Y)
    with monkeypatch.context() as patch:
        patch.setattr(Optimizer, "step", fails_once(threading.Event()))
        with pytest.raises(MemoryError, match="no room") as caught:
            fit_many(models, X, Y, n_jobs=2)
    assert caught.value.__notes__ == ["This is estimators[0] of fit_many."]
    assert is_untouched(models[0])
    assert_fitted_alike(models[1], expected)
    assert is_untouched(models[-1])


def test_a_training_that_fails_in_turn(monkeypatch):
    models = [regressor(), regressor(alpha=0.5), regressor()]
    monkeypatch.setattr(Optimizer, "step", fails_once(threading.Event()))
    with pytest.raises(MemoryError):
        fit_many(models, X, Y, n_jobs=1)
    assert_fitted_alike(models[0], regressor().fit(X, Y))
    assert is_untouched(models[1])
    assert is_untouched(models[2])


@pytest.fixture
def heeds_ctrl_c():
    """A shell's background jobs are started so that they ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_ctrl_c")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_ctrl_c(monkeypatch, n_jobs):
    """What was learned stays; what had not begun is as it was; and fits can go on."""
    step, seen = Optimizer.step, {}

    def interrupts(self, *arguments):
        done = step(self, *arguments)
        seen[id(self)] = seen.get(id(self), 0) + 1
        if sum(count >= 30 for count in seen.values()) == at_once and 0 not in seen:
            seen[0] = 1
            _thread.interrupt_main()
        return done

    at_once = resolve_n_jobs(n_jobs)
    models = [
        regressor(random_state=k, max_iter=20_000, n_iter_no_change=20_000, warm_start=True)
        for k in range(3)
    ]
    with monkeypatch.context() as patch:
        patch.setattr(Optimizer, "step", interrupts)
        with pytest.raises(KeyboardInterrupt):
            fit_many(models, X, Y, n_jobs=n_jobs)
    for model in models[:at_once]:
        assert 9 <= model.n_iter_ < 20_000
        assert model._optimizer.n_steps >= 30
        assert model.predict(X).shape == (N,)
    assert is_untouched(models[2])
    n = models[0].n_iter_
    fit_many([m.set_params(max_iter=2) for m in models], X, Y, n_jobs=n_jobs)
    assert [m.n_iter_ for m in models] == [n + 2, *(m.n_iter_ for m in models[1:2]), 2]


def test_a_warning_says_whose_it_is():
    wild = {"learning_rate_init": 1e30, "clip_norm": None, "solver": "sgd", "max_iter": 9}
    for n_jobs in (1, 2):
        models = [regressor(), regressor(**wild), regressor(**wild)]
        with pytest.warns(ConvergenceWarning, match="diverged") as caught:
            fit_many(models, X, Y, n_jobs=n_jobs)
        starts = [str(one.message)[:23] for one in caught]
        assert starts == [f"estimators[{k}]: Training" for k in (1, 2)]
        assert {one.filename for one in caught} == {__file__}
    models = [regressor(), regressor(**wild)]
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        with pytest.raises(ConvergenceWarning):
            fit_many(models, X, Y, n_jobs=2)
    assert models[0].n_iter_ == 3
    assert is_untouched(models[1])
