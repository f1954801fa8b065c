"""In scikit-learn's company: cross-validation, searches, pipelines, routed weights."""

import numpy as np
import pytest
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import StackingRegressor, VotingRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    TimeSeriesSplit,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from numba_lstm import LSTMClassifier, LSTMRegressor

rng = np.random.default_rng(0)
RAGGED = [rng.standard_normal((n, 2)) for n in rng.integers(2, 9, 60)]
LAST = np.array([x[-1, 0] - x[-2, 1] for x in RAGGED])
LABELS = np.where(LAST > 0, "up", "down")
ARRAY = rng.standard_normal((60, 5, 2))
SUM = ARRAY[:, -2:, 0].sum(axis=1)
FAST = {"hidden_size": 4, "max_iter": 3, "random_state": 0}


@pytest.mark.parametrize("cv", [3, KFold(3, shuffle=True, random_state=0), TimeSeriesSplit(3)])
def test_cross_validation_of_lists(cv):
    scores = cross_val_score(LSTMRegressor(**FAST), RAGGED, LAST, cv=cv)
    assert scores.shape == (3,)
    assert np.isfinite(scores).all()
    scores = cross_val_score(LSTMClassifier(**FAST), RAGGED, LABELS, cv=cv, scoring="neg_log_loss")
    assert np.isfinite(scores).all()


def test_cross_validation_of_arrays():
    assert cross_val_predict(LSTMRegressor(**FAST), ARRAY, SUM, cv=3).shape == (60,)
    p = cross_val_predict(LSTMClassifier(**FAST), ARRAY, SUM > 0, cv=3, method="predict_proba")
    assert p.shape == (60, 2)


def test_cross_validation_at_every_step():
    y = [x[:, 0].cumsum() for x in RAGGED]
    scores = cross_val_score(LSTMRegressor(**FAST, return_sequences=True), RAGGED, y, cv=KFold(3))
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_grid_search(n_jobs):
    grid = {"hidden_size": [2, 6], "learning_rate_init": [0.001, 0.05]}
    model = LSTMRegressor(max_iter=10, random_state=0)
    search = GridSearchCV(model, grid, cv=3, n_jobs=n_jobs).fit(RAGGED, LAST)
    assert search.best_params_["learning_rate_init"] == 0.05
    assert search.best_estimator_.n_features_in_ == 2
    assert search.predict(RAGGED[:7]).shape == (7,)


def test_worker_processes_find_what_one_process_finds():
    results = [
        cross_validate(
            LSTMRegressor(**FAST), RAGGED, LAST, cv=3, n_jobs=n_jobs, return_estimator=True
        )
        for n_jobs in (1, 2)
    ]
    for one, two in zip(*(r["estimator"] for r in results), strict=True):
        np.testing.assert_array_equal(one.theta_, two.theta_)


def test_pipeline():
    differences = FunctionTransformer(lambda X: [np.diff(x, axis=0, prepend=0) for x in X])
    pipeline = make_pipeline(differences, LSTMRegressor(**FAST)).fit(RAGGED, LAST)
    direct = LSTMRegressor(**FAST).fit([np.diff(x, axis=0, prepend=0) for x in RAGGED], LAST)
    np.testing.assert_array_equal(pipeline.predict(RAGGED), direct.predict(
        [np.diff(x, axis=0, prepend=0) for x in RAGGED]
    ))  # fmt: skip
    assert pipeline.set_params(lstmregressor__hidden_size=3).fit(RAGGED, LAST)[-1].theta_.size


def test_meta_estimator():
    two = np.column_stack([SUM, -SUM])
    flat = ARRAY.reshape(60, 10)
    assert MultiOutputRegressor(LSTMRegressor(**FAST)).fit(flat, two).predict(flat).shape == (
        60,
        2,
    )


def test_routed_sample_weight():
    weight = np.linspace(0, 1, 60)
    model = LSTMRegressor(**FAST)
    with sklearn.config_context(enable_metadata_routing=True):
        model.set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
        pipeline = make_pipeline(FunctionTransformer(), model)
        pipeline.fit(ARRAY, SUM, sample_weight=weight)
        cross_validate(model, ARRAY, SUM, cv=3, params={"sample_weight": weight})
    direct = LSTMRegressor(**FAST).fit(ARRAY, SUM, sample_weight=weight)
    np.testing.assert_array_equal(pipeline[-1].theta_, direct.theta_)


@pytest.mark.parametrize(
    ("wrapped", "y"),
    [
        (VotingRegressor([("a", LSTMRegressor(**FAST)), ("b", LSTMRegressor(**FAST))]), SUM),
        (StackingRegressor([("a", LSTMRegressor(**FAST))], Ridge(), cv=2), SUM),
        (
            TransformedTargetRegressor(
                LSTMRegressor(**FAST), func=np.sinh, inverse_func=np.arcsinh
            ),
            SUM,
        ),
        (MultiOutputRegressor(LSTMRegressor(**FAST)), np.stack([SUM, -SUM], axis=1)),
        (CalibratedClassifierCV(LSTMClassifier(**FAST), cv=2), SUM > 0),
        (TunedThresholdClassifierCV(LSTMClassifier(**FAST), cv=2), SUM > 0),
        (OneVsRestClassifier(LSTMClassifier(**FAST)), np.digitize(SUM, [-1, 1])),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_takes_three_dimensions(wrapped, y):
    """The guide names these; that they let X through is scikit-learn's business."""
    assert wrapped.fit(ARRAY, y).predict(ARRAY).shape == y.shape
