"""The simulator's stand-ins for shuffles within a warp."""

import numpy as np
import pytest

from numba_lstm.cuda.device import cuda

pytestmark = pytest.mark.nojit


def test_each_lane_gets_the_other_lanes_number():
    @cuda.jit
    def kernel(out):
        t = cuda.threadIdx.x
        out[0, t] = cuda.shfl_xor_sync(0xFFFFFFFF, t, 5)
        out[1, t] = cuda.shfl_down_sync(0xFFFFFFFF, t, 3)
        out[2, t] = cuda.shfl_sync(0xFFFFFFFF, t, 7)

    out = np.zeros((3, 64), np.int64)
    kernel[1, 64](out)
    t = np.arange(64)
    warp = t & ~31
    assert (out[0] == t ^ 5).all()
    assert (out[1] == warp + np.minimum((t & 31) + 3, 31)).all()
    assert (out[2] == warp + 7).all()
