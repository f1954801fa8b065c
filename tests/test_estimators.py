"""What the estimators do: training, stopping, going on, weights, losses, callbacks."""

import pickle
import tracemalloc
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import accuracy_score, d2_log_loss_score, mean_pinball_loss, r2_score
from sklearn.model_selection import train_test_split

from numba_lstm import LSTMClassifier, LSTMRegressor
from numba_lstm.estimators import preparation
from numba_lstm.estimators.checks import validation_data
from numba_lstm.training.optimizers import Optimizer

rng = np.random.default_rng(0)
N, T = 24, 5
X = rng.standard_normal((N, T, 2))
Y = X[:, -1, 0] + 0.5 * X[:, 0, 1]
LABELS = np.array(["no", "yes", "perhaps"])[(Y > 0).astype(int) + (Y > 1)]
RAGGED = [x[: 2 + i % 4] for i, x in enumerate(X)]
STEPS = np.cumsum(X[:, :, 0], axis=1)


def regressor(**parameters):
    settings = {"hidden_size": 3, "max_iter": 3, "batch_size": 8, "random_state": 0}
    return LSTMRegressor(**(settings | parameters))


def classifier(**parameters):
    settings = {"hidden_size": 3, "max_iter": 3, "batch_size": 8, "random_state": 0}
    return LSTMClassifier(**(settings | parameters))


@pytest.mark.nojit
def test_attributes_after_fit():
    model = regressor().fit(X, Y)
    assert model.n_iter_ == 3 == len(model.loss_curve_)
    assert model.loss_ == model.loss_curve_[-1]
    assert model.best_loss_ == min(model.loss_curve_)
    assert model.validation_scores_ is None
    assert model.best_validation_score_ is None
    assert (model.n_features_in_, model.n_outputs_) == (2, 1)
    assert not hasattr(model, "feature_names_in_")
    shapes = {name: view.shape for name, view in model.parameters_.items()}
    assert shapes == {
        "weight_ih_l0": (12, 2),
        "weight_hh_l0": (12, 3),
        "bias_l0": (12,),
        "head_weight": (1, 3),
        "head_bias": (1,),
    }
    assert model.theta_.dtype == np.float32
    np.testing.assert_allclose(model.input_mean_, X.mean(axis=(0, 1)))
    np.testing.assert_allclose(model.input_scale_, X.std(axis=(0, 1)))
    np.testing.assert_allclose(model.target_mean_, Y.mean())
    np.testing.assert_allclose(model.target_scale_, Y.std())


@pytest.mark.nojit
def test_classifier_attributes_and_methods():
    model = classifier().fit(X, LABELS)
    assert model.classes_.tolist() == ["no", "perhaps", "yes"]
    p = model.predict_proba(X)
    assert p.shape == (N, 3)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_allclose(np.log(p), model.predict_log_proba(X), atol=1e-12)
    np.testing.assert_array_equal(model.predict(X), model.classes_[p.argmax(axis=1)])
    assert model.score(X, LABELS) == accuracy_score(LABELS, model.predict(X))
    assert model.n_outputs_ == 3
    assert classifier().fit(X, Y > 0).n_outputs_ == 1


@pytest.mark.nojit
@pytest.mark.parametrize(
    "labels", [Y > 0, (Y > 0) * 7 - 3, (Y > 0) * 1.0, np.where(Y > 0, "a", "b").astype(object)]
)
def test_labels_of_any_type(labels):
    model = classifier().fit(X, labels)
    assert set(model.predict(X)) <= set(labels)
    assert model.predict(X).dtype == np.asarray(labels).dtype


@pytest.mark.nojit
def test_methods_need_a_fit():
    for method in ("predict", "hidden_states", "gate_activations"):
        with pytest.raises(NotFittedError):
            getattr(regressor(), method)(X)
    with pytest.raises(NotFittedError):
        classifier().predict_proba(X)
    assert not hasattr(regressor(), "parameters_")


