"""How the learning rate changes in the course of a fit."""

from __future__ import annotations

import math

# What "plateau" multiplies the learning rate by, and the share of the initial rate
# below which it does not go.
PLATEAU_FACTOR = 0.5
PLATEAU_FLOOR = 1e-3


class Schedule:
    """Learning rate as a function of the progress of a fit.

    Parameters
    ----------
    kind : {"constant", "cosine", "plateau"}
        "cosine" falls from the initial rate to zero over the fit along half a
        cosine (Loshchilov and Hutter 2017, without restarts); "plateau" halves the
        rate when ``patience`` epochs in a row have brought no improvement.
    initial : float
        The rate to begin with.
    patience : int
        Epochs without improvement that "plateau" waits.
    """

    def __init__(self, kind: str, initial: float, patience: int) -> None:
        self.kind = kind
        self.initial = initial
        self.patience = patience
        self._rate = initial
        self._waited = 0

    @property
    def state(self) -> tuple[float, int]:
        """What it remembers: the rate, and how long there was no improvement."""
        return self._rate, self._waited

    @state.setter
    def state(self, state: tuple[float, int]) -> None:
        self._rate, self._waited = state

    def rate(self, progress: float) -> float:
        """Return the learning rate when the share ``progress`` of the fit is done."""
        if self.kind == "cosine":
            return 0.5 * self.initial * (1.0 + math.cos(math.pi * progress))
        return self._rate

    def epoch_ended(self, improved: bool) -> None:
        """Tell the schedule whether the last epoch brought an improvement."""
        self._waited = 0 if improved else self._waited + 1
        if self.kind == "plateau" and self._waited >= self.patience:
            self._rate = max(self._rate * PLATEAU_FACTOR, self.initial * PLATEAU_FLOOR)
            self._waited = 0
