"""What Numba's simulator lacks: exchanges between the threads of a warp.

Correct where all threads of a block come to the same exchanges, as they do in our kernels.
"""

import threading

from numba.cuda.simulator.kernelapi import FakeCUDAModule


def _exchange(value, source):
    """Give each thread of a warp another one's value; all of a block have to come here."""
    thread = threading.current_thread()
    block, own = thread._manager, thread.thread_id
    shared = block.__dict__.setdefault("_exchanged", {})
    shared[own] = value
    thread.syncthreads()
    found = shared[(own & ~31) | (source(own & 31) & 31)]
    thread.syncthreads()
    return found


def _shfl_xor_sync(module, mask, value, lanes):
    return _exchange(value, lambda lane: lane ^ lanes)


def _shfl_down_sync(module, mask, value, lanes):
    return _exchange(value, lambda lane: min(lane + lanes, 31))


def _shfl_sync(module, mask, value, lane):
    return _exchange(value, lambda _: lane)


def _syncwarp(module, mask=0xFFFFFFFF):
    threading.current_thread().syncthreads()


FakeCUDAModule.shfl_xor_sync = _shfl_xor_sync
FakeCUDAModule.shfl_down_sync = _shfl_down_sync
FakeCUDAModule.shfl_sync = _shfl_sync
FakeCUDAModule.syncwarp = _syncwarp
