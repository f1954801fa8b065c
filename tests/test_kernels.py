"""Activations, matrix products, initial weights and optimisers, each by itself."""

import math
import platform
import re

import numba
import numpy as np
import pytest

from numba_lstm import _jit, activations, losses
from numba_lstm._jit import kernel
from numba_lstm._llvm import BITS
from numba_lstm.cpu import gates as gate_loops
from numba_lstm.cpu import matmul, transposed
from numba_lstm.cpu.linking import link
from numba_lstm.cpu.simd import MAX_ROWS
from numba_lstm.loads import lanes, load, store
from numba_lstm.memory import view
from numba_lstm.parameters import Layout, initialise
from numba_lstm.training import optimizers
from numba_lstm.training.optimizers import Optimizer, SolverSettings
from numba_lstm.training.schedules import Schedule


@kernel
def apply_tanh(x, y):
    x, y = view((x, y))
    for j in range(0, x.size, lanes(x)):
        store(activations.tanh(load(x, j, x.size - j)), y, j, x.size - j)


@kernel
def apply_sigmoid(x, y):
    x, y = view((x, y))
    for j in range(0, x.size, lanes(x)):
        store(activations.sigmoid(load(x, j, x.size - j)), y, j, x.size - j)


@kernel
def apply_to_numbers(x, y, z):
    for j in range(x.size):
        y[j], z[j] = activations.tanh(x[j]), activations.sigmoid(x[j])


def ulps(found, expected):
    """Distance in units of the last place of the expected value."""
    rounded = np.abs(expected).astype(found.dtype)
    return np.abs(found - expected) / np.spacing(rounded).astype(np.longdouble)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activations_over_a_dense_grid(dtype):
    tail = 87 if dtype == np.float32 else 708
    tiny = np.geomspace(1e-30, 1, 50_000)
    grid = np.concatenate([np.linspace(-30, 30, 600_001), tiny, -tiny])
    x = np.concatenate([grid, np.linspace(-tail, tail, 200_001)]).astype(dtype)
    exact, y = x.astype(np.longdouble), np.empty_like(x)
    apply_tanh(x, y)
    assert ulps(y, np.tanh(exact)).max() <= 4
    assert np.abs(y).max() <= 1
    apply_sigmoid(x, y)
    error = ulps(y, 1 / (1 + np.exp(-exact)))
    assert error[x >= -30].max() <= 4
    assert error.max() <= (6 if dtype == np.float32 else 4)
    assert y.min() >= 0
    assert y.max() <= 1


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_and_vectors_give_the_same_bits(dtype):
    """As the GPU's kernels and the losses compute, and as the CPU's gate loops do."""
    x = np.linspace(-20, 20, 101).astype(dtype)
    found = [np.empty_like(x) for _ in range(4)]
    apply_tanh(x, found[0])
    apply_sigmoid(x, found[1])
    apply_to_numbers(x, *found[2:])
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], found[3])


@pytest.mark.nojit
@pytest.mark.parametrize("n", [1, 3, 16, 17, 50])
def test_a_part_of_a_vector_leaves_its_surroundings_alone(n):
    x, y = np.arange(60.0), np.full(60, -1.0)
    apply_tanh(x[:n], y[:n])
    np.testing.assert_allclose(y[:n], np.tanh(x[:n]), rtol=1e-15)
    assert (y[n:] == -1).all()


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activations_at_the_ends(dtype):
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0, 0.5, -0.25, np.nan], dtype)
    x[-1:].view(np.int32 if dtype == np.float32 else np.int64)[0] += 77  # as R's NA has them
    y = np.empty_like(x)
    apply_tanh(x, y)
    np.testing.assert_allclose(y, np.tanh(x.astype(np.float64)), rtol=1e-6)
    apply_sigmoid(x, y)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(y, 1 / (1 + np.exp(-x.astype(np.float64))), 1e-6, 1e-30)


@kernel
def activate_rows(gates, c, tanh_c, h):
    gates, c, tanh_c, h = view((gates, c, tanh_c, h))
    gate_loops._activate(None, gates, 0, c, 0, c, 0, tanh_c, h, 0, 0, h, 0, 0, 0, h.shape[0])


