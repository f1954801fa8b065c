"""What the kernels take: inputs, targets, and of what type an argument is, by its name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import types

from numba_lstm.memory import View


class Inputs(NamedTuple):
    """A batch's inputs, as the kernels take them.

    Attributes
    ----------
    memory : ndarray of uint8
        The bytes of a batch's ``values``, float32 or float64.
    itemsize : int
        4 or 8: which of them.
    starts : ndarray of int64 of shape (B,)
        As in :class:`Batch`.
    ends : ndarray of int64 of shape (B + 1,)
        0, and the number of time steps of all sequences up to each one; the last is S.
    mean, inverse_scale : ndarray of float64 of shape (F,)
        Standardisation.
    decay : ndarray of float64 of shape (M,) or (0,)
        As in :class:`Batch`.
    """

    memory: np.ndarray
    itemsize: int
    starts: np.ndarray
    ends: np.ndarray
    mean: np.ndarray
    inverse_scale: np.ndarray
    decay: np.ndarray


class Targets(NamedTuple):
    """A batch's targets, in the order of the outputs, and the loss.

    Attributes
    ----------
    y : ndarray of shape (Q, K) or (Q, 1)
        Targets; packed rows, where each step has an output.
    weight : ndarray of shape (Q,)
        Their weights.
    kind, parameter : int, float
        The loss; see losses.py.
    """

    y: np.ndarray
    weight: np.ndarray
    kind: int
    parameter: float


# One notation: of what kind an argument is follows from its name. Others are integers.
_BOOLEANS = "add back every_step fresh per_step"
_INTEGERS = "table blocks ends starts"
_VECTORS = "theta grad memory panels weight space"
_DOUBLES = "decay scale units x_given y"
_MATRICES = (
    "A B C packed_B xh gates c new_c tanh_c h dh dc hidden d_hidden d_peephole "
    "norm normal spread mean extra mask old new to d kept"
)


def kinds_of(function: Callable, real: types.Float) -> tuple[types.Type, ...]:
    """Return the types of a linked function's arguments.

    Parameters
    ----------
    function : callable
        The function, as it is in Python.
    real : numba.types.Float
        The network's dtype.

    Returns
    -------
    tuple of numba.types.Type
        One for each argument.
    """
    kinds, code = _kinds(real), function.__code__  # as inspect.signature tells, in a tenth of 5 ms
    return tuple(kinds.get(name, types.intp) for name in code.co_varnames[: code.co_argcount])


@functools.cache
def _kinds(real):
    vector, matrix, doubles = View(real, 1), View(real, 2), View(types.float64, 1)
    integers = View(types.int64, 1)
    inputs = View(types.uint8, 1), types.intp, integers, integers, doubles, doubles, doubles
    kinds = {
        "inputs": types.BaseTuple.from_types(inputs, Inputs),
        "targets": types.BaseTuple.from_types((matrix, vector, types.intp, real), Targets),
        "variant": types.Tuple((matrix, real, types.boolean)),
    }
    for names, kind in (
        (_BOOLEANS, types.boolean),
        (_INTEGERS, integers),
        (_VECTORS, vector),
        (_DOUBLES, doubles),
        (_MATRICES, matrix),
    ):
        kinds |= dict.fromkeys(names.split(), kind)
    return kinds
