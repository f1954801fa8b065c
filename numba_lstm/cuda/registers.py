"""Weights that stay in a thread's registers, and their products with a vector in shared memory.

An array that is local to a thread lies in registers only if all loops over it are unrolled,
which NVVM does up to some size and no further. Here the weights are a tuple instead, and the
multiply-adds are emitted one by one: 84 weights times 4 sequences are 336 FMA instructions
and 21 loads of four numbers, with no index computed in between.

Under Numba's simulator, which has no compiler, plain Python takes their place.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic

from numba_lstm._llvm import llvm_function, llvm_real, suffix

OUTPUTS = 4  # of each thread, for every sequence of its block: the gates of a unit, or four units


@functools.cache
def make_hold(n: int, sure: int) -> Callable:
    """Make the function that takes n times four weights into registers.

    Parameters
    ----------
    n : int
        How many inputs the thread has.
    sure : int
        How many of them are there in any case.

    Returns
    -------
    callable
        ``hold(zero, theta, start, step, stride, outputs, count)``: the tuple of the elements
        ``start + k * step + min(o, outputs - 1) * stride`` of theta, counted over all of it,
        for k < n and o < 4; ``zero``, which has their type, from k = ``count`` on.
    """
    if config.ENABLE_CUDASIM:
        return functools.partial(_hold, n)

    @intrinsic
    def hold(typingctx, zero, theta, start, step, stride, outputs, count):
        def codegen(context, builder, signature, args):
            zero, theta, *sizes = args
            start, step, stride, outputs, count = (
                context.cast(builder, size, kind, types.intp)
                for size, kind in zip(sizes, signature.args[2:], strict=True)
            )
            data = _data(context, builder, signature.args[1], theta)
            last = builder.sub(outputs, _integer(1))
            offsets = []
            for o in range(OUTPUTS):
                within = builder.icmp_signed("<", _integer(o), outputs)
                offsets.append(builder.mul(builder.select(within, _integer(o), last), stride))
            held = []
            for k in range(n):
                there = builder.icmp_signed("<", _integer(k), count)
                row = builder.add(start, builder.mul(_integer(k), step))
                if k >= sure:  # what is not there may lie beyond theta: read its first elements
                    row = builder.select(there, row, _integer(0))
                for offset in offsets:
                    weight = builder.load(builder.gep(data, [builder.add(row, offset)]))
                    held.append(weight if k < sure else builder.select(there, weight, zero))
            return context.make_tuple(builder, signature.return_type, held)

        result = types.UniTuple(zero, OUTPUTS * n)
        return result(zero, theta, start, step, stride, outputs, count), codegen

    return hold


@functools.cache
def make_multiply(n: int, lanes: int, NB: int, alignment: int) -> Callable:
    """Make the function that multiplies what is held with vectors of NB sequences.

    Parameters
    ----------
    n : int
        Inputs of a thread; its k-th is the one with number ``k * lanes`` behind its first.
    lanes : int
        Threads that share the inputs of an output among them.
    NB : int
        Sequences.
    alignment : int
        Bytes by which each group of NB numbers in the vectors is aligned.

    Returns
    -------
    callable
        ``multiply(totals, weights, vectors, start)``: for o < 4 and m < NB element
        ``o * NB + m`` of the tuple ``totals`` plus the sum over k of weight (k, o) times
        ``vectors[start + k * lanes * NB + m]``, added up in rising order of k.
    """
    if config.ENABLE_CUDASIM:
        return functools.partial(_multiply, n, lanes, NB)

    @intrinsic
    def multiply(typingctx, totals, weights, vectors, start):
        real = llvm_real(vectors.dtype)
        kind = ir.VectorType(real, NB) if NB > 1 else real

        def codegen(context, builder, signature, args):
            totals, weights, vectors, start = args
            start = context.cast(builder, start, signature.args[3], types.intp)
            data = _data(context, builder, signature.args[2], vectors)
            fma = llvm_function(builder, f"llvm.fma.{suffix(real)}", real, [real] * 3)
            sums = [builder.extract_value(totals, i) for i in range(OUTPUTS * NB)]
            for k in range(n):
                where = builder.gep(data, [builder.add(start, _integer(k * lanes * NB))])
                loaded = builder.load(builder.bitcast(where, kind.as_pointer()))
                loaded.align = alignment
                for m in range(NB):
                    one = loaded
                    if NB > 1:
                        one = builder.extract_element(loaded, ir.Constant(ir.IntType(32), m))
                    for o in range(OUTPUTS):
                        weight = builder.extract_value(weights, OUTPUTS * k + o)
                        i = o * NB + m
                        sums[i] = builder.call(fma, [weight, one, sums[i]])
            return context.make_tuple(builder, signature.return_type, sums)

        return totals(totals, weights, vectors, start), codegen

    return multiply


@functools.cache
def make_zeros(n: int) -> Callable:
    """Make the function ``zeros(zero)`` that returns a tuple of n numbers ``zero``."""
    if config.ENABLE_CUDASIM:
        return lambda zero: (zero,) * n

    @intrinsic
    def zeros(typingctx, zero):
        def codegen(context, builder, signature, args):
            return context.make_tuple(builder, signature.return_type, [args[0]] * n)

        return types.UniTuple(zero, n)(zero), codegen

    return zeros


def _integer(value: int) -> ir.Constant:
    return ir.Constant(ir.IntType(64), value)


def _data(context, builder, kind, array):
    """Address of an array's first element."""
    return context.make_array(kind)(context, builder, array).data


def _hold(n, zero, theta, start, step, stride, outputs, count) -> tuple[Any, ...]:
    flat = theta.reshape(-1)
    return tuple(
        flat[start + k * step + min(o, outputs - 1) * stride] if k < count else zero
        for k in range(n)
        for o in range(OUTPUTS)
    )


def _multiply(n, lanes, NB, totals, weights, vectors, start) -> tuple[Any, ...]:
    sums = list(totals)
    for k in range(n):
        for m in range(NB):
            one = vectors[start + k * lanes * NB + m]
            for o in range(OUTPUTS):
                sums[o * NB + m] = weights[OUTPUTS * k + o] * one + sums[o * NB + m]
    return tuple(sums)
