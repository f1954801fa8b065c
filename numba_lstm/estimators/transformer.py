"""Sequences turned into features of fixed length, for any model of scikit-learn."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context, clone, is_classifier
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted

from numba_lstm.estimators import autoencoding
from numba_lstm.estimators.checks import check_first_X, check_X
from numba_lstm.estimators.classifier import LSTMClassifier
from numba_lstm.estimators.pickling import PicklingMixin
from numba_lstm.estimators.regressor import LSTMRegressor
from numba_lstm.inputs import check_sequences


class LSTMTransformer(TransformerMixin, PicklingMixin, BaseEstimator):
    """Turn sequences into what an LSTM remembers at their end.

    With y the network learns to predict it. Without, it is a sequence autoencoder: it reads
    a sequence and has to tell it again, backwards, from its memory alone, which therefore
    must hold what matters.

    Parameters
    ----------
    estimator : LSTMRegressor or LSTMClassifier, default=None
        Whose parameters say what network is trained, and how; it is cloned. None is an
        ``LSTMClassifier()`` where y are labels (text, truth values, or whole numbers of an
        integer type), else an ``LSTMRegressor()``: for counts pass one, or make floats of
        them. An autoencoder is an LSTMRegressor that reads forward, without pooling.
    method : {"auto", "supervised", "autoencoder"}, default="auto"
        Whether to learn from y: by default where it is given. In a pipeline it always is.
    features : {"hidden", "cell", "both"}, default="hidden"
        What of the memory: h_T, c_T, or both, one after the other.
    layer : int, default=-1
        Which layer's; the first is 0, the last -1. None takes all.

    Attributes
    ----------
    estimator_ : LSTMRegressor or LSTMClassifier
        The fitted network. That of an autoencoder has one input more, which tells
        reading (0) from telling (1).
    is_autoencoder_ : bool
        Whether it was fitted without y.
    n_features_in_ : int
        Features of a time step; time steps, if X was (N, T).
    feature_names_in_ : ndarray of str of shape (F,)
        Names of the features, where X had some.

    See Also
    --------
    LSTMRegressor.hidden_states : The memory at every time step.

    References
    ----------
    Srivastava, Mansimov and Salakhutdinov, "Unsupervised Learning of Video Representations
    using LSTMs", ICML 2015: the autoencoder, here with the encoder's weights in the decoder.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_lstm import LSTMRegressor, LSTMTransformer
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> X = np.random.default_rng(0).standard_normal((100, 20, 3))
    >>> y = X[:, :, 0].sum(axis=1)
    >>> network = LSTMRegressor(hidden_size=8, max_iter=20, random_state=0)
    >>> model = make_pipeline(LSTMTransformer(network), Ridge()).fit(X, y)
    >>> model[0].transform(X).shape
    (100, 8)
    >>> codes = LSTMTransformer(network).fit_transform(X)  # without y
    >>> codes.shape
    (100, 8)
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "estimator": [HasMethods(["fit", "hidden_states"]), None],
        "method": [StrOptions({"auto", "supervised", "autoencoder"})],
        "features": [StrOptions({"hidden", "cell", "both"})],
        "layer": [Interval(Integral, None, None, closed="neither"), None],
    }

    def __init__(
        self,
        estimator: LSTMRegressor | LSTMClassifier | None = None,
        *,
        method: str = "auto",
        features: str = "hidden",
        layer: int | None = -1,
    ) -> None:
        self.estimator = estimator
        self.method = method
        self.features = features
        self.layer = layer

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        times: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        times_val: Any = None,
        groups: Any = None,
    ) -> LSTMTransformer:
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (N, T, F) or (N, T), or list of N arrays (T_i, F) or (T_i,)
            Training sequences.
        y : array-like, default=None
            Targets, as the estimator takes them; None for an autoencoder.
        sample_weight : array-like of shape (N,), default=None
            Weights of the sequences.
        times : array-like of shape (N, T) or (T,), or list of N arrays (T_i,), default=None
            When each step was, as the estimator takes it; an autoencoder takes none.
        X_val, y_val, sample_weight_val, times_val : like X, y and so on, default=None
            Data for the validation score, as the estimator takes them; an autoencoder needs
            no y_val.
        groups : array-like of shape (N,), default=None
            Group of each sequence, for the estimator's ``validation_split``.

        Returns
        -------
        self
            The fitted transformer.

        Raises
        ------
        ValueError
            If a parameter, a shape or a value does not fit, y is missing where
            ``method="supervised"`` needs it, the network cannot be an autoencoder, or one is
            given times.
        TypeError
            If X or y is sparse, or holds something other than numbers.
        """
        if self.method == "supervised" and y is None:
            raise ValueError(
                "method='supervised' requires y to be passed, but the target y is None. Use "
                "method='autoencoder' to learn without."
            )
        learns_alone = self.method == "autoencoder" or y is None
        estimator = self._make_estimator(None if learns_alone else y)
        if learns_alone:
            autoencoding.check(estimator)
            if times is not None or times_val is not None:
                raise ValueError(
                    "times was given, but an autoencoder tells a sequence again at even steps. "
                    "Pass y, or append the time since the last step to X as a feature."
                )
        self._check_layer(estimator)
        sequences, attributes = check_first_X(self, X)
        if learns_alone:
            estimator.set_params(return_sequences=True)
            X, y = autoencoding.two_phases(sequences)
            if X_val is not None:
                held_out = check_sequences(X_val, name="X_val", allow_nan=self.missing == "mask")
                if held_out.n_inputs != sequences.n_inputs:
                    raise ValueError(
                        f"X_val has {held_out.n_inputs} features, and X has {sequences.n_inputs}."
                    )
                X_val, y_val = autoencoding.two_phases(held_out)
        validation = {"X_val": X_val, "y_val": y_val, "sample_weight_val": sample_weight_val}
        validation |= {"times_val": times_val, "groups": groups}
        estimator.fit(X, y, sample_weight, times=times, **validation)
        self.__dict__.pop("feature_names_in_", None)
        self.__dict__.update(attributes)
        self.estimator_, self.is_autoencoder_ = estimator, learns_alone
        return self

    def fit_transform(self, X: Any, y: Any = None, **given: Any) -> np.ndarray:
        """Train the network, and return what it remembers of the training sequences.

        Parameters
        ----------
        X, y, **given
            As in ``fit``.

        Returns
        -------
        ndarray of float64 of shape (N, n_features)
            As ``transform`` returns it.

        Raises
        ------
        ValueError, TypeError
            As ``fit``.
        """
        return self.fit(X, y, **given).transform(X, times=given.get("times"))

    def transform(self, X: Any, *, times: Any = None) -> np.ndarray:
        """Return the memory at the end of each sequence.

        Parameters
        ----------
        X : array-like of shape (N, T, F) or (N, T), or list of N arrays (T_i, F) or (T_i,)
            Sequences.
        times : like in ``fit``, default=None
            When each step was; needed if ``fit`` was given times.

        Returns
        -------
        ndarray of float64 of shape (N, n_features)
            Features, as ``get_feature_names_out`` names them; with
            ``set_output(transform="pandas")`` a data frame.

        Raises
        ------
        NotFittedError
            If the transformer has not been fitted.
        ValueError
            If X is not like the X that it was fitted on.
        """
        check_is_fitted(self)
        self._check_layer(self.estimator_)
        sequences = check_X(self, X)
        found = self._ends(autoencoding.reading(sequences) if self.is_autoencoder_ else X, times)
        return np.hstack(found).astype(np.float64)

    def reconstruct(self, X: Any) -> Any:
        """Return what an autoencoder tells of sequences from its memory of them.

        Parameters
        ----------
        X : array-like of shape (N, T, F) or (N, T), or list of N arrays (T_i, F) or (T_i,)
            Sequences.

        Returns
        -------
        ndarray or list of ndarray
            As X is, in float64 and in its units.

        Raises
        ------
        NotFittedError
            If the transformer has not been fitted.
        ValueError
            If X is not like the X that it was fitted on, or it was fitted with y.
        """
        check_is_fitted(self)
        if not self.is_autoencoder_:
            raise ValueError(
                "The network has learned y, and cannot tell sequences again. Fit without y, or "
                "with method='autoencoder'."
            )
        sequences = check_X(self, X)
        told = autoencoding.tell(self.estimator_, sequences)
        if self._was_2d or (sequences.kind == "list" and np.ndim(next(iter(X))) == 1):
            told = [part[:, 0] for part in told]
        return told if sequences.kind == "list" else np.stack(told)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return names for the features.

        Parameters
        ----------
        input_features : ignored
            For scikit-learn.

        Returns
        -------
        ndarray of str of shape (n_features,)
            "h0", "h1" and so on of h_T, "c0" of c_T; with several layers "layer0_h0"; of the
            direction that reads backwards "h0_reverse".
        """
        check_is_fitted(self)
        self._check_layer(self.estimator_)
        layout, names = self.estimator_._layout, []
        for which in self._which():
            for layer in self._layers():
                H = layout.hidden_sizes[layer]
                prefix = f"layer{layer}_" if self.layer is None else ""
                n = (layout.proj_size or H) if which == "h" else H
                for end in [""] + ["_reverse"] * (layout.direction == "both"):
                    names += [f"{prefix}{which}{j}{end}" for j in range(n)]
        return np.array(names, dtype=object)

    @property
    def missing(self) -> str:
        """What the estimator makes of NaN in X."""
        return "error" if self.estimator is None else self.estimator.missing

    @property
    def _masks(self):
        return self.estimator_._masks

    def _make_estimator(self, y):
        if self.estimator is not None:
            return clone(self.estimator)
        try:
            kind = "none" if y is None else type_of_target(y, input_name="y")
            is_float = np.asarray(y).dtype.kind == "f"  # counts are whole numbers, too
        except ValueError:  # of what it is the estimator tells better
            kind, is_float = "unknown", True
        has_classes = kind.startswith(("binary", "multi")) and not is_float
        return LSTMClassifier() if has_classes else LSTMRegressor()

    def _check_layer(self, estimator):
        n = len(estimator._hidden_sizes())
        if self.layer is not None and not -n <= self.layer < n:
            raise ValueError(
                f"layer={self.layer}: the network has {n} layers; the first is 0, the last -1."
            )

    def _layers(self):
        n = len(self.estimator_._layout.hidden_sizes)
        return range(n) if self.layer is None else [range(n)[self.layer]]

    def _which(self):
        return {"hidden": "h", "cell": "c", "both": "hc"}[self.features]

    def _ends(self, X, times):
        """Return h_T, c_T or both of the layers asked for."""
        if self._masks:  # whose states predict does not return
            pairs = [self._last_of(X, layer, times) for layer in self._layers()]
            state = tuple(zip(*pairs, strict=True))
        else:
            _, state = self.estimator_.predict(X, return_state=True, times=times)
            many = len(self.estimator_._layout.hidden_sizes) > 1
            state = [[part[k] if many else part for k in self._layers()] for part in state]
        return [part for which in self._which() for part in state["hc".index(which)]]

    def _last_of(self, X, layer, times):
        """Return h and c of a layer where each direction ends."""
        direction = self.estimator_._layout.direction

        def last(rows):
            if direction == "both":
                n = rows.shape[1] // 2
                return np.concatenate([rows[-1, :n], rows[0, n:]])
            return rows[0] if direction == "reverse" else rows[-1]

        states = self.estimator_.hidden_states(X, layer, times=times)
        return tuple(np.stack([last(rows) for rows in part]) for part in states)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = self.missing == "mask"
        tags.target_tags.required = self.method == "supervised" or (
            self.estimator is not None and is_classifier(self.estimator)
        )
        return tags