@pytest.mark.nojit
def test_states_and_gates_obey_the_equations():
    model = regressor(dtype="float64").fit(X, Y)
    h, c = model.hidden_states(X)
    gates = model.gate_activations(X)
    assert h.shape == c.shape == gates.input.shape == (N, T, 3)
    before = np.concatenate([np.zeros((N, 1, 3)), c[:, :-1]], axis=1)
    np.testing.assert_allclose(c, gates.forget * before + gates.input * gates.candidate)
    np.testing.assert_allclose(h, gates.output * np.tanh(c))
    head = model.parameters_["head_weight"], model.parameters_["head_bias"]
    out = (h[:, -1] @ head[0].T + head[1])[:, 0]
    np.testing.assert_allclose(model.predict(X), out * model.target_scale_ + model.target_mean_)


@pytest.mark.nojit
def test_states_of_lists_are_lists():
    model = regressor().fit(RAGGED, Y)
    h, c = model.hidden_states(RAGGED)
    gates = model.gate_activations(RAGGED)
    for i, x in enumerate(RAGGED):
        assert h[i].shape == c[i].shape == gates.output[i].shape == (len(x), 3)
        alone, _ = model.hidden_states(x[np.newaxis])
        np.testing.assert_array_equal(h[i], alone[0])


@pytest.mark.nojit
@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile"])
def test_several_targets_in_their_own_units(loss):
    targets = np.column_stack([1e4 + 1e3 * Y, -1e-3 * Y])
    model = regressor(loss=loss, max_iter=60, learning_rate_init=0.02).fit(X, targets)
    predicted = model.predict(X)
    assert predicted.shape == (N, 2)
    assert model.n_outputs_ == 2
    errors = np.abs(predicted - targets).mean(axis=0) / np.abs(targets - targets.mean(0)).mean(0)
    assert (errors < 0.6).all()


@pytest.mark.nojit
def test_without_standardisation():
    model = regressor(standardize=False, max_iter=1).fit(X * 100, Y)
    np.testing.assert_array_equal(model.input_mean_, 0)
    np.testing.assert_array_equal(model.input_scale_, 1)
    np.testing.assert_array_equal(model.target_scale_, 1)


@pytest.mark.nojit
def test_standardisation_makes_units_irrelevant():
    scaled = regressor(dtype="float64").fit(X * [1e6, 1e-3] + [1e7, 5], Y * 1e5 - 3e6)
    plain = regressor(dtype="float64").fit(X, Y)
    np.testing.assert_allclose(
        scaled.predict(X * [1e6, 1e-3] + [1e7, 5]), plain.predict(X) * 1e5 - 3e6, rtol=1e-6
    )


@pytest.mark.nojit
def test_constant_features_and_targets():
    flat = np.concatenate([X, np.full((N, T, 1), 1e6)], axis=2)
    assert np.isfinite(regressor().fit(flat, Y).predict(flat)).all()
    model = regressor(max_iter=50, learning_rate_init=0.05).fit(X, np.full(N, 5e3))
    np.testing.assert_allclose(model.predict(X), 5e3, rtol=1e-3)


@pytest.mark.nojit
@pytest.mark.parametrize(("form", "kind"), [(X, np.ndarray), (RAGGED, list)])
def test_regression_at_every_step(form, kind):
    one = [STEPS[i, : len(x)] for i, x in enumerate(form)]
    model = regressor(return_sequences=True).fit(form, one if kind is list else STEPS)
    predicted = model.predict(form)
    assert isinstance(predicted, kind)
    assert [p.shape for p in predicted] == [(len(x),) for x in form]
    flat, truth = np.concatenate(list(predicted)), np.concatenate(one)
    assert model.score(form, one) == pytest.approx(r2_score(truth, flat), rel=1e-12)
    two = [np.column_stack([y, -y]) for y in one]
    columns = regressor(return_sequences=True).fit(form, two if kind is list else np.stack(two))
    assert [p.shape for p in columns.predict(form)] == [(len(x), 2) for x in form]
    # A step's output is the head on that step's hidden state: no look ahead, no mixing.
    shorter = [np.asarray(x)[:2] for x in form]
    for long, short in zip(predicted, model.predict(shorter), strict=True):
        np.testing.assert_array_equal(long[:2], short)


