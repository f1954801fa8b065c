"""Where a network computes: the one place that knows of devices."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from numba_lstm._collector import collector_paused
from numba_lstm._warning import warn

if TYPE_CHECKING:
    from numba_lstm.base_network import BaseNetwork
    from numba_lstm.parameters import Layout

DEVICES = "cpu", "cuda", "auto"

# What the recurrence may round to before it multiplies; "float32" stands for not at all.
MATMUL_PRECISIONS = "float32", "tf32", "bf16"


def check_precision(device: str, dtype: np.dtype, precision: str) -> None:
    """Refuse a precision of products that only the GPU's recurrence of float32 has.

    Parameters
    ----------
    device, precision : str
        The estimators' parameters ``device`` and ``matmul_precision``.
    dtype : numpy.dtype
        Of the weights.

    Raises
    ------
    ValueError
        If there is no such precision on the device, or for the dtype.
    """
    _check_choice("matmul_precision", precision, MATMUL_PRECISIONS)
    if precision == "float32":
        return
    asked = f"matmul_precision={precision!r}"
    if device == "cpu":
        raise ValueError(
            f"{asked} is for tensor cores, which a GPU has, and device='cpu'. Set "
            "matmul_precision='float32', or device='cuda' or 'auto'."
        )
    if dtype != np.float32:
        raise ValueError(
            f"{asked} rounds weights of float32, and those here are of {np.dtype(dtype)}. Set "
            "matmul_precision='float32', or dtype='float32' and fit again."
        )


def resolve_device(device: str, layout: Layout | None = None, precision: str = "float32") -> str:
    """Return the device that an estimator's parameter stands for.

    Parameters
    ----------
    device : {"cpu", "cuda", "auto"}
        The parameter.
    layout : Layout, optional
        Of the network, if it is known.
    precision : {"float32", "tf32", "bf16"}
        The estimators' parameter ``matmul_precision``.

    Returns
    -------
    {"cpu", "cuda"}
        Where it computes.

    Raises
    ------
    ValueError
        If there is no such device, or a GPU has no kernels for the network.
    RuntimeError
        If there is no GPU here that can be used, or it is too old for the precision.

    Warns
    -----
    UserWarning
        With "auto", once for each reason, that it is the CPU, and why.
    """
    _check_choice("device", device, DEVICES)
    if device == "cpu":
        return device
    reason = _why_no_gpu()
    too_old = None if reason else _why_too_old(precision)
    if device == "auto":
        reason = reason or too_old or _why_not_there(layout)
        if reason is not None:
            _note(reason)
        return "cuda" if reason is None else "cpu"
    if reason is not None:
        raise RuntimeError(f"device='cuda': {reason}. Use device='cpu', or 'auto'.")
    if too_old is not None:
        raise RuntimeError(f"device='cuda': {too_old}. Use matmul_precision='float32'.")
    if (reason := _why_not_there(layout)) is not None:
        raise ValueError(f"device='cuda': {reason}. Use device='cpu', or leave that out.")
    return device


def make_network(
    device: str, layout: Layout, dtype: np.dtype, precision: str = "float32", **options: Any
) -> BaseNetwork:
    """Return a network on a device.

    Parameters
    ----------
    device : {"cpu", "cuda", "auto"}
        The estimators' parameter.
    layout : Layout
        Its architecture.
    dtype : numpy.dtype
        float32 or float64.
    precision : {"float32", "tf32", "bf16"}
        The estimators' parameter ``matmul_precision``; it is float32 where "auto" is the CPU.
    **options
        Those of :class:`numba_lstm.network.Network`.

    Raises
    ------
    ValueError, RuntimeError
        As :func:`check_precision` and :func:`resolve_device`.
    """
    check_precision(device, dtype, precision)
    if resolve_device(device, layout, precision) == "cuda":
        from numba_lstm.cuda.network import CudaNetwork

        del options["n_threads"]
        rounded_to = "" if precision == "float32" else precision
        return CudaNetwork(layout, dtype, precision=rounded_to, **options)
    with collector_paused:
        from numba_lstm.network import Network  # which imports Numba

    return Network(layout, dtype, **options)


# The last network of each thread, which shares no buffers with those of others.
_kept = threading.local()


def kept_network(
    device: str,
    layout: Layout,
    dtype: np.dtype,
    precision: str,
    per_step: bool,
    mean: np.ndarray,
    scale: np.ndarray,
    n_jobs: int | None,
) -> BaseNetwork:
    """Return the network of this thread's last prediction, or a new one if that was another.

    For predictions, whose larger buffers no network keeps: to make the network would take 7 us,
    beside 13 that a small one takes in Python. Only on the CPU.

    Parameters
    ----------
    device, layout, dtype, precision
        As for :func:`make_network`.
    per_step, mean, scale
        As for :class:`numba_lstm.base_network.BaseNetwork`.
    n_jobs : int or None
        The estimators' parameter.

    Raises
    ------
    ValueError, RuntimeError
        As :func:`make_network`.
    """
    n_threads = _resolver()(n_jobs)
    key = layout, dtype, precision, per_step, mean.tobytes(), scale.tobytes(), n_threads
    if device == "cpu" and _kept.__dict__.get("key") == key:
        return _kept.network
    network = make_network(
        *(device, layout, dtype, precision),
        per_step=per_step,
        loss=0,  # none is computed
        loss_parameter=0.0,
        mean=mean,
        scale=scale,
        n_threads=n_threads,
    )
    if device == "cpu":
        _kept.network, _kept.key = network, key
    return network


@functools.cache
def _resolver():
    """Import Numba, and what needs it to count threads: 0.3 us less a call than to ask again."""
    with collector_paused:
        from numba_lstm.cpu.threads import resolve_n_jobs
    return resolve_n_jobs


def _check_choice(name, value, choices):
    """Refuse what set_params may have put there since the fit."""
    if value not in choices:
        raise ValueError(f"{name}={value!r}: pass one of {', '.join(map(repr, choices))}.")


def _why_no_gpu():
    """Why no GPU can be used here, or None."""
    from numba_lstm.cuda.device import why_not

    return why_not()


def _why_too_old(precision):
    """Why the GPU that is here cannot multiply in a precision, or None."""
    if precision == "float32":
        return None
    from numba_lstm.cuda.device import why_not_tensor_cores

    if (reason := why_not_tensor_cores()) is None:
        return None
    return f"the GPU {reason}, and matmul_precision={precision!r} needs 8.0 (Ampere) or later"


def _why_not_there(layout):
    """Why a GPU has no kernels for a network, or None."""
    from numba_lstm.cuda.limits import why_not_network

    return None if layout is None else why_not_network(layout)


@functools.cache
def _note(reason: str) -> None:
    warn(f"device='auto' is the CPU here: {reason}.", UserWarning)
