"""The GPU itself: everything that the library takes from numba.cuda."""

from __future__ import annotations

from numba import cuda

__all__ = ["cuda"]
