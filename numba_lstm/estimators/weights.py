"""What sample_weight may be: a weight for each sequence, or for each of its steps."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils.validation import check_array

from numba_lstm.estimators.targets import check_length
from numba_lstm.inputs import check_sequences
from numba_lstm.numbers_only import unmasked
from numba_lstm.sequences import Sequences


def check_weights(sample_weight: Any, n: int, name: str) -> np.ndarray:
    """Check the weights of n sequences.

    Parameters
    ----------
    sample_weight : array-like of shape (n,), number, or None
        None means 1 for each.
    n : int
        Number of sequences.
    name : str
        What to call it in messages.

    Returns
    -------
    ndarray of float64 of shape (n,)
        The weights.

    Raises
    ------
    ValueError
        If the shape does not fit, a weight is negative or not finite, or all are zero.
    """
    if sample_weight is None:
        return np.ones(n)
    if isinstance(sample_weight, Real):
        sample_weight = np.full(n, sample_weight)
    try:
        weight = check_array(
            unmasked(sample_weight),
            ensure_2d=False,
            dtype=np.float64,
            input_name=name,
            allow_nd=True,
        )
    except ValueError as error:
        if name in str(error):
            raise
        raise ValueError(f"{name} holds what is no weight: {error}.") from error
    if weight.ndim != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar, got {weight.ndim}D array: {name} needs "
            "one weight for each sequence."
        )
    if weight.shape != (n,):
        raise ValueError(
            f"{name}.shape == {weight.shape}, expected {(n,)}: one weight for each sequence."
        )
    if (weight < 0).any():
        raise ValueError(
            f"Negative values in {name} (first at {np.flatnonzero(weight < 0)[0]}): weights are "
            "at least 0."
        )
    if not weight.any():
        raise ValueError(f"{name} is zero for every sequence: nothing is left to learn from.")
    return _below_one(weight)


def check_step_weights(
    sample_weight: Any, sequences: Sequences, per_step: bool, name: str
) -> tuple[np.ndarray, Sequences | None]:
    """Check the weights of sequences, or where steps have targets of these.

    Parameters
    ----------
    sample_weight : array-like of shape (N,), number, or None; ``per_step``: also (N, T), or list
        None means 1 for each.
    sequences : Sequences
        N of them.
    per_step : bool
        Whether there is a target for every time step.
    name : str
        What to call it in messages.

    Returns
    -------
    ndarray of float64 of shape (N,)
        The weights; of steps the mean of each sequence's.
    Sequences or None
        The weights of the steps (T_i, 1), if these were given.

    Raises
    ------
    ValueError
        If a shape does not fit, a weight is negative or not finite, or all are zero.
    """
    if not (per_step and _has_steps(sample_weight)):
        return check_weights(sample_weight, len(sequences), name), None
    check_length(sample_weight, len(sequences), name)
    steps = check_sequences(sample_weight, name=name, columns="weights", allow_nan=True)
    if steps.n_inputs != 1 or (steps.lengths != sequences.lengths).any():
        raise ValueError(
            f"{name} has other steps than X: with return_sequences=True it is one weight for "
            "each sequence, (n_samples,), or for each time step, (n_samples, n_timesteps) or a "
            "list of (n_timesteps,) arrays."
        )
    everything = np.arange(len(steps))
    weight = steps.gather(everything)[0][:, 0].astype(np.float64)
    if not (weight >= 0).all():
        row = np.flatnonzero(~(weight >= 0))[0]
        i = np.searchsorted(np.cumsum(steps.lengths), row, side="right")
        step = row - steps.lengths[:i].sum()
        raise ValueError(
            f"{name} is {weight[row]} for sequence {i}, time step {step}: weights are numbers of "
            "at least 0."
        )
    if not weight.any():
        raise ValueError(f"{name} is zero at every time step: nothing is left to learn from.")
    weight = _below_one(weight)
    parts = np.split(weight[:, np.newaxis], np.cumsum(steps.lengths)[:-1])
    return np.array([part.mean() for part in parts]), Sequences(parts, "list")


def weights_or_none(sample_weight: Any, sequences: Any) -> np.ndarray | None:
    """Check the weights of sequences, where there are any."""
    if sample_weight is None:
        return None
    return check_weights(sample_weight, len(sequences), "sample_weight")


def weights_of_steps(sample_weight: Any, sequences: Sequences, name: str) -> np.ndarray:
    """Return the weights (S,) of all steps, whatever :func:`check_step_weights` takes."""
    weight, steps = check_step_weights(sample_weight, sequences, True, name)
    if steps is None:
        return np.repeat(weight, sequences.lengths)
    return np.concatenate(steps.data)[:, 0]


def _has_steps(sample_weight):
    """Whether it has a weight, or several, for every step."""
    if len(getattr(sample_weight, "shape", ())) > 1:
        return True
    return np.iterable(sample_weight) and np.ndim(next(iter(sample_weight), 0.0)) > 0


def _below_one(weight):
    """Weights of the same ratios, which are all that counts: of huge ones sums overflow.

    Powers of 2 round nothing.
    """
    return np.ldexp(weight, -np.frexp(weight.max())[1])
