"""Compiling ahead of time."""

from __future__ import annotations

from typing import Any

import numpy as np

from numba_lstm.estimators.regressor import LSTMRegressor


def warmup(dtype: str = "float32", n_jobs: int | None = None, **parameters: Any) -> None:
    """Compile what a first fit and a first prediction would compile, and cache it.

    For the build of a container, say, or before a measurement. Each part of the kernels is
    compiled once for each ``dtype``; what variants of the cell (peepholes, dropout and the
    like), residual connections, merged directions or pooling need besides when it is first
    used: pass such parameters to have that done, too.

    Parameters
    ----------
    dtype : {"float32", "float64"}, default="float32"
        Precision to compile for, as the estimators' parameter.
    n_jobs : int or None, default=None
        Threads to compile for, as the estimators' parameter.
    **parameters
        Further parameters of :class:`LSTMRegressor`, whose network is compiled.

    Raises
    ------
    ValueError
        If a parameter has a value that it cannot have.

    Examples
    --------
    >>> import numba_lstm
    >>> numba_lstm.warmup()
    >>> numba_lstm.warmup(pooling="attention", bidirectional=True)
    """
    y = np.array([0.0, 1.0, 0.0, 1.0])
    X = np.eye(4)
    options: dict[str, Any] = {"hidden_size": 2, "dtype": dtype, "n_jobs": n_jobs} | parameters
    LSTMRegressor(**(options | {"max_iter": 1})).fit(X, y, X_val=X, y_val=y).predict(X)
