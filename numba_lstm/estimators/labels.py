"""What the labels of a classification may be, turned into numbers for the network."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets, is_multilabel
from sklearn.utils.validation import check_array, column_or_1d

from numba_lstm._warning import warn
from numba_lstm.estimators.targets import (
    Targets,
    check_any_known,
    check_length,
    check_not_flat,
    check_steps,
    flattened,
    inputs_of,
)
from numba_lstm.inputs import check_sequences
from numba_lstm.numbers_only import as_numbers, unmasked
from numba_lstm.sequences import Sequences


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
        Labels of any type that can be sorted; or of shape (N, K), or (N, T, K), or a list
        of N arrays (T_i, K), 1 for each of K labels that a sequence or a step has and else
        0. A step without a label is NaN or None; of K labels those that are not known are NaN.
    reference : Targets or None
        Targets whose classes must contain those of y.
    sequences, per_step, estimator, name
        As in :func:`~numba_lstm.estimators.targets.check_values`.

    Returns
    -------
    Targets
        Values are indices into ``classes``, or 0 and 1 for each of them; NaN where a step
        has no label.

    Raises
    ------
    ValueError
        If the number or the shape does not fit, a label is unknown, there is only
        one class, or no label at all.
    """
    several = _is_indicator(y, per_step) if reference is None else reference.multilabel
    if per_step and reference is not None and several != _is_indicator(y, True):
        raise ValueError(
            f"The network was fitted with {'several labels' if several else 'one label'} at every "
            f"time step, and {name} has {'one' if several else 'several'}. Pass labels like those "
            "of the fit, or fit a new estimator."
        )
    if several:
        return _check_indicator(y, sequences, per_step, reference, name)
    labels, known = flat_labels(y, sequences, per_step, name)
    if labels.dtype.kind == "O" and not isinstance(labels[0], str):
        raise ValueError(
            f"Unknown label type: {name} holds objects of the type {type(labels[0]).__name__}. "
            "Labels are text or whole numbers: use astype(str) or astype(int)."
        )
    try:
        with np.errstate(invalid="ignore"):  # scikit-learn casts infinity before it refuses it
            check_classification_targets(labels)
        found, codes = np.unique(labels, return_inverse=True)
    except TypeError as error:
        raise ValueError(
            f"The labels in {name} cannot be sorted: {error}. Use labels of one type, strings or "
            "numbers, without None."
        ) from error
    if reference is not None:
        classes = np.asarray(reference.classes)
        unknown = np.setdiff1d(found, classes)
        if len(unknown):
            raise ValueError(
                f"{name} contains labels that are not among the classes "
                f"{classes.tolist()}: {unknown.tolist()}."
            )
        codes, found = np.searchsorted(classes, labels), classes
    if len(found) < 2:
        raise ValueError(
            f"{type(estimator).__name__} needs at least two classes, but {name} contains one "
            f"class only: {found.tolist()}."
        )
    values: Any = codes.reshape(-1, 1)
    if per_step:
        steps = np.full((len(known), 1), np.nan)
        steps[known] = values
        values = Sequences(np.split(steps, np.cumsum(sequences.lengths)[:-1]), "list")
    n_outputs = 1 if len(found) == 2 else len(found)
    return Targets(values, n_outputs, False, per_step, found)


def known_classes(
    classes: Any, y: Any, per_step: bool, earlier: np.ndarray | None = None
) -> Targets:
    """Return what targets must be like whose classes are told beforehand.

    Parameters
    ----------
    classes : array-like of shape (n_classes,)
        All labels that will ever come; 0 to K - 1 where y has a column for each.
    y, per_step
        As in :func:`check_labels`.
    earlier : ndarray of shape (n_classes,), optional
        The classes of an earlier call, which these must be.

    Returns
    -------
    Targets
        Without values.

    Raises
    ------
    ValueError
        If the classes are others than before, or y has a column for each label and they are
        not the columns' numbers.
    """
    labels = np.unique(np.asarray(classes))
    if earlier is not None and not np.array_equal(labels, earlier):
        raise ValueError(
            f"classes={labels.tolist()} differs from the classes of the first call, "
            f"{earlier.tolist()}. Leave it out, or start with a clone."
        )
    several = _is_indicator(y, per_step)
    if several and not np.array_equal(labels, np.arange(len(labels))):
        raise ValueError(
            f"classes={labels.tolist()}, but y has 0 and 1 in a column for each label, and "
            "labels are the numbers of the columns, from 0 on. Leave classes out."
        )
    return Targets(None, len(labels), several, per_step, labels, multilabel=several)


def _known(y):
    """An array of numbers with 0 for what is not known, or of what else y holds."""
    numbers = np.asarray(unmasked(y))
    if numbers.dtype.kind == "O":
        try:
            numbers = as_numbers(y, "y")
        except (TypeError, ValueError):
            return numbers
    return np.where(np.isnan(numbers), 0, numbers) if numbers.dtype.kind == "f" else numbers


