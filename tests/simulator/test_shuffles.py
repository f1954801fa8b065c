"""The simulator's stand-ins: exchanges within a warp, and what they do not let pass."""

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


@cuda.jit
def barrier_for_some(out):
    if cuda.threadIdx.x < 40:
        cuda.syncthreads()


@cuda.jit
def barriers_at_two_places(out):
    if cuda.threadIdx.x < 40:
        cuda.syncthreads()
    else:
        cuda.syncthreads()


@cuda.jit
def exchange_without_a_lane(out):
    if cuda.threadIdx.x != 5:
        out[cuda.threadIdx.x] = cuda.shfl_sync(0xFFFFFFFF, 1.0, 0)


@pytest.mark.parametrize(
    "kernel", [barrier_for_some, barriers_at_two_places, exchange_without_a_lane]
)
def test_what_a_gpu_might_hang_at_is_an_error(kernel):
    with pytest.raises(RuntimeError, match="Threads wait"):
        kernel[2, 64](np.zeros(64))


def test_an_error_ends_the_block():
    @cuda.jit
    def kernel(out):
        cuda.syncthreads()
        out[cuda.threadIdx.x] = 1
        cuda.syncthreads()

    with pytest.raises(IndexError):
        kernel[1, 64](np.zeros(63))
    kernel[1, 64](np.zeros(64))


@pytest.mark.parametrize("waits", [True, False])
def test_what_lacks_a_barrier_finds_nothing_there(waits):
    @cuda.jit
    def reverse(out):
        numbers = cuda.shared.array(64, np.float64)
        t = cuda.threadIdx.x
        numbers[t] = t
        if waits:
            cuda.syncthreads()
        out[t] = numbers[63 - t]

    out = np.zeros(64)
    reverse[1, 64](out)
    assert (out == np.arange(64)[::-1]).all() == waits
