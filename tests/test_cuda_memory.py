"""A GPU that has no more memory in the middle of a fit: with a driver that does nothing."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from numba import config

from numba_lstm.cuda.device import tells_of_memory

HERE = Path(__file__).parent

needs_numba_cuda = pytest.mark.skipif(
    config.ENABLE_CUDASIM or importlib.util.find_spec("numba_cuda") is None,
    reason="numba-cuda is not installed, or simulates.",
)

BEGIN = """
import sys
sys.path.insert(0, sys.argv[1])
try:
    from numba.cuda.cudadrv import nvvm
    nvvm.NVVM()
    from numba.cuda import cudaimpl  # numba-cuda 0.30 does not load with NumPy 2.5
except Exception as error:
    sys.exit(f"NVVM: {error}")
import pickle, re
import fake_gpu
import numpy as np

context = fake_gpu.install()
from numba.cuda import dispatcher
from numba_lstm import LSTMRegressor, fit_many

rng = np.random.default_rng(0)
X = [rng.standard_normal((n, 2)).astype(np.float32) for n in (40, 2, 3, 80, 3, 2) * 4]
y = np.array([x[0, 0] for x in X])
model = LSTMRegressor(4, max_iter=1, batch_size=3, warm_start=True, random_state=0).fit(X, y)
expected = model.predict(X)
model.set_params(device="cuda", max_iter=3)
before = pickle.dumps(model)
DO = "Use a smaller batch_size, fewer models at once, dtype='float32' if it is 'float64', or "


def refused(use):
    try:
        use()
    except MemoryError as error:
        assert pickle.dumps(model) == before
        assert DO in str(error) and "device='cpu'" in str(error), error
        return str(error)
    raise AssertionError("it fitted")
"""

# The driver says that there is room, and then, for one of the allocations, there is none.
ALLOCATIONS = """
launched = []
pickle.loads(before).fit(X, y)
n_allocations, n_launches = len(context.asked), len(context.launches)
for n in 0, 4, 9, n_allocations - 3, n_allocations - 2, n_allocations - 1:
    context.launches.clear()
    context.allocations_left = n
    text = refused(lambda: model.fit(X, y))
    assert re.search(r"^The GPU has run out of memory: [\\d,]+ bytes were asked for and ", text)
    assert "8,589,934,592 bytes of the GPU's memory are free" in text, text
    launched.append(len(context.launches))
assert launched[0] == 0 < launched[-1] < n_launches, (launched, n_launches)
context.allocations_left = 2
assert "were asked for" in refused(lambda: model.predict(X))
context.allocations_left = None
model.fit(X, y)  # and now there is room
np.testing.assert_array_equal(pickle.loads(before).set_params(device="cpu").predict(X), expected)
"""

LAUNCHES = """
launch, left = dispatcher.launch, [30]

def fail(*args):
    left[0] -= 1
    if left[0] < 0:
        raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: The API call failed")
    launch(*args)

dispatcher.launch = fail
assert "asked for" not in refused(lambda: model.fit(X, y))
assert left[0] == -1
left[0] = 30
many = [LSTMRegressor(4, device="cuda", batch_size=8, random_state=k) for k in range(3)]
text = refused(lambda: fit_many(many, X, y))
assert not any(hasattr(one, "theta_") for one in many)
"""


@needs_numba_cuda
@pytest.mark.parametrize("code", [ALLOCATIONS, LAUNCHES], ids=["allocations", "launches"])
def test_a_fit_that_finds_no_memory_says_what_to_do(code):
    """And leaves the estimator as it was."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code, str(HERE)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.stderr.startswith("NVVM: "):
        pytest.skip(f"There is no NVVM, which compiles for GPUs: {done.stderr}")
    assert done.returncode == 0, done.stderr


class DriverError(Exception):
    """Numba's, or that of CUDA's own packages."""


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (12_345_678, "run out of memory: 12,345,678 bytes were asked for"),
        (None, "run out of memory"),
    ],
)
def test_no_memory_by_whatever_name(asked, expected):
    message = "[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY"
    with pytest.raises(MemoryError, match=expected) as caught, tells_of_memory(asked):
        raise DriverError(message)
    assert str(caught.value.__cause__) == message


@pytest.mark.parametrize(
    "error",
    [DriverError("CUDA_ERROR_ILLEGAL_ADDRESS"), MemoryError("OUT_OF_MEMORY"), ValueError()],
)
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as caught, tells_of_memory(1):
        raise error
    assert caught.value is error
