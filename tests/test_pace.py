"""How many threads a call takes: what was faster of late."""

from __future__ import annotations

import numpy as np
import pytest

from numba_lstm import LSTMRegressor
from numba_lstm.cpu import pace as pace_module
from numba_lstm.cpu.pace import Pace


class Machine:
    """Calls on a clock of our own; ``all_`` and ``one`` say how long they take."""

    def __init__(self, monkeypatch, n_threads=2):
        self.now, self.n_threads = 100.0, n_threads
        self.taken, self.spent = [], 0.0
        monkeypatch.setattr(pace_module.time, "perf_counter", lambda: self.now)
        self.pace = Pace(n_threads)

    def call(self, one, all_, work=1000):
        n_threads = self.pace.choose()
        seconds = one if n_threads == 1 else all_
        self.now += seconds
        self.spent += seconds
        self.pace.took(n_threads, seconds, work)
        self.taken.append(n_threads)

    def calls(self, n, one, all_):
        for _ in range(n):
            self.call(one, all_)


@pytest.fixture
def machine(monkeypatch):
    return Machine(monkeypatch)


def test_quiet_machine(machine):
    """Two calls find out what one thread takes; all others have all threads."""
    machine.calls(1000, one=1e-3, all_=0.55e-3)
    assert machine.taken.count(1) == 2
    assert machine.taken[:5] == [2, 2, 1, 1, 2]


def test_stalls_now_and_then(machine):
    """One call of twenty that takes as long as ten decides nothing."""
    for k in range(1000):
        machine.call(one=1e-3, all_=10e-3 if k % 20 == 19 else 0.55e-3)
    assert machine.taken.count(1) == 2


@pytest.mark.parametrize("factor", [1.5, 3, 40])
def test_busy_machine(machine, factor):
    """All threads are slower in every call: hardly more time than with one."""
    machine.calls(2000, one=1e-3, all_=factor * 1e-3)
    assert machine.spent < 2000 * 1e-3 * 1.08 + 3 * factor * 1e-3


def test_stalls_most_of_the_time(machine):
    """Some calls are fast, and yet it is the others that count."""
    rng = np.random.default_rng(0)
    for stalls in rng.random(2000) < 0.6:
        machine.call(one=1e-3, all_=15e-3 if stalls else 0.55e-3)
    assert machine.spent < 1.2 * 2000 * 1e-3


def test_it_gets_quiet_again(machine):
    machine.calls(300, one=1e-3, all_=10e-3)
    machine.taken.clear()
    machine.calls(2000, one=1e-3, all_=0.55e-3)
    assert machine.taken[-1000:].count(1) == 0


def test_it_gets_busy(machine):
    machine.calls(300, one=1e-3, all_=0.55e-3)
    machine.taken.clear()
    machine.calls(300, one=1.5e-3, all_=10e-3)
    assert machine.taken.count(2) < 12


def test_long_calls_have_all_threads(machine):
    machine.calls(50, one=1.0, all_=0.6)
    assert machine.taken == [2] * 50


def test_what_is_old_is_forgotten(machine):
    machine.calls(20, one=1e-3, all_=10e-3)
    assert machine.taken[-1] == 1
    machine.now += 2
    machine.call(one=1e-3, all_=10e-3)
    assert machine.taken[-1] == 2


def test_the_bits_are_the_same(monkeypatch):
    """Whatever a call takes, and whenever that changes."""
    rng = np.random.default_rng(0)
    X = [rng.standard_normal((t, 3)).astype(np.float32) for t in rng.integers(5, 40, 150)]
    y = np.array([x[-1, 0] for x in X])

    def fitted(choose):
        monkeypatch.setattr(Pace, "choose", choose)
        model = LSTMRegressor(hidden_size=17, max_iter=3, n_jobs=2, random_state=0).fit(X, y)
        return model.theta_, model.predict(X)

    expected = fitted(lambda self: 1)
    draws = np.random.default_rng(1)
    many, either = lambda self: self.n_threads, lambda self: draws.choice([1, self.n_threads])
    for choose in (many, either):
        theta, out = fitted(choose)
        np.testing.assert_array_equal(out, expected[1])
        np.testing.assert_array_equal(theta, expected[0])
