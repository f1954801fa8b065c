"""What a fitted estimator can do, whatever it predicts: outputs, states, gates."""

from __future__ import annotations

import functools
import os
from abc import abstractmethod
from collections.abc import Callable
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

from numba_lstm.backend import kept_network, make_network
from numba_lstm.estimators.checks import check_given_times, check_X
from numba_lstm.estimators.state import (
    public_state,
    read_state,
)
from numba_lstm.missing import MaskedSequences
from numba_lstm.parameters import Layout
from numba_lstm.sequences import Room
from numba_lstm.times import decay

if TYPE_CHECKING:
    from numba_lstm.base_network import BaseNetwork
    from numba_lstm.estimators.targets import Targets
    from numba_lstm.streaming import Stream


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


class FittedMixin:
    """Outputs, states and gates of a fitted network."""

    _layout: Layout
    _targets: Targets
    _masks: bool
    _was_2d: bool
    theta_: np.ndarray
    input_mean_: np.ndarray
    input_scale_: np.ndarray
    n_jobs: int | None
    device: str
    matmul_precision: str
    dropout: float
    input_dropout: float
    recurrent_dropout: float
    memory: str
    time_scale_: float | None
    _time_kind: str | None

    @abstractmethod
    def _loss_and_parameter(self, targets: Targets) -> tuple[int, float]:
        """Return the loss's constant and its parameter."""

    @abstractmethod
    def _decode(self, out: np.ndarray) -> np.ndarray:
        """Return the predictions that belong to outputs (n, K) of the network."""

    @property
    def parameters_(self) -> dict[str, np.ndarray]:
        """Views on ``theta_`` under PyTorch's names and in PyTorch's shapes.

        ``weight_ih_l0`` (4H, F), ``weight_hh_l0`` (4H, H), ``bias_l0`` (4H,) with the
        gates in the order i, f, g, o, and so on for further layers, with "_reverse" behind
        for the second direction; ``head_weight`` (K, outputs of the last layer) and
        ``head_bias`` (K,).
        """
        check_is_fitted(self)
        return self._layout.named(self.theta_)

    def hidden_states(self, X: Any, layer: int = -1, *, times: Any = None) -> tuple[Any, Any]:
        """Hypothesis h_t and cell c_t after every time step: equations (3) and (4).

        Parameters
        ----------
        X : array-like of shape (N, T, F) or (N, T), or list of N arrays (T_i, F) or (T_i,)
            Sequences.
        layer : int, default=-1
            Which layer; the first is 0, the last -1.
        times : like in ``fit``, default=None
            When each step was; needed if ``fit`` was given times.

        Returns
        -------
        h, c : ndarray of shape (N, T, H), or list of N arrays (T_i, H) for a list
            In the estimator's dtype. Of a bidirectional layer (N, T, 2H): the direction
            that reads on, then the one that reads backwards. h as the cells have it, before
            directions are merged and, with ``residual``, inputs are added.

        Raises
        ------
        ValueError
            If X is not like the X that the estimator was fitted on, or there is no such
            layer.
        """
        h, c, _ = self._states(X, layer, times)
        return h, c

    def gate_activations(self, X: Any, layer: int = -1, *, times: Any = None) -> GateActivations:
        """Values of the four gates at every time step: equation (2).

        Parameters
        ----------
        X : array-like of shape (N, T, F) or (N, T), or list of N arrays (T_i, F) or (T_i,)
            Sequences.
        layer : int, default=-1
            Which layer; the first is 0, the last -1.
        times : like in ``fit``, default=None
            When each step was; needed if ``fit`` was given times.

        Returns
        -------
        GateActivations
            Arrays ``input``, ``forget``, ``candidate`` and ``output`` of shape (N, T, H),
            or lists of N arrays (T_i, H) for a list; 2H for a bidirectional layer.

        Raises
        ------
        ValueError
            If X is not like the X that the estimator was fitted on, or there is no such
            layer.
        """
        _, _, gates = self._states(X, layer, times)
        H = (gates[0] if isinstance(gates, list) else gates).shape[-1] // 4
        parts = [slice(k * H, (k + 1) * H) for k in range(4)]
        if isinstance(gates, list):
            return GateActivations(*([gate[:, part] for gate in gates] for part in parts))
        return GateActivations(*(gates[..., part] for part in parts))

    def attention_weights(self, X: Any, *, times: Any = None) -> Any:
        """How much each time step counts, with ``pooling="attention"``.

        Parameters
        ----------
        X : array-like of shape (N, T, F) or (N, T), or list of N arrays (T_i, F) or (T_i,)
            Sequences.
        times : like in ``fit``, default=None
            When each step was; needed if ``fit`` was given times.

        Returns
        -------
        ndarray of shape (N, T), or list of N arrays (T_i,) for a list
            Weights, in the estimator's dtype, which sum to 1 for each sequence.

        Raises
        ------
        ValueError
            If X is not like the X that the estimator was fitted on, or the network has
            another pooling.
        """
        sequences, network, theta = self._prepare(X, times, self._network)
        if network.layout.pooling != "attention":
            raise ValueError(
                f"The network was fitted with pooling={network.layout.pooling!r}, which has no "
                "attention weights. Fit one with pooling='attention'."
            )
        found: list[Any] = [None] * len(sequences)
        for index, batch in self._batches(sequences, network):
            parts = batch.split(network.attention(theta, batch))
            for i, part in zip(index, parts, strict=True):
                found[i] = part
        return sequences.restore(found)

    def stream(self, n_streams: int | None = None) -> Stream:
        """Predict one time step at a time, with the state held in between.

        Parameters
        ----------
        n_streams : int, default=None
            How many independent streams go side by side; None is one, whose steps have
            no axis for it.

        Returns
        -------
        Stream
            With ``step(x)``, of a classifier ``step_proba(x)``, ``state`` and ``reset()``. It
            keeps today's weights.

        Raises
        ------
        NotFittedError
            If the estimator has not been fitted.
        ValueError, TypeError
            If ``n_streams`` is no positive integer.
        """
        from numba_lstm.streaming import Stream

        return Stream(self, n_streams)

    def compile(self) -> Callable[[Any, np.ndarray], Any]:
        """Return the network as a function for compiled code of your own.

        Its weights are today's, for good; it can be called in functions that Numba
        compiles (:func:`numba.njit`, :func:`numba.cfunc`, in ``prange``, too) and from
        Python. It takes a fraction of a second to build.

        Returns
        -------
        callable
            ``step(x, state) -> y`` takes in one time step: x of shape (F,), or a number if F
            is 1, and ``state``, which it moves on, an array made by ``step.new_state()``; a
            copy of it goes its own way, and each thread needs one. y is a number, an array
            (K,) where y had columns in ``fit``, or of a classifier the probabilities
            (n_classes,), as ``predict`` and ``predict_proba`` have them. If x has NaN or
            infinity in it y is NaN, and the state stays as it was. Arguments of other types
            are a TypeError when the call is compiled.

        Raises
        ------
        NotFittedError
            If the estimator has not been fitted.
        ValueError
            If the network reads backwards or pools, or was fitted with times or
            ``missing="mask"``.

        Notes
        -----
        Compiled code holds the addresses of the weights. Numba therefore keeps functions
        that call ``step`` out of its cache on disk, and the weights stay in memory as long as
        the process lives.
        """
        from numba_lstm.compiled import compile_step

        return compile_step(self)

    def save(self, path: str | os.PathLike) -> None:
        """Write the estimator to one file, for :func:`numba_lstm.load`.

        The file is a safetensors file, without pickle: safe to open wherever it comes from. It
        holds the weights, the parameters, the classes and the history of the training, but not
        the optimiser's state, ``checkpoint``, nor a ``RandomState`` that was passed as
        ``random_state``, which is shared with whoever passed it: both are None in the file.
        What stands under the name before is replaced at once, or stays after an error.

        Parameters
        ----------
        path : str or path-like
            The file.

        Raises
        ------
        NotFittedError
            If the estimator has not been fitted.
        TypeError
            If it is of a class derived from this one, a parameter is what no file holds, or
            ``path`` is no path.
        ValueError
            If a weight is not finite, or the parameters ask for another network than was
            fitted.
        OSError
            If the file cannot be written.
        ImportError
            If safetensors is not installed (``pip install "numba-lstm[files]"``).
        """
        from numba_lstm.interop.saving import save

        save(self, path)

    def _states(self, X, layer, times):
        sequences, network, theta = self._prepare(X, times, self._network)
        n_layers = len(network.layout.hidden_sizes)
        if not isinstance(layer, Integral) or not -n_layers <= layer < n_layers:
            raise ValueError(
                f"layer={layer!r}: the network has {n_layers} layers; the first is 0, the last -1."
            )
        found = [()] * len(sequences)
        for index, batch in self._batches(sequences, network, kept=7):
            states = network.states(theta, batch, int(layer))
            for i, *rows in zip(index, *(batch.split(part) for part in states), strict=True):
                found[i] = tuple(rows)
        return tuple(sequences.restore(list(part)) for part in zip(*found, strict=True))

    def _predict(self, X, decode, initial_state=None, return_state=False, times=None):
        """Apply a function of outputs (n, K) to all of them, sequence by sequence."""
        prepared = self._prepare(X, times, self._network_for_prediction)
        sequences, network, theta = prepared
        state = None
        if self._masks and (initial_state is not None or return_state):
            raise ValueError(
                "With missing='mask' what was last seen of each feature counts, too, and is not "
                "part of a state. Predict whole sequences, or step by step with stream()."
            )
        if initial_state is not None or return_state:
            state = network.first_state(theta, len(sequences))
        if initial_state is not None:
            read_state(initial_state, state, network.layout)
        out = self._outputs(*prepared, state)
        if isinstance(out, np.ndarray):
            y = decode(out)
        else:
            y = sequences.restore([decode(rows) for rows in out])
        return (y, public_state(state, network.layout)) if return_state else y

    def _outputs(self, sequences, network, theta, state=None):
        """Outputs of the network in float64: (N, K), or one (T_i, K) array a sequence.

        ``state`` of all sequences is moved on.
        """
        out, steps = None, []
        for index, batch in self._batches(sequences, network):
            own = None if state is None else state.rows(index)
            rows = network.predict(theta, batch, own).astype(np.float64)
            if own is not None:
                state.put(index, own)
            if network.per_step:
                steps = steps or [None] * len(sequences)
                for i, part in zip(index, batch.split(rows), strict=True):
                    steps[i] = part
            elif len(rows) == len(sequences) and sequences.kind != "list":
                return rows  # the usual case, in order
            else:
                out = np.empty((len(sequences), rows.shape[1])) if out is None else out
                out[index] = rows
        return steps if network.per_step else out

    def _prepare(self, X, times, make):
        if not hasattr(self, "theta_"):
            check_is_fitted(self)
        sequences = check_X(self, X)
        if times is not None or self._layout.decays:
            wanted = self._layout.decays, self._time_kind
            check_given_times(times, sequences, *wanted, "times")
            sequences.decay = decay(sequences.gaps, sequences.lengths, self.time_scale_)
        if self._masks:
            sequences = MaskedSequences(sequences, self.input_mean_[: sequences.n_inputs])
        theta = self.theta_
        if type(theta) is not np.ndarray or not theta.flags.writeable:
            # An array that joblib maps from a file is another type to Numba.
            theta = np.array(theta)
        return sequences, make(), theta

    @staticmethod
    def _batches(sequences, network, kept=0):
        """Return indices and batches that cover X, with buffers of ``network.room`` bytes.

        A batch lasts until the next one. ``kept`` is what the kernel keeps of a time step, in
        multiples of H.
        """
        n_sequences, n_steps = _most(
            network.layout, network.per_step, network.room // network.dtype.itemsize, kept
        )
        room, max_steps = Room(), min(n_steps, n_sequences * sequences.shortest)
        parts = sequences.parts(max_steps=max_steps)
        return ((index, sequences.batch(index, room)) for index in parts)

    def _network(self, attributes: dict[str, Any] | None = None) -> BaseNetwork:
        """The network of some attributes, by default the estimator's own."""
        from numba_lstm.cpu.allocation import Drops
        from numba_lstm.cpu.threads import resolve_n_jobs

        known = vars(self) if attributes is None else attributes
        loss, parameter = self._loss_and_parameter(known["_targets"])
        return make_network(
            self.device,
            known["_layout"],
            known["theta_"].dtype,
            self.matmul_precision,
            per_step=known["_targets"].per_step,
            loss=loss,
            loss_parameter=parameter,
            mean=known["input_mean_"],
            scale=known["input_scale_"],
            n_threads=resolve_n_jobs(self.n_jobs),
            dropout=Drops(
                self.input_dropout,
                self.dropout if len(known["_layout"].hidden_sizes) > 1 else 0.0,
                self.recurrent_dropout,
            ),
            recomputes=self.memory == "recompute",
        )

    def _network_for_prediction(self) -> BaseNetwork:
        return kept_network(
            *(self.device, self._layout, self.theta_.dtype, self.matmul_precision),
            *(self._targets.per_step, self.input_mean_, self.input_scale_, self.n_jobs),
        )


@functools.lru_cache(maxsize=64)
def _most(layout: Layout, per_step: bool, room: int, kept: int) -> tuple[int, int]:
    """Sequences and time steps that are computed at once, in buffers of ``room`` numbers."""
    # Of a sequence, what a step computes; of a time step, what is kept of it.
    n_sequences = max(1, room // sum(c.n_inputs + 1 + 7 * c.hidden_size for c in layout.cells))
    rows = 2 * layout.n_inputs + layout.n_outputs + sum(layout.widths[:-1])
    rows += layout.widths[-1] * (per_step or layout.pooling != "last")
    rows += layout.widths[-1] * (layout.pooling == "attention")
    rows += kept * sum(cell.hidden_size for cell in layout.cells)
    return n_sequences, max(1, room // rows)
