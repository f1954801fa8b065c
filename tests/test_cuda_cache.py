"""Kernels for GPUs are compiled once, and not in each process: with a driver that does nothing."""

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import config, float32, types

import numba_lstm

HERE = Path(__file__).parent

pytestmark = [
    pytest.mark.skipif(config.ENABLE_CUDASIM, reason="The simulator compiles nothing."),
    pytest.mark.skipif(
        importlib.util.find_spec("numba_cuda") is None, reason="numba-cuda is not installed."
    ),
]

# Of what is run, how many kernels were compiled, and what the driver was given of them.
BEGIN = """
import hashlib, sys
sys.path[:0] = sys.argv[1:3]
try:
    from numba.cuda.cudadrv import nvvm
    nvvm.NVVM()
    from numba.cuda import cudaimpl  # numba-cuda 0.30 does not load with NumPy 2.5
except Exception as error:
    sys.exit(f"NVVM: {error}")
import fake_gpu
from numba import cuda
context = fake_gpu.install(tuple(map(int, sys.argv[3:])))
from numba.cuda.dispatcher import _Kernel
compiled, init = [], _Kernel.__init__

def counted(self, function, *args, **kwargs):
    compiled.append(function.__qualname__)
    init(self, function, *args, **kwargs)

_Kernel.__init__ = counted
import numpy as np
"""
END = """
images = hashlib.sha256(b"".join(sorted(context.images))).hexdigest()
print(len(compiled), len(context.images), len(context.launches), images)
"""

FIT = """
import numba_lstm
X = np.random.default_rng(0).standard_normal((20, 3, 2)).astype(np.float32)
model = numba_lstm.LSTMRegressor(4, device="cuda", max_iter=2, batch_size=8, random_state=0)
model.fit(X, X[:, 0, 0]).predict(X)
"""

# One of each way to make a kernel: a factory's, with functions for the device in it, and one
# of a module's own.
FEW = """
from numba_lstm.cuda import head, sums
from numba_lstm.cuda.device import kernel
from numba_lstm.cuda.exchange import make_collect
from numba_lstm.cuda.registers import make_zeros

def make(n):
    zeros, collect, threads = make_zeros(4), make_collect(1), 32 * n

    def written(out):
        t = cuda.threadIdx.x
        out[t] = collect(zeros(out[t]), n, t & 3)

    return kernel(threads)(written)

one, vector = cuda.to_device(np.ones((1, 1))), cuda.to_device(np.ones(1))
for n in 1, 2:
    make(n)[1, 32 * n](cuda.to_device(np.ones(32 * n)))
bounds = cuda.to_device(np.array([0, 1]))
head.activate(one, one, 0, bounds, 1, head.TANH)
sums.add_chunks(one, 0, vector, 1, bounds, 1, 1, 0)
"""


