"""Many fits at once: ensembles, grids, a model for each of many series."""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from joblib import parallel_backend
from joblib.parallel import SequentialBackend
from sklearn import config_context, get_config

from numba_lstm.estimators._callbacks import callback_management_context
from numba_lstm.estimators.base import BaseLSTM
from numba_lstm.estimators.held_out import HeldOut
from numba_lstm.estimators.job import Job
from numba_lstm.estimators.side_by_side import groups_of, train_side_by_side

if TYPE_CHECKING:
    from numba_lstm.training.history import History

# Of a training: None if it has not begun.
Outcome: TypeAlias = "History | BaseException | None"


def fit_many(
    estimators: Sequence[Any],
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    times: Any = None,
    X_val: Any = None,
    y_val: Any = None,
    sample_weight_val: Any = None,
    times_val: Any = None,
    groups: Any = None,
    each: bool = False,
    n_jobs: int | None = None,
) -> list[Any]:
    """Fit many estimators, several at once.

    For ensembles (another ``random_state`` each), grids (another ``learning_rate_init``,
    ``alpha``, ...) and a model for each of many series. Each estimator ends as its own
    ``fit`` would have left it, called one after the other in their order, to the bit. With
    ``device="cuda"`` estimators of one architecture, batch size and number of sequences are
    trained side by side, one launch for all of them, and end as their ``fit`` would have left
    them but for rounding.

    Parameters
    ----------
    estimators : sequence of LSTMRegressor and LSTMClassifier
        What is to be fitted, each an object of its own; fitted in place.
    X, y, sample_weight, times, X_val, y_val, sample_weight_val, times_val, groups
        As in ``fit``, for all estimators. With ``each`` sequences (lists, tuples, arrays) of
        these with one entry for each estimator; all but X and y, and each entry of theirs, may
        be None.
    each : bool, default=False
        Whether each estimator has data of its own.
    n_jobs : int or None, default=None
        How many are fitted at once on the CPU, in threads. None takes all cores (one inside a
        joblib worker), -1 all cores, -2 all but one. Where several are, estimators whose own
        ``n_jobs`` is None have one thread each. Results do not depend on it.

    Returns
    -------
    list
        The estimators, fitted.

    Raises
    ------
    TypeError
        If an estimator is none of this library, or of a class with a ``fit`` of its own, or
        with ``each`` something is no sequence of data.
    ValueError
        If there are no estimators, one is there twice, two have one checkpoint, there are not
        as many entries as estimators, or data or a parameter does not fit. All data and
        parameters are checked first: no estimator has then been changed.
    KeyboardInterrupt
        After Ctrl-C. Estimators whose training had begun are fitted, as after Ctrl-C in
        ``fit``, with what they have learned so far; the others are as they were.

    Warns
    -----
    ConvergenceWarning, UserWarning
        As ``fit``; of a training that diverged with the number of the estimator.

    Notes
    -----
    If a training raises something (a callback, a full disk), that estimator stays as it was,
    and no further training begins; those under way go on to their ends, and the estimators
    that have been trained are fitted. Then the error is raised, the first in the estimators'
    order, with a note of whose it is.

    A ``random_state`` of None or a ``RandomState`` that several share is drawn from in the
    estimators' order. What is computed of y, weights and times is held for all estimators from
    the beginning; X is not copied.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_lstm import LSTMRegressor, fit_many
    >>> X = np.random.default_rng(0).standard_normal((100, 20, 3))
    >>> y = X[:, :, 0].sum(axis=1)
    >>> models = [LSTMRegressor(4, max_iter=5, random_state=k) for k in range(5)]
    >>> np.stack([model.predict(X) for model in fit_many(models, X, y)]).shape
    (5, 100)
    """
    from numba_lstm.cpu.threads import resolve_n_jobs  # which imports Numba

    checked = _checked(estimators)
    at_once = min(resolve_n_jobs(n_jobs), len(checked))
    given = {"X": X, "y": y, "sample_weight": sample_weight, "times": times}
    held_out = {"X_val": X_val, "y_val": y_val, "sample_weight_val": sample_weight_val}
    held_out |= {"times_val": times_val, "groups": groups}
    data = [_data(part, len(checked), each) for part in (given, held_out)]
    jobs = []
    for number, (estimator, own, held) in enumerate(zip(checked, *data, strict=True)):
        with _noted(number):
            continued = estimator.warm_start and hasattr(estimator, "theta_")
            jobs.append(Job(estimator, *own, held_out=HeldOut(*held), continued=continued))
    _end(jobs, *_train(jobs, at_once))
    return checked


