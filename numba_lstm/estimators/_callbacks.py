"""scikit-learn's callbacks (new in its version 1.9), or nothing where it has none."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

try:
    from sklearn.callback import CallbackSupportMixin
    from sklearn.callback._callback_support import callback_management_context
except ImportError:
    callback_management_context = nullcontext

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in for scikit-learn's mixin before version 1.9."""


class FitTasks:
    """The tasks of a fit as callbacks see them: the whole, and each epoch in it.

    Parameters
    ----------
    estimator : estimator
        The estimator that is being fitted.
    max_iter : int
        The most epochs there can be.
    X, y, sample_weight
        What ``fit`` was given.
    """

    def __init__(self, estimator: Any, max_iter: int, X: Any, y: Any, sample_weight: Any) -> None:
        self._estimator = estimator
        self._root: Any = None
        self._epoch: Any = None
        self._data = {
            "estimator": estimator,
            "X": X,
            "y": y,
            "metadata": None if sample_weight is None else {"sample_weight": sample_weight},
        }
        if hasattr(estimator, "_init_callback_context"):
            self._root = estimator._init_callback_context(max_subtasks=max_iter)
            self._root.call_on_fit_task_begin(**self._data)

    def begin_epoch(self) -> None:
        """Tell the callbacks that an epoch begins."""
        if self._root is not None:
            self._epoch = self._root.subcontext(task_name="epoch")
            self._epoch.call_on_fit_task_begin(**self._data)

    def end_epoch(self, attributes: Callable[[], dict[str, Any]]) -> bool:
        """Tell the callbacks that an epoch has ended; return whether one says stop.

        ``attributes()`` returns what the estimator would be fitted with if it ended
        here; it is called only for callbacks that want a fitted estimator.
        """
        if self._epoch is None:
            return False
        return self._epoch.call_on_fit_task_end(reconstruction_attributes=attributes, **self._data)

    def end(self, attributes: Callable[[], dict[str, Any]]) -> None:
        """Tell the callbacks that the fit has ended."""
        if self._root is not None:
            self._root.call_on_fit_task_end(reconstruction_attributes=attributes, **self._data)
