"""The vector microkernel: one small tile of C += A B with C held in registers.

LLVM does not keep a matrix tile in registers across a loop written in Python, so
the tile is built instruction by instruction through ``numba.extending.intrinsic``.
Every element of C is one chain of multiply-adds over k in rising order, whatever
the tile's size: that is why the result of a row does not depend, bit for bit, on
the rows that share its batch.
"""

from __future__ import annotations

from collections.abc import Callable

import llvmlite.binding as llvm
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic


def vector_bits() -> int:
    """Width in bits of the vectors that the kernels are compiled for."""
    if (config.CPU_NAME or "") == "generic":
        return 128
    features = config.CPU_FEATURES
    if features is None:
        host = llvm.get_host_cpu_features()
        enabled = {name for name, present in host.items() if present}
    else:
        enabled = {name[1:] for name in features.split(",") if name.startswith("+")}
    if "avx512f" in enabled:
        return 512
    return 256 if {"avx2", "fma"} <= enabled else 128


BITS = vector_bits()
# Rows of the largest tile: with two vectors a row, its accumulators, two vectors of
# B and a broadcast fit the 32 registers of AVX-512 and NEON or the 16 of AVX2.
MAX_ROWS = 8 if BITS == 512 else 4


def make_tile(rows: int) -> Callable:
    """Make the microkernel for a tile of ``rows`` rows and at most two vectors.

    Parameters
    ----------
    rows : int
        Rows of the tile.

    Returns
    -------
    callable
        ``tile(zero, a, a_row, a_col, b, b_row, K, c, c_row, width)`` for use in
        compiled code, which adds A B to C over ``width`` columns. ``zero`` is 0 in
        the arrays' dtype; ``a``, ``b`` and ``c`` are addresses, the rest of the
        arguments strides and sizes in elements.
    """

    @intrinsic
    def tile(typingctx, zero, a, a_row, a_col, b, b_row, K, c, c_row, width):
        if zero not in (types.float32, types.float64):
            return None

        def codegen(context, builder, signature, args):
            width = args[9]
            lanes = ir.Constant(width.type, BITS // zero.bitwidth)
            whole = builder.icmp_signed(">=", width, builder.add(lanes, lanes))
            with builder.if_else(whole) as (both_vectors, fewer):
                with both_vectors:
                    _emit_tile(_Emitter(builder, zero), rows, 2, *args[1:9])
                with fewer:
                    rest = builder.sub(width, lanes)
                    two = builder.icmp_signed(">", width, lanes)
                    with builder.if_else(two) as (part_of_second, part_of_first):
                        with part_of_second:
                            _emit_tile(_Emitter(builder, zero, rest), rows, 2, *args[1:9])
                        with part_of_first:
                            _emit_tile(_Emitter(builder, zero, width), rows, 1, *args[1:9])
            return context.get_dummy_value()

        return types.void(zero, *[types.intp] * 9), codegen

    return tile


class _Emitter:
    """Loads, stores and multiply-adds of one vector type.

    With ``n_valid``, only so many elements of a tile's last vector are touched.
    """

    def __init__(self, builder, dtype, n_valid=None):
        self.builder = builder
        lanes = BITS // dtype.bitwidth
        self.scalar = ir.FloatType() if dtype == types.float32 else ir.DoubleType()
        self.vector = ir.VectorType(self.scalar, lanes)
        self.align = dtype.bitwidth // 8
        self.suffix = f"v{lanes}f{dtype.bitwidth}"
        self.i64 = ir.IntType(64)
        self.undef = ir.Constant(self.vector, ir.Undefined)
        self.splat = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
        self.mask = None if n_valid is None else self._first(n_valid, lanes)

    def _first(self, n_valid, lanes):
        """Return a mask of the first n_valid lanes."""
        index_type = ir.VectorType(self.i64, lanes)
        count = self.builder.insert_element(
            ir.Constant(index_type, ir.Undefined), n_valid, ir.Constant(ir.IntType(32), 0)
        )
        count = self.builder.shuffle_vector(count, count, self.splat)
        return self.builder.icmp_signed("<", ir.Constant(index_type, list(range(lanes))), count)

    def constant(self, value):
        return ir.Constant(self.i64, value)

    def pointer(self, address):
        return self.builder.inttoptr(address, self.scalar.as_pointer())

    def at(self, pointer, offset):
        return self.builder.gep(pointer, [offset])

    def _function(self, name, result, arguments):
        return cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(result, arguments), name
        )

    def load(self, pointer, masked):
        where = self.builder.bitcast(pointer, self.vector.as_pointer())
        if masked:
            function = self._function(
                f"llvm.masked.load.{self.suffix}.p0{self.suffix}",
                self.vector,
                [where.type, ir.IntType(32), self.mask.type, self.vector],
            )
            align = ir.Constant(ir.IntType(32), self.align)
            zeros = ir.Constant(self.vector, None)
            return self.builder.call(function, [where, align, self.mask, zeros])
        value = self.builder.load(where)
        value.align = self.align
        return value

    def store(self, value, pointer, masked):
        where = self.builder.bitcast(pointer, self.vector.as_pointer())
        if masked:
            function = self._function(
                f"llvm.masked.store.{self.suffix}.p0{self.suffix}",
                ir.VoidType(),
                [self.vector, where.type, ir.IntType(32), self.mask.type],
            )
            align = ir.Constant(ir.IntType(32), self.align)
            self.builder.call(function, [value, where, align, self.mask])
        else:
            self.builder.store(value, where).align = self.align

    def broadcast(self, pointer):
        value = self.builder.load(pointer)
        value.align = self.align
        lane0 = ir.Constant(ir.IntType(32), 0)
        vector = self.builder.insert_element(self.undef, value, lane0)
        return self.builder.shuffle_vector(vector, self.undef, self.splat)

    def multiply_add(self, x, y, z):
        # fmuladd, not fma: without FMA instructions the latter is a library call.
        function = self._function(f"llvm.fmuladd.{self.suffix}", self.vector, [self.vector] * 3)
        return self.builder.call(function, [x, y, z])


