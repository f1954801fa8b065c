"""Compiling ahead of time."""

from __future__ import annotations

from typing import Any

import numpy as np

from numba_lstm.estimators.regressor import LSTMRegressor

# On a GPU, where kernels are compiled for sizes, the sequences that take the place of none.
_SHAPE = 512, 16, 1


def warmup(
    dtype: str = "float32",
    n_jobs: int | None = None,
    *,
    shape: tuple[int, ...] | None = None,
    **parameters: Any,
) -> None:
    """Compile what a first fit and a first prediction would compile, and cache it.

    For the build of a container, say, or before a measurement. Each part of the kernels is
    compiled once for each ``dtype``; what variants of the cell (peepholes, dropout and the
    like), residual connections, merged directions or pooling need besides when it is first
    used: pass such parameters to have that done, too.

    With ``device="cuda"`` kernels are compiled for the GPU that is there, and for its hidden
    units, features and how many sequences there are: pass ``hidden_size``, ``batch_size`` and
    the ``shape`` of what is to be fitted.

    Parameters
    ----------
    dtype : {"float32", "float64"}, default="float32"
        Precision to compile for, as the estimators' parameter.
    n_jobs : int or None, default=None
        Threads to compile for, as the estimators' parameter.
    shape : tuple of int, optional
        Shape of the X to come, (n_samples, n_timesteps, n_features) or (n_samples,
        n_timesteps). It matters on a GPU only.
    **parameters
        Further parameters of :class:`LSTMRegressor`, whose network is compiled.

    Raises
    ------
    ValueError
        If a parameter has a value that it cannot have.
    RuntimeError
        With ``device="cuda"``, if there is no GPU here that can be used.

    Examples
    --------
    >>> import numba_lstm
    >>> numba_lstm.warmup()
    >>> numba_lstm.warmup(pooling="attention", bidirectional=True)
    """
    options: dict[str, Any] = {"dtype": dtype, "n_jobs": n_jobs} | parameters
    on_cpu = options.get("device", "cpu") == "cpu"
    if on_cpu:
        options = {"hidden_size": 2} | options
    if shape is None and on_cpu:
        X = np.eye(4)
    else:
        X = np.random.default_rng(0).standard_normal(shape or _SHAPE)
    of_steps = X.reshape(*X.shape[:2], -1)[:, :, 0]
    y = of_steps if options.get("return_sequences", False) else of_steps[:, 0]
    model = LSTMRegressor(**(options | {"max_iter": 1}))
    model.fit(X, y, X_val=X, y_val=y).predict(X)
    if not on_cpu:  # whose kernels read numbers of either precision
        model.predict(X.astype(np.float32))
