"""Synthetic tasks whose sequences are made of symbols."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

# Where the relevant symbols of the temporal order problem stand, by their number.
_PLACES = {2: ((10, 20), (50, 60)), 3: ((10, 20), (33, 43), (66, 76))}

# Reber's grammar: from each state, the symbols that may follow and where they lead.
_REBER = (
    {"B": 1},
    {"T": 2, "P": 3},
    {"S": 2, "X": 4},
    {"T": 3, "V": 5},
    {"X": 3, "S": 6},
    {"P": 4, "V": 6},
    {"E": 7},
)


def make_temporal_order(
    n_samples: int = 1000, n_relevant: int = 2, random_state: Any = None
) -> tuple[list[np.ndarray], np.ndarray]:
    """Make the temporal order problem: in which order two symbols stood, far apart.

    A sequence has 100 to 110 symbols: E, then a, b, c and d at random, and B at the end.
    X or Y stands at a step from 10 to 20 and at another from 50 to 60, counted from 0. Which
    of the four there were, and in which order, is the class. Guessing is right once in four
    times.

    Parameters
    ----------
    n_samples : int
        N >= 1 sequences.
    n_relevant : {2, 3}
        Relevant symbols; three stand at steps from 10 to 20, 33 to 43 and 66 to 76 and make
        eight classes.
    random_state : int, RandomState instance or None, default=None
        Source of the random numbers.

    Returns
    -------
    X : list of N ndarray of float32 of shape (T_i, 8)
        The symbols E, B, X, Y, a, b, c, d, each as 1 in a column of its own.
    y : ndarray of shape (N,)
        The classes: "XX", "XY", "YX" or "YY".

    Raises
    ------
    ValueError
        If there is no sequence, or another number of relevant symbols.

    References
    ----------
    Hochreiter and Schmidhuber (1997), tasks 6a and 6b.

    Examples
    --------
    >>> from numba_lstm.datasets import make_temporal_order
    >>> X, y = make_temporal_order(3, random_state=0)
    >>> X[0].shape, y.tolist()
    ((105, 8), ['YX', 'XY', 'YY'])
    """
    if n_samples < 1 or n_relevant not in _PLACES:
        raise ValueError(
            f"n_samples={n_samples}, n_relevant={n_relevant}: the temporal order problem needs at "
            "least one sequence, with two or three relevant symbols."
        )
    random_state = check_random_state(random_state)
    symbols, X, y = np.eye(8, dtype=np.float32), [], []
    for _ in range(n_samples):
        codes = random_state.randint(4, 8, random_state.randint(100, 111))
        codes[0], codes[-1] = 0, 1
        relevant = random_state.randint(2, size=n_relevant)
        for (first, last), symbol in zip(_PLACES[n_relevant], relevant, strict=True):
            codes[random_state.randint(first, last + 1)] = 2 + symbol
        X.append(symbols[codes])
        y.append("".join("XY"[symbol] for symbol in relevant))
    return X, np.array(y)


def make_embedded_reber(
    n_samples: int = 1000, random_state: Any = None
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Make strings of the embedded Reber grammar, and what may follow on each symbol.

    A string is B, then T or P, a string of Reber's grammar, the same T or P again, and E. To
    foretell the last but one symbol, the second has to be remembered over all of the inner
    string, which has 5 symbols or more.

    Parameters
    ----------
    n_samples : int
        N >= 1 strings.
    random_state : int, RandomState instance or None, default=None
        Source of the random numbers: each of the symbols that may follow is as probable.

    Returns
    -------
    X : list of N ndarray of float32 of shape (T_i, 7)
        All symbols but the last, each as 1 in a column of its own: B, T, P, S, X, V, E. What
        did follow is the next row, and E in the end.
    y : list of N ndarray of int8 of shape (T_i, 7)
        1 for each symbol that may follow: one or two at every step.

    Raises
    ------
    ValueError
        If there is no string.

    References
    ----------
    Hochreiter and Schmidhuber (1997), task 1; Fahlman, "The recurrent cascade-correlation
    learning algorithm", 1991.

    Examples
    --------
    >>> from numba_lstm.datasets import make_embedded_reber
    >>> X, y = make_embedded_reber(3, random_state=0)
    >>> "".join("BTPSXVE"[row.argmax()] for row in X[0])
    'BTBPVPSET'
    >>> ["".join(s for s, may in zip("BTPSXVE", row) if may) for row in y[0]]
    ['TP', 'B', 'TP', 'TV', 'PV', 'SX', 'E', 'T', 'E']
    """
    if n_samples < 1:
        raise ValueError(f"n_samples={n_samples}: the grammar needs at least one string to make.")
    random_state = check_random_state(random_state)
    symbols, X, y = np.eye(7, dtype=np.float32), [], []
    for _ in range(n_samples):
        string, possible = _reber_string(random_state)
        X.append(symbols[["BTPSXVE".index(symbol) for symbol in string[:-1]]])
        y.append(np.array([[s in after for s in "BTPSXVE"] for after in possible], np.int8))
    return X, y


def _reber_string(random_state):
    """A string of the embedded grammar, and the symbols that may follow each but the last."""
    wing = "TP"[random_state.randint(2)]
    string, possible, state = ["B", wing], ["TP"], 0
    while state < len(_REBER):
        possible.append("".join(_REBER[state]))
        string.append(possible[-1][random_state.randint(len(possible[-1]))])
        state = _REBER[state][string[-1]]
    return [*string, wing, "E"], [*possible, wing, "E"]
