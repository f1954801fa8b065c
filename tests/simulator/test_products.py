"""Products and sums over rows, in the simulator, against NumPy."""

import numpy as np
import pytest

from numba_lstm.cuda import products, sums
from numba_lstm.cuda.device import cuda
from numba_lstm.cuda.tiles import Tile

pytestmark = pytest.mark.nojit

SMALL = Tile(high=2, wide=2, down=2, across=2, depth=2)  # 4 x 4 in C, slabs of 2
ROWS = (5, 0, 7)  # of three models


def both_dtypes(test):
    return pytest.mark.parametrize("dtype", [np.float32, np.float64])(test)


def close(found, expected, dtype):
    assert found.dtype == dtype
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=2e-5 if dtype == np.float32 else 1e-13
    )


class Case:
    """Matrices for models of so many rows; what must not be read is NaN."""

    def __init__(self, dtype, rows=ROWS, seed=0):
        self.random = np.random.default_rng(seed)
        self.dtype = dtype
        self.bounds = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
        self.device_bounds = cuda.to_device(self.bounds)
        self.most = max(rows)
        self.M = len(rows)

    def table(self, width, before=0, after=0):
        """Rows with a margin of NaN, as buffers that are reused have it."""
        S = self.bounds[-1]
        full = np.full((S + 2, before + width + after), np.nan, self.dtype)
        full[:S, before : before + width] = self.random.standard_normal((S, width))
        return full

    def theta(self, size, before=3, after=2):
        full = np.full((self.M, before + size + after), np.nan, self.dtype)
        full[:, before : before + size] = self.random.standard_normal((self.M, size))
        return full

    def slices(self):
        return [slice(a, b) for a, b in zip(self.bounds[:-1], self.bounds[1:], strict=True)]


@both_dtypes
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("n_in", "n_out", "biased", "accumulate"),
    [(5, 6, True, False), (1, 5, False, True), (4, 1, True, True)],
)
def test_rows_times_weights(dtype, transposed, n_in, n_out, biased, accumulate):
    case = Case(dtype)
    rows = case.table(n_in, before=2, after=1)
    ld = (n_in if transposed else n_out) + (2 if biased else 0)  # a part of a wider matrix
    lines = n_out if transposed else n_in
    weights = np.full((case.M, lines, ld), np.nan, dtype)
    weights[:, :, : n_in if transposed else n_out] = case.random.standard_normal(
        (case.M, lines, n_in if transposed else n_out)
    )
    bias = case.random.standard_normal((case.M, n_out)).astype(dtype)
    theta = np.concatenate([np.full((case.M, 3), np.nan), weights.reshape(case.M, -1), bias], 1)
    theta = theta.astype(dtype)
    out = case.table(n_out, before=1, after=2)
    out[:, [0, -1]] = 7
    expected = out.copy()
    for m, own in enumerate(case.slices()):
        W = weights[m].astype(np.float64)
        W = W[:, :n_in].T if transposed else W[:, :n_out]
        made = rows[own, 2 : 2 + n_in].astype(np.float64) @ W
        made += bias[m] if biased else 0
        made += out[own, 1 : 1 + n_out] if accumulate else 0
        expected[own, 1 : 1 + n_out] = made

    device = cuda.to_device(out)
    products.times(
        device,
        cuda.to_device(rows),
        cuda.to_device(theta),
        3,
        n_in,
        n_out,
        case.device_bounds,
        case.most + 4,  # a bound will do
        transposed=transposed,
        ld=ld if biased else None,
        bias_at=theta.shape[1] - n_out if biased else None,
        accumulate=accumulate,
        out_column=1,
        row_column=2,
        tile=SMALL,
    )
    close(device.copy_to_host(), expected, dtype)


