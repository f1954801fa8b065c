"""Threads and processes that fit at once: no abort, no hang, and the bits of one alone.

Each case has an interpreter of its own, which a wrong use of Numba's threads would end or
leave waiting.
"""

import json
import os
import signal
import subprocess
import sys

import pytest

LAYERS = ("workqueue", "omp", "tbb")

# What all scripts begin with. Forty sequences make four blocks: enough for two threads.
SHARED = """
import faulthandler
import hashlib
import importlib
import json
import multiprocessing
import os
import sys
import threading
import time

faulthandler.dump_traceback_later(100, exit=True)
layer = os.environ.get("NUMBA_THREADING_LAYER", "default")
try:
    if layer in ("omp", "tbb"):
        importlib.import_module(f"numba.np.ufunc.{layer}pool")
except ImportError as error:
    sys.exit(f"no such layer: {error}")

import numba
import numpy as np

X = np.random.default_rng(0).standard_normal((40, 10, 3)).astype(np.float32)
y = X[:, -1, 0]


def digest(*arrays):
    return hashlib.sha256(b"".join(np.asarray(a).tobytes() for a in arrays)).hexdigest()[:16]


def fitted(k=0, n_jobs=2):
    from numba_lstm import LSTMClassifier, LSTMRegressor

    Model, target = (LSTMClassifier, y > 0) if k % 2 else (LSTMRegressor, y)
    options = {"max_iter": 3, "n_jobs": n_jobs, "random_state": k}
    return Model(4 + 11 * (k % 4), **options).fit(X, target)


def fit(k=0, n_jobs=2):
    model = fitted(k, n_jobs)
    return digest(model.theta_, model.predict(X))


def show(**found):
    print(json.dumps(found))
"""


def run(code, directory, *arguments, **environment):
    """What a script shows; it and its children are ended if it does not end."""
    return result(start(write(code, directory), *arguments, **environment))


def write(code, directory):
    script = directory / "script.py"  # a file, as children that are not forked read it again
    script.write_text(SHARED + code)
    return script


def start(script, *arguments, **environment):
    return subprocess.Popen(
        [sys.executable, str(script), *arguments],
        env=os.environ | {"NUMBA_NUM_THREADS": "2"} | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a group, so that children can be ended, too
    )


def result(process):
    try:
        out, err = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        raise
    if "no such layer" in err:
        pytest.skip(err.strip())
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


THREADS = """
if __name__ == "__main__":
    sys.setswitchinterval(1e-4)
    first = sys.argv[1]
    N = 8
    found, failures, parallel_in = {}, [], {"main": set(), "other": set()}


    def at_once(work, in_main=None):
        ready = threading.Barrier(N + (in_main is not None))

        def one(k):
            try:
                ready.wait(60)
                found.setdefault((work.__name__, k), set()).update(work(k) for _ in range(3))
            except BaseException as error:
                failures.append(repr(error))
                raise

        threads = [threading.Thread(target=one, args=(k,)) for k in range(N)]
        for thread in threads:
            thread.start()
        if in_main is not None:
            ready.wait(60)
            while any(thread.is_alive() for thread in threads):
                found.setdefault((in_main.__name__, 0), set()).add(in_main(0))
        for thread in threads:
            thread.join()


    def use(k):
        part = X[k : k + 32]
        stream = shared.stream()
        steps = [stream.step(x) for x in part[0]]
        return digest(shared.predict(part), *shared.hidden_states(part), steps)


    if first == "main":
        fit(0)  # starts the layer, so that all threads know which it is
    if first != "cold":
        from numba_lstm.cpu import parallel

        asked = parallel._parallel_is_safe

        def noted():
            main = threading.current_thread() is threading.main_thread()
            answer = asked()
            parallel_in["main" if main else "other"].add(answer)
            return answer

        parallel._parallel_is_safe = noted
    at_once(fit, fit)
    shared = fitted(3)
    at_once(use, fit)
    at_once(use)
    alone = {(work.__name__, k): {work(k)} for work in (fit, use) for k in range(N)}
    show(
        failures=failures,
        same=found == alone,
        count=len(found),
        layer=numba.threading_layer(),
        main=sorted(parallel_in["main"]),
        other=sorted(parallel_in["other"]),
    )
"""


@pytest.mark.parametrize("first", ["main", "threads"])
@pytest.mark.parametrize("layer", LAYERS)
def test_threads_at_once(tmp_path, layer, first):
    """Eight threads, and the main one besides, with models of their own and with one."""
    found = run(THREADS, tmp_path, first, NUMBA_THREADING_LAYER=layer)
    assert found["failures"] == []
    assert found["same"]
    assert found["count"] == 16
    assert found["layer"] == layer
    assert found["main"] == [True]
    if layer == "workqueue":
        assert found["other"] == [False]
    else:
        assert True in found["other"]


