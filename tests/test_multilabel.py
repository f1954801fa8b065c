"""Several labels for each sequence."""

import numpy as np
import pytest

from numba_lstm import LSTMClassifier

rng = np.random.default_rng(0)
X = rng.standard_normal((200, 6, 3))
Y = np.stack([X[:, -1, 0] > 0, X[:, 2, 1] > 0.5, X.sum((1, 2)) > 0], axis=1).astype(int)


def model(**options):
    return LSTMClassifier(**({"hidden_size": 8, "max_iter": 40, "random_state": 0} | options))


@pytest.mark.parametrize("kind", [int, bool, float])
def test_labels_are_learned_each_by_itself(kind):
    fitted = model(max_iter=150).fit(X[:150], Y[:150].astype(kind))
    np.testing.assert_array_equal(fitted.classes_, [0, 1, 2])
    found, p = fitted.predict(X), fitted.predict_proba(X)
    assert found.shape == p.shape == Y.shape
    np.testing.assert_array_equal(found, (p > 0.5).astype(int))
    np.testing.assert_allclose(np.exp(fitted.predict_log_proba(X)), p, rtol=1e-10)
    assert (found[:150] == Y[:150]).mean() > 0.95
    assert not np.allclose(p.sum(axis=1), 1)
    right = (found == Y).all(axis=1).mean()
    assert fitted.score(X, Y) == pytest.approx(right)


def test_validation_is_beside_the_labels_frequencies():
    fitted = model(early_stopping=True, max_iter=60).fit(X, Y)
    assert 0.3 < fitted.best_validation_score_ <= 1


def test_going_on_and_weights():
    fitted = model(warm_start=True, max_iter=2).fit(X, Y, sample_weight=np.arange(200))
    fitted.fit(X, Y)
    fitted.partial_fit(X, Y)
    assert fitted.n_iter_ == 5
    with pytest.raises(ValueError, match="y has 2 labels, but the network has 3"):
        fitted.fit(X, Y[:, :2])
    with pytest.raises(ValueError, match="y holds 2"):
        fitted.fit(X, 2 * Y)


def test_streams_and_lists():
    fitted = model(max_iter=3).fit([x[: 2 + i % 4] for i, x in enumerate(X)], Y)
    stream = fitted.stream(5)
    for t in range(6):
        found = stream.step(X[:5, t])
    np.testing.assert_array_equal(found, fitted.predict(X[:5]))


def test_what_goes_with_classes_only():
    with pytest.raises(ValueError, match="class_weight='balanced' is for classes that exclude"):
        model(class_weight="balanced").fit(X, Y)
    with pytest.raises(ValueError, match="y"):
        model().fit(X, Y + 1)


def test_as_many_labels_as_steps_may_be_a_mistake():
    steps = (X[:, :, 0] > 0).astype(int)
    with pytest.warns(UserWarning, match="Set return_sequences=True if"):
        model(max_iter=1).fit(X, steps)
    with pytest.raises(ValueError, match="Set return_sequences=True for one"):
        model(max_iter=1).fit(X, np.where(steps, "up", "down"))
