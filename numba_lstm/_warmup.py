"""Compiling ahead of time."""

from __future__ import annotations

import numpy as np

from numba_lstm.estimators.regressor import LSTMRegressor


def warmup(dtype: str = "float32", n_jobs: int | None = None) -> None:
    """Compile what a first fit and a first prediction would compile, and cache it.

    For the build of a container, say, or before a measurement: the kernels are
    compiled once for each ``dtype``, and once for one thread and once for several.

    Parameters
    ----------
    dtype : {"float32", "float64"}, default="float32"
        Precision to compile for, as the estimators' parameter.
    n_jobs : int or None, default=None
        Threads to compile for, as the estimators' parameter.

    Raises
    ------
    ValueError
        If ``dtype`` or ``n_jobs`` is none of these.

    Examples
    --------
    >>> import numba_lstm
    >>> numba_lstm.warmup()
    """
    y = np.array([0.0, 1.0, 0.0, 1.0])
    X = np.eye(4)
    LSTMRegressor(2, max_iter=1, dtype=dtype, n_jobs=n_jobs).fit(X, y, X_val=X, y_val=y).predict(X)
