"""Products and gate loops on arrays that end, and that begin, where memory does.

A read or write outside ends the process: the page beside an array may not be touched.
"""

import subprocess
import sys

import pytest

SCRIPT = """
import ctypes, mmap, sys
import numpy as np
from numba_lstm._jit import kernel
from numba_lstm.cpu import gates, matmul, transposed
from numba_lstm.cpu.linking import link
from numba_lstm.memory import view

libc, PAGE = ctypes.CDLL(None, use_errno=True), mmap.PAGESIZE
kept = []


def placed(values, at_end):
    '''A copy of an array with a forbidden page right behind it, or right before.'''
    size = -(-values.nbytes // PAGE) * PAGE + PAGE
    memory = mmap.mmap(-1, size)
    where = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    kept.append(memory)
    offset = size - PAGE - values.nbytes if at_end else PAGE
    copy = np.frombuffer(memory, values.dtype, values.size, offset).reshape(values.shape)
    copy[...] = values
    forbidden = where + (size - PAGE if at_end else 0)
    assert libc.mprotect(ctypes.c_void_p(forbidden), ctypes.c_size_t(PAGE), 0) == 0
    return copy


@kernel
def products(A, B, C, packed, back, D, scratch):
    A, B, C, packed, back, D = view((A, B, C, packed, back, D))
    n, K, N = A.shape[0], B.shape[0], B.shape[1]
    matmul.pack(B, packed, 0, N)
    matmul.product(A, 0, K, packed, C, 0, n, False)
    matmul.product(A, 0, K, packed, C, 0, n, True)
    matmul.pack_transposed(B, back, 0, K)
    matmul.product(C, 0, N, back, A, 0, n, False)
    transposed.add_transposed_product(A, 0, C, 0, n, D, 0, 1, view(scratch))


@kernel
def steps(a, c, tanh_c, h, dh, dc):
    a, c, tanh_c, h, dh, dc = view((a, c, tanh_c, h, dh, dc))
    n = h.shape[0]
    gates.activate(a, 0, c, 0, c, 0, tanh_c, h, 0, 0, h, 0, 0, 0, n)
    gates.differentiate(a, 0, c, 0, tanh_c, dh, dc, 0, n)


rng = np.random.default_rng(0)
if sys.argv[1] == "beyond":  # the guard must work
    placed(np.ones(4), True).ctypes.data_as(ctypes.POINTER(ctypes.c_double))[4]
for dtype in (np.float32, np.float64):
    link(np.dtype(dtype), {"plain", "train"})
    for n in (1, 3, 4, 5, 8, 9, 13, 770):
        sizes = (1, 1), (3, 2), (5, 16), (7, 17), (33, 37), (130, 257)
        for K, N in sizes if n < 100 else ((130, 1030),):
            shapes = (n, K), (K, N), (n, N), (K, N), (N, K), (K, N)
            for at_end in (True, False):
                arrays = [placed(rng.standard_normal(s).astype(dtype), at_end) for s in shapes]
                size = transposed.scratch_size(K, N, arrays[0].itemsize, 1)
                products(*arrays, placed(np.empty(max(size, 1), dtype), at_end))
        for H in (1, 2, 7, 8, 15, 16, 17, 37):
            for at_end in (True, False):
                rows = [np.zeros((n, width), dtype) for width in (4 * H, *[H] * 5)]
                steps(*(placed(part, at_end) for part in rows))
    kept.clear()
print("done")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forbids pages as Linux does")
def test_nothing_is_touched_beside_an_array(tmp_path):
    script = tmp_path / "guarded.py"
    script.write_text(SCRIPT)

    def run(what):
        return subprocess.run(
            [sys.executable, str(script), what], capture_output=True, text=True, check=False
        )

    assert run("beyond").returncode < 0
    done = run("inside")
    assert done.stdout == "done\n", done.stderr
