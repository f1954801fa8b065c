"""What X may be, turned into checked sequences, and these into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils.validation import check_array


class Batch(NamedTuple):
    """Some sequences in order of falling length, as the kernels take them.

    Attributes
    ----------
    values : ndarray of shape (S, F)
        Inputs, sequence after sequence, float32 or float64.
    starts : ndarray of int64 of shape (B + 1,)
        Where each sequence begins in ``values``; the last is S.
    y : ndarray of shape (Q, K), or (Q, 1) with the index of the class
        Targets: Q = B, or S with one output for every step.
    weight : ndarray of shape (Q,)
        Weight of each target in the loss.
    """

    values: np.ndarray
    starts: np.ndarray
    y: np.ndarray | None = None
    weight: np.ndarray | None = None


class Sequences:
    """N checked sequences of F features, of one length or of many.

    Parameters
    ----------
    data : ndarray of shape (N, T, F), or list of ndarray of shape (T_i, F)
        The values, in whatever dtype and memory layout they came; not copied.
    kind : {"2-D", "3-D", "list"}
        What they came as, from which the shape of results follows.
    """

    def __init__(self, data: np.ndarray | list[np.ndarray], kind: str) -> None:
        self.data = data
        self.kind = kind
        if isinstance(data, list):
            self.lengths = np.array([len(sequence) for sequence in data], np.int64)
            self.n_inputs = data[0].shape[1]
        else:
            self.lengths = np.full(data.shape[0], data.shape[1], np.int64)
            self.n_inputs = data.shape[2]

    def __len__(self) -> int:
        return len(self.lengths)

    def gather(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Copy some sequences out, one after another.

        Parameters
        ----------
        index : ndarray of int of shape (B,)
            Which, in the order wanted.

        Returns
        -------
        values : ndarray of shape (S, F)
            In float32 where that holds the values' dtype exactly, else float64.
        starts : ndarray of int64 of shape (B + 1,)
            Where each sequence begins in ``values``.
        """
        if isinstance(self.data, list):
            values = np.concatenate([self.data[i] for i in index])
        else:
            values = np.ascontiguousarray(self.data[index]).reshape(-1, self.n_inputs)
        starts = np.zeros(len(index) + 1, np.int64)
        np.cumsum(self.lengths[index], out=starts[1:])
        exact = np.can_cast(values.dtype, np.float32)
        return values.astype(np.float32 if exact else np.float64, copy=False), starts

    def by_length(self, index: np.ndarray) -> np.ndarray:
        """Return ``index`` in order of falling length, ties as they stand."""
        return index[np.argsort(-self.lengths[index], kind="stable")]

    def parts(
        self, index: np.ndarray | None = None, max_steps: int = 65_536
    ) -> Iterator[np.ndarray]:
        """Yield ``index`` (all sequences by default) in parts of about ``max_steps`` steps.

        In order of falling length, as a batch needs them; a part has at least one
        sequence.
        """
        order = self.by_length(np.arange(len(self)) if index is None else index)
        group = (np.cumsum(self.lengths[order]) - 1) // max_steps
        yield from np.split(order, np.flatnonzero(np.diff(group)) + 1)

    def restore(self, per_step: list[np.ndarray]) -> np.ndarray | list[np.ndarray]:
        """Give arrays (T_i, ...), one a sequence, the shape in which X came."""
        return per_step if self.kind == "list" else np.stack(per_step)


def check_sequences(X: Any, *, name: str = "X") -> Sequences:
    """Check X and turn it into :class:`Sequences`.

    Parameters
    ----------
    X : array-like of shape (N, T, F) or (N, T), or list of (T_i, F) or (T_i,) arrays
        The sequences. A list (or a one-dimensional object array) of arrays may hold
        sequences of different lengths.
    name : str
        What to call X in messages.

    Returns
    -------
    Sequences
        The checked sequences, not copied where X is an array of numbers.

    Raises
    ------
    TypeError
        If X is sparse, or what it holds is no number.
    ValueError
        If the shape is wrong, X or a sequence is empty, the features differ
        between sequences, or a value is NaN, infinite or complex.
    """
    if sparse.issparse(X):
        raise TypeError(
            f"{name} is a sparse {type(X).__name__}, but an LSTM needs a dense array. "
            f"Use {name}.toarray()."
        )
    sequences = _ragged(X, name) if _is_list_of_sequences(X) else _rectangular(X, name)
    _check_finite(sequences, name)
    return sequences


