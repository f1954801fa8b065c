"""What the regressor and the classifier share: checks, fit, and a look inside."""

from __future__ import annotations

import copy
from abc import abstractmethod
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from numba_lstm.estimators._callbacks import CallbackSupportMixin, FitTasks
from numba_lstm.estimators.targets import Targets, check_weights
from numba_lstm.parameters import Layout
from numba_lstm.sequences import Sequences, check_sequences

if TYPE_CHECKING:
    from numba_lstm.network import Network
    from numba_lstm.training.data import Dataset
    from numba_lstm.training.loop import History


class GateActivations(NamedTuple):
    """The four gates of every sequence at every time step.

    Attributes
    ----------
    input, forget, candidate, output : ndarray of shape (N, T, H), or list of (T_i, H)
        i, f, g and o of the equations: sigmoids, but for the candidate's tanh.
    """

    input: Any
    forget: Any
    candidate: Any
    output: Any


class BaseLSTM(CallbackSupportMixin, BaseEstimator):
    """Base of the estimators; its parameters are documented there."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "hidden_size": [Interval(Integral, 1, None, closed="left")],
        "num_layers": [Interval(Integral, 1, None, closed="left")],
        "return_sequences": ["boolean"],
        "solver": [StrOptions({"adam", "sgd", "rmsprop"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "learning_rate": [StrOptions({"constant", "cosine", "plateau"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "clip_norm": [None, Interval(Real, 0, None, closed="neither")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "nesterovs_momentum": ["boolean"],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "warm_start": ["boolean"],
        "standardize": ["boolean"],
        "dtype": "no_validation",  # checked in _check_parameters, with what NumPy takes
        "n_jobs": [None, Integral],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    # -- what the two kinds of estimators answer for themselves ------------------

    @abstractmethod
    def _check_targets(
        self, y: Any, sequences: Sequences, reference: Targets | None, name: str = "y"
    ) -> Targets:
        """Check y; ``reference`` is what an earlier call, or the training y, gave."""

    @abstractmethod
    def _loss_and_parameter(self, n_outputs: int) -> tuple[int, float]:
        """Return the loss's constant and its parameter."""

    def _class_weight(self, targets: Targets) -> np.ndarray | None:
        return None

    # -- fitting -----------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ):
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (N, T, F) or (N, T), or list of N arrays (T_i, F) or (T_i,)
            Training sequences.
        y : array-like of shape (N,) or (N, K); with ``return_sequences`` (N, T) or \
                (N, T, K), or list of N arrays (T_i,) or (T_i, K)
            Targets.
        sample_weight : array-like of shape (N,), default=None
            Weights of the sequences in the loss and in the standardisation.
        X_val, y_val, sample_weight_val : like X, y and sample_weight, default=None
            Data to compute the validation score on, after every epoch, and to stop by
            with ``early_stopping=True``. For time series use a stretch that comes
            after the training data: random splits leak the future.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter, a shape or a value does not fit.
        TypeError
            If X or y is sparse, or holds something other than numbers.
        """
        continued = self.warm_start and hasattr(self, "theta_")
        self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), continued=continued)
        return self

    def _fit(self, X, y, sample_weight, held_out, *, continued, partial=False, reference=None):
        """Train; ``partial`` for one epoch without callbacks and validation.

        Sets attributes only at the very end, so that an error leaves the estimator
        as it was. ``reference`` holds the classes where they are known beforehand.
        """
        from numba_lstm.network import Network
        from numba_lstm.training.data import Dataset
        from numba_lstm.training.loop import LoopSettings, train

        max_iter = 1 if partial else self.max_iter
        dtype = self._check_parameters(continued)
        sequences, attributes = self._check_X(X, reset=not continued)
        targets = self._check_targets(y, sequences, self._targets if continued else reference)
        weight = check_weights(sample_weight, len(sequences), "sample_weight")
        random_state = check_random_state(self.random_state)
        training = Dataset(
            *(sequences, targets.values, weight, np.arange(len(sequences))),
            class_weight=self._class_weight(targets),
        )
        validation = None
        if not partial:
            training, validation = self._validation_data(training, targets, held_out, random_state)
        if continued:
            attributes |= self._fitted_state()
        else:
            attributes |= self._new_state(training, targets, dtype, random_state)
        for data in filter(None, (training, validation)):
            data.target_mean = attributes["target_mean_"]
            data.target_scale = attributes["target_scale_"]
        network = self._network(attributes, Network)
        batch_size = 64 if self.batch_size == "auto" else self.batch_size
        settings = LoopSettings(
            max_iter=max_iter,
            batch_size=min(batch_size, len(training)),
            shuffle=self.shuffle,
            learning_rate=self.learning_rate,
            learning_rate_init=self.learning_rate_init,
            early_stopping=self.early_stopping and not partial,
            n_iter_no_change=self.n_iter_no_change,
            tol=self.tol,
            verbose=bool(self.verbose),
        )
        before = attributes["loss_curve_"]

        def fitted(history: History) -> dict[str, Any]:
            return attributes | self._results(before, history)

        tasks = None
        if not partial:
            tasks = FitTasks(self, max_iter, X, y, sample_weight)
        history = train(
            network,
            attributes["theta_"],
            attributes["_optimizer"],
            attributes["_generator"],
            training,
            validation,
            settings,
            *((tasks.begin_epoch, lambda h: tasks.end_epoch(lambda: fitted(h))) if tasks else ()),
        )
        if tasks:
            tasks.end(lambda: fitted(history))
        self.__dict__.update(fitted(history))

    @staticmethod
    def _results(before, history):
        """Attributes that follow from the history of a fit, fit to be kept."""
        curve = before + history.loss_curve
        results = {
            "theta_": history.theta.copy(),
            "loss_curve_": curve,
            "n_iter_": len(curve),
            "loss_": curve[-1] if curve else np.nan,
            "best_loss_": min(curve, default=np.nan),
            "validation_scores_": None,
            "best_validation_score_": None,
        }
        if history.validation_scores:
            results["validation_scores_"] = list(history.validation_scores)
            results["best_validation_score_"] = max(history.validation_scores)
        return results

    def _new_state(self, training: Dataset, targets: Targets, dtype, random_state):
        """Attributes of an estimator before its first epoch."""
        from numba_lstm.parameters import initialise
        from numba_lstm.training.optimizers import Optimizer, SolverSettings

        layout = Layout(training.sequences.n_inputs, int(self.hidden_size), targets.n_outputs)
        generator = np.random.default_rng(random_state.randint(2**31 - 1, size=4))
        mean, inverse_scale = np.zeros(layout.n_inputs), np.ones(layout.n_inputs)
        target_mean, target_scale = np.zeros(targets.n_columns), np.ones(targets.n_columns)
        if self.standardize:
            mean, inverse_scale = training.input_statistics()
            if targets.classes is None:
                target_mean, target_scale = training.target_statistics()
        settings = SolverSettings(**{name: getattr(self, name) for name in SolverSettings._fields})
        return {
            "_targets": targets.description(),
            "_layout": layout,
            "_generator": generator,
            "_optimizer": Optimizer(layout.decay_mask(dtype), settings),
            "theta_": initialise(layout, generator, dtype),
            "input_mean_": mean,
            "input_scale_": 1.0 / inverse_scale,
            "target_mean_": target_mean,
            "target_scale_": target_scale,
            "n_outputs_": layout.n_outputs,
            "loss_curve_": [],
            **({} if targets.classes is None else {"classes_": targets.classes}),
        }

    def _fitted_state(self):
        """Attributes to go on from: copies, so that a failed fit changes nothing."""
        names = "_targets", "_layout", "input_mean_", "input_scale_", "target_mean_"
        names += "target_scale_", "n_outputs_", "loss_curve_"
        state = {name: getattr(self, name) for name in names}
        for name in ("theta_", "_optimizer", "_generator"):
            state[name] = copy.deepcopy(getattr(self, name))
        if hasattr(self, "classes_"):
            state["classes_"] = self.classes_
        return state

    def _network(self, attributes: dict[str, Any], network_class: type[Network]) -> Network:
        from numba_lstm.cpu.threads import resolve_n_jobs

        loss, parameter = self._loss_and_parameter(attributes["_layout"].n_outputs)
        return network_class(
            attributes["_layout"],
            attributes["theta_"].dtype,
            per_step=attributes["_targets"].per_step,
            loss=loss,
            loss_parameter=parameter,
            mean=attributes["input_mean_"],
            inverse_scale=1.0 / attributes["input_scale_"],
            n_threads=resolve_n_jobs(self.n_jobs),
        )

    def _validation_data(self, training, targets, held_out, random_state):
        """Return the training part and the validation part of the data, or None."""
        X_val, y_val, weight_val = held_out
        if (X_val is None) != (y_val is None):
            missing, given = ("y_val", "X_val") if y_val is None else ("X_val", "y_val")
            raise ValueError(f"{given} was given without {missing}; pass both or neither.")
        if X_val is not None:
            return training, self._held_out(training, targets, X_val, y_val, weight_val)
        if weight_val is not None:
            raise ValueError("sample_weight_val was given without X_val and y_val.")
        if not self.early_stopping:
            return training, None
        n = len(training)
        try:
            kept, held = train_test_split(
                training.index,
                test_size=self.validation_fraction,
                random_state=random_state,
                stratify=targets.stratify(),
            )
        except ValueError as error:
            raise ValueError(
                f"early_stopping=True sets a share of {self.validation_fraction} of the {n} "
                f"sequences aside for validation, which is not possible: {error} Pass more "
                "data, another validation_fraction, or X_val and y_val."
            ) from error
        if len(held) < 2 or not (training.weight[held].any() and training.weight[kept].any()):
            raise ValueError(
                f"The validation part has {len(held)} of {n} sequences: too small, or without "
                "weight. Increase validation_fraction, or pass X_val and y_val."
            )
        parts = (copy.copy(training), copy.copy(training))
        for part, index in zip(parts, (kept, held), strict=True):
            part.index = np.sort(index)
            part.__post_init__()
        return parts

    def _held_out(self, training, targets, X_val, y_val, weight_val):
        from numba_lstm.training.data import Dataset

        sequences = check_sequences(X_val, name="X_val")
        if sequences.n_inputs != training.sequences.n_inputs:
            raise ValueError(
                f"X_val has {sequences.n_inputs} features a time step, but X has "
                f"{training.sequences.n_inputs}."
            )
        values = self._check_targets(y_val, sequences, targets, "y_val").values
        weight = check_weights(weight_val, len(sequences), "sample_weight_val")
        index = np.arange(len(sequences))
        return Dataset(sequences, values, weight, index, class_weight=training.class_weight)

    # -- checks ------------------------------------------------------------------

    def _check_parameters(self, continued: bool) -> np.dtype:
        """Check what the constraints cannot say; return the dtype."""
        try:
            dtype = np.dtype(self.dtype)
        except TypeError:
            dtype = None
        if dtype not in (np.dtype(np.float32), np.dtype(np.float64)) or self.dtype is None:
            raise ValueError(
                f"dtype={self.dtype!r}: the network computes in 'float32' or 'float64'."
            )
        if self.device != "cpu":
            raise ValueError(
                f"device={self.device!r}: this version runs on the CPU only. Use device='cpu'."
            )
        if self.num_layers != 1:
            raise ValueError(
                f"num_layers={self.num_layers}: this version has one layer only. Use "
                "num_layers=1, and a larger hidden_size for a larger network."
            )
        if self.n_jobs == 0:
            raise ValueError("n_jobs=0: pass None or -1 for all cores, or a positive number.")
        if continued and (self.hidden_size, dtype) != (
            self._layout.hidden_size,
            self.theta_.dtype,
        ):
            raise ValueError(
                f"The estimator was fitted with hidden_size={self._layout.hidden_size} and "
                f"dtype={self.theta_.dtype.name!r} and cannot go on with hidden_size="
                f"{self.hidden_size} and dtype={dtype.name!r}. Set warm_start=False or clone it."
            )
        if continued and self.return_sequences != self._targets.per_step:
            raise ValueError(
                f"The estimator was fitted with return_sequences={self._targets.per_step} and "
                "cannot go on with another value. Set warm_start=False or clone it."
            )
        return dtype

    def _check_X(self, X: Any, *, reset: bool) -> tuple[Sequences, dict[str, Any]]:
        """Check X; return it and the attributes that scikit-learn's checks set."""
        sequences = check_sequences(X)
        probe = copy.copy(self)  # so that a later error leaves the estimator as it was
        if reset:
            for name in ("n_features_in_", "feature_names_in_"):
                probe.__dict__.pop(name, None)
        names = ("n_features_in_", "feature_names_in_", "_n_inputs", "_was_2d")
        if reset:
            probe._n_inputs, probe._was_2d = sequences.n_inputs, sequences.kind == "2-D"
        if sequences.kind == "2-D" and (probe._was_2d or reset):
            validate_data(probe, X, reset=reset, skip_check_array=True)
        elif reset:
            probe.n_features_in_ = sequences.n_inputs
        elif sequences.n_inputs != probe._n_inputs:
            raise ValueError(
                f"X has {sequences.n_inputs} features, but {type(self).__name__} is expecting "
                f"{probe._n_inputs} features as input at every time step."
            )
        return sequences, {name: vars(probe)[name] for name in names if name in vars(probe)}

    # -- looking inside ----------------------------------------------------------

    @property
    def parameters_(self) -> dict[str, np.ndarray]:
        """Views on ``theta_`` under PyTorch's names and in PyTorch's shapes.

        ``weight_ih_l0`` (4H, F), ``weight_hh_l0`` (4H, H), ``bias_l0`` (4H,) with the
        gates in the order i, f, g, o; ``head_weight`` (K, H) and ``head_bias`` (K,).
        """
        check_is_fitted(self)
        return self._layout.named(self.theta_)

    def hidden_states(self, X: Any) -> tuple[Any, Any]:
        """Hypothesis h_t and cell c_t after every time step: equations (3) and (4).

        Parameters
        ----------
        X : array-like of shape (N, T, F) or (N, T), or list of N arrays (T_i, F) or (T_i,)
            Sequences.

        Returns
        -------
        h, c : ndarray of shape (N, T, H), or list of N arrays (T_i, H) for a list
            In the estimator's dtype.

        Raises
        ------
        ValueError
            If X is not like the X that the estimator was fitted on.
        """
        h, c, _ = self._states(X)
        return h, c

    def gate_activations(self, X: Any) -> GateActivations:
        """Values of the four gates at every time step: equation (2).

        Parameters
        ----------
        X : array-like of shape (N, T, F) or (N, T), or list of N arrays (T_i, F) or (T_i,)
            Sequences.

        Returns
        -------
        GateActivations
            Arrays ``input``, ``forget``, ``candidate`` and ``output`` of shape (N, T, H),
            or lists of N arrays (T_i, H) for a list.

        Raises
        ------
        ValueError
            If X is not like the X that the estimator was fitted on.
        """
        _, _, gates = self._states(X)
        H = self._layout.hidden_size
        parts = [slice(k * H, (k + 1) * H) for k in range(4)]
        if isinstance(gates, list):
            return GateActivations(*([gate[:, part] for gate in gates] for part in parts))
        return GateActivations(*(gates[..., part] for part in parts))

    def _states(self, X):
        sequences, network, theta = self._prepare(X)
        found = [()] * len(sequences)
        for index, batch in self._batches(sequences, network):
            states = network.states(theta, batch)
            for i, *rows in zip(
                index, *(np.split(part, batch.starts[1:-1]) for part in states), strict=True
            ):
                found[i] = tuple(rows)
        return tuple(sequences.restore(list(part)) for part in zip(*found, strict=True))

    def _raw_predict(self, X: Any) -> tuple[Any, Sequences]:
        """Outputs of the network in float64: (N, K), or one (T_i, K) array a sequence."""
        sequences, network, theta = self._prepare(X)
        K = network.layout.n_outputs
        if not network.per_step:
            out = np.empty((len(sequences), K))
            for index, batch in self._batches(sequences, network):
                out[index] = network.predict(theta, batch)
            return out, sequences
        steps: list[Any] = [None] * len(sequences)
        for index, batch in self._batches(sequences, network):
            rows = network.predict(theta, batch).astype(np.float64)
            for i, part in zip(index, np.split(rows, batch.starts[1:-1]), strict=True):
                steps[i] = part
        return steps, sequences

    def _prepare(self, X):
        from numba_lstm.network import Network

        check_is_fitted(self)
        sequences, _ = self._check_X(X, reset=False)
        # As a plain array: one that joblib maps from a file is another type to Numba.
        theta = np.require(np.asarray(self.theta_), requirements="W")
        return sequences, self._network(vars(self), Network), theta

    @staticmethod
    def _batches(sequences, network):
        """Yield indices and batches that cover X, with buffers of about 64 MB."""
        from numba_lstm.sequences import Batch

        F, H, _ = network.layout
        row = network.dtype.itemsize * (7 * H + 2 * F + 1)
        for index in sequences.parts(max_steps=max(1, 2**26 // row)):
            yield index, Batch(*sequences.gather(index))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.required = True
        return tags
