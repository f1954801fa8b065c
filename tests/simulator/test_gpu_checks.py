"""What test_gpu.py does on a GPU, with shapes for the simulator."""

import gpu_checks
import pytest
import test_gpu

from numba_lstm.cuda import layers

pytestmark = pytest.mark.nojit


@test_gpu.DTYPES
def test_ragged(dtype):
    gpu_checks.Case([3, 1, 2], 2, (5,), dtype).check()


@pytest.mark.parametrize("name", test_gpu.OPTIONS)
def test_every_option(name):
    options = test_gpu.OPTIONS[name]
    sizes = tuple(min(H, 3) for H in options["sizes"])
    small = {"head_size": 2} if "head_size" in options else {}
    gpu_checks.Case([2, 1], 3, dtype="float64", **options | {"sizes": sizes} | small).check()


@test_gpu.DTYPES
def test_results_are_the_same_to_the_last_bit(dtype, monkeypatch):
    case = gpu_checks.Case([3, 2, 2, 1, 1], 2, (9,), dtype)
    bits = case.bits()
    for multiprocessors in 0, 3, 10_000:  # 4, 2 and 1 sequences a block
        monkeypatch.setattr(layers, "multiprocessors", lambda n=multiprocessors: n)
        assert case.bits() == bits


@test_gpu.PRECISIONS
@pytest.mark.parametrize("name", ["both", "peephole, limit", "attention", "zoneout"])
def test_options_on_tensor_cores(name, precision):
    options = test_gpu.OPTIONS[name] | {"sizes": (3,)}
    gpu_checks.Case([2, 1], 3, dtype="float32", precision=precision, **options).check()


@test_gpu.PRECISIONS
def test_results_of_tensor_cores_are_the_same_to_the_last_bit(precision, monkeypatch):
    case = gpu_checks.Case([3, 2, 2, 1, 1], 2, (9,), "float32", precision)
    bits = case.bits()
    for multiprocessors in 0, 10_000:  # 8 and 4 sequences a block
        monkeypatch.setattr(layers, "multiprocessors", lambda n=multiprocessors: n)
        assert case.bits() == bits


def test_a_fit():
    gpu_checks.check_fit(4, 2, hidden_size=2, batch_size=2, bidirectional=True)
