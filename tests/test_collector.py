"""The garbage collector is held off while kernels load, and only then."""

import gc

import numpy as np
import pytest

from numba_lstm import LSTMRegressor
from numba_lstm._collector import CollectorPaused


@pytest.fixture(autouse=True)
def _as_it_was():
    enabled = gc.isenabled()
    yield
    (gc.enable if enabled else gc.disable)()


@pytest.mark.parametrize("enabled", [True, False])
def test_it_is_off_within_and_then_as_it_was(enabled):
    (gc.enable if enabled else gc.disable)()
    with CollectorPaused():
        assert not gc.isenabled()
        with CollectorPaused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled() == enabled


def test_an_error_leaves_it_on():
    gc.enable()
    with pytest.raises(KeyError), CollectorPaused():
        raise KeyError
    assert gc.isenabled()


def test_a_fit_leaves_it_on():
    gc.enable()
    model = LSTMRegressor(3, max_iter=1).fit(np.zeros((4, 3, 2)), np.zeros(4))
    assert gc.isenabled()
    model.predict(np.zeros((4, 3, 2)))
    assert gc.isenabled()
    with pytest.raises(ValueError, match="dtype"):
        model.set_params(dtype="int8").fit(np.zeros((4, 3, 2)), np.zeros(4))
    assert gc.isenabled()
