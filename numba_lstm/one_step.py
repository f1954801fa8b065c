"""What streams, compiled steps and those in other languages have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from numba_lstm.parameters import Layout


def check_forward(layout: Layout, name: str) -> None:
    """Refuse networks that need whole sequences.

    Raises
    ------
    ValueError
        If it reads backwards, or pools over time; ``name`` is what asks.
    """
    if layout.direction != "forward":
        raise ValueError(
            f"{name} takes in one time step after the other, but this network reads sequences "
            "from their end. Fit one with bidirectional=False and go_backwards=False."
        )
    if layout.pooling != "last":
        raise ValueError(
            f"{name} sees one step at a time, but this network pools whole sequences "
            f"(pooling={layout.pooling!r}). Fit one with pooling='last'."
        )


def scale_and_units(estimator: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the standardisation of inputs and outputs as a step takes it: see steps.Frame.

    Values leave a step in the targets' units; what becomes classes, as the network has it.
    """
    scale = np.concatenate([estimator.input_mean_, 1.0 / estimator.input_scale_])
    if estimator._targets.classes is not None:
        K = estimator._layout.n_outputs
        return scale, np.concatenate([np.ones(K), np.zeros(K)])
    return scale, np.concatenate([estimator.target_scale_, estimator.target_mean_])


def rows_of(which: Any, n: int) -> np.ndarray:
    """Return some of n streams, by number or by a mask, as NumPy's index.

    Raises
    ------
    ValueError, TypeError
        If there is no such stream, or it is neither numbers nor a mask.
    """
    rows = np.asarray(which)
    if rows.shape == (0,):  # of an empty list NumPy makes floats
        return np.empty(0, np.intp)
    if rows.dtype.kind == "b" and rows.shape == (n,):
        return rows
    if rows.dtype.kind not in "iu":
        raise TypeError(
            f"which={which!r}: pass numbers of streams, or a mask of {n} times True or False."
        )
    if rows.ndim > 1 or ((rows < 0) | (rows >= n)).any():
        raise ValueError(f"which={which!r}: the streams are 0 to {n - 1}.")
    return rows
