"""Where a network computes: the one place that knows of devices."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from numba_lstm._warning import warn

if TYPE_CHECKING:
    from numba_lstm.base_network import BaseNetwork
    from numba_lstm.parameters import Layout

DEVICES = "cpu", "cuda", "auto"


def resolve_device(device: str, layout: Layout | None = None) -> str:
    """Return the device that an estimator's parameter stands for.

    Parameters
    ----------
    device : {"cpu", "cuda", "auto"}
        The parameter.
    layout : Layout, optional
        Of the network, if it is known.

    Returns
    -------
    {"cpu", "cuda"}
        Where it computes.

    Raises
    ------
    ValueError
        If a GPU has no kernels for the network.
    RuntimeError
        If there is no GPU here that can be used.

    Warns
    -----
    UserWarning
        With "auto", once for each reason, that it is the CPU, and why.
    """
    if device == "cpu":
        return device
    reason = _why_no_gpu()
    if device == "auto":
        reason = reason or _why_not_there(layout)
        if reason is not None:
            _note(reason)
        return "cuda" if reason is None else "cpu"
    if reason is not None:
        raise RuntimeError(f"device='cuda': {reason}. Use device='cpu', or 'auto'.")
    if (reason := _why_not_there(layout)) is not None:
        raise ValueError(f"device='cuda': {reason}. Use device='cpu', or leave that out.")
    return device


def make_network(device: str, layout: Layout, dtype: np.dtype, **options: Any) -> BaseNetwork:
    """Return a network on a device.

    Parameters
    ----------
    device : {"cpu", "cuda", "auto"}
        The estimators' parameter.
    layout : Layout
        Its architecture.
    dtype : numpy.dtype
        float32 or float64.
    **options
        Those of :class:`numba_lstm.network.Network`.

    Raises
    ------
    ValueError, RuntimeError
        As :func:`resolve_device`.
    """
    if resolve_device(device, layout) == "cuda":
        from numba_lstm.cuda.network import CudaNetwork

        del options["n_threads"]
        return CudaNetwork(layout, dtype, **options)
    from numba_lstm.network import Network  # which imports Numba

    return Network(layout, dtype, **options)


def _why_no_gpu():
    """Why no GPU can be used here, or None."""
    from numba_lstm.cuda.device import why_not

    return why_not()


def _why_not_there(layout):
    """Why a GPU has no kernels for a network, or None."""
    from numba_lstm.cuda.limits import why_not_network

    return None if layout is None else why_not_network(layout)


@functools.cache
def _note(reason: str) -> None:
    warn(f"device='auto' is the CPU here: {reason}.", UserWarning)
