"""Mean and standard deviation of columns that come part by part."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

# A standard deviation of fewer roundings of the mean is one of roundings: the column is constant.
_ROUNDINGS = 10 * np.finfo(np.float64).eps


def mean_and_scale(
    parts: Iterable[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weighted moments of columns, in one pass.

    scikit-learn's StandardScaler, given weights, finds no variance for a column that is NaN
    throughout a part, and takes any column for a constant where the weights are large.

    Parameters
    ----------
    parts : iterable of (ndarray of shape (n, F), ndarray of shape (n,))
        Values, NaN where there is none, and weights. Without any parts F is 0.

    Returns
    -------
    mean : ndarray of float64 of shape (F,)
        0 where there is no value.
    scale : ndarray of float64 of shape (F,)
        Standard deviation; 1 where it is 0, and infinite or NaN where it overflows.
    is_seen : ndarray of bool of shape (F,)
        Whether there is a value with a weight.

    References
    ----------
    Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance", The American
    Statistician 37(3), 1983.
    """
    total = mean = squares = first = np.zeros(0)
    with np.errstate(all="ignore"):  # an overflow shows in the result
        for values, weight in parts:
            if not total.size:
                total, mean, squares, first = np.zeros((4, values.shape[1]))
            w = np.where(np.isnan(values), 0.0, weight[:, np.newaxis])
            counts = w > 0
            # Differences from the first value are exactly 0 in a constant column.
            new = values[counts.argmax(axis=0), np.arange(values.shape[1])].astype(np.float64)
            first = np.where(total > 0, first, np.where(counts.any(axis=0), new, 0.0))
            x = np.where(counts, values - first, 0.0)
            own = w.sum(axis=0)
            own_mean = (w * x).sum(axis=0) / np.where(own > 0, own, 1.0)
            own_squares = (w * (x - own_mean) ** 2).sum(axis=0)
            both = np.where(total + own > 0, total + own, 1.0)
            change = own_mean - mean
            squares = squares + own_squares + change**2 * (total * own / both)
            mean = mean + change * (own / both)
            total = total + own
        mean, scale = first + mean, np.sqrt(squares / np.where(total > 0, total, 1.0))
    return mean, np.where(scale <= _ROUNDINGS * np.abs(mean), 1.0, scale), total > 0
