"""Views of arrays in compiled code, and functions that are compiled once for all callers."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest
from numba import types

from numba_lstm._jit import kernel
from numba_lstm.cpu import linking
from numba_lstm.cpu.linking import link, linked
from numba_lstm.loads import load, store
from numba_lstm.memory import View, address, flat, matrix, view, view_type


@kernel
def use(pair, table, out):
    (A, x), table, out = view(pair), view(table), view(out)
    M = matrix(x, table, 1)
    M[1, 0] = 7
    row = A[1]
    row[2] = A[0, 0] + x[3]
    flat(A)[0] += 1
    out[0], out[1], out[2], out[3] = A.shape[0], A.size, A.itemsize, row.size
    out[4], out[5] = x.shape[0], address(row) - address(A)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_views_share_the_arrays_memory(dtype):
    A, x = np.arange(6, dtype=dtype).reshape(2, 3), np.arange(8, dtype=dtype)
    out, size = np.zeros(6, np.int64), np.dtype(dtype).itemsize
    use((A, x), np.array([-1, 2, 2, 3]), out)
    np.testing.assert_array_equal(x, [0, 1, 2, 3, 4, 7, 6, 7])  # M begins with x[2]
    np.testing.assert_array_equal(A, [[1, 1, 2], [3, 4, 3]])
    np.testing.assert_array_equal(out, [2, 6, size, 3, 8, 3 * size])


def test_bounds_are_checked_where_that_is_asked_for():
    @numba.njit(boundscheck=True)
    def item(A, i, j):
        return view(A)[i, j]

    A = np.arange(6.0).reshape(2, 3)
    assert item(A, 1, 2) == 5
    for i, j in ((2, 0), (0, 3), (-1, 0)):
        with pytest.raises(IndexError):
            item(A, i, j)


def test_vectors_are_checked_to_their_end():
    @numba.njit(boundscheck=True)
    def copied(x, start, n):
        x = view(x)
        store(load(x, start, n), x, start, n)
        return matrix(x, view(np.array([start, 1, n])), 0).size

    x = np.arange(40.0)
    assert copied(x, 35, 5) == 5
    for start, n in ((36, 5), (40, 1)):
        with pytest.raises(IndexError):
            copied(x, start, n)


def test_what_cannot_be_viewed():
    with pytest.raises(TypeError, match="C-contiguous"):
        view_type(numba.typeof(np.zeros((2, 2)).T))
    kind = view_type(numba.typeof((np.zeros(2), 1, None)))
    assert kind == types.Tuple((View(types.float64, 1), types.int64, types.none))


def times_two(A, n):
    for i in range(n):
        A[i, 0] *= 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_linked_function_is_compiled_once_it_is_needed(dtype):
    call, kind = linked("of this test")(times_two), numba.from_dtype(np.dtype(dtype))
    function = linking._functions.pop()

    @numba.njit
    def caller(A, n):
        call(view(A), n)

    assert function.places[kind][0] == 0
    linking._functions.append(function)
    try:
        link(np.dtype(dtype), {"something else"})
        assert function.places[kind][0] == 0
        link(np.dtype(dtype), {"of this test", "something else"})
    finally:
        linking._functions.remove(function)
    where = function.places[kind][0]
    function.link(kind)
    assert function.places[kind][0] == where != 0
    A = np.ones((3, 1), dtype)
    caller(A, 2)
    np.testing.assert_array_equal(A[:, 0], [2, 2, 1])


BEYOND = """
import sys
import numba, numpy as np
from numba_lstm.cpu.linking import link, linked
from numba_lstm.memory import view

@linked("of this test")
def times_two(A, n):
    for i in range(n):
        A[i, 0] *= 2

@numba.njit
def caller(A, n):
    times_two(view(A), n)

link(np.dtype(float), {"of this test"})
caller(np.ones((3, 1)), int(sys.argv[1]))
"""


@pytest.mark.skipif(os.name != "posix", reason="knows how POSIX reports a signal")
@pytest.mark.parametrize(("n", "ends_well"), [(3, True), (4, False)])
def test_a_linked_function_beyond_its_bounds_ends_the_process(tmp_path, n, ends_well):
    """With NUMBA_BOUNDSCHECK=1; an exception could not come through a pointer."""
    (tmp_path / "beyond.py").write_text(BEYOND)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "beyond.py"), str(n)],
        env=os.environ | {"NUMBA_BOUNDSCHECK": "1"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode == 0) == ends_well, done.stderr
    assert done.returncode <= 0
