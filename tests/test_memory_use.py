"""Memory: none is lost over many calls, and too little of it leaves the estimator as it was."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="reads and limits memory as Linux does"
)

COMMON = """
import gc, resource
import numpy as np
from numba_lstm import LSTMClassifier, LSTMRegressor


def held():
    '''Bytes of memory that the process has in use.'''
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


rng = np.random.default_rng(0)
X = rng.standard_normal((30, 6, 2))
y = X[:, -1, 0]
"""

MANY = """
ragged = [x[: 2 + i % 5] for i, x in enumerate(X)]


def calls(n):
    for k in range(n):
        model = LSTMRegressor(3, max_iter=1, random_state=k).fit(X, y)
        model.predict(X)
        model.partial_fit(ragged, y).hidden_states(ragged)
        model.stream().step(X[0, 0])
        LSTMClassifier(3, max_iter=1, pooling="attention").fit(X, y > 0).predict_proba(X)


calls(100)  # compiles, and fills what Python and NumPy keep for later
before = held()
calls(500)
print((held() - before) / 2**20)
"""

LITTLE = """
model = LSTMRegressor(3, max_iter=2, n_jobs=1, random_state=0).fit(X, y)
big = np.zeros((400_000, 6, 2))
model.predict(big[:100])
LSTMRegressor(64, batch_size=30, max_iter=1, n_jobs=1).fit(X, y)
before, theta = model.predict(X), model.theta_.copy()
limit = resource.getrlimit(resource.RLIMIT_AS)
with open("/proc/self/statm") as file:
    size = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 40 * 2**20, limit[1]))
failed = 0
for call in (
    lambda: model.hidden_states(big),
    lambda: model.set_params(hidden_size=1500, warm_start=False).fit(X, y),
    lambda: model.set_params(hidden_size=3, warm_start=True, batch_size=400_000).fit(
        big, np.zeros(400_000)
    ),
):
    try:
        call()
    except MemoryError:
        failed += 1
resource.setrlimit(resource.RLIMIT_AS, limit)
print(failed, (model.theta_ == theta).all(), (model.predict(X) == before).all())
"""


def run(code):
    done = subprocess.run(
        [sys.executable, "-c", COMMON + code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_thousand_fits_leave_nothing_behind():
    (megabytes,) = run(MANY)
    assert float(megabytes) < 2


def test_too_little_memory():
    assert run(LITTLE) == ["3", "True", "True"]
