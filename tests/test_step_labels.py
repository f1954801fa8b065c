"""Labels at every time step: several at once, and steps without any."""

import pickle

import numpy as np
import pytest
import reference
from sklearn.base import clone

from numba_lstm import LSTMClassifier

rng = np.random.default_rng(0)
X = rng.standard_normal((60, 7, 2))
SUMS = X.cumsum(axis=1)
Y = np.stack([SUMS[..., 0] > 0, SUMS[..., 1] > 0.5, X[..., 0] > 0], axis=2).astype(int)
LENGTHS = 1 + np.arange(60) % 7
RAGGED_X = [x[:n] for x, n in zip(X, LENGTHS, strict=True)]
RAGGED_Y = [y[:n] for y, n in zip(Y, LENGTHS, strict=True)]
KNOWN = rng.random((60, 7)) < 0.7
NAMES = np.array(["down", "middle", "up"])[np.digitize(SUMS[..., 0], [-0.7, 0.7])]


def model(**options):
    settings = {"hidden_size": 6, "max_iter": 4, "random_state": 0, "return_sequences": True}
    return LSTMClassifier(**(settings | options))


def with_gaps(y, gap=np.nan):
    """Labels (N, T) or (N, T, K) with ``gap`` where nothing is known."""
    y = y.astype(object if gap is None or y.dtype.kind == "U" else float)
    y[~KNOWN] = gap
    return y


def naive_loss(fitted, sequences, y, weight, kind):
    """Mean loss, with weights for each step, by the reference; inputs as they came."""
    out = reference.outputs(list(sequences), fitted.parameters_, True)
    return reference.loss(out, y, weight / weight.sum(), kind)


def first_loss(sequences, y, sample_weight=None, **options):
    """An estimator with the weights that a fit begins with, and that fit's first loss."""
    options |= {"standardize": False, "dtype": "float64", "max_iter": 1, "batch_size": 100}
    options |= {"alpha": 0.0, "learning_rate_init": 1e-12}
    fitted = model(**options).fit(sequences, y, sample_weight)
    return fitted, fitted.loss_


# -- several labels at every step ------------------------------------------------


@pytest.mark.parametrize("kind", [int, bool, float, np.uint8, list, object])
def test_several_labels_are_learned_each_by_itself(kind):
    y = Y.tolist() if kind is list else Y.astype(kind)
    fitted = model(max_iter=80, learning_rate_init=0.03).fit(X, y)
    np.testing.assert_array_equal(fitted.classes_, [0, 1, 2])
    found, p = fitted.predict(X), fitted.predict_proba(X)
    assert found.shape == p.shape == Y.shape
    assert found.dtype.kind == "i"
    np.testing.assert_array_equal(found, p > 0.5)
    np.testing.assert_allclose(np.exp(fitted.predict_log_proba(X)), p, rtol=1e-10)
    assert not np.allclose(p.sum(axis=2), 1)
    assert (found == Y).mean() > 0.93
    right = (found == Y).all(axis=2)
    assert fitted.score(X, y) == pytest.approx(right.mean())
    weight = np.arange(60)
    expected = np.average(right.mean(axis=1), weights=weight)
    assert fitted.score(X, y, sample_weight=weight) == pytest.approx(expected)


def test_lists_of_different_lengths():
    fitted = model().fit(RAGGED_X, RAGGED_Y)
    found, p = fitted.predict(RAGGED_X), fitted.predict_proba(RAGGED_X)
    assert [y.shape for y in found] == [y.shape for y in p] == [(n, 3) for n in LENGTHS]
    right = [(a == b).all(axis=1) for a, b in zip(found, RAGGED_Y, strict=True)]
    assert fitted.score(RAGGED_X, RAGGED_Y) == pytest.approx(np.concatenate(right).mean())


@pytest.mark.parametrize("K", [2, 3])
@pytest.mark.parametrize("gaps", [False, True])
def test_loss_of_several_labels_is_the_references(K, gaps):
    weight = rng.uniform(0.5, 2, 60)
    known = KNOWN if gaps else np.ones_like(KNOWN)
    y = with_gaps(Y[..., :K]) if gaps else Y[..., :K]
    fitted, found = first_loss(X, y, weight)
    steps = np.repeat(weight, 7) * known.ravel()
    expected = naive_loss(fitted, X, Y[..., :K].reshape(-1, K), steps, "labels")
    assert found == pytest.approx(expected, rel=1e-9)


def test_validation_streams_and_states():
    fitted = model(early_stopping=True, max_iter=40, learning_rate_init=0.03)
    fitted.fit(X, with_gaps(Y))
    assert 0 < fitted.best_validation_score_ <= 1
    watched = model().fit(X, Y, X_val=X[:9], y_val=with_gaps(Y)[:9])
    assert len(watched.validation_scores_) == 4
    stream, expected = fitted.stream(60), fitted.predict(X)
    for t in range(7):
        np.testing.assert_array_equal(stream.step(X[:, t]), expected[:, t])
    first, state = fitted.predict_proba(X[:, :3], return_state=True)
    rest = fitted.predict_proba(X[:, 3:], initial_state=state)
    np.testing.assert_array_equal(np.hstack([first, rest]), fitted.predict_proba(X))


