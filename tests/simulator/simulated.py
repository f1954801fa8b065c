"""Threads of a block in Numba's simulator: quick, stricter than a GPU, with exchanges.

One thread runs at a time, up to a barrier or an exchange; then another one's turn comes. In
which order is drawn anew at each barrier, so that what should have waited for a barrier finds
nothing there, or too much. A thread of a block is played by a thread of Python's, but one that
ends without waiting needs none of its own.

These are errors: a barrier that a thread of the block does not come to, or an exchange that a
lane of the warp does not, and threads that wait for each other at different places. Shared
memory begins with NaN, or with the largest integer.
"""

import random
import sys
import threading

import numpy as np
from numba.cuda.simulator import kernel, kernelapi
from numba.cuda.simulator.kernelapi import Dim3, FakeCUDAModule, FakeCUDAShared
from numba.np import numpy_support

_idle = []

# Of the simulator's functions that kernels call.
_OWN_FILES = __file__, kernelapi.__file__


class _OthersError(Exception):
    """Raised in threads of a block of which another one has failed."""


class Player(threading.Thread):
    """A thread of Python's that plays threads of blocks, one after the other."""

    def __init__(self):
        super().__init__(daemon=True)
        self.turn = threading.Lock()
        self.turn.acquire()
        self.start()

    def play(self, block, point):
        """Be a thread of a block from the next turn on."""
        self.block, self.blockIdx, self.threadIdx = block, block.blockIdx, Dim3(*point)
        x, y, z = point
        across, down, _ = block.block_dim
        self.number = x + across * (y + down * z)
        self.n_exchanges = 0

    def run(self):
        while True:
            self.turn.acquire()
            while self.block.play(self):  # another thread that has not begun
                pass

    def syncthreads(self):
        """Wait for all threads of the block."""
        self.block.wait(self, "block", self.block.size)

    def exchange(self, value, source):
        """Give every lane of a warp another one's value."""
        return self.exchange_all(value)[source(self.number & 31) & 31]

    def exchange_all(self, value):
        """Give every lane of a warp the values of all, by lane."""
        warp, lane = self.number >> 5, self.number & 31
        # Of an exchange's values the last is read before the next but one begins.
        key = warp, self.n_exchanges & 1
        self.n_exchanges += 1
        values = self.block.exchanged.setdefault(key, {})
        values[lane] = value
        self.block.wait(self, warp, 32)
        return values


class Block:
    """Takes the place of the simulator's BlockManager."""

    def __init__(self, function, grid_dim, block_dim, debug):
        self.function, self.block_dim = function, block_dim
        self.size = int(np.prod(block_dim))

    def run(self, grid_point, *args):
        """Run all threads of a block."""
        self.args, self.blockIdx = args, Dim3(*grid_point)
        self.random = random.Random(str(grid_point))
        self.shared, self.exchanged, self.waiting, self.places = {}, {}, {}, {}
        self.n_waiting, self.error = 0, None
        self.ready = list(np.ndindex(*self.block_dim))
        self.random.shuffle(self.ready)
        self.end = threading.Lock()
        self.end.acquire()
        self._pass_on()
        self.end.acquire()
        if self.error is not None:
            raise self.error

    def play(self, player):
        """Run a thread to its end; return whether the player has another one to play."""
        try:
            self.function(*self.args)
        except _OthersError:
            pass
        except BaseException as error:
            t = player.threadIdx
            error.add_note(f"in thread {t} of block {self.blockIdx}")
            self._fail(error)
        if not self.ready and self.n_waiting:
            self._fail(RuntimeError(f"Threads wait for others that do not come: {self.places}."))
        if self.ready and not isinstance(self.ready[-1], Player):
            player.play(self, self.ready.pop())
            return True
        _idle.append(player)
        self._pass_on()
        return False

    def wait(self, player, group, size):
        """Wait for ``size`` threads at one place."""
        frame = sys._getframe(1)
        while frame.f_code.co_filename in _OWN_FILES:
            frame = frame.f_back
        # That of the kernel, or of a function that it calls.
        place = f"line {frame.f_lineno} of {frame.f_code.co_name}"
        if self.places.setdefault(group, place) != place:
            self._fail(RuntimeError(f"Threads wait at {place} and {self.places[group]}."))
            raise _OthersError
        waiting = self.waiting.setdefault(group, [])
        waiting.append(player)
        self.n_waiting += 1
        if len(waiting) == size:
            self.n_waiting -= size
            self.ready += waiting
            del self.waiting[group], self.places[group]
            self.random.shuffle(self.ready)
        if not self.ready:
            self._fail(RuntimeError(f"Threads wait for others that do not come: {self.places}."))
        if self.ready[-1] is player:
            self.ready.pop()
        else:
            self._pass_on()
            player.turn.acquire()
        if self.error is not None:
            raise _OthersError

    def _pass_on(self):
        """Let another thread of the block run, or end it."""
        if not self.ready:
            self.end.release()
            return
        player = self.ready.pop()
        if not isinstance(player, Player):
            point, player = player, _idle.pop() if _idle else Player()
            player.play(self, point)
        player.turn.release()

    def _fail(self, error):
        """Have all that have begun end."""
        self.error = self.error or error
        for waiting in self.waiting.values():
            self.ready += waiting
        self.waiting, self.n_waiting = {}, 0
        self.ready = [player for player in self.ready if isinstance(player, Player)]


