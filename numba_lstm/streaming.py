"""A fitted network, one time step at a time, its state held in between."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from numba_lstm.cpu import steps
from numba_lstm.estimators.state import as_arrays
from numba_lstm.inputs import column_names
from numba_lstm.missing import GapFiller
from numba_lstm.numbers_only import unmasked
from numba_lstm.one_step import check_forward, rows_of, scale_and_units
from numba_lstm.times import Clock

if TYPE_CHECKING:
    from numba_lstm.estimators.fitted import FittedMixin

_CHANGING = "n_steps", "_clock", "_gaps"
_DOUBLE = np.dtype(np.float64)
_SINGLE = np.dtype(np.float32)


def _has_classes(stream: Stream) -> bool:
    """Whether there are probabilities."""
    if not stream._decides:
        raise AttributeError("Probabilities are a classifier's. Use step().")
    return True


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
        Steps since the state of all streams was last reset or set.
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
        check_forward(layout, "stream()")
        # Another fit must not reach it.
        self._estimator: Any = (estimator := copy.copy(estimator))
        estimator.theta_ = np.array(estimator.theta_)
        for name in ("_optimizer", "_generator"):
            estimator.__dict__.pop(name, None)
        named = not self._estimator._was_2d  # else the names are those of time steps
        names = vars(estimator).get("feature_names_in_") if named else None
        self._names = None if names is None else list(names)
        self._has_columns = estimator._targets.has_columns
        self._theta = estimator.theta_
        F, K = layout.n_inputs // (3 if estimator._masks else 1), layout.n_outputs
        self._gaps = GapFiller(estimator.input_mean_[:F], n) if estimator._masks else None
        scale = estimator.time_scale_
        self._clock = None if scale is None else Clock(n, scale, estimator._time_kind)
        self._scale, self._units = scale_and_units(estimator)
        self._decides = estimator._targets.classes is not None
        self._decay = np.zeros(n)
        self._shape = (F,) if self._one else (n, F)
        self._work = work = steps.make_room(layout, self._theta, n)
        inputs = self._scale, self._units, self._decay, np.arange(n)
        self._frame = steps.Frame(self._theta, *work, *inputs, np.empty(n * K))
        self._places = steps.addresses(self._frame)
        self._address = self._places.ctypes.data
        is_float32 = self._theta.dtype == np.float32
        self._step = steps.step_float32 if is_float32 else steps.step_float64
        self._is_plain = self._gaps is None and self._clock is None
        self._is_single = self._one and not self._decides and not self._has_columns
        self.reset()

    def __repr__(self) -> str:
        n = "" if self._one else f"n_streams={self._n}, "
        F = self._shape[-1]
        return (
            f"Stream({type(self._estimator).__name__}, n_features={F}, {n}n_steps={self.n_steps})"
        )

    def step(self, x: Any, time: Any = None) -> Any:
        """Take in one time step and predict.

        Parameters
        ----------
        x : array-like of shape (F,), or with ``n_streams`` (n_streams, F)
            The inputs of this step; of a single feature also a number, or (n_streams,). NaN
            where the estimator was fitted with ``missing="mask"``: what was seen last is
            remembered, but not part of ``state``. Where it was fitted on a list of frames, the
            names of a frame or of a pandas Series are compared with theirs; else order counts.
        time : float, datetime64 or array-like of shape (n_streams,), default=None
            When this step is, where the estimator was fitted with times; one for all streams,
            or one for each. Of the first step, and after ``state`` was set, nothing follows
            from it.

        Returns
        -------
        object
            What ``estimator.predict`` would give for all steps so far, as a sequence's
            only or last output: a number or label (one stream, one output) or an array of
            shape (K,), (n_streams,) or (n_streams, K).

        Raises
        ------
        ValueError
            If x has another shape or other names, or infinity or, without masks, NaN in it, or
            the time is missing, not finite, or before the last one; the state stays as it was.
        """
        # The usual case first: the checks below take longer than the step.
        if type(x) is np.ndarray and x.shape == self._shape and self._is_plain and time is None:
            if x.dtype is not _DOUBLE or not x.flags.carray:
                x = x.astype(np.float64) if x.dtype is _SINGLE else self._checked(x, time)
        else:
            x = self._checked(x, time)
        y = self._step(x if self._one else x.reshape(-1), self._address)
        if y != y:  # which the outputs of finite inputs never are
            raise ValueError(
                "x contains NaN or infinity. Impute such values first, or for NaN fit with "
                "missing='mask'."
            )
        self.n_steps += 1
        return y if self._is_single else self._outputs()

    @available_if(_has_classes)
    def step_proba(self, x: Any, time: Any = None) -> np.ndarray:
        """Take in one time step and return the probability of each class.

        In the place of :meth:`step`, whose label is that of the highest one; of classifiers.

        Parameters
        ----------
        x, time
            As in :meth:`step`.

        Returns
        -------
        ndarray of float64 of shape (n_classes,), or with ``n_streams`` (n_streams, n_classes)
            What ``estimator.predict_proba`` would give for all steps so far, as a sequence's
            only or last output.

        Raises
        ------
        AttributeError
            If the estimator is no classifier.
        ValueError, TypeError
            As :meth:`step`; the state stays as it was.
        """
        self._step(self._checked(x, time), self._address)
        self.n_steps += 1
        y = self._estimator._decode_proba(self._frame.y.reshape(self._n, -1))
        return y[0] if self._one else y

    def _checked(self, x, time):
        """Return inputs as the kernel takes them, from whatever may be given."""
        given, shape = np.asarray(unmasked(x)), self._shape
        if given.ndim == 0 and given.dtype.kind not in "fiub":
            raise TypeError(
                f"x is a {type(x).__name__}; a step of this stream needs {shape} numbers."
            )
        if given.shape != shape and (shape[-1] > 1 or given.shape != shape[:-1]):
            raise ValueError(
                f"x has shape {given.shape}, but a step of this stream needs {shape}."
            )
        if self._names is not None:
            self._check_names(x)
        if given.dtype.kind not in "fiub":
            raise TypeError(f"x has dtype {given.dtype}; a step takes numbers.")
        given = np.array(given, np.float64).reshape(self._n, -1)
        wrong = ~np.isfinite(given) if self._gaps is None else np.isinf(given)
        if wrong.any():
            raise ValueError(
                "x contains NaN or infinity. Impute such values first, or for NaN fit with "
                "missing='mask'."
            )
        self._pass_time(time)
        x = given if self._gaps is None else self._gaps.fill(given)
        return x.reshape(-1)

    def _check_names(self, x):
        """Refuse a frame, or a row of one, whose names are not those of the training data."""
        names = column_names(x)
        if self._one and names is None and hasattr(x, "iloc"):  # a Series of pandas
            names = column_names(x.to_frame().T)
        if names is not None and names != self._names:
            raise ValueError(
                "The feature names should match those that were passed during fit: x has "
                f"{names}, fit had {self._names}."
            )

    def _outputs(self):
        y = self._frame.y.reshape(self._n, -1)
        if self._decides:
            y = self._estimator._decode(y)
        else:
            y = y.copy() if self._has_columns else y[:, 0].copy()
        return y[0] if self._one else y

    def reset(self, which: Any = None) -> None:
        """Go back to the state before any step: zeros, or what was learned.

        Parameters
        ----------
        which : int, or array-like of int or of bool of shape (n_streams,), default=None
            The streams that begin anew, by number from 0 or by a mask, with ``n_streams``; the
            others stay as they are. None is all.

        Raises
        ------
        ValueError
            If there is no such stream; none is reset then.
        TypeError
            If ``which`` is neither numbers nor a mask for all streams.
        """
        if which is not None and self._one:
            raise ValueError(f"which={which!r}, but this is one stream: call reset().")
        rows = slice(None) if which is None else rows_of(which, self._n)
        steps.begin(self._layout, self._theta, self._work, rows)
        for part in (self._gaps, self._clock):
            if part is not None:
                part.reset(rows)
        if which is None:
            self.n_steps = 0

    def _pass_time(self, time):
        """Check the time of a step, and set what it lets decay."""
        if self._clock is not None:
            self._decay[...] = self._clock.decay_until(time)
        elif time is not None:
            raise ValueError("time was given, but the estimator was fitted without times.")

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
        self._put(values)
        self.n_steps = 0
        if self._clock is not None:
            self._clock.reset()

    def __getstate__(self):
        """Return what another version can make a stream of: no buffers, no addresses."""
        return {
            "estimator": self._estimator,
            "n_streams": None if self._one else self._n,
            "held": [[part.copy() for part in parts] for parts in self._parts()],
            "others": {name: copy.deepcopy(getattr(self, name)) for name in _CHANGING},
        }

    def __setstate__(self, state):
        self.__init__(state["estimator"], state["n_streams"])
        self._put(state["held"])
        self.__dict__.update(state["others"])

    def _put(self, values):
        for parts, given in zip(self._parts(), values, strict=True):
            for part, value in zip(parts, given, strict=True):
                part[...] = value

    def _parts(self):
        """Views of h of every layer and of c."""
        return steps.state_parts(self._layout, self._work)
