"""Pickles of one version in another."""

from __future__ import annotations

import functools
import inspect
import warnings
from typing import Any

from sklearn.exceptions import InconsistentVersionWarning

_VERSION = "_numba_lstm_version"


class PicklingMixin:
    """Pickles that know of which version they are, as scikit-learn's own do."""

    def __getstate__(self) -> dict[str, Any]:
        from numba_lstm import __version__

        return {**super().__getstate__(), _VERSION: __version__}  # type: ignore[dict-item]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take on a state; parameters that an older version did not have get their defaults.

        Warns
        -----
        InconsistentVersionWarning
            If another version of this library has made it.
        """
        from numba_lstm import __version__

        state = dict(state)
        version = state.pop(_VERSION, "unknown")
        if version != __version__:
            warnings.warn(
                InconsistentVersionWarning(
                    estimator_name=type(self).__name__,
                    current_sklearn_version=__version__,
                    original_sklearn_version=version,
                ),
                stacklevel=2,
            )
        cls: Any = type(self)
        super().__setstate__(_defaults(cls) | state)  # type: ignore[misc]


@functools.cache
def _defaults(estimator: Any) -> dict[str, Any]:
    parameters = inspect.signature(estimator).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not one.empty}
