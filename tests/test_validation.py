"""Validation data: what the score on them is, what they decide, and what they do not."""

import warnings

import numpy as np
import pytest
import sklearn
from quick_models import LABELS, N, X, Y, classifier, regressor
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import d2_log_loss_score, mean_pinball_loss, r2_score
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    PredefinedSplit,
    ShuffleSplit,
    StratifiedKFold,
    TimeSeriesSplit,
    cross_val_score,
    train_test_split,
)

from numba_lstm.estimators import preparation
from numba_lstm.estimators.held_out import validation_data
from numba_lstm.training.optimizers import Optimizer

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


def parts_of(model, y, **given):
    """Which sequences a fit trains on, and which it holds out."""
    held = []

    def spy(*arguments):
        parts = validation_data(*arguments)
        held.extend(part.index for part in parts)
        return parts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, "validation_data", spy)
        model.fit(X, y, **given)
    return held


@pytest.mark.nojit
def test_part_set_aside_is_stratified():
    rare = np.arange(N) % 4 == 0
    model = classifier(early_stopping=True, validation_fraction=0.5, max_iter=1)
    for seed in range(5):
        _, held = parts_of(model.set_params(random_state=seed), rare)
        assert rare[held].sum() == 3


GROUPS = np.arange(N) // 4


@pytest.mark.nojit
@pytest.mark.parametrize("make", [regressor, classifier])
@pytest.mark.parametrize(
    ("split", "groups", "expected"),
    [
        ("last", None, np.arange(18, N)),
        (TimeSeriesSplit(3, test_size=4, gap=2), None, np.arange(20, N)),
        (GroupKFold(6), GROUPS, None),
        (PredefinedSplit(np.where(GROUPS == 2, 0, -1)), None, np.arange(8, 12)),
    ],
    ids=str,
)
def test_part_set_aside_as_one_says(make, split, groups, expected):
    model = make(early_stopping=True, validation_fraction=0.25, validation_split=split, max_iter=1)
    kept, held = parts_of(model, Y > 0 if make is classifier else Y, groups=groups)
    if expected is not None:
        np.testing.assert_array_equal(held, expected)
    if groups is not None:
        assert len(held) == 4
        assert not set(groups[held]) & set(groups[kept])
    gap = 2 * isinstance(split, TimeSeriesSplit)
    assert len(kept) + len(held) == N - gap
    assert clone(model).get_params()["validation_split"].__class__ is split.__class__


@pytest.mark.nojit
def test_a_split_that_is_stratified_sees_the_labels():
    rare = np.arange(N) % 4 == 0
    model = classifier(early_stopping=True, validation_split=StratifiedKFold(3), max_iter=1)
    assert rare[parts_of(model, rare)[1]].sum() == 2


def test_groups_reach_the_split_of_each_fold():
    model = regressor(early_stopping=True, validation_split=GroupKFold(2), max_iter=1)
    with sklearn.config_context(enable_metadata_routing=True):
        model.set_fit_request(groups=True)
        given = {"params": {"groups": GROUPS}, "cv": GroupKFold(3), "error_score": "raise"}
        assert np.isfinite(cross_val_score(model, X, Y, **given)).all()


@pytest.mark.nojit
def test_splits_that_are_refused():
    early = regressor(early_stopping=True)
    for split in ("first", 0.2, 5):
        with pytest.raises(ValueError, match="validation_split"):
            clone(early).set_params(validation_split=split).fit(X, Y)
    with pytest.raises(ValueError, match="does not ask for it"):
        clone(early).fit(X, Y, groups=GROUPS)
    apart = clone(early).set_params(validation_split=GroupKFold(3))
    with pytest.raises(ValueError, match="'groups' parameter should not be None"):
        clone(apart).fit(X, Y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        clone(apart).fit(X, Y, groups=GROUPS[1:])
    with pytest.raises(ValueError, match=r"early_stopping=True sets a part of the 24 sequences"):
        clone(early).set_params(validation_split=TimeSeriesSplit(N)).fit(X, Y)


class Wrong:
    """A splitter of one's own that yields what it was given."""

    def __init__(self, *parts):
        self.parts = parts

    def get_n_splits(self, X=None, y=None, groups=None):
        return len(self.parts)

    def split(self, X, y=None, groups=None):
        return iter(self.parts)

    def __repr__(self):
        return "Wrong()"


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("split", "message"),
    [
        (KFold, "is the class KFold"),
        (PredefinedSplit([-1] * N), "makes no split"),
        (PredefinedSplit([0, 1] * N), "makes no two parts"),
        (Wrong((np.arange(N - 2), [])), "makes no two parts"),
        (Wrong((np.arange(N), np.arange(2))), "in common"),
        (Wrong((np.arange(4), [1.5])), "makes no two parts"),
    ],
    ids=str,
)
def test_splits_that_make_no_sense(split, message):
    with pytest.raises(ValueError, match=message):
        regressor(early_stopping=True, validation_split=split).fit(X, Y)


@pytest.mark.nojit
def test_parts_may_count_from_the_end_and_be_masks():
    found = []
    for held in (np.arange(N) >= N - 4, np.arange(-4, 0), np.arange(N - 4, N)):
        split = Wrong((np.arange(N - 4), held))
        found.append(regressor(early_stopping=True, validation_split=split).fit(X, Y))
    assert found[0].validation_scores_ == found[1].validation_scores_
    assert found[0].validation_scores_ == found[2].validation_scores_
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        found[0].fit(X, Y, groups=GROUPS[1:])


def test_the_random_state_reaches_the_split_and_a_checkpoint(tmp_path):
    options = {"early_stopping": True, "validation_split": ShuffleSplit(1), "max_iter": 6}
    first, again, other = (regressor(random_state=seed, **options).fit(X, Y) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.theta_, again.theta_)
    assert other.input_mean_[0] != first.input_mean_[0]
    assert first.validation_split.random_state is None
    step, steps = Optimizer.step, []

    def dies(self, *arguments):
        steps.append(1)
        if len(steps) > 9:
            raise SystemExit  # as if it were killed
        return step(self, *arguments)

    kept = {"checkpoint": tmp_path / "progress", "random_state": 0, **options}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Optimizer, "step", dies)
        with pytest.raises(SystemExit):
            regressor(**kept).fit(X, Y)
    assert (tmp_path / "progress").exists()
    kept["validation_split"] = ShuffleSplit(1)
    np.testing.assert_array_equal(regressor(**kept).fit(X, Y).theta_, first.theta_)


def test_validation_data_of_another_kind_are_warned_of():
    fit = regressor(max_iter=5).fit
    with pytest.warns(ConvergenceWarning, match="where a constant has 0") as found:
        fit(X, Y, X_val=X, y_val=Y + 100)
    assert found[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        regressor().fit(X, Y, X_val=X, y_val=NOISE)
        regressor().fit(X, Y, X_val=X[:2], y_val=[1.0, 1.001])


@pytest.mark.nojit
def test_targets_are_standardised_by_the_training_part():
    late = Y + np.where(np.arange(N) < 12, 0, 1e3)
    model = regressor(max_iter=1).fit(X[:12], late[:12], X_val=X[12:], y_val=late[12:])
    np.testing.assert_allclose(model.target_mean_, Y[:12].mean())
    model = regressor(max_iter=1, early_stopping=True, validation_fraction=0.5).fit(X, late)
    kept, _ = train_test_split(np.arange(N), test_size=0.5, random_state=np.random.RandomState(0))
    np.testing.assert_allclose(model.target_mean_, late[kept].mean())