def _emit_tile(emit, rows, vectors, a, a_row, a_col, b, b_row, K, c, c_row):
    """Emit the loop over k: accumulators as phi nodes, one broadcast of A a row."""
    builder, constant = emit.builder, emit.constant
    lanes = emit.vector.count
    a, b, c = emit.pointer(a), emit.pointer(b), emit.pointer(c)
    columns = [constant(v * lanes) for v in range(vectors)]
    partial = [emit.mask is not None and v == vectors - 1 for v in range(vectors)]
    cells = [(r, v) for r in range(rows) for v in range(vectors)]
    c_rows = [emit.at(c, builder.mul(c_row, constant(r))) for r in range(rows)]
    a_rows = [emit.at(a, builder.mul(a_row, constant(r))) for r in range(rows)]
    start = {(r, v): emit.load(emit.at(c_rows[r], columns[v]), partial[v]) for r, v in cells}

    before = builder.block
    loop = builder.append_basic_block("k_loop")
    end = builder.append_basic_block("k_end")
    builder.cbranch(builder.icmp_signed(">", K, constant(0)), loop, end)

    builder.position_at_end(loop)
    k = builder.phi(emit.i64)
    k.add_incoming(constant(0), before)
    accumulator = {}
    for cell in cells:
        accumulator[cell] = builder.phi(emit.vector)
        accumulator[cell].add_incoming(start[cell], before)
    b_k = emit.at(b, builder.mul(k, b_row))
    a_k = builder.mul(k, a_col)
    b_values = [emit.load(emit.at(b_k, columns[v]), partial[v]) for v in range(vectors)]
    result = {}
    for r in range(rows):
        a_value = emit.broadcast(emit.at(a_rows[r], a_k))
        for v in range(vectors):
            result[r, v] = emit.multiply_add(a_value, b_values[v], accumulator[r, v])
    following = builder.add(k, constant(1))
    k.add_incoming(following, loop)
    for cell in cells:
        accumulator[cell].add_incoming(result[cell], loop)
    builder.cbranch(builder.icmp_signed("<", following, K), loop, end)

    builder.position_at_end(end)
    for r, v in cells:
        value = builder.phi(emit.vector)
        value.add_incoming(start[r, v], before)
        value.add_incoming(result[r, v], loop)
        start[r, v] = value
    for r, v in cells:
        emit.store(start[r, v], emit.at(c_rows[r], columns[v]), partial[v])