def _is_indicator(y, per_step):
    """Whether y has columns of 0 and 1, or at every step more than one number."""
    try:
        if per_step:
            first = next(iter(y), None) if hasattr(y, "__iter__") else None
            return np.ndim(first) == 2 and np.shape(first)[1] > 1
        if getattr(y, "ndim", None) != 2 and not isinstance(y, list | tuple):
            return False
        return np.ndim(y) == 2 and is_multilabel(_known(y))
    except TypeError:  # scikit-learn's, of what cannot be sorted
        return False
    except ValueError as error:  # NumPy's, of rows that make no array
        place = "time steps of y[0]" if per_step else "sequences"
        raise ValueError(
            f"The {place} have different numbers of labels in y. Give each one label, or 0 and 1 "
            "in a column for every label; with return_sequences=True each time step, too."
        ) from error


def _check_indicator(y, sequences, per_step, reference, name):
    """Check labels, 0 or 1 for each, that do not exclude one another."""
    check_length(y, len(sequences), name)
    if per_step:
        values: Any = _step_indicator(y, sequences, name)
        n_labels = values.n_inputs
    else:
        values = as_numbers(y, name).astype(np.float64)
        _check_binary(values, name)
        n_labels = values.shape[1]
        if reference is None and n_labels > 2 and (sequences.lengths == n_labels).all():
            warn(
                f"{name} has {n_labels} columns, as many as X has time steps, and is taken for "
                f"{n_labels} labels for each sequence. Set return_sequences=True if it has one "
                "for each time step.",
                UserWarning,
            )
    if reference is not None and n_labels != reference.n_outputs:
        raise ValueError(
            f"{name} has {n_labels} labels, but the network has {reference.n_outputs}."
        )
    return Targets(values, n_labels, True, per_step, np.arange(n_labels), multilabel=True)


def _step_indicator(y, sequences, name):
    """Check 0 and 1 in K columns for each time step; NaN where it is not known."""
    check_not_flat(y, name)
    steps = check_sequences(y, name=name, columns="labels", allow_nan=True)
    check_steps(steps, sequences, name)
    check_any_known(steps, name)
    for index in steps.parts():
        _check_binary(steps.gather(index)[0], name)
    return steps


def _check_binary(values, name):
    wrong = (values != 0) & (values != 1) & ~np.isnan(values)
    if wrong.any():
        raise ValueError(
            f"{name} holds {values[wrong][0]}; with several labels for each sequence or time "
            "step it is 1 where a label applies and 0 where not."
        )


def flat_labels(
    y: Any, sequences: Sequences, per_step: bool, name: str = "y"
) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels as one array, with those of all time steps.

    Parameters
    ----------
    y, sequences, per_step, name
        As in :func:`check_labels`.

    Returns
    -------
    labels : ndarray of shape (N,); ``per_step``: of as many as are known
        The labels.
    known : ndarray of bool of shape (N,); ``per_step``: (S,)
        Which of the time steps have a label: it is neither NaN nor None.

    Raises
    ------
    ValueError
        If the number, the shape or a type does not fit, or no step has a label.
    """
    check_length(y, len(sequences), name)
    if not per_step:
        flat = check_array(y, ensure_2d=False, dtype=None, input_name=name, allow_nd=True)
        if flat.ndim > 1 and flat[0].size > 1:
            raise ValueError(
                f"y should be a 1d array, got an array of shape {flat.shape} instead: {name} has "
                "a label for each sequence. Set return_sequences=True for one at every time step; "
                "several labels for each sequence are given as 0 and 1 in a column for each."
            )
        if np.ma.is_masked(y):
            raise ValueError(
                f"{name} is masked for sequence {np.argwhere(np.ma.getmaskarray(y))[0, 0]}, and a "
                "classifier needs a label for each. Leave such sequences out of "
                f"{inputs_of(name)} and {name}."
            )
        return flattened(flat), np.ones(len(flat), bool)
    check_not_flat(y, name)
    rows = np.asarray(y) if hasattr(y, "columns") else y  # a frame yields its columns
    parts = [column_or_1d(np.asarray(labels)) for labels in rows]
    check_steps(Sequences([part[:, np.newaxis] for part in parts], "list"), sequences, name)
    known = [
        _has_label(part) & ~np.reshape(np.ma.getmask(labels), -1)
        for part, labels in zip(parts, rows, strict=True)
    ]
    # Only what is known is put together: beside strings NaN would become one, "nan".
    parts = [_numbers(part[mask]) for part, mask in zip(parts, known, strict=True) if mask.any()]
    if not parts:
        raise ValueError(f"{name} has no label at any time step: nothing is left to learn from.")
    text = {part.dtype.kind in "US" for part in parts if part.dtype.kind != "O"}
    if len(text) > 1:
        raise ValueError(
            f"{name} has strings as labels in some sequences and numbers in others. Use labels of "
            "one type."
        )
    labels = check_array(np.concatenate(parts), ensure_2d=False, dtype=None, input_name=name)
    return labels, np.concatenate(known)


def _numbers(labels):
    """Return numbers of an object array, which had None among them, as what they are."""
    if labels.dtype.kind == "O" and all(isinstance(label, Real | np.bool_) for label in labels):
        return np.array(labels.tolist())
    return labels


def _has_label(labels):
    """Tell labels (T,) from NaN, None and pandas' NA."""
    if labels.dtype.kind == "f":
        return ~np.isnan(labels)
    if labels.dtype.kind != "O":
        return np.ones(len(labels), bool)
    return np.array([_is_label(label) for label in labels], bool)


def _is_label(label):
    try:
        return label is not None and bool(label == label)
    except TypeError:  # pandas' NA is neither equal to itself nor not
        return False
