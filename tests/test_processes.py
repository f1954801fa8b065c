"""What only shows in a process of its own: the cache of compiled code, and imports."""

import os
import subprocess
import sys

FIT = """
import hashlib
import numpy as np
from numba_lstm import LSTMRegressor

rng = np.random.default_rng(0)
X = rng.standard_normal((40, 12, 5)).astype(np.float32)
model = LSTMRegressor(37, max_iter=3, random_state=0).fit(X, X[:, -1, 0])
print(hashlib.sha256(model.theta_.tobytes() + model.predict(X).tobytes()).hexdigest())
"""


def run(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_compiled_now_or_before_the_result_is_the_same(tmp_path):
    """To the last bit: the linker takes other copies of functions from a warm cache."""
    cold, warm = (run(FIT, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2))
    assert len(cold) == 64
    assert warm == cold


def test_import_leaves_numba_alone():
    """Importing is cheap: kernels come with the first fit."""
    loaded = run("import sys, numba_lstm; print('numba' in sys.modules)")
    assert loaded == "False"


def test_a_cache_that_cannot_be_written(tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    code = FIT.replace("LSTMRegressor(37, max_iter=3", "LSTMRegressor(2, max_iter=1")
    assert len(run(code, NUMBA_CACHE_DIR=str(blocked / "no"))) == 64