@pytest.mark.nojit
@pytest.mark.parametrize("form", [X, RAGGED], ids=["array", "list"])
def test_classification_at_every_step(form):
    names = np.array(["low", "high"])
    labels = [names[(STEPS[i, : len(x)] > 0).astype(int)] for i, x in enumerate(form)]
    model = classifier(return_sequences=True, class_weight="balanced").fit(form, labels)
    predicted, p = model.predict(form), model.predict_proba(form)
    assert [q.shape for q in p] == [(len(x), 2) for x in form]
    for one, q in zip(predicted, p, strict=True):
        np.testing.assert_array_equal(one, model.classes_[q.argmax(axis=1)])
    flat = np.concatenate(list(predicted))
    weight = np.arange(N)
    expected = accuracy_score(
        np.concatenate(labels), flat, sample_weight=np.repeat(weight, [len(x) for x in form])
    )
    assert model.score(form, labels, sample_weight=weight) == pytest.approx(expected)


@pytest.mark.nojit
def test_early_stopping_restores_the_best_weights():
    noise = rng.standard_normal(N)
    model = regressor(early_stopping=True, max_iter=40, n_iter_no_change=4, learning_rate_init=0.1)
    model.fit(X[:16], noise[:16], X_val=X[16:], y_val=noise[16:])
    scores = model.validation_scores_
    assert len(scores) == model.n_iter_ < 40
    assert model.best_validation_score_ == max(scores)
    assert scores[-1] < max(scores)
    assert model.score(X[16:], noise[16:]) == pytest.approx(max(scores), abs=1e-5)


@pytest.mark.nojit
def test_validation_score_of_each_loss():
    held = {"X_val": X[16:], "y_val": Y[16:]}
    model = regressor(loss="quantile", quantile=0.8).fit(X[:16], Y[:16], **held)
    constants = [mean_pinball_loss(Y[16:], np.full(8, y), alpha=0.8) for y in Y[16:]]
    loss = mean_pinball_loss(Y[16:], model.predict(X[16:]), alpha=0.8)
    assert model.validation_scores_[-1] == pytest.approx(1 - loss / min(constants), abs=1e-5)
    model = regressor().fit(X[:16], Y[:16], **held)
    expected = r2_score(Y[16:], model.predict(X[16:]))
    assert model.validation_scores_[-1] == pytest.approx(expected, abs=1e-5)
    binary = LABELS == "yes"
    model = classifier().fit(X[:16], binary[:16], X_val=X[16:], y_val=binary[16:])
    expected = d2_log_loss_score(binary[16:], model.predict_proba(X[16:]))
    assert model.validation_scores_[-1] == pytest.approx(expected, abs=1e-5)


@pytest.mark.nojit
def test_early_stopping_may_go_back_to_before_a_warm_start():
    held = {"X_val": X[16:], "y_val": Y[16:]}
    model = regressor(early_stopping=True, warm_start=True, max_iter=10, learning_rate_init=0.02)
    model.fit(X[:16], Y[:16], **held)
    theta, best = model.theta_, model.best_validation_score_
    model.set_params(max_iter=1, learning_rate_init=5.0).fit(X[:16], Y[:16], **held)
    np.testing.assert_array_equal(model.theta_, theta)
    assert model.best_validation_score_ == best
    assert len(model.validation_scores_) == len(model.loss_curve_) == model.n_iter_


@pytest.mark.nojit
def test_validation_score_without_a_null_loss():
    model = regressor().fit(X, Y, X_val=X[:3], y_val=np.ones(3))
    assert all(type(score) is float and score < 0 for score in model.validation_scores_)
    assert min(model.validation_scores_) > -100


