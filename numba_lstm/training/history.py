"""What happened in a fit, and what the epochs to come depend on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from numba_lstm.training.checkpoints import save_generator
from numba_lstm.training.optimizers import Optimizer
from numba_lstm.training.schedules import Schedule


@dataclass
class History:
    """What happened in a fit, and what it has to remember.

    Attributes
    ----------
    theta : ndarray of shape (P,)
        The weights it ended with.
    best_theta : ndarray of shape (P,)
        The weights to go back to.
    loss_curve : list of float
        Mean training loss of each epoch.
    validation_scores : list of float
        Score on the validation data after each epoch, if there are any.
    best : float
        How good ``best_theta`` is: a score, greater is better.
    reference, waited : float, int
        The score to improve on, and for how many epochs none did.
    diverged : bool
        Whether it stopped because the loss or the gradient was not finite.
    interrupt : KeyboardInterrupt or None
        What it was interrupted by.
    warning : str or None
        What whoever asked for the fit has to be warned of: a ConvergenceWarning.
    """

    theta: np.ndarray
    best_theta: np.ndarray
    loss_curve: list[float] = field(default_factory=list)
    validation_scores: list[float] = field(default_factory=list)
    best: float = -math.inf
    reference: float = -math.inf
    waited: int = 0
    diverged: bool = False
    interrupt: KeyboardInterrupt | None = None
    warning: str | None = None

    def state(
        self, optimizer: Optimizer, generator: np.random.Generator, schedule: Schedule
    ) -> dict[str, Any]:
        """Return all that the epochs to come depend on."""
        return {
            **{name: getattr(self, name) for name in _REMEMBERED},
            **{name: getattr(optimizer, name) for name in _OF_THE_OPTIMIZER},
            "generator": save_generator(generator),
            "schedule": schedule.state,
        }

    def resume(
        self,
        state: dict[str, Any],
        optimizer: Optimizer,
        generator: np.random.Generator,
        schedule: Schedule,
    ) -> None:
        """Go back to what :meth:`state` returned."""
        for owner, names in ((self, _REMEMBERED), (optimizer, _OF_THE_OPTIMIZER)):
            for name in names:
                value = getattr(owner, name)
                if isinstance(value, np.ndarray):
                    value[...] = state[name]
                else:
                    setattr(owner, name, state[name])
        generator.bit_generator.state = state["generator"]
        schedule.state = tuple(state["schedule"])


_REMEMBERED = [
    *("theta", "best_theta", "loss_curve", "validation_scores"),
    *("best", "reference", "waited"),
]
_OF_THE_OPTIMIZER = "n_steps", "first_moment", "second_moment"


def what_is_kept(unit: str, history: History) -> str:
    """Say what weights a training that diverged ends with."""
    if history.loss_curve:
        return f"The weights of the {unit} before are kept."
    return "Nothing was learned: the weights are those that the fit began with."


def report(epoch, max_iter, history, seconds):
    """Print a line about an epoch that has ended."""
    line = f"epoch {epoch + 1:>{len(str(max_iter))}}/{max_iter}  loss {history.loss_curve[-1]:.5f}"
    if history.validation_scores:
        line += f"  validation score {history.validation_scores[-1]:.5f}"
    print(f"{line}  {seconds:.2f} s", flush=True)
