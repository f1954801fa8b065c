"""Validation data: what is passed for them, or a part of the training data."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.utils import check_consistent_length

from numba_lstm.estimators.checks import check_given_times, check_X
from numba_lstm.estimators.weights import check_step_weights

if TYPE_CHECKING:
    from numba_lstm.estimators.targets import Targets
    from numba_lstm.training.data import Dataset


class HeldOut(NamedTuple):
    """What ``fit`` is told of validation data.

    Attributes
    ----------
    X, y, sample_weight, times
        Data of their own: ``X_val`` and so on.
    groups
        Of the training sequences, for a split that keeps groups together.
    """

    X: Any = None
    y: Any = None
    sample_weight: Any = None
    times: Any = None
    groups: Any = None


NOTHING = HeldOut()


def validation_data(
    estimator: Any,
    attributes: dict[str, Any],
    training: Dataset,
    targets: Targets,
    held_out: HeldOut,
    random_state: np.random.RandomState,
) -> tuple[Dataset, Dataset | None]:
    """Return the training part and the validation part of the data, or None.

    Parameters
    ----------
    estimator : LSTMRegressor or LSTMClassifier
        What is to be fitted.
    attributes : dict
        What the check of X has set of it.
    training, targets
        All training data, checked.
    held_out : HeldOut
        What was passed.
    random_state : numpy.random.RandomState
        Draws a random part.

    Raises
    ------
    ValueError
        If something is passed without what it needs, does not fit, or is too little to split.
    """
    if (held_out.X is None) != (held_out.y is None):
        missing, given = ("y_val", "X_val") if held_out.y is None else ("X_val", "y_val")
        raise ValueError(f"{given} was given without {missing}; pass both or neither.")
    if held_out.groups is not None:
        if isinstance(estimator.validation_split, str):
            raise ValueError(
                f"groups was given, but validation_split={estimator.validation_split!r} does not "
                "ask for it. Set validation_split=GroupShuffleSplit(n_splits=1), say, or leave "
                "groups out."
            )
        check_consistent_length(training.index, held_out.groups)
    if held_out.X is not None:
        probe = copy.copy(estimator)
        probe.__dict__.pop("feature_names_in_", None)
        probe.__dict__.update(attributes)
        return training, _passed(probe, training, targets, held_out)
    if held_out.sample_weight is not None or held_out.times is not None:
        raise ValueError("sample_weight_val or times_val was given without X_val and y_val.")
    if not estimator.early_stopping:
        return training, None
    if estimator.stateful:
        raise ValueError(
            "stateful=True needs all sequences, in their order; early_stopping=True would set "
            "some of them aside. Pass X_val and y_val, a later stretch of the series."
        )
    n, how = len(training), estimator.validation_split
    what = f"a share of {estimator.validation_fraction}" if isinstance(how, str) else "a part"
    try:
        kept, held = _split(estimator, n, targets.stratify(), held_out.groups, random_state)
    except ValueError as error:
        raise ValueError(
            f"early_stopping=True sets {what} of the {n} sequences aside for validation, which is "
            f"not possible: {str(error).rstrip('.')}. Pass more data, another "
            "validation_fraction or validation_split, or X_val and y_val."
        ) from error
    if training.subset(held).n_counted() < 2 or training.subset(kept).n_counted() < 1:
        raise ValueError(
            f"The validation part has {len(held)} of {n} sequences: too small, or it or the rest "
            "has no target with a weight. Increase validation_fraction, set another "
            "validation_split, or pass X_val and y_val."
        )
    return training.subset(np.sort(kept)), training.subset(np.sort(held))


def _split(estimator, n, labels, groups, random_state):
    """Return which of n sequences to train on, and which to hold out."""
    from sklearn.model_selection import train_test_split

    how, share = estimator.validation_split, estimator.validation_fraction
    if isinstance(how, str):
        random = how == "random"
        return train_test_split(
            np.arange(n),
            test_size=share,
            shuffle=random,
            random_state=random_state if random else None,
            stratify=labels if random else None,
        )
    if isinstance(how, type):
        raise ValueError(f"validation_split is the class {how.__name__}; pass an object of it.")
    if getattr(how, "random_state", 0) is None:
        how = copy.copy(how)
        how.random_state = random_state.randint(2**31 - 1)
    y = np.zeros(n) if labels is None else labels
    splits = list(how.split(np.zeros((n, 1)), y, groups))
    if not splits:
        raise ValueError(f"{how!r} makes no split")
    try:
        kept, held = (np.arange(n)[np.asarray(part)] for part in splits[-1] if len(part))
    except (IndexError, TypeError, ValueError) as error:
        raise ValueError(f"{how!r} makes no two parts of these sequences: {error}") from error
    if np.intersect1d(kept, held).size:
        raise ValueError(f"{how!r} makes parts that have sequences in common")
    return kept, held


def _passed(estimator, training, targets, held_out):
    probe = copy.copy(estimator)
    probe._masks = estimator.missing == "mask"
    sequences = check_X(probe, held_out.X, "X_val")
    wanted = training.sequences.gaps is not None
    check_given_times(held_out.times, sequences, wanted, estimator._time_kind, "times_val")
    values = estimator._check_targets(held_out.y, sequences, targets, "y_val").values
    weight, of_steps = check_step_weights(
        held_out.sample_weight, sequences, targets.per_step, "sample_weight_val"
    )
    return type(training)(sequences, values, weight, np.arange(len(sequences)), of_steps)
