"""Speed, memory and quality of the estimators, for asv to follow over time."""

import os
import subprocess
import sys
import tempfile
import time

import numba
import numpy as np

from numba_lstm import LSTMRegressor
from numba_lstm.datasets import make_adding_problem

FIRST_FIT = """
import time
import numba
import numpy as np
import sklearn.base
began = time.perf_counter()
import numba_lstm
imported = time.perf_counter() - began
X = np.random.default_rng(0).standard_normal((1000, 50, 4)).astype(np.float32)
numba_lstm.LSTMRegressor(32, max_iter=1, random_state=0).fit(X, X[:, -1, 0])
print(imported, time.perf_counter() - began)
"""


def in_a_new_process(cache):
    """Seconds to import the library, and to import it and fit once."""
    environment = os.environ | {"NUMBA_CACHE_DIR": cache}
    done = subprocess.run(
        [sys.executable, "-c", FIRST_FIT], env=environment, capture_output=True, check=True
    )
    return [float(seconds) for seconds in done.stdout.split()]


class Sizes:
    params = ((32, 64, 128), ("float32", "float64"))
    param_names = ("hidden_size", "dtype")

    def setup(self, hidden_size, dtype):
        rng = np.random.default_rng(0)
        self.X = rng.standard_normal((512, 50, 8)).astype(np.float32)
        self.y = self.X[:, -1, 0]
        self.model = LSTMRegressor(
            hidden_size, batch_size=64, max_iter=2, dtype=dtype, random_state=0
        )
        self.model.fit(self.X, self.y).predict(self.X)  # compiles
        self.stream = self.model.stream()
        self.stream.step(self.X[0, 0])
        step = self.model.compile()

        @numba.njit
        def hundred(x, state):
            for _ in range(100):
                y = step(x, state)
            return y

        self.hundred, self.state = hundred, step.new_state()
        hundred(self.X[0, 0], self.state)

    def time_fit(self, hidden_size, dtype):
        self.model.fit(self.X, self.y)

    def time_predict(self, hidden_size, dtype):
        self.model.predict(self.X)

    def time_partial_fit(self, hidden_size, dtype):
        """One batch: gather, forward, backward, update."""
        self.model.partial_fit(self.X[:64], self.y[:64])

    def time_step(self, hidden_size, dtype):
        """A hundred time steps of one stream."""
        for _ in range(100):
            self.stream.step(self.X[0, 0])

    def time_compiled_step(self, hidden_size, dtype):
        """A hundred time steps in compiled code."""
        self.hundred(self.X[0, 0], self.state)

    def peakmem_fit(self, hidden_size, dtype):
        self.model.fit(self.X, self.y)


def track_import_seconds():
    in_a_new_process(tempfile.gettempdir())
    return min(in_a_new_process(tempfile.gettempdir())[0] for _ in range(3))


track_import_seconds.unit = "s"


def track_first_fit_seconds():
    """From nothing: import, compile everything, fit."""
    with tempfile.TemporaryDirectory() as cache:
        return in_a_new_process(cache)[1]


track_first_fit_seconds.unit = "s"
track_first_fit_seconds.timeout = 180


def track_adding_problem_score():
    """R2 after 20 epochs of 10,000 sequences of 50 steps."""
    X, y = make_adding_problem(10_000, 50, random_state=0)
    X_test, y_test = make_adding_problem(1000, 50, random_state=1)
    model = LSTMRegressor(
        32, batch_size=50, max_iter=20, learning_rate_init=0.01, learning_rate="cosine",
        random_state=0,
    )  # fmt: skip
    began = time.perf_counter()
    score = model.fit(X, y).score(X_test, y_test)
    print(f"{time.perf_counter() - began:.1f} s")
    return score


track_adding_problem_score.unit = "R2"
track_adding_problem_score.timeout = 300
