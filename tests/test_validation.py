"""Validation data: what the score on them is, what they decide, and what they do not."""

import numpy as np
import pytest
from quick_models import LABELS, N, X, Y, classifier, regressor
from sklearn.base import clone
from sklearn.metrics import d2_log_loss_score, mean_pinball_loss, r2_score
from sklearn.model_selection import train_test_split

from numba_lstm.estimators import preparation
from numba_lstm.estimators.checks import validation_data

NOISE = np.random.default_rng(1).standard_normal(N)


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
def test_validation_weights_count():
    held = {"X_val": X[16:], "y_val": Y[16:]}
    weight = np.array([0, 0, 0, 1, 2, 3, 0, 1.0])
    model = regressor().fit(X[:16], Y[:16], **held, sample_weight_val=weight)
    expected = r2_score(Y[16:], model.predict(X[16:]), sample_weight=weight)
    assert model.validation_scores_[-1] == pytest.approx(expected, abs=1e-5)


@pytest.mark.nojit
def test_validation_score_without_a_null_loss():
    model = regressor().fit(X, Y, X_val=X[:3], y_val=np.ones(3))
    assert all(type(score) is float and score < 0 for score in model.validation_scores_)
    assert min(model.validation_scores_) > -100


@pytest.mark.nojit
def test_early_stopping_restores_the_best_weights():
    model = regressor(early_stopping=True, max_iter=40, n_iter_no_change=4, learning_rate_init=0.1)
    model.fit(X[:16], NOISE[:16], X_val=X[16:], y_val=NOISE[16:])
    scores = model.validation_scores_
    assert len(scores) == model.n_iter_ < 40
    assert model.best_validation_score_ == max(scores)
    assert scores[-1] < max(scores)
    assert model.score(X[16:], NOISE[16:]) == pytest.approx(max(scores), abs=1e-5)


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
def test_validation_data_changes_nothing_without_early_stopping():
    watched = regressor().fit(X, Y, X_val=X[:5], y_val=Y[:5], sample_weight_val=np.arange(5))
    np.testing.assert_array_equal(watched.theta_, regressor().fit(X, Y).theta_)
    assert len(watched.validation_scores_) == 3


@pytest.mark.nojit
@pytest.mark.parametrize("learning_rate", ["constant", "plateau"])
def test_watching_is_not_stopping(learning_rate):
    """Validation data without early stopping decide nothing, however long it takes."""
    model = regressor(max_iter=25, n_iter_no_change=4, tol=0.0, learning_rate=learning_rate)
    watched = clone(model).fit(X, NOISE, X_val=X[:6], y_val=-NOISE[:6])
    np.testing.assert_array_equal(watched.theta_, clone(model).fit(X, NOISE).theta_)


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
def test_targets_are_standardised_by_the_training_part():
    late = Y + np.where(np.arange(N) < 12, 0, 1e3)
    model = regressor(max_iter=1).fit(X[:12], late[:12], X_val=X[12:], y_val=late[12:])
    np.testing.assert_allclose(model.target_mean_, Y[:12].mean())
    model = regressor(max_iter=1, early_stopping=True, validation_fraction=0.5).fit(X, late)
    kept, _ = train_test_split(np.arange(N), test_size=0.5, random_state=np.random.RandomState(0))
    np.testing.assert_allclose(model.target_mean_, late[kept].mean())