@kernel
def differentiate_rows(gates, c, tanh_c, h):
    gates, c, tanh_c, h = view((gates, c, tanh_c, h))
    gate_loops._differentiate(None, gates, 0, c, 0, tanh_c, h, h, 0, h.shape[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("function", [activate_rows, differentiate_rows])
def test_gate_loops_are_vector_code(function, dtype):
    """A call left in the loop would make a step ten times slower, silently."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("knows x86-64's instructions only")
    rows = [np.zeros((2, n), dtype) for n in (256, 64, 64, 64)]
    fresh = numba.njit(**_jit._OPTIONS)(function.py_func)  # cached code has no assembly
    fresh(*rows)
    (text,) = fresh.inspect_asm().values()
    kind = "ps" if dtype == np.float32 else "pd"
    packed = len(re.findall(rf"v?(?:mul|fmadd\d+){kind}\b", text))
    single = len(re.findall(rf"v?(?:mul|fmadd\d+)s{kind[1]}\b", text))
    # A forward step has five polynomials of degree 6 or more, a backward step a dozen
    # multiplications, twice: once for whole vectors, once for what is left over.
    assert packed >= (60 if function is activate_rows else 16)
    # Of two lanes, what is left over is a number.
    assert single == 0 or (BITS == 128 and dtype == np.float64)


for real in (np.float32, np.float64):
    link(np.dtype(real), {"plain", "train"})

SIZES = [
    (1, 1, 1),
    (3, 5, 7),
    (37, 15, 148),
    (8, 32, 128),
    (100, 13, 33),
    (250, 9, 64),
    (131, 300, 1029),
    (130, 800, 1030),  # a gradient that is held in panels
    (450, 21, 700),  # weights that do not fit a second-level cache
]


@kernel
def packed_by(W, packed, first, last):
    matmul.pack(view(W), view(packed), first, last)


@kernel
def packed_transposed_by(W, packed, first, last):
    matmul.pack_transposed(view(W), view(packed), first, last)


@kernel
def product(A, a, K, packed_B, C, c, n, add):
    A, packed_B, C = view((A, packed_B, C))
    matmul.product(A, a, K, packed_B, C, c, n, add)


@kernel
def add_transposed_product(A, B, n, C, task, n_tasks, scratch):
    A, B, C, scratch = view((A, B, C, scratch))
    transposed.add_transposed_product(A, 0, B, 0, n, C, task, n_tasks, scratch)


@kernel
def fill_share(C, task, n_tasks):
    transposed.fill_share(view(C), task, n_tasks)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("K", "M", "N"), SIZES)
def test_products(K, M, N, dtype):
    rng = np.random.default_rng(0)
    A, B = (rng.standard_normal(shape).astype(dtype) for shape in ((M + 3, K + 2), (K, N)))
    C = np.full((M + 4, N), np.nan, dtype)
    packed = np.empty((K, N), dtype)
    packed_by(B, packed, 0, N)
    product(A, 2, K, packed, C, 1, M, False)
    exact = A[2 : 2 + M, :K].astype(np.float64) @ B.astype(np.float64)
    tolerance = 20 * np.finfo(dtype).eps * K
    np.testing.assert_allclose(C[1 : M + 1], exact, atol=tolerance)
    assert np.isnan(C[0]).all()
    assert np.isnan(C[M + 1 :]).all()

    # A row's result does not depend, bit for bit, on how many rows go with it.
    alone = np.empty_like(C)
    for m in range(M):
        product(A, 2 + m, K, packed, alone, 1 + m, 1, False)
    np.testing.assert_array_equal(alone[1 : M + 1], C[1 : M + 1])

    k = K // 2  # the first columns of A and rows of B, added
    product(A, 0, k, packed, C, 1, M, True)
    part = A[:M, :k].astype(np.float64) @ B[:k].astype(np.float64)
    np.testing.assert_allclose(C[1 : M + 1], exact + part, atol=2 * tolerance)

    other = np.empty((K, N), dtype)
    packed_transposed_by(np.ascontiguousarray(B.T), other, 0, N)
    np.testing.assert_array_equal(other, packed)

    D, E = np.zeros((K, N), dtype), rng.standard_normal((M + 3, N)).astype(dtype)
    scratch = np.empty(transposed.scratch_size(K, N, np.dtype(dtype).itemsize, 1), dtype)
    add_transposed_product(A, E, M, D, 0, 1, scratch)
    exact = A[:M, :K].astype(np.float64).T @ E[:M].astype(np.float64)
    np.testing.assert_allclose(D, exact, atol=20 * tolerance)

    # It is the same, bit for bit, where there is no room to hold it.
    if scratch.size:
        less = np.zeros_like(D)
        size = min(scratch.size, transposed.scratch_size(K, 512, np.dtype(dtype).itemsize, 1))
        add_transposed_product(A, E, M, less, 0, 1, scratch[:size])
        np.testing.assert_array_equal(less, D)

    # Shares of it cover it, do not overlap, and have the same numbers, bit for bit.
    for n_tasks in (2, 3, 7):
        scratch = np.empty(transposed.scratch_size(K, N, np.dtype(dtype).itemsize, n_tasks), dtype)
        shares, filled = np.zeros_like(D), np.ones_like(D)
        for task in range(n_tasks):
            share, part = np.zeros_like(D), np.ones_like(D)
            add_transposed_product(A, E, M, share, task, n_tasks, scratch)
            fill_share(part, task, n_tasks)
            assert not share[part == 1].any()
            assert (filled >= 1 - part).all()
            filled -= 1 - part
            shares += share
        np.testing.assert_array_equal(shares, D)
        assert not filled.any()


@pytest.mark.parametrize("n", range(1, 2 * MAX_ROWS + 2))
def test_any_number_of_rows(n):
    """Rows that a tile computes again must not reach beyond those that were asked for."""
    rng = np.random.default_rng(n)
    A, B = rng.standard_normal((n, 5)), rng.standard_normal((5, 19))
    C, packed = np.ones((n + 1, 19)), np.empty(B.shape)
    packed_by(B, packed, 0, 19)
    for add in (False, True):
        product(A, 0, 5, packed, C, 0, n, add)
        np.testing.assert_allclose(C[:n], (1 + add) * A @ B, atol=1e-13)
        assert (C[n] == 1).all()


@pytest.mark.nojit
def test_stand_ins_for_the_microkernel():
    A, B, C = np.arange(6.0).reshape(3, 2), np.arange(8.0).reshape(2, 4), np.ones((3, 4))
    packed = np.empty((2, 4))
    packed_by(B, packed, 0, 4)
    product(A, 1, 2, packed, C, 0, 2, True)
    np.testing.assert_array_equal(C, [*(1 + A[1:] @ B), np.ones(4)])
    product(A, 0, 1, packed, C, 2, 1, False)
    np.testing.assert_array_equal(C[2], A[0, 0] * B[0])
    packed_transposed_by(np.ascontiguousarray(B.T), packed, 0, 4)
    product(A, 0, 2, packed, C, 2, 1, False)
    np.testing.assert_array_equal(C[2], A[0] @ B)
    D, scratch = np.zeros((2, 4)), np.empty(0)
    for task in range(3):
        add_transposed_product(A, C, 2, D, task, 3, scratch)
    np.testing.assert_allclose(D, A[:2].T @ C[:2])


@pytest.mark.nojit
def test_first_weights():
    layout = Layout(3, (5,), 2)
    theta = initialise(layout, np.random.default_rng(0), np.dtype(np.float64))
    named = layout.named(theta)
    assert theta.shape == (layout.size,)
    assert sum(view.size for view in named.values()) == layout.size
    assert [named[name].shape for name in named] == [(20, 3), (20, 5), (20,), (2, 5), (2,)]
    np.testing.assert_array_equal(named["bias_l0"], np.repeat([0, 1, 0, 0], 5))
    np.testing.assert_array_equal(named["head_bias"], 0)
    for gate in named["weight_hh_l0"].reshape(4, 5, 5):
        np.testing.assert_allclose(gate @ gate.T, np.eye(5), atol=1e-12)
    assert np.abs(named["weight_ih_l0"]).max() <= math.sqrt(6 / 8)
    single = initialise(layout, np.random.default_rng(0), np.dtype(np.float32))
    np.testing.assert_array_equal(single, theta.astype(np.float32))
    decayed = layout.named(layout.decay_mask(np.dtype(np.float64)))
    assert {name: view.all() for name, view in decayed.items()} == {
        "weight_ih_l0": True,
        "weight_hh_l0": True,
        "bias_l0": False,
        "head_weight": True,
        "head_bias": False,
    }


def textbook(settings, theta, grads, mask, lr):
    """The optimisers as their papers have them, in NumPy."""
    theta, m, v = theta.copy(), np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(grads, 1):
        norm = np.linalg.norm(g)
        if settings.clip_norm is not None and norm > settings.clip_norm:
            g = g * settings.clip_norm / norm
        decay = lr * settings.alpha * mask * theta
        if settings.solver == "adam":
            m = settings.beta_1 * m + (1 - settings.beta_1) * g
            v = settings.beta_2 * v + (1 - settings.beta_2) * g**2
            m_hat, v_hat = m / (1 - settings.beta_1**t), v / (1 - settings.beta_2**t)
            step = lr * m_hat / (np.sqrt(v_hat) + settings.epsilon)
        elif settings.solver == "rmsprop":
            v = 0.99 * v + 0.01 * g**2
            step = lr * g / (np.sqrt(v) + settings.epsilon)
        else:
            m = settings.momentum * m - lr * g
            step = -(settings.momentum * m - lr * g) if settings.nesterovs_momentum else -m
        theta = theta - decay - step
    return theta


@pytest.mark.nojit
@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize(
    "how",
    [
        {"solver": "adam"},
        {"solver": "rmsprop"},
        {"solver": "sgd"},
        {"solver": "sgd", "nesterovs_momentum": False},
        {"solver": "sgd", "momentum": 0.0},
    ],
)
def test_optimisers_are_the_textbook_s(how, clip_norm):
    settings = SolverSettings(**how, alpha=0.1, clip_norm=clip_norm)
    rng = np.random.default_rng(0)
    theta, mask = rng.standard_normal(7), np.array([1.0, 1, 0, 1, 0, 1, 1])
    grads = rng.standard_normal((4, 7))
    expected = textbook(settings, theta, grads, mask, 0.05)
    optimizer = Optimizer(mask, settings)
    for g in grads:
        assert optimizer.step(theta, g, 0.05)
    np.testing.assert_allclose(theta, expected, rtol=1e-12)


@pytest.mark.nojit
@pytest.mark.parametrize("solver", ["adam", "sgd", "rmsprop"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_optimisers_refuse_a_gradient_that_is_not_finite(solver, wrong):
    optimizer = Optimizer(np.ones(2), SolverSettings(solver))
    theta = np.array([1.0, 2.0])
    assert not optimizer.step(theta, np.array([wrong, 1.0]), 0.1)
    np.testing.assert_array_equal(theta, [1, 2])
    assert not optimizer.first_moment.any()
    assert not optimizer.second_moment.any()
    assert optimizer.n_steps == 0


def test_an_interrupt_in_a_step_leaves_its_number(monkeypatch):
    """What Python raises comes once the kernel has moved the weights."""
    move = optimizers._adam

    def interrupted(*arguments):
        move(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(optimizers, "_adam", interrupted)
    optimizer, theta = Optimizer(np.ones(2), SolverSettings()), np.ones(2)
    with pytest.raises(KeyboardInterrupt):
        optimizer.step(theta, np.ones(2), 0.1)
    assert theta[0] != 1
    assert optimizer.n_steps == 1


@pytest.mark.nojit
def test_schedules():
    assert Schedule("constant", 0.1, 3).rate(0.9) == 0.1
    cosine = Schedule("cosine", 0.1, 3)
    assert [cosine.rate(p) for p in (0, 0.5, 1)] == pytest.approx([0.1, 0.05, 0])
    plateau = Schedule("plateau", 0.1, 2)
    rates = []
    for improved in (True, False, False, True, False, False):
        plateau.epoch_ended(improved)
        rates.append(plateau.rate(0))
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.05, 0.025])
    for _ in range(100):
        plateau.epoch_ended(False)
    assert plateau.rate(0) == pytest.approx(1e-4)


@pytest.mark.nojit
@pytest.mark.parametrize("kind", ["squared", "absolute", "quantile"])
def test_null_output_has_the_least_loss(kind):
    code = {
        "squared": losses.SQUARED_ERROR,
        "absolute": losses.ABSOLUTE_ERROR,
        "quantile": losses.QUANTILE,
    }[kind]
    rng = np.random.default_rng(0)
    y, weight = rng.exponential(size=(60, 2)), rng.integers(0, 3, 60).astype(float)
    best = losses.null_output(code, 0.8, y, weight, 2)

    def mean_loss(constant):
        out = np.tile(constant, (60, 1))
        rows = np.empty(60)
        losses.all_losses(code, 0.8, out, y, weight, np.empty_like(out), rows)
        return rows.sum()

    least = mean_loss(best)
    for shift in rng.normal(0, 0.2, (30, 2)):
        assert mean_loss(best + shift) >= least - 1e-12


@pytest.mark.nojit
def test_null_output_of_classes_is_their_frequency():
    codes, weight = np.array([[0.0], [1.0], [1.0], [2.0]]), np.array([1.0, 1.0, 2.0, 4.0])
    logits = losses.null_output(losses.LOG_LOSS, 0.0, codes, weight, 3)
    np.testing.assert_allclose(np.exp(logits), [1 / 8, 3 / 8, 4 / 8])
    codes = np.array([[0.0], [1.0], [1.0], [1.0]])
    logit = losses.null_output(losses.BINARY_LOG_LOSS, 0.0, codes, np.ones(4), 1)
    np.testing.assert_allclose(logit, [np.log(3)])
