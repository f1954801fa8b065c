"""On a GPU: the network at real sizes against the one on the CPU. pytest -m gpu."""

import numpy as np
import pytest

pytestmark = pytest.mark.gpu

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
RAGGED = np.random.default_rng(0).integers(1, 60, 37)


@pytest.fixture(scope="module")
def checks():
    """Imported where there is a GPU only: Numba's target is chosen with it."""
    import gpu_checks

    return gpu_checks


@DTYPES
@pytest.mark.parametrize("H", [8, 32, 37, 64, 128, 200, 256])
def test_every_size(checks, H, dtype):
    checks.Case(RAGGED, 16, (H,), dtype).check()


@DTYPES
@pytest.mark.parametrize("n", [1, 3, 150, 1000])
def test_every_number_of_sequences(checks, n, dtype):
    """Of 1, 2 and 4 a block."""
    lengths = np.random.default_rng(n).integers(1, 20, n)
    checks.Case(lengths, 5, (64,), dtype).check()


@DTYPES
@pytest.mark.parametrize("F", [1, 33, 100])
def test_every_number_of_inputs(checks, F, dtype):
    checks.Case(RAGGED, F, (64,), dtype).check()


OPTIONS = {
    "stack": {"sizes": (64, 37, 16)},
    "every step": {"sizes": (64,), "per_step": True},
    "both": {"sizes": (64, 64), "direction": "both"},
    "merged": {"sizes": (64, 64), "direction": "both", "merge": "mean", "residual": True},
    "reverse": {"sizes": (37,), "direction": "reverse"},
    "peephole, limit": {"sizes": (64,), "peephole": True, "limit": 1.0},
    "coupled": {"sizes": (64,), "coupled": True, "bias": False},
    "learned state": {"sizes": (64, 32), "learned_state": True},
    "mean": {"sizes": (64,), "pooling": "mean"},
    "max": {"sizes": (64,), "pooling": "max"},
    "attention": {"sizes": (64,), "pooling": "attention", "direction": "both"},
    "hidden head": {"sizes": (64,), "head_size": 20, "head_activation": "tanh"},
    "dropout": {"sizes": (64, 64), "dropout": (0.2, 0.3, 0.4)},
    "zoneout": {"sizes": (64, 37), "zoneout": (0.2, 0.4), "direction": "both"},
}


@DTYPES
@pytest.mark.parametrize("name", OPTIONS)
def test_every_option(checks, name, dtype):
    checks.Case(RAGGED, 7, dtype=dtype, **OPTIONS[name]).check()


PRECISIONS = pytest.mark.parametrize("precision", ["tf32", "bf16"])


@PRECISIONS
@pytest.mark.parametrize("H", [8, 32, 37, 64, 128, 200, 256])
def test_every_size_on_tensor_cores(checks, H, precision):
    checks.Case(RAGGED, 16, (H,), "float32", precision).check()


@PRECISIONS
@pytest.mark.parametrize("n", [1, 3, 150, 1000, 2000])
def test_every_number_of_sequences_on_tensor_cores(checks, n, precision):
    """Of 4 and 8 a block."""
    lengths = np.random.default_rng(n).integers(1, 20, n)
    checks.Case(lengths, 5, (64,), "float32", precision).check()


@PRECISIONS
@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_on_tensor_cores(checks, name, precision):
    checks.Case(RAGGED, 7, dtype="float32", precision=precision, **OPTIONS[name]).check()


@PRECISIONS
@pytest.mark.parametrize("H", [32, 128, 256])
def test_results_of_tensor_cores_are_the_same_to_the_last_bit(checks, H, precision, monkeypatch):
    from numba_lstm.cuda import layers

    case = checks.Case(RAGGED, 16, (H, 64), "float32", precision)
    bits = case.bits()
    for multiprocessors in 0, 0, 10_000:
        monkeypatch.setattr(layers, "multiprocessors", lambda n=multiprocessors: n)
        assert case.bits() == bits


@DTYPES
@pytest.mark.parametrize("H", [32, 128, 256])
def test_results_are_the_same_to_the_last_bit(checks, H, dtype, monkeypatch):
    """A second time, and whatever the number of sequences of a block."""
    from numba_lstm.cuda import layers

    case = checks.Case(RAGGED, 16, (H, 64), dtype)
    bits = case.bits()
    assert all(case.bits() == bits for _ in range(3))
    for multiprocessors in 0, 20, 10_000:
        monkeypatch.setattr(layers, "multiprocessors", lambda n=multiprocessors: n)
        assert case.bits() == bits


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 32, "hidden_size": 64},
        {"batch_size": 50, "hidden_size": 37, "solver": "sgd", "bidirectional": True},
        {"batch_size": 20, "hidden_size": 16, "num_layers": 2, "dropout": 0.3},
        {"batch_size": 20, "hidden_size": 16, "zoneout_hidden": 0.2, "zoneout_cell": 0.4},
    ],
)
def test_a_fit_ends_as_on_the_cpu(checks, options):
    checks.check_fit(200, 30, **options)
