"""Memory as compiled code sees it: views of numbers and of matrices.

Numba's arrays count references, wrap negative indices around and carry nine numbers
each through every call, which takes time to compile and to run (docs/design.md). A view
is a pointer and its sizes. It checks no bounds, but where NUMBA_BOUNDSCHECK=1 asks for it,
and keeps nothing alive: whoever calls a kernel holds the arrays.

A network has any number of cells, each with buffers of its own. Passed as arrays they
would be a type of their own for each number of cells, and every kernel would be compiled
for it; as places in one memory, from :func:`matrix`, they are numbers.

Without the JIT views are the arrays themselves.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_builtin, lower_getattr
from numba.core.typing.templates import (
    AbstractTemplate,
    AttributeTemplate,
    infer,
    infer_getattr,
    infer_global,
    signature,
)
from numba.extending import models, register_model, type_callable
from numba.np import arrayobj


class View(types.Type):
    """A contiguous array of one or two dimensions, in compiled code.

    It can be indexed by integers that are not negative, and has ``shape``, ``size`` and
    ``itemsize``; one index into two dimensions gives a row.

    Parameters
    ----------
    dtype : numba.types.Number
        Type of the elements.
    ndim : int
        1 or 2.
    """

    def __init__(self, dtype: types.Number, ndim: int) -> None:
        self.dtype, self.ndim = dtype, ndim
        super().__init__(name=f"View({dtype}, {ndim})")


@register_model(View)
class _ViewModel(models.StructModel):
    def __init__(self, manager, kind):
        sizes = [(name, types.intp) for name in _SIZES[: kind.ndim]]
        super().__init__(manager, kind, [("data", types.CPointer(kind.dtype)), *sizes])


_SIZES = "rows", "columns"


def _make(context, builder, kind, data, sizes):
    result = cgutils.create_struct_proxy(kind)(context, builder)
    result.data = data
    for name, size in zip(_SIZES, sizes, strict=False):
        setattr(result, name, size)
    return result._getvalue()


def parts_of(context, builder, kind, value):
    """Return a view's pointer and its sizes."""
    parts = cgutils.create_struct_proxy(kind)(context, builder, value)
    return parts.data, [getattr(parts, name) for name in _SIZES[: kind.ndim]]


# -- making views -------------------------------------------------------------------


def view(values: Any) -> Any:
    """Return a view of an array, or the same tuple with views in place of arrays.

    Parameters
    ----------
    values : ndarray, tuple or anything else
        Arrays of one or two dimensions, C-contiguous. What is neither array nor tuple
        stays as it is.
    """
    return values


def view_type(kind: types.Type) -> types.Type:
    """Return the type of ``view(values)`` for values of a type."""
    if isinstance(kind, types.Array):
        if kind.layout != "C" or kind.ndim not in (1, 2):
            raise TypeError(f"{kind} cannot be viewed: one or two dimensions, C-contiguous.")
        return View(kind.dtype, kind.ndim)
    if isinstance(kind, types.BaseTuple):
        named = getattr(kind, "instance_class", None)
        return types.BaseTuple.from_types([view_type(part) for part in kind], named)
    return kind


@type_callable(view)
def _type_view(context):
    return view_type


@lower_builtin(view, types.Any)
def _lower_view(context, builder, sig, args):
    return _emit_view(context, builder, sig.args[0], args[0])


def _emit_view(context, builder, kind, value):
    if isinstance(kind, types.Array):
        array = arrayobj.make_array(kind)(context, builder, value)
        sizes = cgutils.unpack_tuple(builder, array.shape)
        return _make(context, builder, view_type(kind), array.data, sizes)
    if isinstance(kind, types.BaseTuple):
        parts = cgutils.unpack_tuple(builder, value, len(kind))
        pairs = zip(kind, parts, strict=True)
        viewed = [_emit_view(context, builder, part_kind, part) for part_kind, part in pairs]
        return context.make_tuple(builder, view_type(kind), viewed)
    return value


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
    return lambda memory, table, k: View(memory.dtype, 2)


def check_end(context, builder, kind, value, end):
    """Emit a check that the elements before ``end`` are a view's, where asked for."""
    if context.enable_boundscheck:
        last = builder.sub(end, end.type(1))
        size = _lower_size(context, builder, kind, value)
        with builder.if_then(builder.icmp_signed("!=", end, end.type(0))):
            cgutils.do_boundscheck(context, builder, last, size, 0)


@lower_builtin(matrix, View, View, types.Integer)
def _lower_matrix(context, builder, sig, args):
    data, _ = parts_of(context, builder, sig.args[0], args[0])
    table, _ = parts_of(context, builder, sig.args[1], args[1])
    k = context.cast(builder, args[2], sig.args[2], types.intp)
    start, *sizes = (
        builder.load(builder.gep(table, [builder.add(k, k.type(i))])) for i in range(3)
    )
    end = builder.add(start, builder.mul(*sizes))
    check_end(context, builder, sig.args[0], args[0], end)
    return _make(context, builder, sig.return_type, builder.gep(data, [start]), sizes)


