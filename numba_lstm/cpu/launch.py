"""Starting tasks in parallel or in turn, without compiling them into what starts them.

Numba compiles a ``prange`` loop together with all that its body calls, four times over:
the body, two wrappers of it and the function around it. Here the body is one call
through a pointer, so that a task is compiled once, for one thread and for many alike
(docs/design.md has what that gains). The task's arguments lie in a frame on the
starting function's stack, and a trampoline, which knows their types, fetches them:

    start -> driver (prange) -> trampoline(frame, stage, task) -> the task

What alternates between stages is tasks of their own, each compiled by itself: what calls
another function compiles it once more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from numba_lstm._collector import collector_paused
from numba_lstm._jit import kernel
from numba_lstm._llvm import llvm_function
from numba_lstm.memory import address as address_of
from numba_lstm.memory import at, view, view_type

_INT = ir.IntType(64)
_TRAMPOLINE = ir.FunctionType(ir.VoidType(), [_INT] * 3)


def address(function: Any, signature: tuple[types.Type, ...]) -> int:
    """Compile a function for views of a signature's arrays and return where it lies."""
    signature = view_type(types.Tuple(signature)).types if signature else ()
    with collector_paused:
        function.compile(signature)
    compiled = function.overloads[signature]
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)


def call(context, builder, where, signature, arguments):
    """Emit the call of a compiled function that returns nothing, by its address."""
    kind = context.call_conv.get_function_type(types.none, signature)
    pointer = builder.inttoptr(where, kind.as_pointer())
    status, _ = context.call_conv.call_function(builder, pointer, types.none, signature, arguments)
    if config.BOUNDSCHECK:  # nothing else raises, and nobody above could catch it
        with builder.if_then(status.is_error):
            trap = llvm_function(builder, "llvm.trap", ir.VoidType(), [])
            builder.call(trap, [])