@pytest.mark.nojit
def test_validation_data_changes_nothing_without_early_stopping():
    watched = regressor().fit(X, Y, X_val=X[:5], y_val=Y[:5], sample_weight_val=np.arange(5))
    np.testing.assert_array_equal(watched.theta_, regressor().fit(X, Y).theta_)
    assert len(watched.validation_scores_) == 3


@pytest.mark.nojit
@pytest.mark.parametrize(("model", "y"), [(regressor(), Y), (classifier(), Y > 0)])
def test_part_set_aside_for_validation(model, y):
    model = clone(model).set_params(early_stopping=True, validation_fraction=0.25)
    model.fit(X, y)
    assert len(model.validation_scores_) == model.n_iter_
    # Only the training part may tell the mean: with all data it would be another.
    assert not np.allclose(model.input_mean_, X.mean(axis=(0, 1)))
    again = clone(model).fit(X, y)
    np.testing.assert_array_equal(again.theta_, model.theta_)


@pytest.mark.nojit
@pytest.mark.parametrize("learning_rate", ["constant", "plateau"])
def test_watching_is_not_stopping(learning_rate):
    """Validation data without early stopping decide nothing, however long it takes."""
    noise = rng.standard_normal(N)
    model = regressor(max_iter=25, n_iter_no_change=4, tol=0.0, learning_rate=learning_rate)
    watched = clone(model).fit(X, noise, X_val=X[:6], y_val=-noise[:6])
    np.testing.assert_array_equal(watched.theta_, clone(model).fit(X, noise).theta_)


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
def test_targets_are_standardised_by_the_training_part():
    late = Y + np.where(np.arange(N) < 12, 0, 1e3)
    model = regressor(max_iter=1).fit(X[:12], late[:12], X_val=X[12:], y_val=late[12:])
    np.testing.assert_allclose(model.target_mean_, Y[:12].mean())
    model = regressor(max_iter=1, early_stopping=True, validation_fraction=0.5).fit(X, late)
    kept, _ = train_test_split(np.arange(N), test_size=0.5, random_state=np.random.RandomState(0))
    np.testing.assert_allclose(model.target_mean_, late[kept].mean())


@pytest.mark.nojit
def test_part_set_aside_is_stratified():
    rare = np.arange(N) % 4 == 0
    model = classifier(early_stopping=True, validation_fraction=0.5, max_iter=1)
    held = []

    def spy(estimator, attributes, training, targets, held_out, random_state):
        parts = validation_data(estimator, attributes, training, targets, held_out, random_state)
        held.append(rare[parts[1].index])
        return parts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, "validation_data", spy)
        for seed in range(5):
            model.set_params(random_state=seed).fit(X, rare)
    assert [part.sum() for part in held] == [3] * 5


@pytest.mark.nojit
def test_validation_weights_count():
    held = {"X_val": X[16:], "y_val": Y[16:]}
    weight = np.array([0, 0, 0, 1, 2, 3, 0, 1.0])
    model = regressor().fit(X[:16], Y[:16], **held, sample_weight_val=weight)
    expected = r2_score(Y[16:], model.predict(X[16:]), sample_weight=weight)
    assert model.validation_scores_[-1] == pytest.approx(expected, abs=1e-5)


def test_data_of_many_parts():
    """Statistics, losses and checks go through the data in parts of 65,536 numbers."""
    long = np.random.default_rng(0).standard_normal((1500, 100, 1)).astype(np.float32)
    y, weight = long[:, -1, 0] * 3 + 7, np.ones(1500)
    weight[:700] = 0  # the whole of the first part
    model = regressor(max_iter=1, batch_size=500)
    held = {"X_val": long, "y_val": y, "sample_weight_val": weight}
    model.fit(long, y, sample_weight=weight, **held)
    np.testing.assert_allclose(model.input_mean_, long[700:].mean(), atol=1e-6)
    np.testing.assert_allclose(model.target_mean_, y[700:].mean(), atol=1e-6)
    expected = r2_score(y[700:], model.predict(long[700:]))
    assert model.validation_scores_[-1] == pytest.approx(expected, abs=1e-4)
    long[1400, 50] = np.nan
    with pytest.raises(ValueError, match="sequence 1400, time step 50"):
        model.fit(long, y)


