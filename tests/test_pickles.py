"""Pickles of this and earlier versions: tests/data/pickles has a file of each version."""

import copy
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import InconsistentVersionWarning

import numba_lstm
from numba_lstm import LSTMRegressor

FILES = sorted((Path(__file__).parent / "data" / "pickles").glob("*.pkl"))
X = np.random.default_rng(0).standard_normal((20, 5, 2))


def test_there_is_a_file_of_this_version():
    """tests/make_pickles.py makes it."""
    assert numba_lstm.__version__ in [path.stem for path in FILES]


@pytest.mark.nojit
@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_models_of_each_version_predict_what_they_did(path):
    with path.open("rb") as file:
        kept = pickle.load(file)
    assert len(kept) >= 6
    for name, (frozen, method, X, options, expected) in kept.items():
        with warnings.catch_warnings():
            if path.stem != numba_lstm.__version__:
                warnings.simplefilter("ignore", InconsistentVersionWarning)
            model = pickle.loads(frozen)
        if name != "stream":
            model.get_params()
            repr(model)
        found = getattr(model, method)(X, **options)
        assert np.shape(found) == np.shape(expected)
        rtol = 1e-10 if name == "float64" else 1e-4
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)
        if method == "predict":
            before = model.theta_.copy()
            targets = found if np.ndim(found) else np.array([found])
            model.partial_fit(X, targets + 1, **options)
            assert np.isfinite(model.theta_).all()
            assert (model.theta_ != before).any()


@pytest.mark.nojit
def test_a_pickle_of_another_version_warns(monkeypatch):
    model = LSTMRegressor(2, max_iter=1, random_state=0).fit(X, X[:, 0, 0])
    frozen = pickle.dumps(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copy.deepcopy(model)
        pickle.loads(frozen)
    monkeypatch.setattr(numba_lstm, "__version__", "99.0")
    for thawed in (frozen, pickle.dumps(copy.copy(model))):
        if thawed is frozen:
            with pytest.warns(InconsistentVersionWarning, match=r"LSTMRegressor from version 0\."):
                found = pickle.loads(thawed)
        else:
            found = pickle.loads(thawed)
        assert vars(found).keys() == vars(model).keys()
        np.testing.assert_array_equal(found.predict(X), model.predict(X))


@pytest.mark.nojit
def test_parameters_that_came_later_have_their_defaults():
    model = LSTMRegressor(2, max_iter=1, random_state=0).fit(X, X[:, 0, 0])
    del model.__dict__["checkpoint_every"]
    again = pickle.loads(pickle.dumps(model))
    assert again.get_params() == {**again.get_params(), "checkpoint_every": 1}
    assert again.partial_fit(X, X[:, 0, 0]) is again
