"""States of many sequences: as users see them, and as the network takes them.

To users a state is a pair (h, c). Of a network of one layer each is an array (N, H), of one
of several layers a list with such an array for each; the two directions of a bidirectional
layer stand side by side, as in ``hidden_states``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from numba_lstm.parameters import Layout

if TYPE_CHECKING:
    from numba_lstm.states import State


def read_state(given: Any, state: State, layout: Layout) -> None:
    """Check a user's state and write it into ``state``, which has the right shapes.

    Raises
    ------
    ValueError
        If it is no pair, or an array has the wrong shape or NaN or infinity in it.
    """
    N, many = len(state.h[0]), len(layout.hidden_sizes) > 1
    directions = 2 if layout.direction == "both" else 1
    shapes = [
        [(N, directions * (P or H)) for H in layout.hidden_sizes] for P in (layout.proj_size, 0)
    ]
    needed = f"arrays of the shapes {shapes[0][0]} and {shapes[1][0]}"
    if many:
        needed = f"lists of arrays, of the shapes {shapes[0]} and {shapes[1]}"
    if not isinstance(given, list | tuple) or len(given) != 2:
        raise ValueError(
            f"initial_state is a {type(given).__name__}; it is a pair (h, c) of {needed}."
        )
    dtype = state.h[0].dtype
    for part, target, sizes, name in zip(given, state, shapes, "hc", strict=True):
        arrays = as_arrays(part if many else [part], dtype)
        found = [array.shape for array in arrays]
        if found != sizes:
            what = f"of shapes {found}" if arrays else "no numbers"
            raise ValueError(
                f"{name} of initial_state is {what}; a state of {N} sequences is a pair (h, c) of "
                f"{needed}."
            )
        if not all(np.isfinite(array).all() for array in arrays):
            raise ValueError(
                f"{name} of initial_state contains NaN or infinity, or what {dtype} cannot hold."
            )
        for k, cell in enumerate(layout.cells):
            columns = arrays[cell.layer].reshape(N, -1, target[k].shape[1])
            target[k][...] = columns[:, k % directions]


def as_arrays(parts: Any, dtype: np.dtype) -> list[np.ndarray]:
    """Return a list of arrays of numbers, an empty one if these are none."""
    try:
        arrays = [np.asarray(part) for part in parts]
    except (TypeError, ValueError):
        return []
    if any(array.dtype.kind not in "fiub" for array in arrays):
        return []
    with np.errstate(over="ignore"):
        return [array.astype(dtype) for array in arrays]


def public_state(state: State, layout: Layout) -> tuple[Any, Any]:
    """Return a state as users see it."""

    def layers(parts):
        per_layer: list[list[np.ndarray]] = [[] for _ in layout.hidden_sizes]
        for cell, part in zip(layout.cells, parts, strict=True):
            per_layer[cell.layer].append(part)
        arrays = [np.concatenate(found, axis=1) for found in per_layer]
        return arrays if len(arrays) > 1 else arrays[0]

    return layers(state.h), layers(state.c)
