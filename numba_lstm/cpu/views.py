"""Matrices inside one piece of memory, as compiled code sees them.

A network has any number of cells, each with buffers of its own. Passed as arrays they
would be a type of their own for each number of cells, and every kernel would be compiled
for it; as places in one array they are numbers. A view counts no references and checks no
bounds: the memory outlives the kernel, and workspace.py made the places.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import lower_builtin, type_callable
from numba.np import arrayobj


def matrix(memory: np.ndarray, table: np.ndarray, k: int) -> np.ndarray:
    """Return a matrix inside a flat array.

    Parameters
    ----------
    memory : ndarray of one dimension, contiguous
        Of whatever dtype.
    table : ndarray of int64 of one dimension, contiguous
        From k on it holds the matrix's first element, its rows and its columns.
    k : int
        Where in the table.

    Returns
    -------
    ndarray of shape (rows, columns)
        C-contiguous; shares the memory.
    """
    start, rows, columns = table[k : k + 3]
    return memory[start : start + rows * columns].reshape(rows, columns)


@type_callable(matrix)
def _type_matrix(context):
    return lambda memory, table, k: types.Array(memory.dtype, 2, "C")


@lower_builtin(matrix, types.Array, types.Array, types.Integer)
def _lower_matrix(context, builder, sig, args):
    memory, table, k = args
    source = arrayobj.make_array(sig.args[0])(context, builder, memory)
    places = arrayobj.make_array(sig.args[1])(context, builder, table)
    k = context.cast(builder, k, sig.args[2], types.intp)
    start, rows, columns = (
        builder.load(builder.gep(places.data, [builder.add(k, k.type(i))])) for i in range(3)
    )
    result = arrayobj.make_array(sig.return_type)(context, builder)
    itemsize = context.get_constant(types.intp, sig.return_type.dtype.bitwidth // 8)
    arrayobj.populate_array(
        result,
        data=builder.gep(source.data, [start]),
        shape=cgutils.pack_array(builder, [rows, columns]),
        strides=cgutils.pack_array(builder, [builder.mul(columns, itemsize), itemsize]),
        itemsize=itemsize,
        meminfo=None,
    )
    return result._getvalue()