# -- steps without a label -------------------------------------------------------


CASES = {
    "three names": (NAMES, None, "log_loss"),
    "names and NaN": (NAMES, np.nan, "log_loss"),
    "two numbers": (Y[..., 0], np.nan, "log_loss"),
    "several labels": (Y, np.nan, "labels"),
    "several labels and None": (Y, None, "labels"),
}


@pytest.mark.parametrize("case", CASES)
def test_cut_off_and_without_a_label_are_the_same(case):
    """Where the unknown steps stand at the end, they might as well not be there."""
    y, gap, _ = CASES[case]
    late = np.arange(7) >= LENGTHS[:, np.newaxis]
    marked = y.astype(object if gap is None or y.dtype.kind == "U" else float)
    marked[late] = gap
    options = {"standardize": False, "dtype": "float64", "shuffle": False}
    whole = model(**options).fit(list(X), list(marked))
    cut = model(**options).fit(RAGGED_X, [y[i, :n] for i, n in enumerate(LENGTHS)])
    np.testing.assert_array_equal(whole.classes_, cut.classes_)
    np.testing.assert_allclose(whole.theta_, cut.theta_, rtol=1e-7, atol=1e-9)
    scores = whole.score(X, marked), cut.score(X, marked)
    assert (
        scores[0]
        == scores[1]
        == pytest.approx(cut.score(RAGGED_X, [y[i, :n] for i, n in enumerate(LENGTHS)]))
    )


@pytest.mark.parametrize("case", CASES)
def test_loss_and_score_are_of_the_known_steps(case):
    y, gap, kind = CASES[case]
    weight = rng.uniform(0.5, 2, 60)
    fitted, found = first_loss(X, with_gaps(y, gap), weight)
    steps = np.repeat(weight, 7) * KNOWN.ravel()
    codes = y.reshape(-1, 3) if kind == "labels" else np.searchsorted(fitted.classes_, y.ravel())
    assert found == pytest.approx(naive_loss(fitted, X, codes, steps, kind), rel=1e-9)
    right = fitted.predict(X) == y
    right = right.all(axis=2) if kind == "labels" else right
    assert fitted.score(X, with_gaps(y, gap)) == pytest.approx(right[KNOWN].mean())
    expected = np.average(right.ravel(), weights=steps)
    assert fitted.score(X, with_gaps(y, gap), weight) == pytest.approx(expected)


@pytest.mark.parametrize("class_weight", [{"down": 5, "up": 0.5}, "balanced"])
def test_class_weight_counts_the_known_steps(class_weight):
    fitted, found = first_loss(X, with_gaps(NAMES, None), class_weight=class_weight)
    codes = np.searchsorted(fitted.classes_, NAMES.ravel())
    by_class = np.array([5, 1, 0.5])
    if class_weight == "balanced":
        by_class = 1 / np.bincount(codes[KNOWN.ravel()])
    steps = by_class[codes] * KNOWN.ravel()
    assert found == pytest.approx(naive_loss(fitted, X, codes, steps, "log_loss"), rel=1e-9)


def test_sequences_without_any_label_among_others():
    """Beside strings their NaN is none, nor a class "nan"."""
    y = [row if i % 3 else np.full(7, np.nan) for i, row in enumerate(NAMES)]
    fitted = model().fit(list(X), y)
    np.testing.assert_array_equal(fitted.classes_, ["down", "middle", "up"])
    right = np.stack(fitted.predict(X)) == NAMES
    assert fitted.score(X, y) == pytest.approx(right[np.arange(60) % 3 > 0].mean())
    whole = [row.astype(int) if i % 3 else np.full(7, np.nan) for i, row in enumerate(Y[..., 0])]
    assert model().fit(list(X), whole).classes_.tolist() == [0, 1]


def test_frames_with_gaps():
    pandas = pytest.importorskip("pandas")
    y = [pandas.array(list(row), dtype="string") for row in with_gaps(NAMES, None)]
    np.testing.assert_array_equal(
        model().fit(list(X), y).theta_, model().fit(list(X), with_gaps(NAMES, None)).theta_
    )
    frame = pandas.DataFrame(with_gaps(NAMES, None))
    table = X[:, :, 0]
    same = model().fit(table, with_gaps(NAMES, None))
    np.testing.assert_array_equal(model().fit(table, frame).theta_, same.theta_)


