"""What only shows in a process of its own: the cache of compiled code, and imports."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import numba_lstm

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
    """To the last bit: with fastmath's "contract" it was not."""
    cold, warm = (run(FIT, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2))
    assert len(cold) == 64
    assert warm == cold


FORK = """
import multiprocessing
import sys
import numba
import numpy as np
import numba_lstm

@numba.njit(parallel=True)
def busy(x):
    for j in numba.prange(x.size):
        x[j] += 1

def fit(queue):
    X = np.random.default_rng(0).standard_normal((64, 5, 2))
    queue.put(numba_lstm.LSTMRegressor(4, max_iter=1, random_state=0).fit(X, X[:, 0, 0]).loss_)

if __name__ == "__main__":
    if multiprocessing.get_start_method(allow_none=True) is None and sys.version_info >= (3, 14):
        multiprocessing.set_start_method("fork")
    busy(np.zeros(100))
    queue = multiprocessing.Queue()
    child = multiprocessing.Process(target=fit, args=(queue,))
    child.start()
    child.join(120)
    print(child.exitcode, queue.get(timeout=10) > 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_first_fit_in_a_forked_child():
    """Its parent's OpenMP threads would end it."""
    assert run(FORK) == "0 True"


def test_threads_of_a_call(monkeypatch):
    from joblib import Parallel, delayed

    from numba_lstm.cpu.threads import resolve_n_jobs

    cores = resolve_n_jobs(None)
    assert resolve_n_jobs(1) == 1
    assert resolve_n_jobs(-1) == cores
    assert resolve_n_jobs(-2) == max(cores - 1, 1)
    assert resolve_n_jobs(10_000) == cores or resolve_n_jobs(10_000) > 1
    workers = Parallel(n_jobs=2, backend="threading")(delayed(resolve_n_jobs)(None) for _ in "ab")
    assert workers == [1, 1]


def test_import_leaves_numba_alone():
    """Importing is cheap: kernels come with the first fit."""
    loaded = run("import sys, numba_lstm; print('numba' in sys.modules)")
    assert loaded == "False"


def test_after_warmup_nothing_is_left_to_compile(tmp_path):
    """A new process finds all kernels of a fit and a prediction in the cache."""
    run("import numba_lstm; numba_lstm.warmup()", NUMBA_CACHE_DIR=str(tmp_path))
    misses = """
from numba.core import event

compiled = []

class Listener(event.Listener):
    def on_start(self, e):
        pass

    def on_end(self, e):
        compiled.append(str(e.data["dispatcher"]))

event.register("numba:compile", Listener())
"""
    early = FIT.replace(".fit(", ".set_params(early_stopping=True).fit(")
    last = run(misses + early + "print(compiled)", NUMBA_CACHE_DIR=str(tmp_path)).splitlines()[-1]
    assert last == "[]"


def test_an_edit_to_another_file_is_seen(tmp_path):
    """A cached kernel holds functions of other files, which Numba does not look at."""
    package = tmp_path / "numba_lstm"
    shutil.copytree(Path(numba_lstm.__file__).parent, package)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})"
        + """
import numpy as np
from numba_lstm import losses
out, y, weight = np.zeros((1, 1)), np.zeros((1, 1)), np.ones(1)
slope = np.zeros((1, 1))
losses.all_losses(losses.BINARY_LOG_LOSS, 1.0, out, y, weight, slope, np.zeros(1))
print(losses.__file__, slope[0, 0])
""".replace("HERE", repr(str(tmp_path)))
    )
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    where, slope = run(code, **cache).split()
    assert Path(where) == package / "losses.py"
    assert float(slope) == 0.5
    found = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.nbc")}
    assert found
    assert run(code, **cache).split() == [where, slope]  # from the cache
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.nbc")}
    assert after == found

    edited = package / "activations.py"
    text = edited.read_text()
    assert "\ndef sigmoid(x" in text
    other = text.replace("\ndef sigmoid(x", "\ndef not_sigmoid(x")
    edited.write_text(other + "\n\n@helper\ndef sigmoid(x):\n    return x + constant(x, 0.25)\n")
    assert float(run(code, **cache).split()[1]) == 0.25


INTERRUPTED = """
import os, signal, threading, time
import numpy as np
from numba_lstm import LSTMRegressor
from numba_lstm.training.optimizers import Optimizer

rng = np.random.default_rng(0)
X = rng.standard_normal((256, 20, 2)).astype("float32")
y = X[:, -1, 0]
model = LSTMRegressor(4, max_iter=1, random_state=0).fit(X, y)  # compiles
first = model.theta_.copy()
model.set_params(max_iter=10**9, n_iter_no_change=10**9)
step, steps = Optimizer.step, []
Optimizer.step = lambda *args: (steps.append(1), step(*args))[1]


def interrupt():
    while len(steps) < 4000:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)


threading.Thread(target=interrupt).start()
try:
    model.fit(X, y)
except KeyboardInterrupt:
    print("interrupted", model.n_iter_ > 1, len(model.loss_curve_) == model.n_iter_)
    print(model.score(X, y) > 0.9, (model.theta_ != first).any())
    model.set_params(warm_start=True, max_iter=1).fit(X, y)
    print(model.n_iter_ > 2)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX has them")
def test_ctrl_c_keeps_what_was_learned():
    assert run(INTERRUPTED).split() == ["interrupted", *["True"] * 5]


def test_a_cache_that_cannot_be_written(tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    code = FIT.replace("LSTMRegressor(37, max_iter=3", "LSTMRegressor(2, max_iter=1")
    assert len(run(code, NUMBA_CACHE_DIR=str(blocked / "no"))) == 64
