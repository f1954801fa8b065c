"""Memory that training adds to a process."""

import re
import tempfile
import threading
import time
from pathlib import Path

import numpy as np


def _anonymous():
    """Bytes of this process that are not a file's: a mapped file is not counted."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"RssAnon:\s+(\d+)", text).group(1))


def _peak_of(function):
    """Bytes that a call adds at its peak, sampled every few milliseconds."""
    before, peak, done = _anonymous(), 0, threading.Event()

    def watch():
        nonlocal peak
        while not done.is_set():
            peak = max(peak, _anonymous())
            time.sleep(0.002)

    thread = threading.Thread(target=watch)
    thread.start()
    function()
    done.set()
    thread.join()
    return max(peak - before, 0)


def _data(kind, folder, N=20_000, T=100, F=32):
    rng = np.random.default_rng(0)
    dtype = np.float64 if kind == "float64" else np.float32
    if kind != "memmap":
        X = np.empty((N, T, F), dtype)
        for first in range(0, N, 1000):
            X[first : first + 1000] = rng.standard_normal((1000, T, F), np.float32)
        return X
    X = np.memmap(Path(folder) / "X", dtype, "w+", shape=(N, T, F))
    for first in range(0, N, 1000):
        X[first : first + 1000] = rng.standard_normal((1000, T, F), np.float32)
    return X


def added(name, kind):
    """Bytes that one epoch of ``ours`` or ``torch`` adds at its peak."""
    with tempfile.TemporaryDirectory() as folder:
        X = _data(kind, folder)
        y = np.ascontiguousarray(X[:, -1, 0])
        if name == "ours":
            from numba_lstm import LSTMRegressor

            model = LSTMRegressor(64, batch_size=64, max_iter=1, random_state=0)
            model.fit(X[:64], y[:64])  # compiles
            return _peak_of(lambda: model.fit(X, y))
        import torch

        from benchmarks.workers.pytorch import Model

        model, X, y = Model(X.shape[2], 64), torch.from_numpy(X), torch.from_numpy(y)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

        def epoch(n):
            for index in torch.randperm(n).split(64):
                optimizer.zero_grad(set_to_none=True)
                torch.nn.functional.mse_loss(model(X[index]), y[index]).backward()
                optimizer.step()

        epoch(64)
        return _peak_of(lambda: epoch(len(X)))


def long(memory, threads):
    """Seconds and bytes of an epoch on sequences of 10,000 steps."""
    from numba_lstm import LSTMRegressor

    rng = np.random.default_rng(0)
    X = rng.standard_normal((64, 10_000, 4), np.float32)
    y = np.ascontiguousarray(X[:, -1, 0])
    model = LSTMRegressor(
        128, batch_size=32, memory=memory, max_iter=1, n_jobs=threads, random_state=0
    )
    model.fit(X[:, :50], y)  # compiles
    size = _peak_of(lambda: model.fit(X, y))
    began = time.perf_counter()
    model.fit(X, y)
    return time.perf_counter() - began, size