# -- going on, copies ------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_warm_start_partial_fit_clone_and_pickle(case):
    y, gap, _ = CASES[case]
    y = with_gaps(y, gap)
    fitted = model(warm_start=True, max_iter=2).fit(X, y)
    fitted.fit(X, y).partial_fit(X, y)
    assert fitted.n_iter_ == 5
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))
    again.partial_fit(X, y)
    fitted.partial_fit(X, y)
    np.testing.assert_array_equal(again.theta_, fitted.theta_)
    copy = clone(fitted).fit(X, y)
    np.testing.assert_array_equal(copy.theta_, model(max_iter=2).fit(X, y).theta_)


def test_classes_told_beforehand():
    part = np.isin(NAMES, ["down", "up"])
    y = np.where(part, NAMES, None)
    first = model().partial_fit(X, y, classes=["down", "middle", "up"])
    assert first.predict_proba(X).shape == (60, 7, 3)
    first.partial_fit(X, NAMES)
    several = model().partial_fit(X, Y, classes=[0, 1, 2]).partial_fit(X, Y, classes=[0, 1, 2])
    np.testing.assert_array_equal(
        several.theta_, model().partial_fit(X, Y).partial_fit(X, Y).theta_
    )
    sequences = LSTMClassifier(4, random_state=0).partial_fit(X, Y[:, -1], classes=[0, 1, 2])
    assert sequences.predict(X).shape == (60, 3)
    with pytest.raises(ValueError, match="labels are the numbers of the columns"):
        model().partial_fit(X, Y, classes=["a", "b", "c"])
    with pytest.raises(ValueError, match="y has 3 labels, but the network has 4"):
        model().partial_fit(X, Y, classes=[0, 1, 2, 3])
    with pytest.raises(ValueError, match=r"not among the classes \['down', 'up'\]: \['middle'\]"):
        model().partial_fit(X, NAMES, classes=["down", "up"])


# -- what is refused -------------------------------------------------------------


def put(y, index, value):
    y = y.copy() if y.dtype == object else y.astype(float)
    y[index] = value
    return y


REFUSED = {
    "not 0 or 1": (put(Y, (3, 2, 0), 2), "y holds 2.0; with several labels"),
    "infinity": (put(Y, (3, 2, 0), np.inf), "infinity: sequence 3, time step 2"),
    "nothing known": (np.full(Y.shape, np.nan), "NaN at every time step"),
    "no label": (np.full((60, 7), np.nan), "no label at any time step"),
    "no label at all": (np.full((60, 7), None), "no label at any time step"),
    "one class": (np.where(NAMES == "up", NAMES, None), "one class only"),
    "too short": (Y[:, :6], r"sequence 0 of X has 7 time steps, but y\[0\] has 6"),
    "too few": (Y[:50], "60 sequences in X, but 50 targets"),
    "other columns": ([*Y[:59], Y[59, :, :2]], "same labels"),
    "infinite label": (put(Y[..., 0], (3, 2), np.inf), "infinity"),
    "some have more": ([[[0, 1], [1]] * 3 + [[1]]] * 60, r"time steps of y\[0\] have different"),
    "mixed": (put(NAMES.astype(object), (3, 2), 1), "cannot be sorted"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case):
    y, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        model().fit(X, y)


def test_lists_for_sequences_with_different_numbers_of_labels():
    with pytest.raises(ValueError, match="sequences have different numbers of labels"):
        model(return_sequences=False).fit(X, [[0, 1], [1]] * 30)


def test_what_does_not_go_on_or_together():
    several, one = model(warm_start=True).fit(X, Y), model(warm_start=True).fit(X, NAMES)
    with pytest.raises(ValueError, match="y has 2 labels, but the network has 3"):
        several.fit(X, Y[..., :2])
    with pytest.raises(ValueError, match="several labels at every time step"):
        several.fit(X, NAMES)
    with pytest.raises(ValueError, match="one label at every time step"):
        one.fit(X, Y)
    with pytest.raises(ValueError, match="may have several labels at once"):
        model(class_weight="balanced").fit(X, Y)
    with pytest.raises(ValueError, match="y_val has 2 labels, but the network has 3"):
        model().fit(X, Y, X_val=X, y_val=Y[..., :2])
    with pytest.raises(ValueError, match="no label at any time step"):
        one.score(X, np.full((60, 7), None))


@pytest.mark.parametrize("values", [[0, 1], [True, False], [np.int64(3), np.int64(5)]])
def test_none_among_numbers(values):
    """In an array of objects they are labels of their own type, and none is missing a place."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20, 4, 2))
    y = np.array(values, object)[(X[:, :, 0] > 0).astype(int)]
    y[::3, 1] = None
    fitted = LSTMClassifier(4, return_sequences=True, max_iter=2, random_state=0).fit(X, y)
    assert fitted.classes_.tolist() == sorted(values)
    assert fitted.classes_.dtype.kind in "bi"
    assert 0 <= fitted.score(X, y) <= 1