# -- what a view can do -------------------------------------------------------------


@infer_getattr
class _Attributes(AttributeTemplate):
    key = View

    def resolve_shape(self, kind):
        return types.UniTuple(types.intp, kind.ndim)

    def resolve_size(self, kind):
        return types.intp

    def resolve_itemsize(self, kind):
        return types.intp


@lower_getattr(View, "shape")
def _lower_shape(context, builder, kind, value):
    return cgutils.pack_array(builder, parts_of(context, builder, kind, value)[1])


@lower_getattr(View, "size")
def _lower_size(context, builder, kind, value):
    first, *others = parts_of(context, builder, kind, value)[1]
    return builder.mul(first, others[0]) if others else first


@lower_getattr(View, "itemsize")
def _lower_itemsize(context, builder, kind, value):
    return context.get_constant(types.intp, kind.dtype.bitwidth // 8)


def _item(kind, index):
    """Type of what an index gives, or None."""
    if not isinstance(kind, View):
        return None
    indices = list(index) if isinstance(index, types.BaseTuple) else [index]
    if len(indices) > kind.ndim or not all(isinstance(i, types.Integer) for i in indices):
        return None
    return kind.dtype if len(indices) == kind.ndim else View(kind.dtype, 1)


@infer
@infer_global(operator.getitem)
class _GetItem(AbstractTemplate):
    key = operator.getitem

    def generic(self, args, kws):
        result = _item(*args)
        return None if result is None else signature(result, *args)


@infer
@infer_global(operator.setitem)
class _SetItem(AbstractTemplate):
    key = operator.setitem

    def generic(self, args, kws):
        result = _item(*args[:2])
        return None if result is None else signature(types.none, *args[:2], result)


def _locate(context, builder, sig, args):
    """Return a pointer to what an index gives, and the sizes from its axis on."""
    data, sizes = parts_of(context, builder, sig.args[0], args[0])
    kinds, indices = [sig.args[1]], [args[1]]
    if isinstance(sig.args[1], types.BaseTuple):
        kinds, indices = list(sig.args[1]), cgutils.unpack_tuple(builder, args[1])
    place = None
    for axis, (kind, index) in enumerate(zip(kinds, indices, strict=True)):
        index = context.cast(builder, index, kind, types.intp)
        if context.enable_boundscheck:
            cgutils.do_boundscheck(context, builder, index, sizes[axis], axis)
        place = index if place is None else builder.add(builder.mul(place, sizes[axis]), index)
    rest = sizes[len(indices) :]
    for size in rest:
        place = builder.mul(place, size)
    return builder.gep(data, [place]), rest


@lower_builtin(operator.getitem, View, types.Integer)
@lower_builtin(operator.getitem, View, types.BaseTuple)
def _lower_getitem(context, builder, sig, args):
    pointer, rest = _locate(context, builder, sig, args)
    if rest:
        return _make(context, builder, sig.return_type, pointer, rest)
    return builder.load(pointer)


@lower_builtin(operator.setitem, View, types.Integer, types.Any)
@lower_builtin(operator.setitem, View, types.BaseTuple, types.Any)
def _lower_setitem(context, builder, sig, args):
    pointer, _ = _locate(context, builder, sig, args)
    builder.store(args[2], pointer)
    return context.get_dummy_value()


def flat(array: np.ndarray) -> np.ndarray:
    """Return all elements of an array, or a view, in one row."""
    return array.reshape(-1)


@type_callable(flat)
def _type_flat(context):
    return lambda array: View(array.dtype, 1)


@lower_builtin(flat, View)
def _lower_flat(context, builder, sig, args):
    data, _ = parts_of(context, builder, sig.args[0], args[0])
    size = _lower_size(context, builder, sig.args[0], args[0])
    return _make(context, builder, sig.return_type, data, [size])


def at(place: int, size: int, like: Any) -> np.ndarray:
    """Return what lies in memory from an address on: ``size`` numbers of the type of ``like``.

    Nothing keeps it alive, and nothing tells whether there is anything.
    """
    kind = np.ctypeslib.as_ctypes_type(np.asarray(like).dtype)
    return np.ctypeslib.as_array((kind * int(size)).from_address(int(place)))


@type_callable(at)
def _type_at(context):
    return lambda place, size, like: View(like, 1)


@lower_builtin(at, types.Integer, types.Integer, types.Number)
def _lower_at(context, builder, sig, args):
    pointer = context.get_value_type(types.CPointer(sig.args[2]))
    return _make(context, builder, sig.return_type, builder.inttoptr(args[0], pointer), [args[1]])


def address(array: np.ndarray) -> int:
    """Return where an array, or a view, begins."""
    return array.ctypes.data


@type_callable(address)
def _type_address(context):
    return lambda array: types.intp


@lower_builtin(address, View)
def _lower_address(context, builder, sig, args):
    data, _ = parts_of(context, builder, sig.args[0], args[0])
    return builder.ptrtoint(data, context.get_value_type(types.intp))
