"""A fitted network, one time step at a time, its state held in between."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from numba_lstm._jit import kernel
from numba_lstm.cpu.allocation import Needs, allocate
from numba_lstm.cpu.gates import activate, standardise
from numba_lstm.cpu.head import hidden_layer
from numba_lstm.cpu.matmul import ADD, SET, product
from numba_lstm.cpu.panels import pack_share
from numba_lstm.cpu.special import advance
from numba_lstm.cpu.table import CELL, HEAD, cell_part, n_cells, part_of_cell
from numba_lstm.estimators.state import as_arrays
from numba_lstm.memory import matrix, view
from numba_lstm.missing import GapFiller
from numba_lstm.times import as_times, decay_after, elapsed, kind_of

if TYPE_CHECKING:
    from numba_lstm.estimators.fitted import FittedMixin


@kernel
def _pack(theta, work):
    theta, (memory, table) = view(theta), view(work)
    pack_share(theta, memory, table, 0, 1)


@kernel
def _step(decay, numbers, x, scale, theta, work, out):
    """Equations (1) to (4) and the head for one step of every stream.

    Parameters
    ----------
    decay, numbers : ndarray of shape (n,)
        The decay of each stream's cells, and the numbers 0 to n-1.
    x : ndarray of uint8 of shape (n F 8,)
        Inputs: the bytes of an array (n, F) in float64.
    scale : ndarray of shape (2, F)
        Mean of the inputs, and one over their scale; float64. Few arrays, because each takes
        Numba 0.15 microseconds to unpack.
    theta : ndarray
        The weights, which lie in panels in ``work``, too.
    work : Workspace
        One for predictions. The state is in it: h in each cell's xh, and c.
    out : ndarray of shape (n, K)
        Receives the outputs.
    """
    decay, numbers, x, scale = view((decay, numbers, x, scale))
    theta, work, out = view((theta, work, out))
    (memory, table), (n, K), zero = work, out.shape, np.int64(0)
    for k in range(n_cells(table)):
        cell = cell_part(k)
        xh, gates = matrix(memory, table, cell + CELL.xh), matrix(memory, table, cell + CELL.gates)
        c, h = matrix(memory, table, cell + CELL.c), matrix(memory, table, cell + CELL.h)
        below, packed_W = (
            matrix(memory, table, cell + CELL.x),
            matrix(memory, table, cell + CELL.packed_W),
        )
        R, P = packed_W.shape[0], table[cell + CELL.h_0 + 2]
        for r in range(n):
            if k == 0:
                standardise(x, 8, r, scale[0], scale[1], xh, r, R - P)
            else:
                for j in range(below.shape[1]):
                    xh[r, j] = below[r, j]
                if below.shape[1] < R - P:
                    xh[r, R - P - 1] = 1
        product(xh, 0, R, packed_W, gates, 0, n, SET)
        tanh_c = matrix(memory, table, cell + CELL.tanh_c)
        if not table[cell + CELL.special]:
            activate(gates, 0, c, 0, c, 0, tanh_c, h, 0, 0, xh, R - P, 0, n, n)
        else:
            advance(
                *(theta, memory, table, cell, decay, numbers, zero, zero, zero, zero, zero, zero),
                *(R - P, zero, n, n),
            )
        if table[cell + CELL.residual]:
            layer = matrix(memory, table, cell + CELL.out)
            for r in range(n):
                for j in range(P):
                    layer[r, j] = h[r, j] + below[r, j]
    if table[HEAD.hides]:
        hidden_layer(theta, memory, table, zero, n)
    h, b_y = matrix(memory, table, HEAD.h), matrix(theta, table, HEAD.b_y)
    for r in range(n):
        for j in range(K):
            out[r, j] = b_y[0, j]
    product(h, 0, h.shape[1], matrix(memory, table, HEAD.packed_W_yT), out, 0, n, ADD)


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
        if layout.direction != "forward":
            raise ValueError(
                "A stream takes in one time step after the other, but this network reads "
                "sequences from their end. Fit one with bidirectional=False and "
                "go_backwards=False."
            )
        if layout.pooling != "last":
            raise ValueError(
                f"The network pools whole sequences (pooling={layout.pooling!r}), of which a "
                "stream sees one step at a time. Fit one with pooling='last'."
            )
        self._decode = copy.copy(estimator)._decode  # another fit must not reach it
        self._theta = np.array(estimator.theta_)
        F = layout.n_inputs // (3 if estimator._masks else 1)
        self._gaps = GapFiller(estimator.input_mean_[:F], n) if estimator._masks else None
        self._decay = np.zeros(n), np.arange(n)
        self._time_scale, self._time_kind = estimator.time_scale_, estimator._time_kind
        self._scale = np.stack([estimator.input_mean_, 1.0 / estimator.input_scale_])
        self._allocate()
        self.reset()

    def step(self, x: Any, time: Any = None) -> Any:
        """Take in one time step and predict.

        Parameters
        ----------
        x : array-like of shape (F,), or with ``n_streams`` (n_streams, F)
            The inputs of this step; of a single feature also a number, or (n_streams,). NaN
            where the estimator was fitted with ``missing="mask"``: what was seen last is
            remembered, but not part of ``state``.
        time : float, datetime64 or array-like of shape (n_streams,), default=None
            When this step is, where the estimator was fitted with times; one for all streams,
            or one for each. Of the first step, and after ``state`` was set, nothing follows
            from it.

        Returns
        -------
        object
            What ``estimator.predict`` would give for all steps so far, as a sequence's
            only or last output: a number (one stream, one output) or an array of shape
            (K,), (n_streams,) or (n_streams, K).

        Raises
        ------
        ValueError
            If x has another shape, or infinity or, without masks, NaN in it, or the time is
            missing, not finite, or before the last one; the state stays as it was.
        """
        given, shape = np.asarray(x), self._x.shape[self._one :]
        if given.shape != shape and (shape[-1] > 1 or given.shape != shape[:-1]):
            raise ValueError(
                f"x has shape {given.shape}, but a step of this stream needs {shape}."
            )
        if given.dtype.kind not in "fiub":
            raise TypeError(f"x has dtype {given.dtype}; a step takes numbers.")
        self._x[...] = given.reshape(shape)
        wrong = ~np.isfinite(self._x) if self._gaps is None else np.isinf(self._x)
        if wrong.any():
            raise ValueError(
                "x contains NaN or infinity. Impute such values first, or for NaN fit with "
                "missing='mask'."
            )
        self._pass_time(time)
        x = self._x if self._gaps is None else self._gaps.fill(self._x)
        x = x.reshape(-1).view(np.uint8)
        _step(*self._decay, x, self._scale, self._theta, self._work, self._out)
        self.n_steps += 1
        y = self._decode(self._out)
        return y[0] if self._one else y

    def reset(self) -> None:
        """Go back to the state before any step: zeros, or what was learned."""
        weights = self._layout.views(self._theta)
        for which, parts in zip(("h_0", "c_0"), self._parts(), strict=True):
            for k, part in enumerate(parts):
                part[...] = weights[k, which] if self._layout.learned_state else 0
        if self._gaps is not None:
            self._gaps.reset()
        self._last_time = None
        self.n_steps = 0

    def _pass_time(self, time):
        """Check the time of a step, and set what it lets decay."""
        if self._time_scale is None:
            if time is not None:
                raise ValueError("time was given, but the estimator was fitted without times.")
            return
        if time is None:
            raise ValueError("The estimator was fitted with times; pass the time of this step.")
        given = as_times(time, "time")
        if given.shape not in ((), (self._n,)) or kind_of(given) != self._time_kind:
            raise ValueError(
                f"time={time!r}: the estimator was fitted with {self._time_kind} as times; pass "
                f"one of these, or one for each of {self._n} streams."
            )
        given = np.broadcast_to(given, self._n)
        last = given if self._last_time is None else self._last_time
        gaps = elapsed(np.stack([last, given]))[1]
        if not (np.isfinite(gaps) & (gaps >= 0)).all():
            raise ValueError(f"time={time!r} is not finite, or before the last step's, {last}.")
        first = self._last_time is None
        self._decay[0][...] = 0 if first else decay_after(gaps, self._time_scale)
        self._last_time = given.copy()

    @property
    def state(self) -> tuple[Any, Any]:
        """Hidden state h and cell c, copies of shape (H,), or (n_streams, H).

        Of several layers a list of such arrays each.
        """
        parts = ([part.copy() for part in parts] for parts in self._parts())
        if self._one:
            parts = ([part[0] for part in found] for found in parts)
        h, c = parts
        return (h[0], c[0]) if len(h) == 1 else (h, c)

    @state.setter
    def state(self, state: tuple[Any, Any]) -> None:
        if self._gaps is not None:
            raise ValueError(
                "With missing='mask' what was last seen of each feature counts, too, and is not "
                "part of the state. Copy (copy.deepcopy) or pickle the whole stream instead."
            )
        sizes = [[part.shape[1] for part in parts] for parts in self._parts()]
        shapes = [[(H,) if self._one else (self._n, H) for H in parts] for parts in sizes]
        pair = state if isinstance(state, list | tuple) and len(state) == 2 else (None, None)
        values = [
            as_arrays([part] if len(sizes[0]) == 1 else part, self._theta.dtype) for part in pair
        ]
        found = [[part.shape for part in parts] for parts in values]
        if found != shapes:
            needed = f"arrays of the shapes {shapes[0][0]} and {shapes[1][0]}"
            if len(sizes[0]) > 1:
                needed = f"lists of arrays of the shapes {shapes}, one for each layer"
            raise ValueError(
                f"The state is a pair (h, c) of {needed}, of numbers; got the shapes {found}."
            )
        if not all(np.isfinite(part).all() for parts in values for part in parts):
            raise ValueError("The state contains NaN or infinity.")
        for parts, given in zip(self._parts(), values, strict=True):
            for part, value in zip(parts, given, strict=True):
                part[...] = value
        self.n_steps, self._last_time = 0, None

    def __getstate__(self):
        state = vars(self) | {"_held": [[part.copy() for part in one] for one in self._parts()]}
        del state["_work"], state["_out"], state["_x"]  # which are another version's own affair
        return state

    def __setstate__(self, state):
        self.__dict__.update(state)
        held = self.__dict__.pop("_held")
        self._allocate()
        for parts, values in zip(self._parts(), held, strict=True):
            for part, value in zip(parts, values, strict=True):
                part[...] = value

    def _allocate(self):
        """Make room for the steps, and put the weights where they read them."""
        n, layout, dtype = self._n, self._layout, self._theta.dtype
        self._work = allocate(layout, dtype, False, Needs("predict"), n, n, 0, 0)
        _pack(self._theta, self._work)
        self._out = np.empty((n, layout.n_outputs), dtype)
        self._x = np.empty((n, layout.n_inputs // (1 if self._gaps is None else 3)))

    def _parts(self):
        """Views of h of every layer, beside the inputs, and of c."""
        (memory, table), n, h, c = self._work, self._n, [], []
        for k, cell in enumerate(self._layout.cells):
            xh, c_k = (
                matrix(memory, table, part_of_cell(k) + column) for column in (CELL.xh, CELL.c)
            )
            first = cell.n_inputs + self._layout.bias
            h.append(xh[:n, first : first + cell.output_size])
            c.append(c_k[:n])
        return h, c
