"""What fitted estimators have and predict, in any units, and of data of any size."""

import tracemalloc
import warnings

import numpy as np
import pytest
from quick_models import LABELS, RAGGED, STEPS, N, T, X, Y, classifier, regressor
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, r2_score


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


def test_no_other_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        regressor(early_stopping=True).fit(X, Y).predict(X)
        classifier(early_stopping=True).fit(RAGGED, Y > 0).predict_proba(RAGGED)


def test_repr_in_a_notebook():
    assert "LSTMRegressor" in regressor()._repr_html_()
    assert "not fitted" in regressor()._repr_html_().lower()