@both_dtypes
@pytest.mark.parametrize("shape", [(5, 6), (1, 4), (4, 1)])
def test_gram(dtype, shape, monkeypatch):
    monkeypatch.setattr(sums, "FEWEST_ROWS", 4)
    monkeypatch.setattr(sums, "FILL", 1000)
    n_a, n_b = shape
    case = Case(dtype, rows=(9, 0, 3))  # chunks of 8 rows: two, none, one
    a, b = case.table(n_a, before=1, after=2), case.table(n_b, before=2)
    grad = cuda.to_device(np.full((case.M, n_a * n_b + 4), 7, dtype))
    size = products.gram_workspace(np.dtype(dtype), case.M, n_a, n_b, case.most, SMALL)
    assert size == 2 * case.M * n_a * n_b
    products.gram(
        grad,
        3,
        cuda.to_device(a),
        cuda.to_device(b),
        n_a,
        n_b,
        case.device_bounds,
        case.most,
        cuda.to_device(np.full(size, np.nan, dtype)),
        a_column=1,
        b_column=2,
        tile=SMALL,
    )
    expected = np.full(grad.shape, 7.0)
    for m, own in enumerate(case.slices()):
        own_a, own_b = (v[own].astype(np.float64) for v in (a[:, 1 : 1 + n_a], b[:, 2 : 2 + n_b]))
        expected[m, 3 : 3 + n_a * n_b] = (own_a.T @ own_b).ravel()
    close(grad.copy_to_host(), expected, dtype)


@both_dtypes
def test_column_sums(dtype, monkeypatch):
    monkeypatch.setattr(sums, "FEWEST_ROWS", 4)
    monkeypatch.setattr(sums, "FILL", 1000)
    n = 5
    case = Case(dtype, rows=(9, 0, 17))
    a = case.table(n, before=2, after=1)
    grad = cuda.to_device(np.full((case.M, n + 2), 7, dtype))
    size = products.column_sums_workspace(case.M, n, case.most, across=4)
    assert size == 3 * case.M * n
    partial = cuda.to_device(np.full(size, np.nan, dtype))
    products.column_sums(
        grad,
        1,
        cuda.to_device(a),
        n,
        case.device_bounds,
        case.most,
        partial,
        a_column=2,
        across=4,
        down=2,
    )
    expected = np.full(grad.shape, 7.0)
    for m, own in enumerate(case.slices()):
        expected[m, 1 : 1 + n] = a[own, 2 : 2 + n].astype(np.float64).sum(axis=0)
    close(grad.copy_to_host(), expected, dtype)


def test_the_real_tiles():
    """One block of each, as they are chosen for a GPU; the chunk is 10 rows long."""
    case = Case(np.float32, rows=(10,))
    rows, theta = case.table(9), case.theta(9 * 37)
    out = cuda.device_array((10, 37), np.float32)
    at = (cuda.to_device(theta), 3, 9, 37, case.device_bounds, case.most)
    products.times(out, cuda.to_device(rows), *at)
    out = out.copy_to_host()
    close(out, rows[:10] @ theta[0, 3:-2].reshape(9, 37), np.float32)

    grad = cuda.to_device(np.zeros((1, 9 * 37), np.float32))
    size = products.gram_workspace(np.dtype("f4"), 1, 9, 37, case.most)
    a, b = cuda.to_device(rows), cuda.to_device(out)
    partial = cuda.device_array(size, np.float32)
    products.gram(grad, 0, a, b, 9, 37, case.device_bounds, case.most, partial)
    close(grad.copy_to_host()[0], (rows[:10].T @ out).ravel(), np.float32)


def test_without_rows_nothing_is_added():
    case = Case(np.float64, rows=(0, 0))
    a = cuda.to_device(np.full((2, 3), np.nan))
    grad = cuda.to_device(np.full((2, 9), 7.0))
    partial = cuda.device_array(1, np.float64)
    products.times(a, a, grad, 0, 3, 3, case.device_bounds, 0)
    products.gram(grad, 0, a, a, 3, 2, case.device_bounds, 0, partial)
    products.column_sums(grad, 6, a, 2, case.device_bounds, 0, partial)
    assert (grad.copy_to_host() == [0] * 8 + [7]).all()


@pytest.mark.parametrize("n", [1, 16, 33, 37, 64, 81, 100, 256])
def test_no_width_pays_for_twice_what_it_needs(n):
    tile = products._tile_of_gram(np.dtype("f4"), n, n)
    assert tile.height == tile.width
    padded = n + -n % tile.height
    assert padded <= max(32, 1.5 * n)


@pytest.mark.parametrize("blocks", [1, 8, 511, 100_000])
@pytest.mark.parametrize("most_rows", [1, 128, 6400, 100_000])
def test_chunks_hold_all_rows_and_are_no_more_than_the_gpu_takes(blocks, most_rows):
    chunks, length = sums.divide(blocks, most_rows)
    assert (chunks - 1) * length < most_rows <= chunks * length
    assert chunks == 1 or (chunks <= 64 and chunks * blocks <= 512 and length >= 32)
