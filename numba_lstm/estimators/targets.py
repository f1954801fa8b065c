"""What y and sample_weight may be, turned into numbers for the network."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets, is_multilabel
from sklearn.utils.validation import (
    _num_samples,
    check_array,
    column_or_1d,
)

from numba_lstm.inputs import check_sequences
from numba_lstm.sequences import Sequences


@dataclass
class Targets:
    """Checked targets.

    Attributes
    ----------
    values : ndarray of shape (N, K) or (N, 1), or Sequences of N
        Values, or indices of classes; Sequences with a target for every time step.
    n_outputs : int
        Outputs that the network needs: K; for classes, 1 if there are two.
    has_columns : bool
        Whether predictions keep an axis for K, as y had one.
    per_step : bool
        Whether there is a target for every time step.
    classes : ndarray of shape (n_classes,), optional
        The sorted labels of a classification.
    multilabel : bool
        Whether the classes do not exclude one another: values are 0 or 1 for each.
    """

    values: Any
    n_outputs: int
    has_columns: bool
    per_step: bool
    classes: np.ndarray | None = None
    multilabel: bool = False

    @property
    def n_columns(self) -> int:
        """Columns of ``values``."""
        return self.n_outputs if self.classes is None or self.multilabel else 1

    def description(self) -> Targets:
        """Return all but the values, to keep in the estimator."""
        return replace(self, values=None)

    def stratify(self) -> np.ndarray | None:
        """Return what a random split should keep the proportions of."""
        one_class = self.classes is not None and not self.multilabel and not self.per_step
        return self.values[:, 0] if one_class else None


def _check_length(y: Any, n: int, name: str) -> None:
    if y is None:
        raise ValueError(f"This requires y to be passed, but the target {name} is None.")
    if _num_samples(y) != n:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: {n} sequences in X, "
            f"but {_num_samples(y)} targets in {name}."
        )


def _check_not_flat(y: Any, name: str) -> None:
    if np.ndim(next(iter(y))) == 0 and not hasattr(y, "columns"):
        raise ValueError(
            f"With return_sequences=True every time step needs a target, but {name}[0] is a "
            "single value. Set return_sequences=False for one target a sequence."
        )


def _check_steps(targets: Sequences, sequences: Sequences, name: str) -> None:
    different = np.flatnonzero(targets.lengths != sequences.lengths)
    if len(different):
        i = different[0]
        raise ValueError(
            f"With return_sequences=True every time step needs a target: sequence {i} of X has "
            f"{sequences.lengths[i]} time steps, but {name}[{i}] has {targets.lengths[i]}."
        )


def _check_missing(targets: Sequences, name: str) -> None:
    """Let whole steps be NaN, which are left out, but not some of their outputs."""
    any_known = False
    for index in targets.parts():
        values, starts = targets.gather(index)
        missing = np.isnan(values)
        some = missing.any(axis=1) & ~missing.all(axis=1)
        if some.any():
            row = np.flatnonzero(some)[0]
            i = np.searchsorted(starts, row, side="right") - 1
            raise ValueError(
                f"{name} is NaN for some outputs of sequence {index[i]}, time step "
                f"{row - starts[i]}, and not for others. Steps without a target are NaN in all."
            )
        any_known = any_known or not missing.all()
    if not any_known:
        raise ValueError(f"{name} is NaN at every time step: nothing is left to learn from.")


def check_values(
    y: Any,
    sequences: Sequences,
    per_step: bool,
    reference: Targets | None,
    estimator: Any,
    name: str = "y",
) -> Targets:
    """Check the targets of a regression.

    Parameters
    ----------
    y : array-like of shape (N,) or (N, K); ``per_step``: (N, T), (N, T, K), or a list
        Targets.
    sequences : Sequences
        The checked X.
    per_step : bool
        Whether there is a target for every time step.
    reference : Targets or None
        Targets that these must be like.
    estimator : estimator
        Named in messages.
    name : str
        What to call y in messages.

    Returns
    -------
    Targets
        Values in float64.

    Raises
    ------
    ValueError
        If the number, the shape or a value does not fit. NaN may stand for the targets of
        a time step, of which then none counts.
    """
    if per_step:
        _check_length(y, len(sequences), name)
        _check_not_flat(y, name)
        steps = check_sequences(y, name=name, columns="outputs", allow_nan=True)
        _check_steps(steps, sequences, name)
        _check_missing(steps, name)
        has_columns = steps.kind == "3-D"
        if steps.kind == "list":
            has_columns = np.ndim(next(iter(y))) > 1
        targets = Targets(steps, steps.n_inputs, has_columns, True)
    else:
        _check_length(y, len(sequences), name)
        y = check_array(
            *(y,), dtype="numeric", ensure_2d=False, allow_nd=True, ensure_all_finite=False,
            ensure_min_samples=0, input_name=name, estimator=estimator,
        )  # fmt: skip
        if y.dtype.kind in "mM":
            raise TypeError(f"{name} holds dates or time differences ({y.dtype}). Pass numbers.")
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if y.ndim not in (1, 2):
            raise ValueError(
                f"{name} has shape {y.shape}, but without return_sequences it is (n_samples,) or "
                "(n_samples, n_outputs). Set return_sequences=True for a target at every step."
            )
        values = np.asarray(y, np.float64).reshape(len(y), -1)
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0]
            found = "NaN" if np.isnan(values[row, column]) else "infinity"
            raise ValueError(
                f"Input {name} contains {found}: target {row}"
                f"{f', output {column}' if y.ndim > 1 else ''}. Leave such sequences out of X "
                "and y."
            )
        targets = Targets(values, values.shape[1], y.ndim > 1, False)
    if reference is not None and targets.n_outputs != reference.n_outputs:
        raise ValueError(
            f"{name} has {targets.n_outputs} outputs, but the network has {reference.n_outputs}."
        )
    return targets


def check_labels(
    y: Any,
    sequences: Sequences,
    per_step: bool,
    reference: Targets | None,
    estimator: Any,
    name: str = "y",
) -> Targets:
    """Check the targets of a classification and replace labels by their index.

    Parameters
    ----------
    y : array-like of shape (N,); ``per_step``: (N, T), or a list of N arrays (T_i,)
        Labels of any type that can be sorted; or of shape (N, K), 1 for each of K labels
        that a sequence has and else 0.
    reference : Targets or None
        Targets whose classes must contain those of y.
    sequences, per_step, estimator, name
        As in :func:`check_values`.

    Returns
    -------
    Targets
        Values are indices into ``classes``.

    Raises
    ------
    ValueError
        If the number or the shape does not fit, a label is unknown, or there is only
        one class.
    """
    classes = None if reference is None else reference.classes
    if reference.multilabel if reference is not None else not per_step and _is_indicator(y):
        return _check_indicator(y, sequences, reference, name)
    flat = flat_labels(y, sequences, per_step, name)
    try:
        check_classification_targets(flat)
        found, codes = np.unique(flat, return_inverse=True)
    except TypeError as error:
        raise ValueError(
            f"The labels in {name} cannot be sorted: {error}. Use labels of one type, strings or "
            "numbers, without None."
        ) from error
    if classes is not None:
        unknown = np.setdiff1d(found, classes)
        if len(unknown):
            raise ValueError(
                f"{name} contains labels that are not among the classes "
                f"{classes.tolist()}: {unknown.tolist()}."
            )
        codes, found = np.searchsorted(classes, flat), classes
    if len(found) < 2:
        raise ValueError(
            f"{type(estimator).__name__} needs at least two classes, but {name} contains one "
            f"class only: {found.tolist()}."
        )
    values: Any = codes.reshape(-1, 1)
    if per_step:
        values = Sequences(np.split(values, np.cumsum(sequences.lengths)[:-1]), "list")
    n_outputs = 1 if len(found) == 2 else len(found)
    return Targets(values, n_outputs, False, per_step, found)


def _is_indicator(y):
    if getattr(y, "ndim", None) != 2 and not isinstance(y, list | tuple):
        return False
    return np.ndim(y) == 2 and is_multilabel(np.asarray(y))


def _check_indicator(y, sequences, reference, name):
    """Check labels (N, K), 0 or 1 for each, that do not exclude one another."""
    _check_length(y, len(sequences), name)
    values = np.asarray(check_array(y, dtype=np.float64, input_name=name))
    if not np.isin(values, (0, 1)).all():
        raise ValueError(
            f"{name} holds {values[~np.isin(values, (0, 1))][0]}; with several labels for each "
            "sequence it is 1 where a label applies and 0 where not."
        )
    n_labels = values.shape[1]
    if reference is None and n_labels > 2 and (sequences.lengths == n_labels).all():
        warnings.warn(
            f"{name} has {n_labels} columns, as many as X has time steps, and is taken for "
            f"{n_labels} labels for each sequence. Set return_sequences=True if it has one for "
            "each time step.",
            UserWarning,
            stacklevel=6,  # what leads here from fit
        )
    if reference is not None and n_labels != reference.n_outputs:
        raise ValueError(
            f"{name} has {n_labels} labels, but the network has {reference.n_outputs}."
        )
    return Targets(values, n_labels, True, False, np.arange(n_labels), multilabel=True)


def flat_labels(y: Any, sequences: Sequences, per_step: bool, name: str = "y") -> np.ndarray:
    """Return labels as one array (N,), or (S,) with those of all time steps.

    Parameters
    ----------
    y, sequences, per_step, name
        As in :func:`check_labels`.

    Returns
    -------
    ndarray of shape (N,) or (S,)
        The labels.

    Raises
    ------
    ValueError
        If the number, the shape or a type does not fit.
    """
    _check_length(y, len(sequences), name)
    if not per_step:
        flat = check_array(y, ensure_2d=False, dtype=None, input_name=name, allow_nd=True)
        if flat.ndim > 1 and flat[0].size > 1:
            raise ValueError(
                f"y should be a 1d array, got an array of shape {flat.shape} instead: {name} has "
                "a label for each sequence. Set return_sequences=True for one at every time step; "
                "several labels for each sequence are given as 0 and 1 in a column for each."
            )
        return column_or_1d(flat, warn=True)
    _check_not_flat(y, name)
    rows = np.asarray(y) if hasattr(y, "columns") else y  # a frame yields its columns
    parts = [column_or_1d(np.asarray(labels)) for labels in rows]
    _check_steps(Sequences([part[:, np.newaxis] for part in parts], "list"), sequences, name)
    text = {part.dtype.kind in "US" for part in parts if part.dtype.kind != "O"}
    if len(text) > 1:
        raise ValueError(
            f"{name} has strings as labels in some sequences and numbers in others. Use labels of "
            "one type."
        )
    return check_array(np.concatenate(parts), ensure_2d=False, dtype=None, input_name=name)


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
    weight = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, input_name=name, allow_nd=True
    )
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
    return weight