def _checked(estimators: Any) -> list[Any]:
    """Estimators as a list, each one of ours and there once."""
    if isinstance(estimators, BaseLSTM):
        raise TypeError("estimators is a single estimator. Pass a list of them, or call its fit.")
    estimators = list(estimators)
    seen: dict[int, int] = {}
    files: dict[str, int] = {}
    if not estimators:
        raise ValueError("estimators is empty. Pass one estimator at least.")
    for number, estimator in enumerate(estimators):
        if not isinstance(estimator, BaseLSTM):
            raise TypeError(
                f"estimators[{number}] is {estimator!r}; fit_many takes LSTMRegressor and "
                "LSTMClassifier. Of a pipeline pass the last step, and X as the steps before it "
                "transform it."
            )
        if type(estimator).fit is not BaseLSTM.fit:
            raise TypeError(
                f"estimators[{number}] is a {type(estimator).__name__}, whose class has a fit of "
                "its own that fit_many would not call. Call it for each."
            )
        before = seen.setdefault(id(estimator), number)
        if before != number:
            raise ValueError(
                f"estimators[{before}] and estimators[{number}] are one object, which cannot be "
                "fitted twice. Pass a clone (sklearn.base.clone) for each."
            )
        if isinstance(estimator.checkpoint, str | os.PathLike):
            before = files.setdefault(os.path.realpath(estimator.checkpoint), number)
            if before != number:
                raise ValueError(
                    f"estimators[{before}] and estimators[{number}] have one "
                    f"checkpoint={os.fspath(estimator.checkpoint)!r}. Give each a file of its own."
                )
    return estimators


def _data(given: dict[str, Any], n: int, each: bool) -> list[Any]:
    """What is given, for each of n estimators."""
    if not each:
        return [tuple(given.values())] * n
    columns = []
    for name, entries in given.items():
        if entries is None and name not in ("X", "y"):
            entries = [None] * n
        if not isinstance(entries, Sequence | np.ndarray) or isinstance(entries, str | bytes):
            raise TypeError(
                f"{name} is a {type(entries).__name__}; with each=True pass a list with the "
                f"{name} of each estimator."
            )
        if len(entries) != n:
            raise ValueError(
                f"{name} has {len(entries)} entries for {n} estimators; with each=True pass one "
                "for each."
            )
        columns.append(entries)
    return list(zip(*columns, strict=True))


@contextmanager
def _noted(number: int) -> Iterator[None]:
    """Note on what is raised whose it is."""
    try:
        yield
    except Exception as error:
        error.add_note(f"This is estimators[{number}] of fit_many.")
        raise


def _train(jobs: list[Job], at_once: int) -> tuple[list[Outcome], KeyboardInterrupt | None]:
    """Train those side by side that a GPU can train so, and then the others."""
    outcomes: list[Outcome] = [None] * len(jobs)
    left = set(range(len(jobs)))
    for numbers in groups_of(jobs):
        left -= set(numbers)
        found = train_side_by_side([jobs[number] for number in numbers])
        for number, outcome in zip(numbers, found, strict=True):
            outcomes[number] = outcome
        if any(_has_failed(outcome) for outcome in found):
            return outcomes, None
    others = sorted(left)
    rest = [jobs[number] for number in others]
    train = _train_in_turn(rest) if at_once == 1 else _train_at_once(rest, at_once)
    for number, outcome in zip(others, train[0], strict=True):
        outcomes[number] = outcome
    return outcomes, train[1]


