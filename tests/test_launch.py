"""Tasks called through a pointer: every stage, every task, in the right order."""

import numba
import numpy as np
import pytest
from numba import config, types

from numba_lstm._jit import kernel
from numba_lstm.cpu import launch, parallel

THREADS = min(2, config.NUMBA_NUM_THREADS)


@kernel
def in_two_stages(stage, task, x, y, pair, factor):
    if stage == 0:
        x[task] = task + 1
    else:
        y[task] = factor * x.sum() + pair[0] * task + pair[1]


def expected(n_tasks):
    return 0.5 * n_tasks * (n_tasks + 1) / 2 + 10 * np.arange(n_tasks) + 3


@pytest.mark.parametrize("n_serial", [0, 1, 2])
@pytest.mark.parametrize("n_tasks", [1, 2, 7, 100])
def test_a_stage_begins_when_the_one_before_has_ended(n_serial, n_tasks):
    x, y = np.zeros(n_tasks), np.zeros(n_tasks)
    args = x, y, (10, 3.0), np.float32(0.5)
    kinds = (types.intp, types.intp, *map(numba.typeof, args))
    task = launch.address(in_two_stages, kinds)
    driver = launch.address(launch.driver, (types.intp,) * 5)
    launch.start(driver, task, n_serial, 2, n_tasks, *args)
    np.testing.assert_array_equal(y, expected(n_tasks))


@pytest.mark.nojit
@pytest.mark.parametrize("n_threads", [1, THREADS])
def test_run(n_threads):
    x, y = np.zeros(5), np.zeros(5)
    before = numba.get_num_threads()
    parallel.run(in_two_stages, 0, 2, 5, n_threads, "test", x, y, (10, 3.0), np.float32(0.5))
    np.testing.assert_array_equal(y, expected(5))
    assert numba.get_num_threads() == before
