"""What Numba's simulator lacks: exchanges between the threads of a warp, and speed.

The exchanges are correct where all threads of a block come to the same ones, as they do in our
kernels. A thread of a block is a thread of Python's, so blocks are made smaller here than
they are on a GPU; tests of the kernels alone have some of the real size.
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


REAL_TILES = dict.fromkeys(("_tile_of_rows", "_tile_of_gram"))


def _make_blocks_small():
    from numba_lstm.cuda import blocks

    blocks.THREADS = 32  # before others import it
    from numba_lstm.cuda import products, sums
    from numba_lstm.cuda.tiles import Tile

    tile = Tile(high=4, wide=4, down=2, across=2, depth=2)
    for name in REAL_TILES:
        REAL_TILES[name] = getattr(products, name)
        setattr(products, name, lambda *_: tile)
    sums._ADDERS = 8
    sums.column_sums.__kwdefaults__ |= {"across": 4, "down": 2}
    sums.column_sums_workspace.__defaults__ = (4,)


_make_blocks_small()