def begin(code, cache, *, capability=(9, 0), package=None):
    """Begin a process whose cache is in a folder."""
    package = Path(numba_lstm.__file__).parents[1] if package is None else package
    # Numba keeps what is written in a file, while that stays as it is.
    script = cache.parent / f"script{len(code)}.py"
    if not script.exists():
        script.write_text(BEGIN + code + END)
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTEST_ADDOPTS", "COVERAGE_FILE")}
    return subprocess.Popen(
        [sys.executable, str(script), str(package), str(HERE), *map(str, capability)],
        env=kept | {"NUMBA_CACHE_DIR": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process):
    """Kernels that it compiled, loaded and launched, and a hash of their machine code."""
    out, error = process.communicate()
    if error.startswith("NVVM: "):
        pytest.skip(f"Nothing compiles for GPUs here: {error}")
    assert process.returncode == 0, error
    *counts, images = out.split()
    return *map(int, counts), images


def run(*args, **kwargs):
    return end(begin(*args, **kwargs))


# Numba's own way to prepare arguments, beside the shorter one.
ARGUMENTS = """
from numba_lstm.cuda import device, head, sums

def launched():
    del context.arguments[:]
    head.activate(matrix, matrix, 0, bounds, 1, head.TANH)
    sums.add_chunks(matrix, 0, vector, 1, bounds, 1, 1, 0)
    head.add_losses(vector, matrix[:2], 1, vector[1:], 0.5)
    return list(context.arguments)

matrix, vector = cuda.to_device(np.ones((3, 4))), cuda.to_device(np.ones(5))
bounds = cuda.to_device(np.array([0, 1]))
found = launched()
device._Prepares.prepare_args = lambda self, ty, val, **kwargs: (ty, val)
assert found == launched()
assert [len(arguments) for _, _, arguments in found] == [27, 27, 25], found
"""


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache, and what the process that filled it found."""
    cache = tmp_path_factory.mktemp("kept") / "cache"
    return cache, run(FEW, cache)


def test_after_a_fit_or_a_warmup_nothing_is_left_to_compile(tmp_path):
    cache = tmp_path / "cache"
    warmup = "numba_lstm.warmup(device='cuda', hidden_size=4, batch_size=8, shape=(20, 3, 2))"
    compiled, loaded, launched, _ = run(f"import numba_lstm\n{warmup}\n", cache)
    assert compiled == loaded > 12
    compiled, loaded, launched, _ = run(FIT, cache)
    assert compiled == 0
    assert 12 < loaded < launched


# Fits on tensor cores: what they lay in memory is packed weights, and nothing else is different.
ROUNDED = """
import numba_lstm
X = np.random.default_rng(0).standard_normal((20, 3, 2)).astype(np.float32)
for precision in "bf16", "tf32":
    model = numba_lstm.LSTMRegressor(
        4, device="cuda", matmul_precision=precision, max_iter=1, batch_size=8, random_state=0
    )
    before = len(context.launches)
    if context.device.compute_capability < (8, 0):
        try:
            model.fit(X, X[:, 0, 0])
        except RuntimeError as error:
            assert f"7.5, and matmul_precision='{precision}' needs 8.0 (Ampere)" in str(error)
        assert not hasattr(model, "theta_") and not context.launches
        continue
    model.fit(X, X[:, 0, 0])
    names = [name for name in compiled if "pack" in name or "ward.<locals>" in name]
    assert len(names) in (0, 3 if precision == "bf16" else 6), names
"""


def test_kernels_of_tensor_cores_are_kept(tmp_path):
    cache = tmp_path / "cache"
    compiled, loaded, launched, images = run(ROUNDED, cache)
    assert compiled == loaded > 12
    assert run(ROUNDED, cache) == (0, loaded, launched, images)


def test_a_gpu_without_their_products_is_told_before_any_work(tmp_path):
    assert run(ROUNDED, tmp_path / "cache", capability=(7, 5))[:3] == (0, 0, 0)


def test_what_is_loaded_is_what_was_compiled(filled):
    cache, (compiled, loaded, launched, images) = filled
    assert compiled == loaded == launched == 4
    assert run(FEW, cache) == (0, loaded, launched, images)


def test_arguments_are_what_numba_makes_of_them(filled):
    run(ARGUMENTS, filled[0])


def test_another_gpu_has_kernels_of_its_own(filled):
    cache, (compiled, *_, images) = filled
    found, *_, others = run(FEW, cache, capability=(8, 0))
    assert found == compiled
    assert others != images
    assert run(FEW, cache)[0] == 0  # those of the first are still there


def test_an_edit_to_another_file_is_seen(filled, tmp_path):
    """The function that a kernel calls is written elsewhere."""
    package = tmp_path / "numba_lstm"
    shutil.copytree(
        Path(numba_lstm.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    cache, (compiled, *_) = filled
    # What the package's own files make is elsewhere; the other two are where they were.
    assert run(FEW, cache, package=tmp_path)[0] == compiled - 2
    edited = package / "activations.py"
    edited.write_text(edited.read_text() + "\n# Other words.\n")
    assert run(FEW, cache, package=tmp_path)[0] == compiled


def test_processes_that_fill_a_cache_at_once(filled, tmp_path):
    _, (_, loaded, launched, _) = filled
    cache = tmp_path / "cache"
    both = [begin(FEW, cache) for _ in range(2)]
    for process in both:
        assert end(process)[1:3] == (loaded, launched)
    assert run(FEW, cache)[:3] == (0, loaded, launched)


def test_a_cache_that_is_damaged(filled):
    cache, (_, loaded, launched, _) = filled
    for path in cache.rglob("*.nbc"):
        path.write_bytes(path.read_bytes()[:100])
    found = run(FEW, cache)
    assert found[:3] == (loaded, loaded, launched)
    assert run(FEW, cache) == (0, *found[1:])


def test_what_is_enclosed_is_told_apart():
    from numba_lstm.cuda.description import describe
    from numba_lstm.cuda.exchange import make_collect
    from numba_lstm.cuda.registers import make_hold

    def enclosing(value):
        return lambda: value

    values = (
        *(0, False, 0.0, "0", None, (0,), (0, 0), ((0,), 0), np.float32(0), np.float64(0)),
        *(np.dtype("f4"), np.float32, float32, types.float64, types.Array(float32, 2, "C")),
        *(make_collect(1), make_collect(2), make_hold(2, 1), make_hold(2, 2), make_hold(3, 2)),
    )
    found = [describe(enclosing(value)) for value in values]
    assert len(set(found)) == len(values)
    make_hold.cache_clear()
    assert describe(enclosing(make_hold(2, 1))) == found[values.index(values[-3])]
    assert " at 0x" not in "".join(found)


@pytest.mark.parametrize("value", [[1], {1: 2}, object(), functools.partial(int), np.ones(2)])
def test_what_has_no_description_is_refused(value):
    from numba_lstm.cuda.description import describe

    with pytest.raises(TypeError, match="A kernel encloses"):
        describe(lambda: value)
