"""Threads of a block in Numba's simulator: quick, stricter than a GPU, with exchanges.

One thread runs at a time, up to a barrier or an exchange; then another one's turn comes. In
which order is drawn anew at each barrier, so that what should have waited for a barrier finds
nothing there, or too much. A thread of a block is played by a thread of Python's, but one that
ends without waiting needs none of its own.

These are errors: a barrier that a thread of the block does not come to, or an exchange that a
lane of the warp does not, and threads that wait for each other at different places. Shared
memory begins with NaN.
"""

import random
import sys
import threading

import numpy as np
from numba.cuda.simulator import kernel
from numba.cuda.simulator.kernelapi import Dim3, FakeCUDAModule, FakeCUDAShared
from numba.np import numpy_support

_idle = []


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
        warp, lane = self.number >> 5, self.number & 31
        # Of an exchange's values the last is read before the next but one begins.
        key = warp, self.n_exchanges & 1
        self.n_exchanges += 1
        values = self.block.exchanged.setdefault(key, {})
        values[lane] = value
        self.block.wait(self, warp, 32)
        return values[source(lane) & 31]


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
        frame = sys._getframe(3)  # of the kernel, or of a function that it calls
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
        array.fill(np.nan if array.dtype.kind == "f" else -1)
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


kernel.BlockManager = Block
kernel.FakeWithinKernelCUDAArray = lambda array: array._ary
kernel.FakeCUDAKernel.__call__ = _call
FakeCUDAShared.array = _shared
FakeCUDAModule.shfl_xor_sync = _shfl_xor_sync
FakeCUDAModule.shfl_down_sync = _shfl_down_sync
FakeCUDAModule.shfl_sync = _shfl_sync
