"""Fits of one architecture on a GPU, side by side: one launch for all of them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from numba_lstm.estimators._callbacks import callback_management_context
from numba_lstm.estimators.job import Job

if TYPE_CHECKING:
    from numba_lstm.training.loop import Fit


def groups_of(jobs: Sequence[Job]) -> list[list[int]]:
    """Return the numbers of the jobs that a GPU can train side by side, group by group."""
    found: dict[Hashable, list[int]] = {}
    for number, job in enumerate(jobs):
        if (kind := job.kind_on_device()) is not None:
            found.setdefault(kind, []).append(number)
    return list(found.values())


def train_side_by_side(jobs: Sequence[Job]) -> list[Any]:
    """Train jobs of one kind.

    Parameters
    ----------
    jobs : sequence of Job
        For which :meth:`Job.kind_on_device` returns the same.

    Returns
    -------
    list of History, BaseException or None
        What each training ended with; None if it has not begun because of Ctrl-C.
    """
    with ExitStack() as contexts:
        for job in jobs:
            contexts.enter_context(callback_management_context(job.estimator))
        course = _Course([job.begin() for job in jobs])
        course.run(list(range(len(jobs))))
        outcomes: list[Any] = []
        for k, job in enumerate(jobs):
            try:
                begun = k in course.begun
                outcomes.append(job.trained(course.fits[k].finish()) if begun else None)
            except BaseException as raised:
                outcomes.append(raised)
            outcomes[-1] = course.errors[k] or outcomes[-1]
    return outcomes


class _Course:
    """Fits that are driven together, and what was raised in them."""

    def __init__(self, fits: list[Fit]) -> None:
        self.fits = fits
        self.errors: list[BaseException | None] = [None] * len(fits)
        self.begun: set[int] = set()
        self._is_interrupted = False

    def run(self, numbers: list[int]) -> None:
        """Train some of the fits, in halves where the GPU has no room for all."""
        if self._is_interrupted:
            return
        try:
            epochs = self._epochs(numbers)
        except MemoryError as error:
            if len(numbers) == 1:
                self.errors[numbers[0]] = error
                return
            half = len(numbers) // 2
            self.run(numbers[:half])
            self.run(numbers[half:])
            return
        self.begun |= set(numbers)
        try:
            while any(self._goes_on(k) for k in numbers):
                begun = [self._begin(k) for k in numbers]
                losses = epochs.run_all([order for order, _ in begun], [r for _, r in begun])
                for k, loss in zip(numbers, losses, strict=True):
                    self._end_epoch(k, loss)
        except KeyboardInterrupt as interrupt:
            self._is_interrupted = True
            for k in numbers:
                if self._goes_on(k):
                    self.fits[k].interrupted(interrupt)
        except MemoryError as error:  # in the middle of an epoch: there is no way back
            for k in numbers:
                if self._goes_on(k):
                    self.errors[k] = error

    def _epochs(self, numbers):
        from numba_lstm.cuda.epochs import DeviceEpochs
        from numba_lstm.cuda.planning import Model

        models = [
            Model(fit.network, fit.theta, fit.optimizer, fit.generator, fit.training)
            for fit in (self.fits[k] for k in numbers)
        ]
        return DeviceEpochs(models, self.fits[numbers[0]].settings.batch_size)

    def _goes_on(self, k):
        return self.errors[k] is None and not self.fits[k].is_over

    def _begin(self, k):
        """Order and rates of a fit's next epoch; None where there is none."""
        if not self._goes_on(k):
            return None, None
        try:
            return self.fits[k].begins()
        except Exception as error:  # of a callback: the others go on
            self.errors[k] = error
            return None, None

    def _end_epoch(self, k, loss):
        if self._goes_on(k):
            try:
                self.fits[k].epoch_ended(loss)
            except Exception as error:
                self.errors[k] = error
