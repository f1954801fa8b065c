"""Pooling and its gradients against NumPy, one sequence at a time, and differences."""

import itertools

import numpy as np
import pytest

from numba_lstm.cuda import pooling
from numba_lstm.cuda.device import cuda
from numba_lstm.cuda.rows import share_of
from numba_lstm.parameters import Layout

pytestmark = pytest.mark.nojit

# Two models of three sequences, one of them without a step.
B, LENGTHS = 3, np.array([3, 0, 2, 1, 11, 2])
FIRST = np.append(0, np.cumsum(LENGTHS))
S, SPARE, WIDTH = FIRST[-1], 2, 5
N, EMPTY = len(LENGTHS), LENGTHS == 0
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])

device = cuda.to_device


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def drawn(rng, *shape):
    return rng.standard_normal(shape)


def parts(rows):
    return [rows[s:e] for s, e in itertools.pairwise(FIRST)]


def close(found, expected, dtype):
    np.testing.assert_allclose(found, expected, 0, 40 * np.finfo(dtype).eps)


def slopes(function, x, step=1e-6):
    """Central differences of a function of x, element by element."""
    found = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        values = []
        for change in (step, -step):
            before = x[place]
            x[place] += change
            values.append(function(x))
            x[place] = before
        found[place] = (values[0] - values[1]) / (2 * step)
    return found


@DTYPES
@pytest.mark.parametrize("width", [WIDTH, 33])
def test_mean(rng, dtype, width):
    rows = drawn(rng, S + SPARE, width).astype(dtype)
    d_pooled = drawn(rng, N, width).astype(dtype)
    pooled, d_rows = device(np.full((N, width), 9, dtype)), device(np.full_like(rows, 9))
    pooling.average(pooled, device(rows), None, device(FIRST))
    expected = [r.mean(axis=0) if len(r) else np.zeros(width) for r in parts(rows)]
    close(pooled.copy_to_host(), expected, dtype)
    pooling.average_backward(d_rows, device(d_pooled), None, device(FIRST))
    close(
        d_rows.copy_to_host()[:S],
        np.repeat(d_pooled / LENGTHS.clip(1)[:, None], LENGTHS, 0),
        dtype,
    )
    assert (d_rows.copy_to_host()[S:] == 9).all()


@DTYPES
def test_maximum_and_ties(rng, dtype):
    rows = rng.integers(-3, 0, (S + SPARE, WIDTH)).astype(dtype)  # many are equal
    d_pooled = drawn(rng, N, WIDTH).astype(dtype)
    pooled, latest = device(np.full((N, WIDTH), 9, dtype)), device(np.zeros((N, WIDTH), np.int32))
    pooling.greatest(pooled, latest, device(rows), device(FIRST))
    expected = [r.max(axis=0) if len(r) else np.zeros(WIDTH) for r in parts(rows)]
    steps = [r.argmax(axis=0) if len(r) else np.full(WIDTH, -1) for r in parts(rows)]
    np.testing.assert_array_equal(pooled.copy_to_host(), expected)
    np.testing.assert_array_equal(latest.copy_to_host(), steps)
    d_rows = device(np.full_like(rows, 9))
    pooling.greatest_backward(d_rows, device(d_pooled), latest, device(FIRST))
    wanted = np.zeros((S, WIDTH), dtype)
    for q in np.flatnonzero(~EMPTY):
        wanted[FIRST[q] + steps[q], np.arange(WIDTH)] = d_pooled[q]
    np.testing.assert_array_equal(d_rows.copy_to_host()[:S], wanted)


def test_maximum_of_what_is_not_finite():
    rows = np.array([[np.nan, 1, -np.inf], [2, np.nan, -np.inf], [1, 3, -np.inf]])
    pooled, latest = device(np.zeros((1, 3))), device(np.zeros((1, 3), np.int32))
    pooling.greatest(pooled, latest, device(rows), device(np.array([0, 3])))
    np.testing.assert_array_equal(pooled.copy_to_host(), [[np.nan, 3, -np.inf]])
    np.testing.assert_array_equal(latest.copy_to_host(), [[0, 2, 0]])


