"""The garbage collector is held off while kernels load, and only then."""

import gc
import os
import sys
import threading

import numpy as np
import pytest

from numba_lstm import LSTMRegressor
from numba_lstm._collector import collector_paused
from numba_lstm._process import WhileAnyone


@pytest.fixture(autouse=True)
def _as_it_was():
    enabled = gc.isenabled()
    yield
    (gc.enable if enabled else gc.disable)()


@pytest.mark.parametrize("enabled", [True, False])
def test_it_is_off_within_and_then_as_it_was(enabled):
    (gc.enable if enabled else gc.disable)()
    with collector_paused:
        assert not gc.isenabled()
        with collector_paused:
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled() == enabled


def test_the_last_thread_to_end_turns_it_on():
    gc.enable()
    collector_paused.__enter__()
    collector_paused.__enter__()
    collector_paused.__exit__()
    assert not gc.isenabled()
    collector_paused.__exit__()
    assert gc.isenabled()


def test_threads_leave_it_on():
    gc.enable()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def pause():
        for _ in range(3000):
            with collector_paused:
                pass

    try:
        threads = [threading.Thread(target=pause) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert gc.isenabled()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes fork on POSIX only")
def test_a_forked_child_collects():
    gc.enable()
    with collector_paused:
        child = os.fork()
        if child == 0:
            os._exit(0 if gc.isenabled() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_error_leaves_it_on():
    gc.enable()
    with pytest.raises(KeyError), collector_paused:
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


@pytest.mark.parametrize("when", ["begin", "end"])
@pytest.mark.parametrize("done", [False, True])
def test_an_interrupt_leaves_all_as_it_was(when, done):
    """Whether it comes just before what is done, or just after."""
    state, interrupts = [2], [when]

    def change(to, name):
        if name in interrupts and not done:
            interrupts.clear()
            raise KeyboardInterrupt
        state[0] = to
        if name in interrupts:
            interrupts.clear()
            raise KeyboardInterrupt

    anyone = WhileAnyone(
        lambda: state[0], lambda: change(1, "begin"), lambda before: change(before, "end")
    )
    with pytest.raises(KeyboardInterrupt), anyone:
        assert state == [1]
    assert state == [2]
    with anyone, anyone:
        assert state == [1]
    assert state == [2]
