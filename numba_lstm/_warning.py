"""Warnings that point to the line of the user's that led to them."""

import sys
import warnings


def warn(message: str, category: type[Warning]) -> None:
    """Issue a warning as of the line that called this package, scikit-learn's wrapper aside.

    Parameters
    ----------
    message : str
        The warning.
    category : type
        Its class.
    """
    frame, level = sys._getframe(), 1
    while _is_between(frame) and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def _is_between(frame):
    name = frame.f_globals.get("__name__", "")
    return name == "sklearn.base" or name.partition(".")[0] == "numba_lstm"
