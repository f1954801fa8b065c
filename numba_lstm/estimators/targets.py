"""What the targets of a regression may be, as numbers for the network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.validation import _num_samples, column_or_1d

from numba_lstm._warning import warn
from numba_lstm.inputs import check_sequences
from numba_lstm.numbers_only import as_numbers
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
        Whether there is a target for every time step, NaN where a step has none.
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


def inputs_of(name):
    """What the inputs are called whose targets are called ``name``."""
    return "X_val" if name.endswith("_val") else "X"


def flattened(y: np.ndarray) -> np.ndarray:
    """Return a column (N, 1), or what has one dimension already, as (N,); warn of the former."""
    if y.ndim > 1:
        warn(
            "A column-vector y was passed when a 1d array was expected. Change the shape of y to "
            "(n_samples,), for example by ravel().",
            DataConversionWarning,
        )
    return column_or_1d(y)


def check_length(y: Any, n: int, name: str) -> None:
    """Check that there is a target for each of n sequences."""
    if y is None:
        raise ValueError(f"This requires y to be passed, but the target {name} is None.")
    if _num_samples(y) != n:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: {n} sequences in "
            f"{inputs_of(name)}, "
            f"but {_num_samples(y)} targets in {name}."
        )


def check_not_flat(y: Any, name: str) -> None:
    """Check that the first sequence has more than one target, whatever its steps."""
    if np.ndim(next(iter(y))) == 0 and not hasattr(y, "columns"):
        raise ValueError(
            f"With return_sequences=True every time step needs a target, but {name}[0] is a "
            "single value. Set return_sequences=False for one target a sequence."
        )


def check_steps(targets: Sequences, sequences: Sequences, name: str) -> None:
    """Check that the sequences have as many targets as time steps."""
    different = np.flatnonzero(targets.lengths != sequences.lengths)
    if len(different):
        i = different[0]
        raise ValueError(
            f"With return_sequences=True every time step needs a target: sequence {i} of "
            f"{inputs_of(name)} has "
            f"{sequences.lengths[i]} time steps, but {name}[{i}] has {targets.lengths[i]}."
        )


def check_any_known(targets: Sequences, name: str) -> None:
    """Refuse targets of steps that are all NaN."""
    if all(np.isnan(targets.gather(index)[0]).all() for index in targets.parts()):
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
        If the number, the shape or a value does not fit. NaN may stand for some of several
        targets, and with ``per_step`` for all targets of a step: they do not count.
    TypeError
        If y holds dates or other things that are no numbers.
    """
    if per_step:
        check_length(y, len(sequences), name)
        check_not_flat(y, name)
        steps = check_sequences(y, name=name, columns="outputs", allow_nan=True)
        check_steps(steps, sequences, name)
        check_any_known(steps, name)
        has_columns = steps.kind == "3-D"
        if steps.kind == "list":
            has_columns = np.ndim(next(iter(y))) > 1
        targets = Targets(steps, steps.n_inputs, has_columns, True)
    else:
        check_length(y, len(sequences), name)
        if isinstance(y, list | tuple) and len({np.shape(row) for row in y}) > 1:
            raise ValueError(
                f"{name} holds targets of different shapes, but without return_sequences each "
                "sequence has a number, or a row of K. Set return_sequences=True for a target at "
                "every step."
            )
        y = as_numbers(y, name, ensure_2d=False, ensure_min_samples=0, estimator=estimator)
        if y.ndim == 2 and y.shape[1] == 1:
            y = flattened(y)
        if y.ndim not in (1, 2):
            raise ValueError(
                f"{name} has shape {y.shape}, but without return_sequences it is (n_samples,) or "
                "(n_samples, n_outputs). Set return_sequences=True for a target at every step."
            )
        values = np.asarray(y, np.float64).reshape(len(y), -1)
        wrong = ~np.isfinite(values) if values.shape[1] == 1 else np.isinf(values)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            found = "NaN" if np.isnan(values[row, column]) else "infinity"
            raise ValueError(
                f"Input {name} contains {found}: target {row}"
                f"{f', output {column}' if y.ndim > 1 else ''}. Leave such sequences out of "
                f"{inputs_of(name)} and {name}."
            )
        targets = Targets(values, values.shape[1], y.ndim > 1, False)
    if reference is not None and targets.n_outputs != reference.n_outputs:
        raise ValueError(
            f"{name} has {targets.n_outputs} outputs, but the network has {reference.n_outputs}."
        )
    return targets
