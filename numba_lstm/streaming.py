"""A fitted network, one time step at a time, its state held in between."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from numba_lstm._jit import kernel
from numba_lstm.cpu.gates import activate, standardise
from numba_lstm.cpu.matmul import ADD, SET, pack, pack_transposed, product

if TYPE_CHECKING:
    from numba_lstm.estimators.fitted import FittedMixin


@kernel
def _pack(W, W_y, packed_W, packed_W_yT):
    pack(W, packed_W, 0, W.shape[1])
    pack_transposed(W_y, packed_W_yT, 0, W_y.shape[0])


@kernel
def _step(memory, scale, weights, states, out):
    """Equations (1) to (4) and the head for one step of every stream.

    Parameters
    ----------
    memory : ndarray of uint8 of shape (n F 8,)
        Inputs: the bytes of an array (n, F) in float64.
    scale : ndarray of shape (2, F)
        Mean of the inputs, and one over their scale; float64.
    weights : ndarray
        Packed weights of the layer, those of the head, its bias. Few arrays, because each
        takes Numba 0.15 microseconds to unpack.
    states : ndarray of shape (n, F + 1 + 7H)
        One piece of memory: all streams' inputs, ones and h; their c; h once more; gates.
    out : ndarray of shape (n, K)
        Receives the outputs.
    """
    (n, K), F = out.shape, scale.shape[1]
    H = (states.size // n - F - 1) // 7
    R = F + 1 + H
    flat = states.reshape(-1)
    xh, c = flat[: n * R].reshape(n, R), flat[n * R : n * (R + H)].reshape(n, H)
    h = flat[n * (R + H) : n * (R + 2 * H)].reshape(n, H)
    gates = flat[n * (R + 2 * H) :].reshape(n, 4 * H)
    packed_W, rest = weights[: R * 4 * H], weights[R * 4 * H :]
    packed_W_yT, b_y = rest[: H * K], rest[H * K :]
    for r in range(n):
        standardise(memory, 8, r, scale[0], scale[1], xh, r)
    product(xh, 0, R, packed_W, gates, 0, n, SET)
    activate(gates, 0, c, 0, 0, h[:0], h, 0, 0, xh, F + 1, 0, n, n)
    for r in range(n):
        for k in range(K):
            out[r, k] = b_y[k]
    product(h, 0, H, packed_W_yT, out, 0, n, ADD)


class Stream:
    """Predictions one time step at a time; made by ``estimator.stream()``.

    The weights are those that the estimator had when the stream was made. A stream is
    for one thread at a time; it can be copied (:func:`copy.deepcopy`) and pickled.

    Parameters
    ----------
    estimator : LSTMRegressor or LSTMClassifier
        Fitted.
    n_streams : int, optional
        How many independent streams go side by side; None is one, without an axis of
        its own in ``step``.

    Attributes
    ----------
    n_steps : int
        Steps since the state was last reset or set.
    """

    def __init__(self, estimator: FittedMixin, n_streams: int | None = None) -> None:
        check_is_fitted(estimator)
        if n_streams is not None and (
            not isinstance(n_streams, int | np.integer) or isinstance(n_streams, bool)
        ):
            raise TypeError(f"n_streams={n_streams!r}: pass the number of streams, or None.")
        if n_streams is not None and n_streams < 1:
            raise ValueError(f"n_streams={n_streams}: at least one stream is needed.")
        self._one = n_streams is None
        self._n = n = 1 if n_streams is None else int(n_streams)
        self._layout = layout = estimator._layout
        F, (H,), K = layout[:3]
        self._decode = copy.copy(estimator)._decode  # another fit must not reach it
        theta = np.array(estimator.theta_)
        dtype, views = theta.dtype, layout.views(theta)
        (W,) = views.W
        self._weights = np.empty(W.size + H * K + K, dtype)
        packed_W, packed_W_yT = np.empty(W.size, dtype), np.empty(H * K, dtype)
        _pack(W, views.W_y, packed_W, packed_W_yT)
        np.concatenate([packed_W, packed_W_yT, views.b_y], out=self._weights)
        self._scale = np.stack([estimator.input_mean_, 1.0 / estimator.input_scale_])
        self._out = np.empty((n, K), dtype)
        self._x = np.empty((n, F))
        self._states = np.zeros((n, F + 1 + 7 * H), dtype)
        self.n_steps = 0

    def step(self, x: Any) -> Any:
        """Take in one time step and predict.

        Parameters
        ----------
        x : array-like of shape (F,), or with ``n_streams`` (n_streams, F)
            The inputs of this step; of a single feature also a number, or (n_streams,).

        Returns
        -------
        object
            What ``estimator.predict`` would give for all steps so far, as a sequence's
            only or last output: a number (one stream, one output) or an array of shape
            (K,), (n_streams,) or (n_streams, K).

        Raises
        ------
        ValueError
            If x has another shape, or NaN or infinity in it; the state stays as it was.
        """
        given, shape = np.asarray(x), self._x.shape[self._one :]
        if given.shape != shape and (shape[-1] > 1 or given.shape != shape[:-1]):
            raise ValueError(
                f"x has shape {given.shape}, but a step of this stream needs {shape}."
            )
        if given.dtype.kind not in "fiub":
            raise TypeError(f"x has dtype {given.dtype}; a step takes numbers.")
        self._x[...] = given.reshape(shape)
        if not np.isfinite(self._x).all():
            raise ValueError("x contains NaN or infinity. Impute such values first.")
        _step(
            self._x.reshape(-1).view(np.uint8), self._scale, self._weights, self._states, self._out
        )
        self.n_steps += 1
        y = self._decode(self._out)
        return y[0] if self._one else y

    def reset(self) -> None:
        """Go back to the state before any step."""
        self._states[:] = 0
        self.n_steps = 0

    @property
    def state(self) -> tuple[np.ndarray, np.ndarray]:
        """Hidden state h and cell c, copies of shape (H,), or (n_streams, H)."""
        h, c = (part.copy() for part in self._parts())
        return (h[0], c[0]) if self._one else (h, c)

    @state.setter
    def state(self, state: tuple[Any, Any]) -> None:
        H = self._layout.hidden_sizes[0]
        shape = (H,) if self._one else (self._n, H)
        values = [np.asarray(part, self._states.dtype) for part in state]
        if len(values) != 2 or any(part.shape != shape for part in values):
            raise ValueError(
                f"The state is a pair (h, c) of arrays of shape {shape}; got "
                f"{[part.shape for part in values]}."
            )
        if not all(np.isfinite(part).all() for part in values):
            raise ValueError("The state contains NaN or infinity.")
        for part, value in zip(self._parts(), values, strict=True):
            part[...] = value
        self.n_steps = 0

    def _parts(self):
        """Views of h, beside the inputs, and of c."""
        (F, (H,), _), n = self._layout[:3], self._n
        flat = self._states.reshape(-1)
        xh = flat[: n * (F + 1 + H)].reshape(n, -1)
        return xh[:, F + 1 :], flat[xh.size : xh.size + n * H].reshape(n, H)
