"""The vector microkernel: one small tile of C = A B or C += A B, held in registers.

LLVM does not keep a matrix tile in registers across a loop written in Python, so
the tile is built instruction by instruction. Every element of C is one chain of
multiply-adds over k in rising order, whatever the tile's size: that is why the result
of a row does not depend, bit for bit, on the rows that share its batch.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from numba_lstm._llvm import (
    BITS,
    emit_load,
    emit_prefetch,
    emit_store,
    first_lanes,
    llvm_real,
    llvm_vector,
    splat,
    suffix,
)

# Rows of the largest tile: with two vectors a row, its accumulators, two vectors of
# B and a broadcast fit the 32 registers of AVX-512 and NEON or the 16 of AVX2.
MAX_ROWS = 8 if BITS == 512 else 4

_INT = ir.IntType(64)

# Of a tile that fetches nothing ahead.
_N_ARGUMENTS = 12


def make_tile(rows: int, fetches: bool = False) -> Callable:
    """Make the microkernel for tiles of up to ``rows`` rows and two vectors.

    Parameters
    ----------
    rows : int
        Rows that are computed; of fewer, the last one is computed several times.
    fetches : bool
        Whether whole tiles fetch, meanwhile, what others will need.

    Returns
    -------
    callable
        ``tile(zero, a, a_row, a_col, b, b_row, K, c, c_row, n_rows, width, add, ahead,
        stride)`` for use in compiled code: sets ``n_rows`` rows of ``width`` columns of C to
        A B, or with ``add`` adds A B to them. ``zero`` is 0 in the arrays' dtype; ``a``,
        ``b`` and ``c`` are addresses, the arguments up to ``add`` strides and sizes in
        elements. With ``fetches`` the cache lines at K addresses from ``ahead`` on,
        ``stride`` bytes apart, are fetched.
    """

    @intrinsic
    def tile(
        typingctx, zero, a, a_row, a_col, b, b_row, K, c, c_row, n_rows, width, add, ahead, stride
    ):
        if zero not in (types.float32, types.float64):
            return None

        def codegen(context, builder, signature, args):
            operands, width = args[1:10], args[10]
            add = builder.zext(args[11], _INT)
            lanes = ir.Constant(_INT, BITS // zero.bitwidth)
            call, nothing = _Caller(builder, zero, rows), ir.Constant(_INT, 0)
            fetched = args[12:] if fetches else []
            whole = builder.icmp_signed(">=", width, builder.add(lanes, lanes))
            with builder.if_else(whole) as (both_vectors, fewer):
                with both_vectors:
                    call(2, False, [*operands, width, add, nothing, *fetched])
                with fewer:
                    two = builder.icmp_signed(">", width, lanes)
                    with builder.if_else(two) as (part_of_second, part_of_first):
                        with part_of_second:
                            rest = builder.sub(width, lanes)
                            call(2, True, [*operands, rest, add, nothing])
                        with part_of_first:
                            call(1, True, [*operands, width, add, nothing])
            return context.get_dummy_value()

        kinds = [*[types.intp] * 10, types.boolean, types.intp, types.intp]
        return types.void(zero, *kinds), codegen

    return tile


def make_row(panels: int) -> Callable:
    """Make the microkernel for a single row and several panels of B.

    Tiles of several rows would compute this one several times. With it the kernel of a step
    of 64 units takes 0.8 microseconds instead of 1.1, of 128 units 2.0 instead of 3.0.

    Parameters
    ----------
    panels : int
        How many, side by side in C.

    Returns
    -------
    callable
        ``row(zero, a, b, b_row, b_panel, K, c, add)`` for use in compiled code: sets whole
        panels of a row of C, or with ``add`` adds to them. ``b_panel`` is how far apart the
        panels begin; otherwise as for :func:`make_tile`.
    """

    @intrinsic
    def row(typingctx, zero, a, b, b_row, b_panel, K, c, add):
        if zero not in (types.float32, types.float64):
            return None

        def codegen(context, builder, signature, args):
            a, b, b_row, b_panel, K, c = args[1:7]
            nothing, one = ir.Constant(_INT, 0), ir.Constant(_INT, 1)
            operands = [a, nothing, one, b, b_row, K, c, nothing, one, nothing]
            call = _Caller(builder, zero, 1)
            call(2 * panels, False, [*operands, builder.zext(args[7], _INT), b_panel])
            return context.get_dummy_value()

        return types.void(zero, *[types.intp] * 6, types.boolean), codegen

    return row


class _Caller:
    """Calls of the tile's variants, each a function of its own in the module.

    Were it emitted where it is called, every caller would compile it again, and every
    caller of these.
    """

    def __init__(self, builder, dtype, rows):
        self.builder, self.dtype, self.rows = builder, dtype, rows

    def __call__(self, vectors, masked, args):
        fetches = len(args) > _N_ARGUMENTS
        name = f"numba_lstm.tile.{self.rows}x{vectors}{'.masked' * masked}{'.ahead' * fetches}"
        name += f".{suffix(llvm_vector(self.dtype))}"
        module = self.builder.module
        function = module.globals.get(name)
        if function is None:
            kind = ir.FunctionType(ir.VoidType(), [_INT] * len(args))
            function = ir.Function(module, kind, name)
            function.linkage = "linkonce_odr"
            function.attributes.add("noinline")
            function.attributes.add("nounwind")
            builder = ir.IRBuilder(function.append_basic_block("entry"))
            _emit_tile(builder, self.dtype, self.rows, vectors, masked, *function.args)
            builder.ret_void()
        self.builder.call(function, args)


def _emit_tile(
    builder,
    dtype,
    rows,
    vectors,
    masked,
    a,
    a_row,
    a_col,
    b,
    b_row,
    K,
    c,
    c_row,
    n_rows,
    n,
    add,
    b_panel,
    ahead=None,
    stride=None,
):
    """Emit the loop over k: accumulators as phi nodes, one broadcast of A a row.

    With ``masked``, only ``n`` elements of each row's last vector are touched. Every other
    vector begins a panel of B, ``b_panel`` elements behind the last. With ``ahead``, an
    address, a cache line is fetched with every k, ``stride`` bytes behind the last.
    """
    vector, pointer = llvm_vector(dtype), llvm_real(dtype).as_pointer()
    a, b, c = (builder.inttoptr(address, pointer) for address in (a, b, c))

    def constant(value):
        return ir.Constant(_INT, value)

    def at(start, offset):
        return builder.gep(start, [offset])

    # Rows beyond the last are the last one again: it is computed, and stored, alike.
    index, last = [constant(0)], builder.sub(n_rows, constant(1))
    for r in range(1, rows):
        beyond = builder.icmp_signed(">", constant(r), last)
        index.append(builder.select(beyond, last, constant(r)))
    a_rows = [at(a, builder.mul(a_row, r)) for r in index]
    c_rows = [at(c, builder.mul(c_row, r)) for r in index]
    columns = [constant(v * vector.count) for v in range(vectors)]
    b_columns = [
        builder.add(builder.mul(b_panel, constant(v // 2)), columns[v % 2]) for v in range(vectors)
    ]
    mask = first_lanes(builder, n, vector.count) if masked else None
    masks = [mask if v == vectors - 1 else None for v in range(vectors)]
    cells = [(r, v) for r in range(rows) for v in range(vectors)]

    zero = ir.Constant(vector, [0.0] * vector.count)
    before = builder.block
    with builder.if_then(builder.icmp_signed("!=", add, constant(0))):
        held = {(r, v): emit_load(builder, vector, at(c_rows[r], columns[v]), masks[v])
                for r, v in cells}  # fmt: skip
        loaded = builder.block
    start = {}
    for cell in cells:
        start[cell] = builder.phi(vector)
        start[cell].add_incoming(zero, before)
        start[cell].add_incoming(held[cell], loaded)

    before = builder.block
    loop = builder.append_basic_block("k_loop")
    end = builder.append_basic_block("k_end")
    builder.cbranch(builder.icmp_signed(">", K, constant(0)), loop, end)

    builder.position_at_end(loop)
    k = builder.phi(_INT)
    k.add_incoming(constant(0), before)
    accumulator = {}
    for cell in cells:
        accumulator[cell] = builder.phi(vector)
        accumulator[cell].add_incoming(start[cell], before)
    b_k = at(b, builder.mul(k, b_row))
    a_k = builder.mul(k, a_col)
    b_values = [
        emit_load(builder, vector, at(b_k, b_columns[v]), masks[v]) for v in range(vectors)
    ]
    name = f"llvm.fmuladd.{suffix(vector)}"
    multiply_add = builder.module.declare_intrinsic(
        name, fnty=ir.FunctionType(vector, [vector] * 3)
    )
    if ahead is not None:
        place = builder.add(ahead, builder.mul(k, stride))
        emit_prefetch(builder, builder.inttoptr(place, pointer))
    result = {}
    for r in range(rows):
        a_value = builder.load(at(a_rows[r], a_k))
        a_value.align = dtype.bitwidth // 8
        a_value = splat(builder, a_value, vector)
        for v in range(vectors):
            result[r, v] = builder.call(multiply_add, [a_value, b_values[v], accumulator[r, v]])
    following = builder.add(k, constant(1))
    k.add_incoming(following, loop)
    for cell in cells:
        accumulator[cell].add_incoming(result[cell], loop)
    builder.cbranch(builder.icmp_signed("<", following, K), loop, end)

    builder.position_at_end(end)
    for cell in cells:
        value = builder.phi(vector)
        value.add_incoming(start[cell], before)
        value.add_incoming(result[cell], loop)
        start[cell] = value
    for r, v in cells:
        emit_store(builder, start[r, v], at(c_rows[r], columns[v]), masks[v])
