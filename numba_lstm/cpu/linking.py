"""Functions that are compiled once, however many kernels call them.

Numba compiles a function again inside each that calls it, and inside each that calls
that; and what a kernel may need has to be compiled into it, or it needs a variant for
each mixture of parts. A linked function is compiled, and cached, by itself, when the first
network needs it. Compiled code calls it through an address in a place that it knows by
name (docs/design.md has what that gains; a call costs 2 nanoseconds).
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import config, from_dtype, types
from numba.core import cgutils
from numba.extending import intrinsic

from numba_lstm._jit import task
from numba_lstm.cpu import launch
from numba_lstm.cpu.arguments import kinds_of

_INT = ir.IntType(64)


class _Linked:
    """A function, with one address for each dtype."""

    def __init__(self, function: Callable, parts: tuple[str, ...]) -> None:
        self.function, self.parts = task(function), frozenset(parts)
        self.kinds, self.symbols, self.places = {}, {}, {}
        for dtype in (types.float32, types.float64):
            self.kinds[dtype] = kinds_of(function, dtype)
            self.symbols[dtype] = f"{function.__module__}.{function.__name__}.{dtype}"
            self.places[dtype] = np.zeros(1, np.int64)
            llvm.add_symbol(self.symbols[dtype], self.places[dtype].ctypes.data)

    def link(self, dtype: types.Float) -> None:
        """Compile the function for a dtype, or load it, unless that is done."""
        if self.places[dtype][0] == 0:
            self.places[dtype][0] = launch.address(self.function, self.kinds[dtype])

    def call(self, context: Any, builder: ir.IRBuilder, dtype: types.Float, args: list) -> None:
        """Emit a call."""
        symbol = self.symbols[dtype]
        place = builder.module.globals.get(symbol)
        if place is None:
            place = ir.GlobalVariable(builder.module, _INT, symbol)
        launch.call(context, builder, builder.load(place), self.kinds[dtype], args)


_functions: list[_Linked] = []


def linked(*parts: str) -> Callable:
    """Decorate a function of views and numbers, which returns nothing, to be linked.

    The first argument must be a view of the network's dtype.

    Parameters
    ----------
    *parts : str
        What a network must have, all of these, to need it: see :func:`link`.

    Returns
    -------
    callable
        A decorator; what it returns is for compiled code, in which it may run once
        :func:`link` has been called.
    """

    def decorate(function: Callable) -> Callable:
        if config.DISABLE_JIT:
            return function
        found = _Linked(function, parts)
        _functions.append(found)

        @intrinsic
        def call(typingctx, *args):
            dtype = args[0].dtype

            def codegen(context, builder, signature, packed):
                found.call(context, builder, dtype, cgutils.unpack_tuple(builder, packed[0]))
                return context.get_dummy_value()

            return types.none(types.StarArgTuple.from_types(found.kinds[dtype])), codegen

        return call

    return decorate


def link(dtype: np.dtype, parts: Set[str]) -> None:
    """Make sure that what a network of such parts needs can be called.

    Parameters
    ----------
    dtype : numpy.dtype
        float32 or float64.
    parts : set of str
        "train", and what :meth:`Layout.parts` names.
    """
    for function in _functions:
        if function.parts <= parts:
            function.link(from_dtype(dtype))
