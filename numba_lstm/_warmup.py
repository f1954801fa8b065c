"""Compiling ahead of time."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import is_classifier

from numba_lstm.estimators.base import BaseLSTM
from numba_lstm.estimators.regressor import LSTMRegressor

# On a GPU, where kernels are compiled for sizes, the sequences that take the place of none.
_SHAPE = 512, 16, 1


def warmup(
    dtype: str = "float32",
    n_jobs: int | None = None,
    *,
    estimator: BaseLSTM | None = None,
    shape: tuple[int, ...] | None = None,
    times: bool = False,
    **parameters: Any,
) -> None:
    """Compile what a first fit and a first prediction would compile, and cache it.

    For the build of a container, say, or before a measurement. Each part of the kernels is
    compiled once for each ``dtype``; what variants of the cell (peepholes, dropout and the
    like), residual connections, merged directions or pooling need besides when it is first
    used: pass such parameters, or the estimator that is to be fitted, to have that done, too.

    With ``device="cuda"`` kernels are compiled for the GPU that is there, and for its hidden
    units, features and how many sequences there are: pass ``hidden_size``, ``batch_size`` and
    the ``shape`` of what is to be fitted.

    Parameters
    ----------
    dtype : {"float32", "float64"}, default="float32"
        Precision to compile for, as the estimators' parameter.
    n_jobs : int or None, default=None
        Threads to compile for, as the estimators' parameter.
    estimator : LSTMRegressor or LSTMClassifier, optional
        In the place of ``dtype``, ``n_jobs`` and further parameters: what is to be fitted.
        It is neither fitted nor changed, and writes no checkpoint.
    shape : tuple of int, optional
        Shape of the X to come, (n_samples, n_timesteps, n_features) or (n_samples,
        n_timesteps). It matters on a GPU only.
    times : bool, default=False
        Whether ``fit`` will be given ``times``.
    **parameters
        Further parameters of :class:`LSTMRegressor`, whose network is compiled.

    Raises
    ------
    ValueError
        If a parameter has a value that it cannot have, or there are parameters beside
        ``estimator``.
    TypeError
        If ``estimator`` is none of this library.
    RuntimeError
        With ``device="cuda"``, if there is no GPU here that can be used.

    Examples
    --------
    >>> import numba_lstm
    >>> numba_lstm.warmup()
    >>> numba_lstm.warmup(pooling="attention", bidirectional=True)
    >>> numba_lstm.warmup(estimator=numba_lstm.LSTMClassifier(dtype="float64"), times=True)
    """
    options: dict[str, Any] = {"dtype": dtype, "n_jobs": n_jobs} | parameters
    if estimator is None:
        on_cpu = options.get("device", "cpu") == "cpu"
        model: Any = LSTMRegressor(**({"hidden_size": 2} if on_cpu else {}) | options)
    else:
        model = _like(estimator, options)
        on_cpu = model.device == "cpu"
    model.max_iter = 1
    if shape is None:
        shape = (_n_samples(model), 4) if on_cpu else _SHAPE
    X = np.random.default_rng(0).standard_normal(shape)
    y: Any = X.reshape(*X.shape[:2], -1)[:, :, 0].copy()
    if is_classifier(model):
        y[:] = (np.arange(len(y)) % 2)[:, np.newaxis]
    if not model.return_sequences:
        y = y[:, 0]
    if model.missing == "mask":
        X[0, 1:] = np.nan
    moments = np.arange(X.shape[1]) ** 2.0 if times else None
    model.fit(X, y, times=moments, X_val=X, y_val=y, times_val=moments).predict(X, times=moments)
    if on_cpu:
        _compile_for_lists()
    else:  # whose kernels read numbers of either precision
        model.predict(X.astype(np.float32), times=moments)


def _compile_for_lists():
    """Compile what sequences of many lengths need besides."""
    from numba_lstm.cpu.gathering import gather_bytes
    from numba_lstm.cpu.plan import cut

    cut(np.array([2, 1], np.int64), np.empty(3, np.int64), np.empty(2, np.int64))
    source, to = np.zeros(8, np.uint8), np.empty(8, np.uint8)
    where = np.array([source.ctypes.data], np.int64)
    gather_bytes(where, np.array([8], np.int64), np.zeros(1, np.int64), to)


def _like(estimator, options):
    """Return an estimator that needs the same kernels, and leaves nothing behind."""
    if not isinstance(estimator, BaseLSTM):
        raise TypeError(
            f"warmup takes an LSTMRegressor or an LSTMClassifier, not {estimator!r}. Of a "
            "pipeline pass the last step, of an LSTMTransformer its estimator."
        )
    beside = [name for name, value in options.items() if value != _USUAL.get(name, _USUAL)]
    if beside:
        raise ValueError(
            f"{', '.join(beside)}: an estimator was passed, and its own parameters count. Set "
            "them there."
        )
    own = {"checkpoint": None, "random_state": 0, "verbose": False}
    if is_classifier(estimator):
        own["class_weight"] = None  # of labels that only the data have
    return type(estimator)(**estimator.get_params(deep=False) | own)


_USUAL = {"dtype": "float32", "n_jobs": None}


def _n_samples(model):
    """A few sequences, two for classes; with ``stateful`` batches must be whole."""
    whole = model.stateful and model.batch_size != "auto"
    return max(model.batch_size, 2) if whole else 4
