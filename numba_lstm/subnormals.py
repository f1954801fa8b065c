"""Numbers too small for all of their digits, which processors of x86 are told to take for zero.

Gradients fade along time, and by a factor a step: after some hundred steps they are
subnormal, and for each operation on such a number an Intel processor calls microcode. A
batch of 64 sequences of 1,000 steps took 13 times as long for that.
"""

from __future__ import annotations

import llvmlite.binding as llvm
from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic

from numba_lstm._llvm import llvm_function

# Bits of the control register: results that are subnormal are zero, and so are operands.
_FLUSH = 0x8000 | 0x0040
_HAS_REGISTER = llvm.get_default_triple().startswith(("x86_64", "i686", "amd64"))


def _emit(builder, name, place):
    byte = ir.IntType(8).as_pointer()
    function = llvm_function(builder, name, ir.VoidType(), [byte])
    builder.call(function, [builder.bitcast(place, byte)])


@intrinsic
def _flush(typingctx):
    def codegen(context, builder, signature, args):
        register = ir.IntType(32)
        if not _HAS_REGISTER:
            return ir.Constant(ir.IntType(64), 0)
        with builder.goto_entry_block():
            place = builder.alloca(register)
        _emit(builder, "llvm.x86.sse.stmxcsr", place)
        before = builder.load(place)
        builder.store(builder.or_(before, ir.Constant(register, _FLUSH)), place)
        _emit(builder, "llvm.x86.sse.ldmxcsr", place)
        return builder.zext(before, ir.IntType(64))

    return types.intp(), codegen


@intrinsic
def _restore(typingctx, before):
    def codegen(context, builder, signature, args):
        register = ir.IntType(32)
        if _HAS_REGISTER:
            with builder.goto_entry_block():
                place = builder.alloca(register)
            builder.store(builder.trunc(args[0], register), place)
            _emit(builder, "llvm.x86.sse.ldmxcsr", place)
        return context.get_dummy_value()

    return types.none(types.intp), codegen


def _flush_nothing():
    return 0


def _restore_nothing(before):
    pass


# ``before = flush_subnormals()`` ... ``restore_subnormals(before)``, in compiled code. It
# holds for the thread, so it must be taken back before anybody else's code runs in it.
if config.DISABLE_JIT:
    flush_subnormals, restore_subnormals = _flush_nothing, _restore_nothing
else:
    flush_subnormals, restore_subnormals = _flush, _restore