@intrinsic
def _jump(typingctx, trampoline, frame, stage, task):
    """Call a trampoline."""

    def codegen(context, builder, signature, args):
        builder.call(builder.inttoptr(args[0], _TRAMPOLINE.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.none(*[types.intp] * 4), codegen


@intrinsic
def _swap_n_threads(typingctx, n_threads):
    """Set how many threads run what this one starts; return how many did before.

    What ``numba.get_num_threads`` and ``set_num_threads`` do: from Python they take 0.5
    microseconds each.
    """

    def codegen(context, builder, signature, args):
        number, module = ir.IntType(32), builder.module  # C's int
        # Of this type Numba's own loops declare it, in the same module.
        get = cgutils.get_or_insert_function(module, ir.FunctionType(_INT, []), "get_num_threads")
        kind = ir.FunctionType(ir.VoidType(), [number])
        put = cgutils.get_or_insert_function(module, kind, "set_num_threads")
        before = builder.trunc(builder.call(get, []), number)
        builder.call(put, [builder.trunc(args[0], number)])
        return builder.sext(before, _INT)

    return types.intp(types.intp), codegen


@kernel(parallel=True)
def driver(trampoline, frame, n_threads, first_stage, n_stages, n_tasks):
    """Run the tasks of each stage on so many threads, one stage after the other."""
    before = _swap_n_threads(n_threads)
    for stage in range(first_stage, n_stages):
        for task in prange(n_tasks):
            _jump(trampoline, frame, stage, np.int64(task))
    _swap_n_threads(before)


_DRIVER_KINDS = (types.intp,) * 6


def driver_address() -> int:
    """Compile :func:`driver` and return where it lies."""
    return address(driver, _DRIVER_KINDS)


def which(stage: int) -> int:
    """Return which of three tasks a stage has: 0 the first, then 1 and 2 in turn."""
    return 2 - stage % 2 if stage > 0 else 0


def _choose(builder, held):
    """Emit the address of the task of a trampoline's stage, as :func:`which` tells."""
    stage, tasks = builder.function.args[1], builder.extract_value(held, 0)
    first, odd, even = (builder.extract_value(tasks, i) for i in range(3))
    is_odd = builder.trunc(stage, ir.IntType(1))
    later = builder.select(is_odd, odd, even)
    return builder.select(builder.icmp_signed("==", stage, ir.Constant(_INT, 0)), first, later)


def _fill(context, builder, kinds, frame, tasks, values):
    """Emit the filling of a frame; return its trampoline's address."""
    held_type = frame.type.pointee
    filled = builder.insert_value(ir.Constant(held_type, ir.Undefined), tasks, 0)
    builder.store(builder.insert_value(filled, values, 1), frame)

    module = builder.module
    name = module.get_unique_name("numba_lstm.trampoline")
    trampoline = ir.Function(module, _TRAMPOLINE, name)
    trampoline.linkage = "internal"
    inside = ir.IRBuilder(trampoline.append_basic_block("entry"))
    held = inside.load(inside.inttoptr(trampoline.args[0], frame.type))
    unpacked = cgutils.unpack_tuple(inside, inside.extract_value(held, 1))
    arguments = [*trampoline.args[1:], *unpacked]
    call(context, inside, _choose(inside, held), (types.intp, types.intp, *kinds), arguments)
    inside.ret_void()
    return builder.ptrtoint(trampoline, _INT)


def _run(context, builder, trampoline, frame, driver, n_threads, n_serial, n_stages, n_tasks):
    """Emit the tasks one by one, then the driver's call."""
    jump = builder.inttoptr(trampoline, _TRAMPOLINE.as_pointer())
    stages, tasks = (cgutils.for_range(builder, n) for n in (n_serial, n_tasks))
    with stages as stage, tasks as task:
        builder.call(jump, [frame, stage.index, task.index])
    with builder.if_then(builder.icmp_signed("<", n_serial, n_stages)):
        arguments = [trampoline, frame, n_threads, n_serial, n_stages, n_tasks]
        call(context, builder, driver, _DRIVER_KINDS, arguments)


_ADDRESSES = types.UniTuple(types.intp, 3)


@intrinsic
def _start(typingctx, driver, tasks, n_threads, n_serial, n_stages, n_tasks, values):
    """Put the arguments into a frame, and run."""

    def codegen(context, builder, signature, args):
        driver, tasks, *numbers, values = args
        frame_type = ir.LiteralStructType([tasks.type, values.type])
        frame = cgutils.alloca_once(builder, frame_type)
        trampoline = _fill(context, builder, signature.args[-1], frame, tasks, values)
        _run(context, builder, trampoline, builder.ptrtoint(frame, _INT), driver, *numbers)
        return context.get_dummy_value()

    return types.none(types.intp, _ADDRESSES, *[types.intp] * 4, values), codegen


@kernel
def start(
    driver: int,
    tasks: tuple[int, int, int],
    n_threads: int,
    n_serial: int,
    n_stages: int,
    n_tasks: int,
    *values: Any,
) -> None:
    """Run ``n_tasks`` tasks in each of ``n_stages`` stages.

    Parameters
    ----------
    driver : int
        Address of :func:`driver`; it may be 0 if all stages are serial.
    tasks : tuple of int
        Three addresses, of which :func:`which` tells: of functions of the stage, of the
        task's number and of views of ``values``, compiled for just their types.
    n_threads : int
        For the driver; at most as many as Numba was started with.
    n_serial, n_stages, n_tasks : int
        How often; the first ``n_serial`` stages in this thread, the others, if any, by
        the driver.
    *values
        Further arguments of the tasks.
    """
    _start(driver, tasks, n_threads, n_serial, n_stages, n_tasks, view(values))


# -- the same tasks again and again ---------------------------------------------------

# Integers of an order: what :func:`resume` reads, and behind it the frame.
ORDER_SIZE = 72
_FRAME = 8


@intrinsic
def _keep(typingctx, place, tasks, values):
    """Put the arguments into a frame at an address; return its trampoline's."""

    def codegen(context, builder, signature, args):
        frame_type = ir.LiteralStructType([args[1].type, args[2].type])
        if context.get_abi_sizeof(frame_type) > 8 * (ORDER_SIZE - _FRAME):
            raise TypeError(f"These arguments take more than {ORDER_SIZE - _FRAME} integers.")
        frame = builder.inttoptr(args[0], frame_type.as_pointer())
        return _fill(context, builder, signature.args[2], frame, *args[1:])

    return types.intp(types.intp, _ADDRESSES, values), codegen


@intrinsic
def _resume(typingctx, trampoline, frame, driver, n_threads, n_serial, n_stages, n_tasks):
    """Run with a frame that is filled."""

    def codegen(context, builder, signature, args):
        _run(context, builder, *args)
        return context.get_dummy_value()

    return types.none(*[types.intp] * 7), codegen


@kernel
def keep(
    order: np.ndarray,
    tasks: tuple[int, int, int],
    n_stages: int,
    n_tasks: int,
    source: np.ndarray,
    *values: Any,
) -> None:
    """Write what :func:`start` takes into an order for :func:`resume`, all stages serial.

    Parameters
    ----------
    order : ndarray of int64 of shape (ORDER_SIZE,)
        Where to, zeros so far. It has addresses, and keeps no array alive.
    tasks, n_stages, n_tasks, *values
        As for :func:`start`.
    source : ndarray
        That one of ``values`` which will be another each time.
    """
    order = view(order)
    place = address_of(order) + 8 * _FRAME
    trampoline, changes = _keep(place, tasks, view(values)), address_of(view(source))
    for k in range(_FRAME, order.size):
        if order[k] == changes:
            order[7] = address_of(order) + 8 * k
    order[0], order[1], order[3] = trampoline, place, 1
    order[4], order[5], order[6] = n_stages, n_stages, n_tasks


def in_parallel(order: np.ndarray, driver: int, n_threads: int, n_serial: int) -> np.ndarray:
    """Return an order with the same frame, of which only the first stages are serial."""
    order = order[:_FRAME].copy()
    order[2:5] = driver, n_threads, n_serial
    return order


@kernel
def resume(order: np.ndarray, source: np.ndarray) -> None:
    """Run the tasks of an order, on another array.

    Two arguments take 0.2 microseconds from Python to here, the twelve arrays of a prediction 2.

    Parameters
    ----------
    order : ndarray of int64
        Addresses of the trampoline, the frame and the driver, as for :func:`start`; the
        numbers that it takes; and where in the frame to put the array's address.
    source : ndarray of uint8 of two dimensions
        Bytes of an array of just the shape and dtype of the one before.
    """
    order = view(order)
    at(order[7], 1, np.int64(0))[0] = address_of(view(source))
    _resume(order[0], order[1], order[2], order[3], order[4], order[5], order[6])
