"""BLAS on one thread, for as long as its others would be in the kernels' way."""

import contextlib
import os

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from numba_lstm import LSTMRegressor
from numba_lstm._blas import one_blas_thread


def threads():
    return {info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"}


@pytest.mark.parametrize("sizes", [128, (16, 200)])
def test_first_weights_leave_no_busy_threads_of_blas(monkeypatch, sizes):
    """OpenBLAS's would hold a core for the first 0.1 s of a fit."""
    X, during = np.random.default_rng(0).standard_normal((8, 3, 2)), []
    factor = np.linalg.qr

    def watched(a):
        if max(a.shape) > 64:
            during.append(threads())
        return factor(a)

    monkeypatch.setattr(np.linalg, "qr", watched)
    with threadpool_limits(limits=2, user_api="blas"):
        before = threads()
        LSTMRegressor(sizes, max_iter=1).fit(X, X[:, 0, 0])
        assert threads() == before
    assert during == [{1}] * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes fork on POSIX only")
def test_a_forked_child_has_the_threads_of_blas():
    before = threadpool_info()
    with one_blas_thread:
        child = os.fork()
        if child == 0:
            found = threadpool_info() == before
            with one_blas_thread:
                found = found and threadpool_info() != before
            os._exit(0 if found and threadpool_info() == before else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert threadpool_info() == before


def test_blas_has_its_threads_back_from_two_fits_at_once():
    """The one that begins first ends first."""
    before = threadpool_info()
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        first.enter_context(one_blas_thread)
        second.enter_context(one_blas_thread)
        first.close()
        assert {i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"} <= {1}
    assert threadpool_info() == before
