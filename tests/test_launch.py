"""Tasks called through a pointer: every stage, every task, in the right order."""

import numba
import numpy as np
import pytest
from numba import config, types

from numba_lstm._jit import task
from numba_lstm.cpu import launch, parallel

THREADS = min(2, config.NUMBA_NUM_THREADS)


@task
def fill(stage, index, x, y, pair, factor):
    x[index] = index + 1


@task
def add_up(stage, index, x, y, pair, factor):
    total = 0.0
    for i in range(x.size):
        total += x[i]
    y[index] += stage * (factor * total + pair[0] * index + pair[1])


@task
def double(stage, index, x, y, pair, factor):
    x[index] *= 2.0


TASKS = fill, add_up, double


def expected(n_tasks):
    """Stages 1 and 3 add up, stage 0 fills, stage 2 doubles."""
    total, rest = 0.5 * n_tasks * (n_tasks + 1) / 2, 10 * np.arange(n_tasks) + 3
    return total + rest + 3 * (2 * total + rest)


@pytest.mark.parametrize("n_serial", [0, 1, 4])
@pytest.mark.parametrize("n_tasks", [1, 2, 7, 100])
def test_a_stage_begins_when_the_one_before_has_ended(n_serial, n_tasks):
    x, y = np.zeros(n_tasks), np.zeros(n_tasks)
    args = x, y, (10, 3.0), np.float32(0.5)
    kinds = (types.intp, types.intp, *map(numba.typeof, args))
    tasks = tuple(launch.address(task, kinds) for task in TASKS)
    driver = launch.driver_address()
    launch.start(driver, tasks, 2, n_serial, 4, n_tasks, *args)
    np.testing.assert_array_equal(y, expected(n_tasks))


@pytest.mark.nojit
@pytest.mark.parametrize("n_threads", [1, THREADS])
def test_run(n_threads):
    x, y = np.zeros(5), np.zeros(5)
    before = numba.get_num_threads()
    parallel.run(TASKS, 0, 4, 5, n_threads, "test", x, y, (10, 3.0), np.float32(0.5))
    np.testing.assert_array_equal(y, expected(5))
    assert numba.get_num_threads() == before


@pytest.mark.parametrize("n_serial", [0, 1, 4])
def test_the_same_tasks_on_another_array(n_serial):
    n_tasks, before = 7, numba.get_num_threads()
    y, others = np.zeros(n_tasks), [np.zeros(n_tasks) for _ in range(3)]
    args = others[0], y, (10, 3.0), np.float32(0.5)
    kinds = (types.intp, types.intp, *map(numba.typeof, args))
    tasks = tuple(launch.address(task, kinds) for task in TASKS)
    kept = np.zeros(launch.ORDER_SIZE, np.int64)
    launch.keep(kept, tasks, 4, n_tasks, others[0], *args)
    order = kept
    if n_serial < 4:
        order = launch.in_parallel(kept, launch.driver_address(), 1, n_serial)
    for x in [*others, others[0]]:
        x[:], y[:] = 0, 0
        launch.resume(order, x[np.newaxis].view(np.uint8))
        np.testing.assert_array_equal(x, 2 * np.arange(1, n_tasks + 1))
        np.testing.assert_array_equal(y, expected(n_tasks))
    assert numba.get_num_threads() == before