def _has_failed(outcome):
    """Whether a training raised something, or was interrupted: no further one begins."""
    if isinstance(outcome, BaseException) or outcome is None:
        return True
    return outcome.interrupt is not None


def _train_in_turn(jobs: list[Job]) -> tuple[list[Outcome], None]:
    """Train in this thread, each with as many threads as it asks for, until one fails."""
    outcomes: list[Outcome] = [None] * len(jobs)
    for number, job in enumerate(jobs):
        try:
            with callback_management_context(job.estimator):
                outcomes[number] = history = job.train()
        except BaseException as error:
            outcomes[number] = error
            break
        if history.interrupt is not None:
            break
    return outcomes, None


def _train_at_once(
    jobs: list[Job], at_once: int
) -> tuple[list[Outcome], KeyboardInterrupt | None]:
    """Train in threads, whose kernels need no interpreter, until one fails or Ctrl-C."""
    outcomes: list[Outcome] = [None] * len(jobs)
    left = list(range(len(jobs)))[::-1]
    running: set[int] = set()
    lock, failed, stopped, woken = (threading.Lock(), *(threading.Event() for _ in range(3)))
    config = get_config()  # scikit-learn's, which no other thread sees

    def begins_no_more() -> bool:
        return not left or failed.is_set() or stopped.is_set()

    def check() -> None:
        if stopped.is_set():
            raise KeyboardInterrupt

    def train(number: int) -> None:
        try:
            with callback_management_context(jobs[number].estimator):
                outcomes[number] = history = jobs[number].train(check)
            if history.interrupt is not None:
                stopped.set()
        except BaseException as error:
            outcomes[number] = error
            failed.set()

    def work() -> None:
        # As in a worker of joblib's, whose siblings have the other cores.
        with config_context(**config), parallel_backend(SequentialBackend(nesting_level=1)):
            while True:
                with lock:
                    if begins_no_more():
                        return
                    running.add(number := left.pop())
                train(number)
                with lock:
                    running.remove(number)
                woken.set()

    contexts = [contextvars.copy_context() for _ in range(at_once)]
    threads = [threading.Thread(target=context.run, args=(work,)) for context in contexts]
    interrupt, is_over = None, False
    while not is_over:
        try:
            for thread in threads:
                if thread.ident is None and not stopped.is_set():
                    thread.start()
            # Not join: interrupted, it may take a thread that runs for one that has ended.
            while not is_over:
                woken.wait(0.2)  # Windows lets no signal into a wait without an end
                woken.clear()
                with lock:
                    is_over = begins_no_more() and not running
        except KeyboardInterrupt as found:  # which only this thread is told of
            interrupt = found
            stopped.set()
        except BaseException:  # no room for a thread
            stopped.set()
            raise
    return outcomes, interrupt


def _end(jobs: list[Job], outcomes: list[Outcome], interrupt: KeyboardInterrupt | None) -> None:
    """Fit the estimators that were trained; raise what there is to raise."""
    errors: list[BaseException] = []
    for number, (job, outcome) in enumerate(zip(jobs, outcomes, strict=True)):
        try:
            with _noted(number):
                if isinstance(outcome, BaseException):
                    raise outcome
                if outcome is None:
                    continue
                if outcome.warning is not None:
                    outcome.warning = f"estimators[{number}]: {outcome.warning}"
                job.end(outcome)
        except KeyboardInterrupt as found:
            interrupt = interrupt or found
        except BaseException as error:
            errors.append(error)
    if interrupt is not None:
        raise interrupt from (errors[0] if errors else None)
    if errors:
        raise errors[0]
