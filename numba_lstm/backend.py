"""Where a network computes: the one place that knows of devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numba_lstm.network import Network
    from numba_lstm.parameters import Layout


def check_device(device: str) -> None:
    """Refuse a device that this version, or this machine, does not have.

    Parameters
    ----------
    device : str
        The estimators' parameter.

    Raises
    ------
    ValueError
        If it is not "cpu".
    """
    if device != "cpu":
        raise ValueError(
            f"device={device!r}: this version runs on the CPU only. Use device='cpu'."
        )


def make_network(device: str, layout: Layout, dtype: np.dtype, **options: Any) -> Network:
    """Return a network on a device.

    Parameters
    ----------
    device : str
        As :func:`check_device` has checked it.
    layout : Layout
        Its architecture.
    dtype : numpy.dtype
        float32 or float64.
    **options
        Those of :class:`numba_lstm.network.Network`.
    """
    from numba_lstm.network import Network  # which imports Numba

    return Network(layout, dtype, **options)