def _is_list_of_sequences(X):
    """Tell a list of sequences from nested lists of numbers that make one array."""
    if isinstance(X, np.ndarray) or hasattr(X, "iloc"):
        if getattr(X, "dtype", None) != np.dtype(object) or X.ndim != 1:
            return False
        X = list(X)
    if not isinstance(X, Sequence) or isinstance(X, str | bytes) or len(X) == 0:
        return False
    if all(_is_plain(sequence) for sequence in X):
        return len({len(sequence) for sequence in X}) > 1
    return (
        any(hasattr(s, "__array__") and np.ndim(s) > 0 for s in X)
        or len({np.shape(s) for s in X if not _is_plain(s)}) > 1
    )


def _is_plain(sequence):
    """Whether this is a list or a tuple of things that are no sequences themselves."""
    return isinstance(sequence, list | tuple) and not any(
        isinstance(item, list | tuple | np.ndarray) for item in sequence
    )


def _rectangular(X, name):
    array = _numeric(X, name, allow_nd=True)
    if array.ndim == 2:
        return Sequences(array[:, :, np.newaxis], "2-D")
    if array.ndim != 3:
        raise ValueError(
            f"{name} has {array.ndim} dimensions, shape {array.shape}; sequences come as "
            "(n_samples, n_timesteps, n_features), or as (n_samples, n_timesteps) with one "
            "feature, or as a list of (n_timesteps, n_features) arrays. Reshape your data, "
            f"for example with {name}.reshape(n_samples, n_timesteps, n_features)."
        )
    for axis, unit in enumerate(("sample", "time step", "feature")):
        if array.shape[axis] == 0:
            raise ValueError(
                f"Found array with 0 {unit}(s) (shape={array.shape}) while a minimum of 1 is "
                f"required: {name} is (n_samples, n_timesteps, n_features)."
            )
    return Sequences(array, "3-D")


def _ragged(X, name):
    data = []
    for i, sequence in enumerate(X):
        label = f"{name}[{i}]"
        array = _numeric(sequence, label, ensure_2d=False, ensure_min_samples=0, allow_nd=True)
        if array.ndim == 1:
            array = array[:, np.newaxis]
        if array.ndim != 2:
            raise ValueError(
                f"{label} has shape {array.shape}; in a list, each sequence is an array "
                "(n_timesteps, n_features), or (n_timesteps,) with one feature."
            )
        if 0 in array.shape:
            raise ValueError(
                f"{label} has shape {array.shape}; each sequence needs at least one time "
                f"step and one feature. Remove it from {name}, and its target."
            )
        if data and array.shape[1] != data[0].shape[1]:
            raise ValueError(
                f"{label} has {array.shape[1]} features and {name}[0] has "
                f"{data[0].shape[1]}; all sequences need the same features."
            )
        data.append(array)
    return Sequences(data, "list")


def _numeric(X, name, **options):
    """Return X as an array of real numbers, without a copy where it is one already."""
    try:
        return check_array(X, dtype="numeric", ensure_all_finite=False, input_name=name, **options)
    except ValueError as error:
        if "inhomogeneous" not in str(error) and "setting an array element" not in str(error):
            raise
        raise ValueError(
            f"{name} is no rectangular array: its parts differ in length or are no "
            "numbers. Pass sequences of different lengths as a list of arrays, each "
            "(n_timesteps, n_features)."
        ) from error


def _check_finite(sequences, name):
    """Refuse NaN and infinity, saying where the first one stands."""
    for index in sequences.parts():
        values, starts = sequences.gather(index)
        with np.errstate(all="ignore"):  # a finite sum is proof enough, and quick
            if np.isfinite(values.sum(dtype=np.float64)) or np.isfinite(values).all():
                continue
        row, feature = np.argwhere(~np.isfinite(values))[0]
        in_batch = np.searchsorted(starts, row, side="right") - 1
        found = "NaN" if np.isnan(values[row, feature]) else "infinity"
        raise ValueError(
            f"Input {name} contains {found}: sequence {index[in_batch]}, time step "
            f"{row - starts[in_batch]}, feature {feature}. Impute or drop such values first "
            "(sklearn.impute, or a forward fill along time)."
        )