def test_threads_compile_at_once(tmp_path):
    """Nothing is compiled, and the package not yet imported, when eight threads begin."""
    found = run(THREADS, tmp_path, "cold", NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert found["failures"] == []
    assert found["same"]
    assert found["count"] == 16


PROCESSES = """
from numba_lstm.cpu.threads import resolve_n_jobs


def native():
    "Threads of this process that are not Python's own, those that begin or end just now left out."
    tasks = "/proc/self/task"
    found = None
    for _ in range(10 if os.path.isdir(tasks) else 0):
        own = {thread.native_id for thread in threading.enumerate()}
        others = set(map(int, os.listdir(tasks))) - own
        found = others if found is None else found & others
        time.sleep(0.005)
    return found or set()


def in_worker(k, alone=True):
    before = native()
    bits = [fit(k, None)]
    more = len(native() - before)
    if alone:  # else these are the threads that another worker counts
        bits.append(fit(k, 2))
    return {"bits": bits, "n_jobs": resolve_n_jobs(None), "more": more, "pid": os.getpid()}


def through_fork():
    found = []
    for k in range(2):
        get, put = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(put, json.dumps(in_worker(k)).encode())
            os._exit(0)
        os.close(put)
        with open(get) as f:
            found.append(json.loads(f.read() or "null"))
        assert os.waitpid(child, 0)[1] == 0
    return found


def through_pool(method):
    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.map(in_worker, range(2), chunksize=1)


def through_joblib(backend):
    from joblib import Parallel, delayed

    workers, alone = Parallel(n_jobs=2, backend=backend), backend != "threading"
    found = workers(delayed(in_worker)(k, alone) for k in range(2))
    if not alone:
        for one, bits in zip(found, workers(delayed(fit)(k, 2) for k in range(2))):
            one["bits"].append(bits)
    return found


def search(n_jobs, backend):
    from joblib import parallel_config
    from sklearn.model_selection import GridSearchCV

    from numba_lstm import LSTMRegressor

    model = LSTMRegressor(max_iter=3, random_state=0)
    with parallel_config(backend):
        grid = GridSearchCV(model, {"hidden_size": [4, 15]}, cv=2, n_jobs=n_jobs).fit(X, y)
    return digest(grid.cv_results_["mean_test_score"], grid.best_estimator_.theta_)


if __name__ == "__main__":
    shown = {}
    for how in sys.argv[1:]:
        before = [[fit(k, None), fit(k, 2)] for k in range(2)]
        assert numba.threading_layer() == layer or layer == "default"  # one is running
        if how == "os.fork":
            found = through_fork()
        elif how in ("fork", "spawn", "forkserver"):
            found = through_pool(how)
        else:
            found = through_joblib(how)
        after = [[fit(k, None), fit(k, 2)] for k in range(2)]
        found = {key: [one[key] for one in found] for key in found[0]}
        shown[how] = found | {"expected": before, "after": after}
        if how in ("loky", "multiprocessing"):
            shown[how]["searches"] = [search(n_jobs, how) for n_jobs in (1, 2)]
    show(found=shown, cores=resolve_n_jobs(None), pid=os.getpid())
"""

FORKS = ("os.fork", "fork", "multiprocessing", "threading")
ANEW = ("spawn", "forkserver", "loky")


def check_processes(found, ways):
    assert tuple(found["found"]) == ways
    for how, one in found["found"].items():
        assert one["bits"] == one["expected"] == one["after"], how
        in_joblib = how in ("loky", "multiprocessing", "threading")
        assert one["n_jobs"] == [1 if in_joblib else found["cores"]] * 2, how
        # Numba's workqueue starts as many threads as work, and the one that asks waits.
        most = found["cores"] if how in ("spawn", "forkserver") else 0
        assert max(one["more"]) <= most, how
        assert (found["pid"] in one["pid"]) == (how == "threading"), how
        if "searches" in one:
            assert one["searches"][0] == one["searches"][1], how


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("layer", LAYERS)
def test_forks_after_a_parallel_call(tmp_path, layer):
    """A child has none of the threads that its parent's layer counts on."""
    check_processes(run(PROCESSES, tmp_path, *FORKS, NUMBA_THREADING_LAYER=layer), FORKS)


def test_processes_that_begin_anew(tmp_path):
    """They may start threads, but not more than there are cores."""
    ways = ANEW if hasattr(os, "fork") else ("spawn", "loky")
    check_processes(run(PROCESSES, tmp_path, *ways), ways)


COMPILE = """
from numba.core import event

compiled = []


class Listener(event.Listener):
    def on_start(self, e):
        pass

    def on_end(self, e):
        compiled.append(str(e.data["dispatcher"]))


if __name__ == "__main__":
    event.register("numba:compile", Listener())
    if len(sys.argv) > 1:  # wait for the other one
        print("ready", flush=True)
        sys.stdin.readline()
    show(bits=fit(), compiled=compiled)
"""


def test_two_processes_compile_into_one_cache(tmp_path):
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    script = write(COMPILE, tmp_path)
    both = [start(script, "wait", **cache) for _ in range(2)]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    first, second = (result(process) for process in both)
    third = result(start(script, **cache))
    assert first["compiled"]
    assert second["compiled"]
    assert first["bits"] == second["bits"] == third["bits"]
    assert third["compiled"] == []


VARIANTS = """
from numba.core.caching import IndexDataCacheFile

if __name__ == "__main__":
    if sys.argv[1:] == ["float64"]:  # as if the other one had written nothing so far
        IndexDataCacheFile._load_index = lambda self: {}
    from numba_lstm.training.optimizers import gradient_norm  # a small kernel

    show(bits=[digest(gradient_norm(y.astype(dtype))) for dtype in sys.argv[1:]])
"""


def test_two_processes_write_variants_at_once(tmp_path):
    """The index of one and, after that, the other's files: each finds its own."""
    cache, script = tmp_path / "cache", write(VARIANTS, tmp_path)
    environment = {"NUMBA_CACHE_DIR": str(cache)}
    single = result(start(script, "float32", **environment))["bits"]
    files = {path: path.read_bytes() for path in cache.rglob("*.nbc")}
    assert files
    double = result(start(script, "float64", **environment))["bits"]
    for path, content in files.items():
        path.write_bytes(content)
    third = result(start(script, "float32", "float64", **environment))["bits"]
    assert third == single + double
