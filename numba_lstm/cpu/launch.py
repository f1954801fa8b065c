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
from numba_lstm.memory import view, view_type

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


@kernel(parallel=True)
def driver(trampoline, frame, first_stage, n_stages, n_tasks):
    """Run the tasks of each stage on all threads, one stage after the other."""
    for stage in range(first_stage, n_stages):
        for task in prange(n_tasks):
            _jump(trampoline, frame, stage, np.int64(task))


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


@intrinsic
def _start(typingctx, driver, tasks, n_serial, n_stages, n_tasks, values):
    """Put the arguments into a frame; call the tasks one by one, then the driver."""

    def codegen(context, builder, signature, args):
        driver, tasks, n_serial, n_stages, n_tasks, values = args
        frame_type = ir.LiteralStructType([tasks.type, values.type])
        frame = cgutils.alloca_once(builder, frame_type)
        filled = builder.insert_value(ir.Constant(frame_type, ir.Undefined), tasks, 0)
        builder.store(builder.insert_value(filled, values, 1), frame)

        module = builder.module
        name = module.get_unique_name("numba_lstm.trampoline")
        trampoline = ir.Function(module, _TRAMPOLINE, name)
        trampoline.linkage = "internal"
        inside = ir.IRBuilder(trampoline.append_basic_block("entry"))
        held = inside.load(inside.inttoptr(trampoline.args[0], frame_type.as_pointer()))
        kinds = (types.intp, types.intp, *signature.args[5])
        unpacked = cgutils.unpack_tuple(inside, inside.extract_value(held, 1))
        arguments = [*trampoline.args[1:], *unpacked]
        call(context, inside, _choose(inside, held), kinds, arguments)
        inside.ret_void()

        where = builder.ptrtoint(frame, _INT)
        stages, tasks = (cgutils.for_range(builder, n) for n in (n_serial, n_tasks))
        with stages as stage, tasks as task:
            builder.call(trampoline, [where, stage.index, task.index])
        with builder.if_then(builder.icmp_signed("<", n_serial, n_stages)):
            arguments = [builder.ptrtoint(trampoline, _INT), where, n_serial, n_stages, n_tasks]
            call(context, builder, driver, (types.intp,) * 5, arguments)
        return context.get_dummy_value()

    addresses = types.UniTuple(types.intp, 3)
    return types.none(types.intp, addresses, *[types.intp] * 3, values), codegen


@kernel
def start(
    driver: int,
    tasks: tuple[int, int, int],
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
    n_serial, n_stages, n_tasks : int
        How often; the first ``n_serial`` stages in this thread, the others, if any, by
        the driver.
    *values
        Further arguments of the tasks.
    """
    _start(driver, tasks, n_serial, n_stages, n_tasks, view(values))
