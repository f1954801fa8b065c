"""How many threads a call takes: what was faster of late."""

from __future__ import annotations

import numpy as np
import pytest

from numba_lstm import LSTMRegressor
from numba_lstm.cpu import pace as pace_module
from numba_lstm.cpu.pace import Pace


class Machine:
    """Calls on a clock of our own, which take so many seconds on so many threads."""

    def __init__(self, monkeypatch):
        self.now, self.taken, self.spent, self.pace = 100.0, [], 0.0, Pace(2)
        monkeypatch.setattr(pace_module.time, "perf_counter", lambda: self.now)

    def call(self, seconds, work=1000):
        n_threads = self.pace.choose()
        self.now += seconds[n_threads]
        self.spent += seconds[n_threads]
        self.pace.took(n_threads, seconds[n_threads], work)
        self.taken.append(n_threads)

    def calls(self, n, seconds):
        for _ in range(n):
            self.call(seconds)


QUIET = {1: 1e-3, 2: 0.55e-3, 4: 0.3e-3, 8: 0.2e-3, 16: 0.15e-3}


@pytest.fixture
def machine(monkeypatch):
    return Machine(monkeypatch)


def test_quiet_machine(machine):
    """Three calls find out what one thread takes; all others have all threads."""
    machine.calls(1000, QUIET)
    assert machine.taken[:36] == [2] * 32 + [1, 1, 1, 2]
    assert machine.taken.count(1) == 3


@pytest.mark.parametrize("stall", [1e-3, 5e-3, 10e-3, 15e-3, 30e-3])
def test_stalls_now_and_then(machine, stall):
    """One call of twenty takes longer: what counts is which is faster on average."""
    for k in range(2000):
        machine.call(QUIET | {2: stall} if k % 20 == 19 else QUIET)
    on_all, on_one = 1900 * QUIET[2] + 100 * stall, 2000 * QUIET[1]
    assert machine.spent < 1.08 * min(on_all, on_one) + 0.05
    if stall <= 5e-3:
        assert machine.taken.count(1) == 3


def test_a_stall_of_a_quiet_machine(machine):
    """One thread is taken after none, however long it was."""
    for k in range(2000):
        machine.call(QUIET | {2: 200e-3} if k % 200 == 150 else QUIET)
    assert machine.taken.count(1) == 3


def test_stalls_that_come_together(machine):
    """They send some calls to one thread, by no means as many as they took time."""
    for k in range(2000):
        machine.call(QUIET | {2: 50e-3} if k % 200 in (150, 151, 152) else QUIET)
    assert 3 < machine.taken.count(1) < 0.15 * 2000


@pytest.mark.parametrize("factor", [1.5, 3, 40])
def test_busy_machine(machine, factor):
    """All threads are slower in every call: hardly more time than with one."""
    machine.calls(2000, QUIET | {2: factor * 1e-3})
    assert machine.spent < 2000 * 1e-3 * 1.12 + 34 * factor * 1e-3


def test_stalls_most_of_the_time(machine):
    """Some calls are fast, and yet it is the others that count."""
    rng = np.random.default_rng(0)
    for stalls in rng.random(2000) < 0.6:
        machine.call(QUIET | {2: 15e-3} if stalls else QUIET)
    assert machine.spent < 1.3 * 2000 * 1e-3 + 32 * 15e-3


def test_it_gets_quiet_again(machine):
    machine.calls(300, QUIET | {2: 10e-3})
    machine.taken.clear()
    machine.calls(2000, QUIET)
    assert machine.taken[-1000:].count(1) == 0


def test_it_gets_busy(machine):
    """Six calls of ten times the length are no stall; each later trial takes two."""
    machine.calls(300, QUIET)
    machine.taken.clear()
    machine.calls(300, {1: 1.5e-3, 2: 10e-3})
    assert machine.taken.count(2) < 20


@pytest.mark.parametrize(
    ("busy", "best"),
    [({}, 16), ({16: 10e-3}, 8), ({16: 10e-3, 8: 8e-3}, 4), ({16: 9e-3, 8: 9e-3, 4: 9e-3}, 2)],
)
def test_many_threads(machine, busy, best):
    """Half of them, and half of these, before it is one."""
    machine.pace = Pace(16)
    seconds = QUIET | busy
    machine.calls(3000, seconds)
    assert machine.taken[-1000:].count(best) > 900
    assert machine.spent < 3000 * seconds[best] * 1.3 + 50 * max(seconds.values())


@pytest.mark.parametrize(("n_threads", "fewer"), [(2, 1), (3, 1), (4, 2), (6, 3), (7, 3)])
def test_fewer_threads(machine, n_threads, fewer):
    machine.pace = Pace(n_threads)
    machine.calls(40, dict.fromkeys(range(1, 8), 1e-3))
    assert machine.taken[:35] == [n_threads] * 32 + [fewer] * 3


def test_long_calls_have_all_threads(machine):
    machine.calls(50, {1: 1.0, 2: 0.6})
    assert machine.taken == [2] * 50


def test_what_is_old_is_forgotten(machine):
    machine.calls(50, QUIET | {2: 10e-3})
    assert machine.taken[-1] == 1
    machine.now += 2
    machine.call(QUIET)
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