class Attention:
    """Two models' weights, somewhere in theta."""

    b_at, v_at, W_at = 3, 3 + WIDTH, 3 + 2 * WIDTH

    def __init__(self, rng):
        self.theta = drawn(rng, 2, self.W_at + WIDTH**2 + 1)

    def pooled(self, rows, theta):
        found, alphas = [], []
        for q, part in enumerate(parts(rows[:S])):
            b, v = (theta[q // B, at : at + WIDTH] for at in (self.b_at, self.v_at))
            score = np.exp(np.tanh(part @ self.W(theta, q // B) + b) @ v)
            alphas.append(score / score.sum())
            found.append(alphas[-1] @ part)
        return np.array(found), np.concatenate(alphas)

    def W(self, theta, m):
        return theta[m, self.W_at : self.W_at + WIDTH**2].reshape(WIDTH, WIDTH)

    def product(self, rows, theta, transposed=False):
        """What products.py does, for the rows of each model."""
        out = np.zeros_like(rows)
        for m in range(2):
            W = self.W(theta, m)
            part = slice(FIRST[m * B], FIRST[(m + 1) * B])
            out[part] = rows[part] @ (W.T if transposed else W)
        return out

    def forward(self, rows, dtype):
        rows, theta = rows.astype(dtype), self.theta.astype(dtype)
        u, alpha = device(self.product(rows, theta)), device(np.full((S + SPARE, 1), 9, dtype))
        pooled = device(np.full((N, WIDTH), 9, dtype))
        pooling.attend(u, alpha, device(theta), self.b_at, self.v_at, device(FIRST), B)
        pooling.average(pooled, device(rows), alpha, device(FIRST))
        return u, alpha, pooled


@DTYPES
def test_attention(rng, dtype):
    attention, rows = Attention(rng), drawn(rng, S + SPARE, WIDTH)
    _, alpha, pooled = attention.forward(rows, dtype)
    expected, expected_alpha = attention.pooled(rows, attention.theta)
    close(pooled.copy_to_host(), expected, dtype)
    close(alpha.copy_to_host()[:S, 0], expected_alpha, dtype)
    assert (alpha.copy_to_host()[S:] == 9).all()


def test_large_scores_do_not_overflow(rng):
    attention = Attention(rng)
    attention.theta[:, attention.v_at : attention.v_at + WIDTH] *= 1e4
    _, alpha, _ = attention.forward(drawn(rng, S + SPARE, WIDTH), np.float32)
    for part in parts(alpha.copy_to_host()[:S, 0]):
        assert len(part) == 0 or abs(part.sum() - 1) < 1e-6


def test_gradient_of_attention(rng):
    attention, rows = Attention(rng), drawn(rng, S + SPARE, WIDTH)
    theta, d_pooled = attention.theta, drawn(rng, N, WIDTH)
    u, alpha, pooled = attention.forward(rows, np.float64)
    d_u, d_score = device(np.zeros_like(rows)), device(np.zeros((S + SPARE, 1)))
    pooling.attend_backward(
        *(d_u, d_score, device(d_pooled), pooled, device(rows), u, alpha, device(theta)),
        *(attention.v_at, device(FIRST), B),
    )
    d_u, d_score, u = d_u.copy_to_host(), d_score.copy_to_host(), u.copy_to_host()
    d_rows = device(attention.product(d_u, theta, transposed=True))
    pooling.average_backward(d_rows, device(d_pooled), alpha, device(FIRST))
    expected = slopes(lambda x: (attention.pooled(x, theta)[0] * d_pooled).sum(), rows)
    np.testing.assert_allclose(d_rows.copy_to_host(), expected, 1e-6, 1e-8)
    d_theta = slopes(lambda x: (attention.pooled(rows, x)[0] * d_pooled).sum(), theta)
    for m in range(2):
        part = slice(FIRST[m * B], FIRST[(m + 1) * B])
        found = np.concatenate(
            [
                np.zeros(attention.b_at),
                d_u[part].sum(axis=0),
                d_score[part, 0] @ u[part],
                (rows[part].T @ d_u[part]).ravel(),
                [0],
            ]
        )
        np.testing.assert_allclose(found, d_theta[m], 1e-6, 1e-8)


WAYS = pytest.mark.parametrize(
    ("direction", "merge"),
    [
        ("forward", "concat"),
        ("reverse", "concat"),
        ("both", "concat"),
        ("both", "sum"),
        ("both", "mean"),
    ],
)


def pooled_last(layout, ends, x):
    """One sequence's row, as tests/reference.py makes it."""
    backwards = {"forward": [False], "reverse": [True], "both": [False, True]}[layout.direction]
    steps = [x[0 if way else -1] for way in backwards] if len(x) else []
    if layout.merges:
        n = len(ends) if layout.merge == "mean" else 1
        return sum(ends) / n + (sum(steps) / len(ends) if steps else 0)
    P = len(ends[0])
    skipped = [step[k * P : (k + 1) * P] for k, step in enumerate(steps)]
    return np.concatenate(ends) + (np.concatenate(skipped) if skipped else 0)


@WAYS
@pytest.mark.parametrize("residual", [False, True])
@DTYPES
def test_last(rng, dtype, residual, direction, merge):
    layout = Layout(2, (WIDTH, WIDTH), 1, direction=direction, merge=merge, residual=residual)
    width, share = layout.widths[0], share_of(layout)
    columns = pooling.ends_of(layout)
    ends = [drawn(rng, N, WIDTH).astype(dtype) for _ in range(1 + (direction == "both"))]
    x = drawn(rng, S + SPARE, width).astype(dtype)
    found = device(np.full((N, width), 9, dtype))
    pooling.last(
        *(found, tuple(device(end) for end in ends), device(x) if residual else None),
        *(device(FIRST), share, columns),
    )

    def expected(ends, x):
        given = parts(x[:S]) if residual else [x[:0]] * N
        return np.array(
            [pooled_last(layout, [e[q] for e in ends], part) for q, part in enumerate(given)]
        )

    close(found.copy_to_host(), expected(ends, x), dtype)
    if dtype == np.float32:
        return
    d_pooled = drawn(rng, N, width)
    d_ends, d_x = [device(np.zeros((N, WIDTH))) for _ in ends], device(np.ones_like(x))
    pooling.last_backward(device(d_pooled), tuple(d_ends), share)
    for k, d_end in enumerate(d_ends):
        wanted = slopes(
            lambda v, k=k: (expected([*ends[:k], v, *ends[k + 1 :]], x) * d_pooled).sum(), ends[k]
        )
        np.testing.assert_allclose(d_end.copy_to_host(), wanted, 1e-7, 1e-8)
    if residual:
        pooling.add_last_backward(device(d_pooled), d_x, device(FIRST), columns)
        wanted = 1 + slopes(lambda v: (expected(ends, v) * d_pooled).sum(), x)
        np.testing.assert_allclose(d_x.copy_to_host(), wanted, 1e-7, 1e-8)
