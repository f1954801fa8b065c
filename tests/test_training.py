"""The course of a fit: solvers and schedules, going on, ends, and who is told of it."""

import pickle
import warnings

import numpy as np
import pytest
from quick_models import RAGGED, STEPS, N, X, Y, classifier, regressor
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from numba_lstm.training.optimizers import Optimizer


@pytest.mark.nojit
def test_a_single_target_tells_no_scale():
    for fit, given in ((regressor().partial_fit, Y), (regressor(standardize=False).fit, Y)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fit(X, given)
    with pytest.warns(UserWarning, match="a single target") as found:
        model = regressor().partial_fit(X[:1], Y[:1])
    assert found[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.partial_fit(X[:1], Y[:1])
        regressor(standardize=False).partial_fit(X[:1], Y[:1])
        classifier().partial_fit(X[:1], Y[:1] > 0, classes=[False, True])


@pytest.mark.nojit
@pytest.mark.parametrize("solver", ["adam", "rmsprop"])
def test_epsilon_is_above_zero_in_float32_too(solver):
    """The weights of the forget gate have no gradient here: 0 / 0."""
    model = regressor(solver=solver, epsilon=1e-50, coupled_gates=True).fit(X, Y)
    assert len(model.loss_curve_) == model.max_iter
    assert np.isfinite(model.theta_).all()


@pytest.mark.nojit
@pytest.mark.parametrize("solver", ["adam", "sgd", "rmsprop"])
@pytest.mark.parametrize("learning_rate", ["constant", "cosine", "plateau"])
def test_every_solver_and_schedule_learns(solver, learning_rate):
    model = regressor(solver=solver, learning_rate=learning_rate, learning_rate_init=0.02)
    curve = model.set_params(max_iter=8).fit(X, Y).loss_curve_
    assert curve[-1] < curve[0]


@pytest.mark.nojit
def test_plateau_slows_down_when_the_loop_says_so():
    model = regressor(max_iter=8, tol=1e9, n_iter_no_change=7, batch_size=N, shuffle=False)
    steps = {}
    for kind in ("constant", "plateau"):
        model.set_params(learning_rate=kind, solver="sgd", momentum=0.0).fit(X, Y)
        before = model.theta_.copy()
        model.set_params(max_iter=7).fit(X, Y)
        steps[kind] = np.linalg.norm(before - model.theta_)
        model.set_params(max_iter=8)
    assert steps["plateau"] < 0.6 * steps["constant"]


@pytest.mark.nojit
def test_cosine_falls_within_an_epoch():
    model = regressor(max_iter=1, batch_size=1, shuffle=False, solver="sgd", momentum=0.0)
    constant = model.fit(X, Y).theta_
    cosine = clone(model).set_params(learning_rate="cosine").fit(X, Y).theta_
    assert not np.allclose(cosine, constant, atol=1e-5)


@pytest.mark.nojit
def test_without_shuffling_the_order_stays():
    model = regressor(shuffle=False, batch_size=N).fit(X, Y)
    same = regressor(shuffle=True, batch_size=N).fit(X, Y)
    np.testing.assert_allclose(model.theta_, same.theta_, atol=1e-5)
    halves = regressor(shuffle=False, batch_size=N // 2).fit(X, Y)
    other = regressor(shuffle=True, batch_size=N // 2).fit(X, Y)
    assert not np.allclose(halves.theta_, other.theta_, atol=1e-5)


@pytest.mark.nojit
def test_weight_decay_shrinks():
    free, decayed = (regressor(alpha=a, max_iter=20).fit(X, Y) for a in (0, 1.0))
    norms = [np.linalg.norm(m.parameters_["weight_hh_l0"]) for m in (free, decayed)]
    assert norms[1] < 0.8 * norms[0]


@pytest.mark.nojit
def test_warm_start_goes_on():
    model = regressor(warm_start=True, max_iter=2).fit(X, Y)
    kept = model._optimizer.n_steps
    model.fit(X, Y)
    assert model.n_iter_ == 4
    assert model._optimizer.n_steps == 2 * kept
    np.testing.assert_array_equal(model.theta_, regressor(max_iter=4).fit(X, Y).theta_)
    with pytest.raises(ValueError, match=r"hidden_size=3, .* cannot go on with hidden_size=4"):
        model.set_params(hidden_size=4).fit(X, Y)
    model.set_params(hidden_size=3, return_sequences=True)
    with pytest.raises(ValueError, match="return_sequences=False and cannot go on"):
        model.fit(X, STEPS)
    model.set_params(return_sequences=False, solver="sgd", alpha=0.5).fit(X, Y)
    assert (model._optimizer.settings.solver, model._optimizer.settings.alpha) == ("sgd", 0.5)
    assert model._optimizer.n_steps == kept
    cold = regressor(max_iter=2)
    cold.fit(X, Y).fit(X, Y)
    assert cold.n_iter_ == 2


@pytest.mark.nojit
def test_partial_fit_is_an_epoch():
    model = regressor()
    for _ in range(3):
        model.partial_fit(X, Y)
    np.testing.assert_array_equal(model.theta_, regressor().fit(X, Y).theta_)
    assert model.n_iter_ == 3
    mean = model.input_mean_.copy()
    model.partial_fit(X + 10, Y)
    np.testing.assert_array_equal(model.input_mean_, mean)
    with pytest.raises(ValueError, match="X has 1 features"):
        model.partial_fit(X[:, :, :1], Y)
    with pytest.raises(ValueError, match="y has 2 outputs, but the network has 1"):
        model.partial_fit(X, np.column_stack([Y, Y]))


@pytest.mark.nojit
def test_partial_fit_of_classes():
    model = classifier()
    model.partial_fit(X[:3], ["no"] * 3, classes=["no", "perhaps", "yes"])
    model.partial_fit(X[3:6], ["yes"] * 3)
    assert model.predict_proba(X).shape == (N, 3)
    with pytest.raises(ValueError, match=r"not among the classes .* \['never'\]"):
        model.partial_fit(X[:1], ["never"])
    with pytest.raises(ValueError, match="differs from the classes of the first call"):
        model.partial_fit(X[:1], ["no"], classes=["no", "yes"])
    with pytest.raises(ValueError, match="one class"):
        classifier().partial_fit(X[:3], ["no"] * 3)


@pytest.mark.nojit
def test_stops_when_the_training_loss_does_not_improve():
    model = regressor(max_iter=50, tol=1e9, n_iter_no_change=3).fit(X, Y)
    assert model.n_iter_ == 4


@pytest.mark.nojit
def test_divergence_keeps_the_best_finite_weights():
    model = regressor(learning_rate_init=1e38, clip_norm=None, max_iter=20, solver="sgd")
    with pytest.warns(ConvergenceWarning, match=r"diverged in epoch .*Try a smaller"):
        model.fit(X, Y)
    assert np.isfinite(model.theta_).all()
    assert model.n_iter_ < 20
    assert model.score(X, Y) > -1  # not the weights that the divergence began with
    assert model._optimizer.n_steps == 0
    model.set_params(warm_start=True, learning_rate_init=0.01, clip_norm=1.0, solver="adam")
    assert model.fit(X, Y).score(X, Y) > -0.5


@pytest.mark.nojit
@pytest.mark.parametrize(("rate", "least"), [(1e3, 1), (1e20, 0)])
def test_divergence_after_some_epochs(rate, least):
    """At the greater rate no product of two weights would be finite after one step."""
    model = regressor(learning_rate_init=rate, clip_norm=None, solver="sgd", batch_size=N)
    model.set_params(standardize=False, max_iter=100)
    with pytest.warns(ConvergenceWarning, match="diverged") as caught:
        model.fit(X, Y)
    assert least <= model.n_iter_ < 100
    assert ("Nothing was learned" in str(caught[0].message)) == (model.n_iter_ == 0)
    assert model.score(X, Y) > -1


@pytest.mark.nojit
@pytest.mark.parametrize("options", [{}, {"warm_start": True}])
def test_failure_in_mid_fit_leaves_the_estimator_as_it_was(options, monkeypatch):
    model = regressor(**options).fit(X, Y)
    before = pickle.dumps(model)
    count = iter(range(5))

    def fail(*_):
        if next(count) == 4:
            raise RuntimeError("in the middle")
        return True

    monkeypatch.setattr(Optimizer, "step", fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        model.fit(X, Y)
    monkeypatch.undo()
    assert pickle.dumps(model) == before


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("after", [1, 7])
def test_an_interrupted_fit_keeps_what_was_learned(monkeypatch, early_stopping, after):
    """After ``after`` batches, of which an epoch has four."""
    step, steps = Optimizer.step, []

    def interrupted_step(self, theta, grad, rate):
        if len(steps) == after:
            raise KeyboardInterrupt
        result = step(self, theta, grad, rate)
        steps.append(theta.copy())
        return result

    X = np.random.default_rng(0).standard_normal((40, 6, 2))
    model = regressor(batch_size=8, validation_fraction=0.2, early_stopping=early_stopping)
    with monkeypatch.context() as patched:
        patched.setattr(Optimizer, "step", interrupted_step)
        with pytest.raises(KeyboardInterrupt):
            model.set_params(max_iter=5).fit(X, X[:, -1, 0])
    epochs = len(steps) // (4 if early_stopping else 5)
    best = 4 * epochs if early_stopping and epochs else after  # the weights of an epoch, or last
    np.testing.assert_array_equal(model.theta_, steps[best - 1])
    assert model.n_iter_ == len(model.loss_curve_) == epochs
    assert np.isfinite(model.predict(X)).all()
    model.set_params(warm_start=True, max_iter=1).fit(X, X[:, -1, 0])
    assert model.n_iter_ == epochs + 1


@pytest.mark.nojit
def test_verbose_prints_a_line_an_epoch(capsys):
    regressor(verbose=True).fit(X, Y, X_val=X[:4], y_val=Y[:4])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("epoch 1/3  loss ")
    assert "validation score" in lines[0]
    regressor().fit(X, Y)
    assert capsys.readouterr().out == ""


class Recorder:
    """A callback that writes down what it is told, and stops after some epochs."""

    def __init__(self, stop_after=100):
        self.stop_after = stop_after
        self.events = []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X, y, metadata, fitted_estimator):
        self.events.append(f"end {context.task_name} {fitted_estimator.score(X, y):.6f}")
        self.weights = metadata
        return len(self.events) > 2 * self.stop_after


@pytest.mark.nojit
def test_callbacks():
    pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")
    recorder = Recorder()
    model = regressor().set_callbacks(recorder).fit(X, Y, sample_weight=np.ones(N))
    assert [e.split()[0] for e in recorder.events] == (
        ["setup", "begin"] + 3 * ["begin", "end"] + ["end", "teardown"]
    )
    score = f"{model.score(X, Y):.6f}"
    assert recorder.events[-3:-1] == [f"end epoch {score}", f"end fit {score}"]
    assert recorder.events[3] != recorder.events[5]
    np.testing.assert_array_equal(recorder.weights["sample_weight"], 1)
    assert regressor().set_callbacks(Recorder(2)).fit(X, Y).n_iter_ == 2


def test_callbacks_of_scikit_learn():
    callback = pytest.importorskip("sklearn.callback", reason="new in scikit-learn 1.9")
    monitor = callback.ScoringMonitor(scoring="r2")
    model = regressor(max_iter=4).set_callbacks(monitor, callback.ProgressBar()).fit(RAGGED, Y)
    log = monitor.get_logs().data
    scores = [row["r2"] for row in log if row["task_name"] == "epoch"]
    assert len(scores) == 4
    assert scores[-1] == pytest.approx(model.score(RAGGED, Y))
