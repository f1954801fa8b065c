"""What only shows in a process of its own: the cache of compiled code, and imports."""

import os
import random
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
import os
import sys
import numba
import numpy as np

@numba.njit(parallel=True)
def busy(x):
    for j in numba.prange(x.size):
        x[j] += 1

def fit():
    import numba_lstm

    X = np.random.default_rng(0).standard_normal((64, 5, 2))
    return numba_lstm.LSTMRegressor(4, max_iter=1, random_state=0).fit(X, X[:, 0, 0]).loss_ > 0

def through_os():
    child = os.fork()
    if child == 0:
        os._exit(0 if fit() else 1)
    return os.waitpid(child, 0)[1]

def through_multiprocessing():
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=lambda: queue.put(fit()))
    child.start()
    child.join(120)
    return child.exitcode + (not queue.get(timeout=10))

busy(np.zeros(100))
if "BEFORE":
    import numba_lstm
print(through_HOW())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("before", ["yes", ""], ids=["imported before", "imported after"])
@pytest.mark.parametrize("how", ["os", "multiprocessing"])
def test_first_fit_in_a_forked_child(how, before):
    """Its parent's OpenMP threads would end it, whoever imports the package first."""
    if how == "os" and not before and not Path("/proc/self/stat").exists():
        pytest.skip("only Linux tells a process that it was forked")
    assert run(FORK.replace("BEFORE", before).replace("HOW", how)) == "0"


def test_threads_of_a_call(monkeypatch):
    from joblib import Parallel, delayed

    from numba_lstm.cpu.threads import resolve_n_jobs

    cores = resolve_n_jobs(None)
    assert resolve_n_jobs(1) == 1
    assert resolve_n_jobs(-1) == cores
    assert resolve_n_jobs(-2) == max(cores - 1, 1)
    assert resolve_n_jobs(10_000) == cores or resolve_n_jobs(10_000) > 1
    with pytest.raises(ValueError, match="n_jobs=0"):
        resolve_n_jobs(0)
    workers = Parallel(n_jobs=2, backend="threading")(delayed(resolve_n_jobs)(None) for _ in "ab")
    assert workers == [1, 1]


def test_import_leaves_numba_alone():
    """Importing is cheap: kernels come with the first fit."""
    loaded = run("import sys, numba_lstm; print('numba' in sys.modules)")
    assert loaded == "False"


MISSES = """
from numba.core import event

compiled = []

class Listener(event.Listener):
    def on_start(self, e):
        pass

    def on_end(self, e):
        compiled.append(str(e.data["dispatcher"]))

event.register("numba:compile", Listener())
"""


def test_after_warmup_nothing_is_left_to_compile(tmp_path):
    """A new process finds all kernels of a fit and a prediction in the cache."""
    run("import numba_lstm; numba_lstm.warmup()", NUMBA_CACHE_DIR=str(tmp_path))
    early = FIT.replace(".fit(", ".set_params(early_stopping=True).fit(")
    last = run(MISSES + early + "print(compiled)", NUMBA_CACHE_DIR=str(tmp_path)).splitlines()[-1]
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

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
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


ONE = """
import warnings
import numpy as np
with warnings.catch_warnings(record=True) as found:
    warnings.simplefilter("always")
    from numba_lstm import losses
    one, slope = np.ones((1, 1)), np.ones((1, 1))
    losses.all_losses(losses.SQUARED_ERROR, 1.0, one, 3 * one, np.ones(1), slope, np.zeros(1))
print(slope[0, 0], [str(one.message)[:16] for one in found], losses.__file__)
"""


def test_a_disk_that_is_full(tmp_path):
    full = """
import errno
from numba.core.caching import IndexDataCacheFile

def no_room(*args):
    raise OSError(errno.ENOSPC, "No space left on device")

IndexDataCacheFile._open_for_write = no_room
"""
    assert run(full + ONE, NUMBA_CACHE_DIR=str(tmp_path)).startswith("-4.0 ['Compiled kernels'] ")
    assert not list(tmp_path.rglob("*.nb?"))


def test_a_cache_that_is_damaged(tmp_path):
    """It is compiled anew, and written anew."""
    cache = {"NUMBA_CACHE_DIR": str(tmp_path)}
    code = FIT.replace("LSTMRegressor(37, max_iter=3", "LSTMRegressor(2, max_iter=1")
    digest = run(code, **cache)
    files = {kind: sorted(tmp_path.rglob(f"*.{kind}")) for kind in ("nbc", "nbi")}
    for path in files["nbi"][::3] + files["nbc"][::3]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    chance = random.Random(0)
    for path in files["nbi"][1::3] + files["nbc"][1::3]:
        content = bytearray(path.read_bytes())
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
    assert run(code, **cache) == digest
    assert run(MISSES + code + "print(compiled)", **cache).splitlines() == [digest, "[]"]


@pytest.mark.parametrize("cached", [True, False], ids=["cached", "not cached"])
def test_a_package_that_cannot_be_written(tmp_path, cached):
    """The cache is then in a place of the user's own; without one, a warning says so."""
    package, home = tmp_path / "lib" / "numba_lstm", tmp_path / "home"
    shutil.copytree(
        Path(numba_lstm.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    for directory in (package, *filter(Path.is_dir, package.rglob("*"))):
        directory.chmod(0o555)
    prefix = []
    if os.access(package, os.W_OK):  # this user may write anywhere
        if shutil.which("setpriv") is None:
            pytest.skip("nothing may be forbidden to this user")
        prefix = ["setpriv", "--bounding-set", "-dac_override"]
    if not cached:
        home.touch()
    code = f"import sys; sys.path.insert(0, {str(package.parent)!r})" + ONE
    environment = os.environ | {"HOME": str(home), "XDG_CACHE_HOME": str(home)}
    environment.pop("NUMBA_CACHE_DIR", None)
    found = subprocess.run(
        [*prefix, sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    warned = [] if cached else ["Compiled kernels"]
    assert found.stdout.strip() == f"-4.0 {warned} {package / 'losses.py'}"
    assert not list(package.rglob("*.nb?"))
    assert bool(list(home.rglob("*.nbc"))) == cached
