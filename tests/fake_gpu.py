"""A GPU that is none, for numba-cuda: memory is the host's, and kernels are not run.

``install()`` puts it under numba.cuda in a process of its own, before anything is done there.
All of numba-cuda's own runs: kernels are compiled, assembled, kept, loaded and prepared for
launches. What is asked of the driver goes to :class:`Driver` and :class:`Context`.
"""

import contextlib
import ctypes
import itertools
from types import SimpleNamespace

import numpy as np
from cuda.bindings import driver as binding
from numba import cuda
from numba.cuda import dispatcher
from numba.cuda.cudadrv import devicearray, devices, driver


class Driver:
    """Copies at once, and has nothing to wait for."""

    is_available = True

    def get_active_context(self):
        return contextlib.nullcontext()

    def cuMemcpyHtoD(self, target, source, n):
        ctypes.memmove(int(target), int(source), n)

    def cuMemcpyHtoDAsync(self, target, source, n, stream):
        ctypes.memmove(int(target), int(source), n)

    cuMemcpyDtoH, cuMemcpyDtoHAsync = cuMemcpyHtoD, cuMemcpyHtoDAsync

    def cuStreamSynchronize(self, stream):
        pass

    cuEventSynchronize = cuStreamSynchronize

    def cuEventRecord(self, event, stream):
        pass

    def cuStreamWaitEvent(self, stream, event, flags):
        pass


class Context:
    """Of a device of some compute capability.

    Attributes
    ----------
    launches : list of str
        Names of the kernels that were launched.
    arguments : list of tuple
        Grid, block and arguments of each, as numbers.
    asked : list of int
        Bytes of each allocation.
    allocations_left : int or None
        How many there is memory for, of which the driver says nothing.
    images : list of bytes
        Machine code that the driver was given.
    """

    def __init__(self, capability):
        self.asked, self.images, self.launches, self.arguments = [], [], [], []
        self.allocations_left = None
        self.device = SimpleNamespace(
            compute_capability=capability,
            id=0,
            MULTIPROCESSOR_COUNT=132,
            WARP_SIZE=32,
            supports_float16=True,
            supports_bfloat16=True,
        )
        waiting = SimpleNamespace(clear=lambda: None)
        self.memory_manager = SimpleNamespace(deallocations=waiting)
        self._allocated = {}
        self._handles = itertools.count(100)

    def memalloc(self, n):
        self.asked.append(n)
        if self.allocations_left is not None:
            self.allocations_left -= 1
        if self.allocations_left == -1:
            code = binding.CUresult.CUDA_ERROR_OUT_OF_MEMORY
            raise driver.CudaAPIError(code, f"Call to cuMemAlloc results in {code.name}")
        memory = ctypes.create_string_buffer(n + 256)
        at = (ctypes.addressof(memory) + 255) // 256 * 256

        def give_back():
            del self._allocated[at]

        pointer = binding.CUdeviceptr(at)
        owner = driver.AutoFreePointer(self, pointer, n, finalizer=give_back)
        self._allocated[at] = owner, memory
        return owner.own()

    def memhostalloc(self, n, mapped=False, portable=False, wc=False):
        return np.empty(n, np.uint8).data

    def get_memory_info(self):
        return driver.MemoryInfo(free=2**33, total=2**34)

    def create_stream(self):
        return driver.Stream(binding.CUstream(next(self._handles)))

    def create_event(self, timing=True):
        return driver.Event(binding.CUevent(next(self._handles)))

    def get_default_stream(self):
        return driver.Stream(binding.CUstream(0))

    def synchronize(self):
        pass

    def create_module_image(self, image, setup=None, teardown=None):
        self.images.append(bytes(image.code))
        module = SimpleNamespace(initialized=True)
        return SimpleNamespace(
            get_function=lambda name: SimpleNamespace(name=name, module=module, kernel=name)
        )


def install(capability=(9, 0)):
    """Put the driver under numba.cuda; return its context."""
    context, fake = Context(capability), Driver()

    class Runtime:
        @contextlib.contextmanager
        def ensure_context(self):
            yield

        def get_or_create_context(self, number):
            return context

    def plain(value):
        return getattr(value, "value", value)

    def launch(stream, config, kernel, *args):
        threads = int(np.prod(config.block))
        assert threads <= 1024, (kernel, config)
        assert max(config.grid[1:]) <= 65_535, (kernel, config)
        context.launches.append(kernel)
        context.arguments.append((config.grid, config.block, [plain(one) for one in args]))

    devices._runtime = Runtime()
    driver.driver = devicearray._driver.driver = fake
    driver._to_core_stream = lambda stream: stream
    dispatcher.launch = launch
    cuda.is_available = lambda: True
    return context
