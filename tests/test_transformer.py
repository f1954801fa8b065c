"""Sequences to features, with y and without."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from numba_lstm import LSTMClassifier, LSTMRegressor, LSTMTransformer

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 8, 2))
Y = X[:, :, 0].mean(axis=1)
RAGGED = [x[: 2 + i % 7] for i, x in enumerate(X)]


def network(kind=LSTMRegressor, **options):
    return kind(
        **{"hidden_size": 5, "max_iter": 3, "random_state": 0, "dtype": "float64"} | options
    )


@pytest.mark.parametrize("given", [X, RAGGED, X[:, :, 0]], ids=["array", "list", "table"])
@pytest.mark.parametrize("y", [Y, None], ids=["y", "no y"])
def test_each_kind_of_X(given, y):
    model = LSTMTransformer(network())
    found = model.fit_transform(given, y)
    assert found.shape == (60, 5)
    assert found.dtype == np.float64
    assert np.isfinite(found).all()
    assert model.is_autoencoder_ == (y is None)
    assert model.n_features_in_ == (8 if given[0].ndim == 1 else 2)
    np.testing.assert_array_equal(model.transform(given[3:5]), found[3:5])
    with pytest.raises(ValueError, match="features"):
        model.transform(np.zeros((3, 8, 3)))


@pytest.mark.parametrize("options", [
    {}, {"bidirectional": True}, {"go_backwards": True}, {"num_layers": 2, "proj_size": 3},
    {"pooling": "attention"}, {"missing": "mask"}, {"missing": "mask", "bidirectional": True},
])  # fmt: skip
def test_features_are_the_last_states(options):
    fitted = network(**options).fit(RAGGED, Y)
    layout = fitted._layout
    for layer in range(len(layout.hidden_sizes)):
        expected = []
        for part, size in zip(
            fitted.hidden_states(RAGGED, layer), (layout.proj_size or 5, 5), strict=True
        ):
            ends = [rows[0 if layout.direction == "reverse" else -1] for rows in part]
            if layout.direction == "both":
                pairs = zip(ends, part, strict=True)
                ends = [np.append(end[:size], rows[0, size:]) for end, rows in pairs]
            expected.append(np.array(ends))
        for features, columns in (
            ("hidden", expected[:1]),
            ("cell", expected[1:]),
            ("both", expected),
        ):
            model = LSTMTransformer(network(**options), features=features, layer=layer)
            found = model.fit(RAGGED, Y).transform(RAGGED)
            np.testing.assert_allclose(found, np.hstack(columns), atol=1e-12)
            names = model.get_feature_names_out()
            assert len(names) == len(set(names)) == found.shape[1]


def test_all_layers_and_their_names():
    model = LSTMTransformer(network(num_layers=2, proj_size=3), features="both", layer=None)
    found = model.fit(X, Y).transform(X)
    names = list(model.get_feature_names_out())
    assert names[:4] == ["layer0_h0", "layer0_h1", "layer0_h2", "layer1_h0"]
    assert names[6:8] == ["layer0_c0", "layer0_c1"]
    assert len(names) == found.shape[1] == 2 * (3 + 5)
    last = LSTMTransformer(network(num_layers=2, proj_size=3), features="both").fit(X, Y)
    columns = [k for k, name in enumerate(names) if name.startswith("layer1")]
    np.testing.assert_array_equal(found[:, columns], last.transform(X))


def test_frames():
    model = LSTMTransformer(network()).set_output(transform="pandas")
    frames = [pd.DataFrame(x, columns=["a", "b"]) for x in RAGGED]
    found = model.fit_transform(frames)
    assert list(found.columns) == ["h0", "h1", "h2", "h3", "h4"]
    assert list(model.feature_names_in_) == ["a", "b"]
    with pytest.raises(ValueError, match="feature names"):
        model.transform([frame[["b", "a"]] for frame in frames])
    plain = LSTMTransformer(network()).fit_transform(RAGGED)
    np.testing.assert_array_equal(found.to_numpy(), plain)


def test_an_autoencoder_tells_what_it_has_read():
    """Better than what has no memory, the mean; and beside PCA of as many numbers."""
    t = np.arange(20)
    phase, pace = RNG.uniform(0, 2 * np.pi, 400), RNG.uniform(0.2, 0.5, 400)
    waves = np.sin(phase[:, np.newaxis] + pace[:, np.newaxis] * t)[..., np.newaxis]
    kept = network(hidden_size=24, max_iter=150, learning_rate_init=0.01, n_iter_no_change=150)
    model = LSTMTransformer(kept).fit(waves[:300])
    told = model.reconstruct(waves[300:])
    assert told.shape == (100, 20, 1)
    error = np.mean((told - waves[300:]) ** 2) / np.var(waves[300:])
    assert error < 0.1
    lists = model.reconstruct(list(waves[300:305]) + [waves[0, :7]])
    np.testing.assert_allclose(lists[1], told[1], atol=1e-12)
    assert lists[-1].shape == (7, 1)


def test_features_for_other_models():
    n = 120
    slow = RNG.random(n) < 0.5
    t = np.arange(25)
    waves = np.sin(np.where(slow, 0.3, 0.9)[:, np.newaxis] * t + RNG.uniform(0, 6, (n, 1)))
    waves = (waves + 0.1 * RNG.standard_normal((n, 25)))[..., np.newaxis]
    net = network(hidden_size=12, max_iter=60, learning_rate_init=0.02)
    pipeline = make_pipeline(LSTMTransformer(net), PCA(4), LogisticRegression())
    assert cross_val_score(pipeline, waves, slow, cv=3).min() > 0.9
    grid = {"lstmtransformer__estimator__hidden_size": [2, 12], "pca__n_components": [2]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(waves, slow)
    assert search.best_score_ > 0.8
    # What an autoencoder remembers tells the pace, too, which it was never told.
    codes = LSTMTransformer(net, features="both").fit_transform(waves)
    assert cross_val_score(LogisticRegression(max_iter=500), codes, slow, cv=3).mean() > 0.85


def test_validation_data():
    options = {"max_iter": 40, "early_stopping": True, "n_iter_no_change": 3}
    for y, y_val in ((Y[:40], Y[40:]), (None, None)):
        model = LSTMTransformer(network(**options))
        model.fit(X[:40], y, X_val=X[40:], y_val=y_val)
        assert len(model.estimator_.validation_scores_) == model.estimator_.n_iter_
        given = {"X_val": X[40:], "y_val": y_val}
        watched = LSTMTransformer(network(max_iter=3)).fit(X[:40], y, **given)
        alone = LSTMTransformer(network(max_iter=3)).fit(X[:40], y)
        np.testing.assert_array_equal(watched.transform(X), alone.transform(X))
    with pytest.raises(ValueError, match="X_val has 1 features, and X has"):
        LSTMTransformer(network()).fit(X, X_val=X[:, :, :1])
    with pytest.raises(ValueError, match="X_val was given without y_val"):
        LSTMTransformer(network()).fit(X, Y, X_val=X)


def test_series_of_sequences():
    series = pd.Series(RAGGED, index=np.arange(100, 160))
    model = LSTMTransformer(network()).fit(series)
    for told, x in zip(model.reconstruct(series), RAGGED, strict=True):
        assert told.shape == x.shape


def test_what_y_is_decides_what_is_learned():
    assert isinstance(LSTMTransformer().fit(X, Y > 0).estimator_, LSTMClassifier)
    assert isinstance(LSTMTransformer().fit(X, Y).estimator_, LSTMRegressor)
    alone = LSTMTransformer(network(), method="autoencoder").fit(X, Y)
    np.testing.assert_array_equal(
        alone.transform(X), LSTMTransformer(network()).fit(X).transform(X)
    )
    make_pipeline(LSTMTransformer(network(LSTMClassifier)), Ridge()).fit(X, Y > 0)
    counts = np.round(10 * Y)
    assert isinstance(LSTMTransformer().fit(X, counts).estimator_, LSTMRegressor)
    assert isinstance(LSTMTransformer().fit(X, list(counts)).estimator_, LSTMRegressor)
    for labels in (counts.astype(int), np.where(Y > 0, "up", "down"), np.stack([Y > 0] * 2, 1)):
        assert isinstance(LSTMTransformer().fit(X, labels).estimator_, LSTMClassifier)


TIMES = np.cumsum(RNG.exponential(2.0, (60, 8)), axis=1)


@pytest.mark.parametrize("missing", ["error", "mask"])
def test_times(missing):
    """They count as in the estimator, and reach it in a pipeline."""
    net = network(missing=missing)
    model = LSTMTransformer(net)
    found = model.fit_transform(X[:40], Y[:40], times=TIMES[:40], X_val=X[40:], y_val=Y[40:],
                                times_val=TIMES[40:])  # fmt: skip
    expected = clone(net).fit(X[:40], Y[:40], times=TIMES[:40])
    h, _ = expected.hidden_states(X, times=TIMES)
    np.testing.assert_array_equal(model.transform(X, times=TIMES), h[:, -1])
    np.testing.assert_array_equal(found, h[:40, -1])
    with pytest.raises(ValueError, match="fitted with times"):
        model.transform(X)
    with pytest.raises(ValueError, match="an autoencoder tells"):
        LSTMTransformer(network()).fit(X, times=TIMES)
    with sklearn.config_context(enable_metadata_routing=True):
        step = LSTMTransformer(net).set_fit_request(times=True).set_transform_request(times=True)
        pipeline = make_pipeline(step, Ridge()).fit(X[:40], Y[:40], times=TIMES[:40])
        ridge = Ridge().fit(found, Y[:40])
        np.testing.assert_allclose(
            pipeline.predict(X, times=TIMES), ridge.predict(h[:, -1]), rtol=1e-12
        )


def test_errors_leave_it_as_it_was():
    with pytest.raises(NotFittedError):
        LSTMTransformer().transform(X)
    fitted = LSTMTransformer(network()).fit(X, Y)
    kept, expected = fitted.estimator_, fitted.transform(X)
    cases = [
        ({"method": "supervised"}, (X,), "y to be passed"),
        ({"method": "often"}, (X,), "method"),
        ({"layer": 1}, (X, Y), "1 layers"),
        ({"features": "all"}, (X, Y), "features"),
        ({"estimator": network(LSTMClassifier)}, (X,), "without y"),
        ({"estimator": network(bidirectional=True)}, (X,), "bidirectional=True"),
        ({"estimator": network(pooling="mean")}, (X,), "pooling='mean'"),
        ({"estimator": network(missing="mask")}, (X,), "missing='mask'"),
        ({}, (X[:, :, :0], Y), "feature"),
        ({}, (X, Y[:5]), "inconsistent"),
    ]
    for options, given, match in cases:
        model = clone(fitted).set_params(**options)
        model.__dict__.update({k: v for k, v in vars(fitted).items() if k.endswith("_")})
        before = dict(vars(model))
        with pytest.raises(ValueError, match=match):
            model.fit(*given)
        assert vars(model) == before
    with pytest.raises(ValueError, match="1 layers"):
        clone(fitted).fit(X, Y).set_params(layer=3).transform(X)
    with pytest.raises(ValueError, match="return_sequences"):
        LSTMTransformer().fit(RAGGED, [x[:, 0] for x in RAGGED])
    with pytest.raises(ValueError, match="learned y"):
        fitted.reconstruct(X)
    assert fitted.estimator_ is kept
    np.testing.assert_array_equal(fitted.transform(X), expected)
