"""The data of the comparisons, and how a worker talks to peers.py."""

import importlib.metadata
import json
import sys
import time
from collections.abc import Callable

import numpy as np


def data(B, T, F, N):
    """N random sequences (T, F) with something to learn, float32."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, T, F)).astype(np.float32)
    return X, (X[:, -1, 0] + X[:, 0, -1]).astype(np.float32)


def ragged(T, F, N):
    """N sequences of lengths uniform in 10..T, as a list."""
    rng = np.random.default_rng(0)
    X = [rng.standard_normal((n, F)).astype(np.float32) for n in rng.integers(10, T + 1, N)]
    return X, np.array([x[-1, 0] for x in X], np.float32)


def median_seconds(function: Callable[[], None], goal: float) -> float:
    """Median time of a call, over about ``goal`` seconds of calls."""
    function()
    times: list[float] = []
    spent = 0.0  # a sum over thousands of times before each call would empty the caches
    while spent < goal or len(times) < 3:
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
        spent += times[-1]
    return float(np.median(times))


def serve(tasks: dict[str, Callable], packages: list[str]) -> None:
    """Answer peers.py's requests, one JSON line each, until it closes the pipe."""
    versions = {name: _version(name) for name in packages}
    print(json.dumps(versions), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        task = request.pop("task")
        print(json.dumps(tasks[task](**request)), flush=True)


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # a checkout on PYTHONPATH
        return "not installed"
