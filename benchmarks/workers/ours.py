"""numba_lstm's side of the comparisons."""

import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.workers.common import data, median_seconds, ragged, serve
from numba_lstm import LSTMRegressor


def _fit_seconds(model, X, y, **more):
    began = time.perf_counter()
    model.fit(X, y, **more)
    return time.perf_counter() - began


def _epoch_seconds(X, y, B, H, threads, goal, dtype, times=False, **architecture):
    """Time of an epoch of fit: what more epochs take, so without start and first epoch."""
    given = {}
    if times:
        gaps = np.random.default_rng(0).exponential(1.0, X.shape[:2])
        given["times"] = np.cumsum(gaps, axis=1)
    options = {"batch_size": B, "clip_norm": None, "alpha": 0.0, "tol": 0.0, "n_jobs": threads}
    model = LSTMRegressor(
        H, **options, **architecture, learning_rate_init=1e-3, dtype=dtype, random_state=0
    )
    model.set_params(max_iter=1, n_iter_no_change=10_000).fit(X, y, **given)
    once = min(_fit_seconds(model, X, y, **given) for _ in range(2))
    more = max(2, round(goal / once))
    longer = _fit_seconds(model.set_params(max_iter=1 + more), X, y, **given)
    return (longer - once) / more


def train(B, T, F, H, batches, threads, goal, dtype="float32", **architecture):
    X, y = data(B, T, F, B * batches)
    return _epoch_seconds(X, y, B, H, threads, goal, dtype, **architecture) / batches


def train_side_by_side(cases, goal):
    """A batch of each case, right after one another: a second later it is another machine."""
    return _in_turn([partial(train, **case) for case in cases], goal)


def train_ragged(B, T, F, H, batches, threads, goal):
    """A batch of many lengths, and one of as many steps in sequences of one length."""
    many = ragged(T, F, B * batches)
    one = data(B, round(np.mean([len(x) for x in many[0]])), F, B * batches)
    epochs = [partial(_epoch_seconds, *d, B, H, threads, dtype="float32") for d in (many, one)]
    packed, whole = _in_turn(epochs, goal)
    return {"packed": packed / batches, "whole": whole / batches}


def _in_turn(measures, goal, turns=3):
    """Medians over some turns, each of which is to last: short ones vary by a factor of two."""
    found = [[measure(goal=goal) for measure in measures] for _ in range(turns)]
    return [float(np.median(one)) for one in zip(*found, strict=True)]


def predict(B, T, F, H, threads, goal):
    X, y = data(B, T, F, B)
    model = LSTMRegressor(H, max_iter=1, n_jobs=threads, random_state=0).fit(X, y)
    return median_seconds(lambda: model.predict(X), goal)


def step(F, H, goal):
    X, y = data(8, 20, F, 8)
    stream = LSTMRegressor(H, max_iter=1, random_state=0).fit(X, y).stream()
    x = X[0, 0]

    def hundred():
        for _ in range(100):
            stream.step(x)

    return median_seconds(hundred, goal) / 100


def product(size, threads, goal):
    """Rate of NumPy's own large product, in GFLOP/s: the machine's measure."""
    A = np.ones((size, size), np.float32)
    return 2e-9 * size**3 / median_seconds(lambda: A @ A, goal)


if __name__ == "__main__":
    serve(
        {
            "train": train,
            "side by side": train_side_by_side,
            "predict": predict,
            "step": step,
            "ragged": train_ragged,
            "product": product,
        },
        ["numba-lstm", "numba", "numpy"],
    )
