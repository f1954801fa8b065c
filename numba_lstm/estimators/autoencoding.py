"""Sequences as an autoencoder sees them: read first, then told again, backwards.

One network does both, and one input more tells it which. While it tells it sees nothing:
what it says comes from its memory of what it has read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from numba_lstm.estimators.regressor import LSTMRegressor
from numba_lstm.sequences import Sequences


def check(estimator: Any) -> None:
    """Check that an estimator can be an autoencoder.

    Raises
    ------
    ValueError
        If it is no regressor, or sees what comes later, or pools.
    """
    if not isinstance(estimator, LSTMRegressor):
        raise ValueError(
            f"A {type(estimator).__name__} cannot learn without y. Pass y, or an LSTMRegressor "
            "for an autoencoder."
        )
    for name, needed in (
        ("bidirectional", False),
        ("go_backwards", False),
        ("pooling", "last"),
        ("missing", "error"),
        ("stateful", False),
    ):
        found = getattr(estimator, name)
        if found != needed:
            raise ValueError(
                f"An autoencoder reads a sequence and then tells it, without gaps, but the "
                f"estimator has {name}={found!r}. Use {name}={needed!r}, or fit with y."
            )


def two_phases(sequences: Sequences) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return inputs and targets of an autoencoder's training.

    Parameters
    ----------
    sequences : Sequences
        Of F features.

    Returns
    -------
    given : list of ndarray of shape (2 T_i, F + 1)
        A sequence, then zeros; and a column that is 0, and 1 while it tells.
    told : list of ndarray of shape (2 T_i, F)
        NaN, for no target, then the sequence, backwards.
    """
    given, told = [], []
    for x in _parts(sequences):
        blank = np.full_like(x, np.nan)
        given.append(_with_flags(x, len(x)))
        told.append(np.concatenate([blank, x[::-1]]))
    return given, told


def reading(sequences: Sequences) -> list[np.ndarray]:
    """Return sequences (T_i, F + 1) as they are read."""
    return [_with_flags(x, 0) for x in _parts(sequences)]


def tell(estimator: LSTMRegressor, sequences: Sequences) -> list[np.ndarray]:
    """Return sequences (T_i, F) as a fitted autoencoder tells them, in their order."""
    given = [_with_flags(x, len(x)) for x in _parts(sequences)]
    found = estimator.predict(given)
    return [
        part.reshape(len(part), -1)[: len(part) // 2 - 1 : -1]
        for part in (np.asarray(one) for one in found)
    ]


def _parts(sequences):
    """Yield each sequence (T_i, F) in float64 or float32."""
    for x in sequences.data:
        rows = np.asarray(x).reshape(-1, sequences.n_inputs)
        yield rows if rows.dtype in (np.float32, np.float64) else rows.astype(np.float64)


def _with_flags(x, n_blank):
    flags = np.zeros((len(x) + n_blank, 1), x.dtype)
    flags[len(x) :] = 1
    return np.hstack([np.concatenate([x, np.zeros((n_blank, x.shape[1]), x.dtype)]), flags])