def _shared(self, shape, dtype, alignment=None):
    """One array for all threads of a block at each place that asks for one."""
    frame = sys._getframe(1)
    place, arrays = (frame.f_code, frame.f_lasti), threading.current_thread().block.shared
    if place not in arrays:
        if not isinstance(dtype, np.dtype | type):
            dtype = numpy_support.as_dtype(dtype)
        array = np.empty(shape, dtype)
        array.fill(np.nan if array.dtype.kind == "f" else np.iinfo(array.dtype).max)
        arrays[place] = array
    return arrays[place]


_swapped = []
_launch = kernel.FakeCUDAKernel.__call__


def _call(self, *args):
    """Launch a kernel, or within one call a function: with what ``cuda`` is there."""
    context = kernel._kernel_context
    if context is not None:
        names = self.fn.__globals__
        if names.get("cuda", context) is not context:
            _swapped.append((names, names["cuda"]))
            names["cuda"] = context
        return self.fn(*args)
    try:
        return _launch(self, *args)
    finally:
        while _swapped:
            names, cuda = _swapped.pop()
            names["cuda"] = cuda


def _shfl_xor_sync(module, mask, value, lanes):
    return threading.current_thread().exchange(value, lambda lane: lane ^ lanes)


def _shfl_down_sync(module, mask, value, lanes):
    return threading.current_thread().exchange(value, lambda lane: min(lane + lanes, 31))


def _shfl_sync(module, mask, value, lane):
    return threading.current_thread().exchange(value, lambda _: lane)


def _mma(module, precision, a, b, c):
    """Four numbers of A B + C, whose parts the lanes of a warp hold in registers.

    As PTX's mma.m16n8k16 of bf16 and mma.m16n8k8 of tf32: see :func:`fragments`.
    """
    given = threading.current_thread().exchange_all((a, b, c))
    lane = threading.current_thread().number & 31
    A, B, C = fragments(precision, *zip(*(given[k] for k in range(32)), strict=True))
    product = (A @ B + C).astype(np.float32)
    rows, columns = lane // 4 + np.array([0, 0, 8, 8]), lane % 4 * 2 + np.array([0, 1, 0, 1])
    return product[rows, columns]


def fragments(precision, a, b, c):
    """The matrices A (16, D), B (D, 8) and C (16, 8) of which 32 lanes hold registers.

    "PTX ISA", section "Warp level matrix multiply-accumulate instructions": groupID is
    lane >> 2, threadID_in_group is lane % 4. Register i of A holds row groupID (i = 0, 2) or
    groupID + 8 (i = 1, 3); its columns, and the rows of B's register i, whose column is groupID,

        tf32: threadID_in_group + 4 (i // 2) of A, threadID_in_group + 4 i of B;
        bf16: 2 threadID_in_group and the next one, the first in the lower half of the
              register, + 8 (i // 2) of A, + 8 i of B.
    """
    a, b = _numbers(precision, a), _numbers(precision, b)  # lane, register, number
    lane, n = np.arange(32)[:, None, None], a.shape[2]
    group, thread = lane >> 2, lane % 4
    i, half, inner = np.arange(4)[None, :, None], 4 * n, np.arange(n)[None, None, :]
    A, B, C = np.full((16, 2 * half), np.nan), np.full((2 * half, 8), np.nan), np.empty((16, 8))
    A[group + 8 * (i % 2), n * thread + inner + half * (i // 2)] = a
    B[n * thread + inner + half * i[:, :2], group] = b
    c_of_lane = group[:, :, 0] + 8 * (i[:, :, 0] // 2), 2 * thread[:, :, 0] + i[:, :, 0] % 2
    C[c_of_lane] = np.array(c, np.float64)
    return A, B, C


def _numbers(precision, registers):
    """Numbers in registers of 32 bits."""
    words = np.array(registers, np.uint32)
    if precision == "bf16":  # the upper half of a float32
        return np.stack([words << 16, words & 0xFFFF0000], axis=2).view(np.float32)
    if (words & 0x1FFF).any():
        raise RuntimeError("A product in tf32 is given numbers that were not rounded.")
    return words.view(np.float32)[:, :, None]


kernel.BlockManager = Block
kernel.FakeWithinKernelCUDAArray = lambda array: array._ary
kernel.FakeCUDAKernel.__call__ = _call
FakeCUDAShared.array = _shared
FakeCUDAModule.shfl_xor_sync = _shfl_xor_sync
FakeCUDAModule.shfl_down_sync = _shfl_down_sync
FakeCUDAModule.shfl_sync = _shfl_sync
FakeCUDAModule.mma = _mma
