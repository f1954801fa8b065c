"""What counts in the loss, and how much: weights, and steps without a target."""

import numpy as np
import pandas as pd
import pytest
from quick_models import RAGGED, N, X, Y, classifier, regressor
from sklearn.model_selection import cross_val_score

rng = np.random.default_rng(5)
X_STEPS = rng.standard_normal((20, 6, 2))
Y_STEPS = np.cumsum(X_STEPS, axis=1)
KNOWN = rng.random((20, 6)) < 0.6


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
@pytest.mark.parametrize("factor", [1e6, 1e300, 5e-324, 3.0])
def test_only_the_ratios_of_weights_count(factor):
    """Also where a feature varies little beside its mean."""
    pressure = 1013 + 0.01 * X
    plain = regressor().fit(pressure, Y)
    same = regressor().fit(pressure, Y, sample_weight=np.full(N, factor))
    np.testing.assert_allclose(same.input_scale_, plain.input_scale_, rtol=1e-9)
    np.testing.assert_allclose(same.predict(pressure), plain.predict(pressure), atol=1e-4)
    np.testing.assert_allclose(plain.input_scale_, pressure.std(axis=(0, 1)), rtol=1e-9)


def test_a_number_weighs_all_alike_in_scores():
    for model, y in ((regressor(), Y), (classifier(), Y > 0)):
        model.fit(X, y)
        assert model.score(X, y, sample_weight=2.0) == pytest.approx(model.score(X, y))
        with pytest.raises(ValueError, match="one weight for each sequence"):
            model.score(X, y, sample_weight=[1.0, 2.0])


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
def test_balanced_classes_count_by_weight():
    rare, weight = np.arange(N) < 8, np.ones(N)
    weight[4:8] = 0
    kept = weight > 0
    options = {"class_weight": "balanced", "dtype": "float64", "batch_size": N}
    model = classifier(**options).fit(X, rare, sample_weight=weight)
    same = classifier(**options).fit(X[kept], rare[kept])
    np.testing.assert_allclose(model.predict_proba(X), same.predict_proba(X), rtol=1e-6)


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


# -- weights of steps ------------------------------------------------------------------

STEP_WEIGHT = [rng.integers(0, 3, len(x)).astype(float) for x in RAGGED]
STEP_WEIGHT[0] += 1


def test_steps_of_no_weight_are_steps_without_a_target():
    """But for the standardisation of the inputs, in which all steps count."""
    y = [x[:, 0].cumsum() for x in RAGGED]
    counts = [np.where(w > 0, 1.0, 0.0) for w in STEP_WEIGHT]
    options = {"return_sequences": True, "dtype": "float64", "standardize": False}
    weighted = regressor(**options).fit(RAGGED, y, sample_weight=counts)
    known = [np.where(w > 0, values, np.nan) for w, values in zip(counts, y, strict=True)]
    same = regressor(**options).fit(RAGGED, known)
    np.testing.assert_allclose(weighted.theta_, same.theta_, rtol=1e-9)
    assert weighted.score(RAGGED, y, counts) == pytest.approx(same.score(RAGGED, known))
    assert weighted.score(RAGGED, y, counts) != weighted.score(RAGGED, y)


@pytest.mark.parametrize("estimator", [regressor, classifier])
def test_one_weight_for_all_steps_of_a_sequence(estimator):
    y = [x[:, 0] > 0 if estimator is classifier else x[:, 0] for x in RAGGED]
    weight = rng.random(N)
    steps = [np.full(len(x), w) for x, w in zip(RAGGED, weight, strict=True)]
    options = {"return_sequences": True, "early_stopping": True, "max_iter": 4}
    one, other = (
        estimator(**options).fit(RAGGED, y, w, X_val=RAGGED, y_val=y, sample_weight_val=w)
        for w in (weight, steps)
    )
    np.testing.assert_allclose(one.theta_, other.theta_, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(one.input_mean_, other.input_mean_)
    np.testing.assert_allclose(one.validation_scores_, other.validation_scores_, rtol=1e-5)
    assert one.score(RAGGED, y, weight) == pytest.approx(one.score(RAGGED, y, steps))


def test_weights_of_steps_in_a_table_and_beyond_all_measure():
    y, weight = X[:, :, 0], rng.random(X.shape[:2])
    models = [
        regressor(return_sequences=True).fit(X, y, sample_weight=w)
        for w in (weight, list(weight), pd.DataFrame(weight), weight * 2.0**1000)
    ]
    for model in models[1:]:
        np.testing.assert_array_equal(model.theta_, models[0].theta_)
    cross_val_score(models[0], X, y, cv=2, params={"sample_weight": weight}, error_score="raise")


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (STEP_WEIGHT[:-1], "sequences in X, but"),
        ([w[1:] for w in STEP_WEIGHT], "other steps than X"),
        ([np.stack([w, w], axis=1) for w in STEP_WEIGHT], "other steps than X"),
        ([*STEP_WEIGHT[:-1], -STEP_WEIGHT[-1] - 1], "is -.* time step 0: weights are numbers"),
        ([*STEP_WEIGHT[:-1], STEP_WEIGHT[-1] * np.nan], "is nan for sequence .*, time step 0"),
        ([*STEP_WEIGHT[:-1], STEP_WEIGHT[-1] + np.inf], "sample_weight contains infinity"),
        ([0 * w for w in STEP_WEIGHT], "zero at every time step"),
    ],
)
def test_weights_of_steps_that_cannot_be(weight, message):
    y = [x[:, 0] for x in RAGGED]
    model = regressor(return_sequences=True)
    with pytest.raises(ValueError, match=message):
        model.fit(RAGGED, y, sample_weight=weight)
    assert not hasattr(model, "theta_")
    with pytest.raises(ValueError, match="1D array or scalar"):
        regressor().fit(X, Y, sample_weight=np.ones(X.shape[:2]))
