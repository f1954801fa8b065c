"""Units that stay as they were, equation (4z) of cell.py, for a thread's unit of a sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from numba_lstm.cuda.device import device_function
from numba_lstm.draws import bound_of, sequence_key, step_key
from numba_lstm.parameters import Layout
from numba_lstm.vectors import drawn

_U32 = np.uint32

# Of a kernel in which all units go on.
NO_ZONE = False, _U32(0), _U32(0)

_bound = getattr(bound_of, "py_func", bound_of)  # for Python


def chances_of(layout: Layout, dtype: np.dtype) -> tuple[Any, ...]:
    """Return the last arguments of the recurrence's kernels, which are those of all cells.

    Parameters
    ----------
    layout : Layout
        Of whose cells units stay as they were with its probabilities.
    dtype : numpy.dtype
        Of the kernels' numbers.

    Returns
    -------
    tuple
        ``z_h``, ``z_c``, ``bound_h`` and ``bound_c`` of recurrent.py.
    """
    chances = [dtype.type(z) for z in layout.zoneout]
    return *chances, *(int(_bound(z)) for z in chances)


def argument_types(number: Any) -> tuple[Any, ...]:
    """Numba's types of the last seven arguments, from ``seeds`` on, for a dtype's."""
    size = types.int64
    return types.Array(types.int64, 1, "C"), size, size, number, number, size, size


@device_function
def zone_of(seeds, m, number, i):
    """Whether anything is drawn for model m, and the keys of its sequence i for h and c."""
    seed = seeds[np.uint64(m)]
    return seed > 0, sequence_key(seed, number, 0, i), sequence_key(seed, number, 1, i)


@device_function
def stays(zone, t, j, z_h, z_c, bound_h, bound_c):
    """How much of its h and c unit j keeps at step t: z of (4z), or what is expected of it."""
    draws, key_h, key_c = zone
    if draws:
        z_h = drawn(z_h, step_key(key_h, t), _U32(j), _U32(bound_h))
        z_c = drawn(z_c, step_key(key_c, t), _U32(j), _U32(bound_c))
    return z_h, z_c