def test_memory_is_that_of_a_batch(tmp_path):
    """A file of 32 MB goes through fit and predict in small parts."""
    shape = (2000, 200, 20)
    file = np.memmap(tmp_path / "x", np.float32, "w+", shape=shape)
    file[:] = np.random.default_rng(0).standard_normal(shape)
    y = np.asarray(file[:, -1, 0])
    model = regressor(max_iter=1, batch_size=32).fit(file[:64], y[:64])
    held = {"X_val": file, "y_val": y}
    tracemalloc.start()
    model.fit(file, y, **held).predict(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6


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


@pytest.mark.nojit
def test_balanced_classes_count_by_weight():
    rare, weight = np.arange(N) < 8, np.ones(N)
    weight[4:8] = 0
    kept = weight > 0
    options = {"class_weight": "balanced", "dtype": "float64", "batch_size": N}
    model = classifier(**options).fit(X, rare, sample_weight=weight)
    same = classifier(**options).fit(X[kept], rare[kept])
    np.testing.assert_allclose(model.predict_proba(X), same.predict_proba(X), rtol=1e-6)


@pytest.mark.nojit
def test_stops_when_the_training_loss_does_not_improve():
    model = regressor(max_iter=50, tol=1e9, n_iter_no_change=3).fit(X, Y)
    assert model.n_iter_ == 4


@pytest.mark.nojit
@pytest.mark.parametrize("solver", ["adam", "sgd", "rmsprop"])
@pytest.mark.parametrize("learning_rate", ["constant", "cosine", "plateau"])
def test_every_solver_and_schedule_learns(solver, learning_rate):
    model = regressor(solver=solver, learning_rate=learning_rate, learning_rate_init=0.02)
    curve = model.set_params(max_iter=8).fit(X, Y).loss_curve_
    assert curve[-1] < curve[0]


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
def test_sample_weights_of_whole_numbers_repeat():
    weight = np.arange(N) % 3
    options = {"dtype": "float64", "batch_size": 100}
    weighted = regressor(**options).fit(RAGGED, Y, sample_weight=weight)
    repeated = [x for x, w in zip(RAGGED, weight, strict=True) for _ in range(w)]
    same = regressor(**options).fit(repeated, np.repeat(Y, weight))
    np.testing.assert_allclose(weighted.predict(RAGGED), same.predict(RAGGED), rtol=1e-7)
    assert weighted.loss_curve_ == pytest.approx(same.loss_curve_)
    np.testing.assert_array_equal(
        regressor().fit(X, Y, sample_weight=3.0).theta_, regressor().fit(X, Y).theta_
    )


@pytest.mark.nojit
def test_class_weights():
    rare = np.arange(N) < 4
    plain, balanced = (
        classifier(class_weight=w, max_iter=20).fit(X, rare) for w in (None, "balanced")
    )
    assert balanced.predict_proba(X)[:, 1].mean() > plain.predict_proba(X)[:, 1].mean()
    by_class = classifier(class_weight={False: 1.0, True: 5.0}, standardize=False)
    by_sample = classifier(standardize=False)
    by_class.fit(X, rare)
    by_sample.fit(X, rare, sample_weight=np.where(rare, 5.0, 1.0))
    assert by_class.loss_curve_ == pytest.approx(by_sample.loss_curve_, rel=1e-4)


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
    with pytest.warns(ConvergenceWarning, match="diverged"):
        model.fit(X, Y)
    assert least <= model.n_iter_ < 100
    assert model.score(X, Y) > -1


def test_no_other_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        regressor(early_stopping=True).fit(X, Y).predict(X)
        classifier(early_stopping=True).fit(RAGGED, Y > 0).predict_proba(RAGGED)


@pytest.mark.nojit
def test_verbose_prints_a_line_an_epoch(capsys):
    regressor(verbose=True).fit(X, Y, X_val=X[:4], y_val=Y[:4])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("epoch 1/3  loss ")
    assert "validation score" in lines[0]
    regressor().fit(X, Y)
    assert capsys.readouterr().out == ""


def test_repr_in_a_notebook():
    assert "LSTMRegressor" in regressor()._repr_html_()
    assert "not fitted" in regressor()._repr_html_().lower()


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


GAPS = np.random.default_rng(5)
X_STEPS = GAPS.standard_normal((20, 6, 2))
Y_STEPS = np.cumsum(X_STEPS, axis=1)
KNOWN = GAPS.random((20, 6)) < 0.6


@pytest.mark.parametrize("columns", [1, 2])
def test_steps_without_a_target_count_for_nothing(columns):
    """Neither in the standardisation nor in the score."""
    y = np.where(KNOWN[..., np.newaxis], Y_STEPS[..., :columns], np.nan)
    model = regressor(return_sequences=True, max_iter=3).fit(X_STEPS, y)
    known = y[KNOWN]
    np.testing.assert_allclose(model.target_mean_, known.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(model.target_scale_, known.std(axis=0), rtol=1e-6)
    residual = ((known - model.predict(X_STEPS)[KNOWN]) ** 2).sum(axis=0)
    expected = 1 - residual / ((known - known.mean(axis=0)) ** 2).sum(axis=0)
    assert model.score(X_STEPS, y) == pytest.approx(expected.mean())


def test_only_the_last_step_known_is_many_to_one():
    y = np.full((20, 6), np.nan)
    y[:, -1] = Y_STEPS[:, -1, 0]
    steps = regressor(return_sequences=True, max_iter=4, dtype="float64").fit(X_STEPS, y)
    last = regressor(max_iter=4, dtype="float64").fit(X_STEPS, y[:, -1])
    np.testing.assert_allclose(steps.predict(X_STEPS)[:, -1], last.predict(X_STEPS), rtol=1e-6)


def test_missing_targets_that_make_no_sense():
    y = Y_STEPS.copy()
    y[3, 2, 0] = np.nan
    with pytest.raises(ValueError, match="some outputs of sequence 3, time step 2"):
        regressor(return_sequences=True).fit(X_STEPS, y)
    with pytest.raises(ValueError, match="NaN at every time step"):
        regressor(return_sequences=True).fit(X_STEPS, y * np.nan)
    y[3, 2] = np.inf
    with pytest.raises(ValueError, match="infinity: sequence 3, time step 2"):
        regressor(return_sequences=True).fit(X_STEPS, y)
    with pytest.raises(ValueError, match="NaN"):
        regressor().fit(X_STEPS, np.where(np.arange(20) == 3, np.nan, y[:, 0, 1]))


def test_targets_known_where_nothing_counts():
    y = np.full((20, 6), np.nan)
    y[0] = 1.0
    weight = np.r_[0.0, np.ones(19)]
    for options in ({}, {"standardize": False}):
        with pytest.raises(ValueError, match="All weights are zero"):
            regressor(return_sequences=True, **options).fit(X_STEPS, y, sample_weight=weight)
    for seed in range(4):
        stopping = regressor(return_sequences=True, early_stopping=True, random_state=seed)
        with pytest.raises(ValueError, match="no target with a weight"):
            stopping.fit(X_STEPS, y)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("after", [1, 7])
def test_an_interrupted_fit_keeps_what_was_learned(monkeypatch, early_stopping, after):
    """After ``after`` batches, of which an epoch has four."""
    from numba_lstm.training.optimizers import Optimizer

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
