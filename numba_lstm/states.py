"""What cells hold between two time steps, and at all of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class States(NamedTuple):
    """What a layer holds at every step of a batch, sequence after sequence.

    Attributes
    ----------
    h, c : ndarray of shape (S, H)
        Hidden state and cell after each step; of two directions side by side.
    gates : ndarray of shape (S, 4H)
        The activated gates i, f, g, o, each like h.
    """

    h: np.ndarray
    c: np.ndarray
    gates: np.ndarray


class State(NamedTuple):
    """What the cells hold between two time steps.

    Attributes
    ----------
    h, c : list of ndarray of shape (B, P) and (B, H)
        For each cell the hidden state and the cell of each sequence.
    """

    h: list[np.ndarray]
    c: list[np.ndarray]

    def rows(self, index: np.ndarray | slice) -> State:
        """Return a copy of the state of some sequences."""
        return State(*([part[index].copy() for part in parts] for parts in self))

    def first(self, n: int) -> State:
        """Return views of the state of the first n sequences."""
        return State(*([part[:n] for part in parts] for parts in self))

    def put(self, index: np.ndarray | slice, state: State) -> None:
        """Write a state over that of some sequences."""
        for parts, given in zip(self, state, strict=True):
            for part, new in zip(parts, given, strict=True):
                part[index] = new
