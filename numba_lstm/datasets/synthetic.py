"""Synthetic tasks that need a memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state


def make_adding_problem(
    n_samples: int = 1000, n_timesteps: int = 50, random_state: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Make the adding problem: the sum of the two marked numbers of a sequence.

    Always predicting the mean, 1, has a mean squared error of 1/6.

    Parameters
    ----------
    n_samples, n_timesteps : int
        N >= 1 sequences of T >= 2 steps.
    random_state : int, RandomState instance or None, default=None
        Source of the random numbers.

    Returns
    -------
    X : ndarray of float32 of shape (N, T, 2)
        A number in [0, 1) and a marker, which is 1 once in each half of the sequence.
    y : ndarray of float32 of shape (N,)
        The sum of the two marked numbers.

    Raises
    ------
    ValueError
        If there is no sequence, or no second half.

    References
    ----------
    Hochreiter and Schmidhuber (1997), task 4, in the form of Le, Jaitly and Hinton,
    "A simple way to initialize recurrent networks of rectified linear units", 2015.

    Examples
    --------
    >>> from numba_lstm.datasets import make_adding_problem
    >>> X, y = make_adding_problem(3, 10, random_state=0)
    >>> X.shape, y.shape
    ((3, 10, 2), (3,))
    """
    if n_samples < 1 or n_timesteps < 2:
        raise ValueError(
            f"n_samples={n_samples}, n_timesteps={n_timesteps}: the adding problem needs at "
            "least one sequence of two time steps."
        )
    random_state = check_random_state(random_state)
    X = np.zeros((n_samples, n_timesteps, 2), np.float32)
    X[:, :, 0] = random_state.uniform(size=(n_samples, n_timesteps))
    rows, half = np.arange(n_samples), n_timesteps // 2
    first = random_state.randint(0, half, n_samples)
    second = random_state.randint(half, n_timesteps, n_samples)
    X[rows, first, 1] = X[rows, second, 1] = 1.0
    return X, X[rows, first, 0] + X[rows, second, 0]
