"""The network against a naive reference, central differences and PyTorch's numbers."""

from pathlib import Path

import numpy as np
import pytest
import reference
from conftest import central_differences

from numba_lstm import losses
from numba_lstm.cpu import plan as plan_module
from numba_lstm.network import Network
from numba_lstm.parameters import Layout
from numba_lstm.sequences import Batch

LENGTHS = {"one length": [5] * 3, "ragged": [2, 6, 1, 4, 4], "one step": [1, 1]}
LOSSES = [
    *(("squared_error", 2), ("absolute_error", 1), ("huber", 3), ("quantile", 2)),
    *(("log_loss", 1), ("log_loss", 3), ("labels", 3)),
]
VECTORS = np.load(Path(__file__).parent / "data" / "torch_vectors.npz")
CASES = sorted({name.split("/")[0] for name in VECTORS.files})
TORCH_KINDS = {
    "rectangular": losses.SQUARED_ERROR,
    "ragged": losses.ABSOLUTE_ERROR,
    "per_step": losses.HUBER,
    "classes": losses.LOG_LOSS,
    "binary_per_step": losses.BINARY_LOG_LOSS,
    "wide": losses.SQUARED_ERROR,
}


@pytest.mark.nojit
@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_forward_is_the_reference(make_problem, lengths, per_step):
    p = make_problem(lengths, F=3, H=4, K=2, per_step=per_step)
    expected = reference.outputs(p.in_order, p.named, per_step)
    np.testing.assert_allclose(p.network.predict(p.theta, p.batch), expected, atol=1e-12)

    states = p.network.states(p.theta, p.batch)
    parts = [reference.lstm(x, p.named) for x in p.in_order]
    h, c, i, f, g, o = (np.concatenate(part) for part in zip(*parts, strict=True))
    np.testing.assert_allclose(states.h, h, atol=1e-12)
    np.testing.assert_allclose(states.c, c, atol=1e-12)
    np.testing.assert_allclose(states.gates, np.hstack([i, f, g, o]), atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("N", "T", "F", "H"),
    [(1, 1, 1, 1), (40, 3, 2, 16), (17, 4, 28, 37), (3, 2, 1, 100), (2, 70, 3, 5), (150, 2, 1, 3)],
)
def test_forward_at_odd_sizes(make_problem, N, T, F, H, dtype):
    p = make_problem([T] * N, F=F, H=H, K=2, per_step=True, dtype=dtype, n_threads=2)
    expected = reference.outputs(p.in_order, p.named, True)
    tolerance = 1e-12 if dtype == np.float64 else 3e-6 * np.abs(expected).max()
    found = p.network.predict(p.theta, p.batch)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, atol=tolerance)


@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize(("loss", "K"), LOSSES)
def test_gradient_is_the_slope_of_the_loss(make_problem, loss, K, lengths, per_step):
    p = make_problem(lengths, F=2, H=3, K=K, loss=loss, per_step=per_step)
    _, gradient = p.loss_and_grad()
    expected = central_differences(p)
    assert np.abs(gradient - expected).max() <= 1e-6 * np.abs(expected).max()
    for name, part in p.layout.named(gradient).items():
        slope = p.layout.named(expected)[name]
        assert np.abs(part - slope).max() <= 1e-6 * np.abs(slope).max(), name


@pytest.mark.nojit
def test_gradient_without_the_jit(make_problem):
    p = make_problem([3, 1, 2], F=1, H=2, K=2, loss="huber")
    _, gradient = p.loss_and_grad()
    np.testing.assert_allclose(gradient, central_differences(p), atol=1e-8)


@pytest.mark.nojit
@pytest.mark.parametrize(("loss", "K"), LOSSES)
def test_loss_is_the_reference(make_problem, loss, K):
    p = make_problem([3, 1, 2], F=2, H=3, K=K, loss=loss, per_step=True)
    value, _ = p.loss_and_grad()
    out = reference.outputs(p.in_order, p.named, True)
    y = p.batch.y[:, 0] if loss == "log_loss" else p.batch.y
    expected = reference.loss(out, y, p.batch.weight, loss, p.parameter)
    assert value == pytest.approx(expected, rel=1e-12)


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_forward_and_gradients_are_those_of_pytorch(case, dtype):
    def stored(name):
        return VECTORS[f"{case}/{name}"]

    def result(name):
        return stored(f"{np.dtype(dtype).name}/{name}")

    lengths, y, x = stored("lengths"), stored("y"), stored("x")
    order = np.argsort(-lengths, kind="stable")
    starts = np.cumsum(lengths[order]) - lengths[order]
    values = np.concatenate([x[i, : lengths[i]] for i in order])
    per_step = len(result("out")) == lengths.sum()
    # PyTorch's rows are in the order of x, ours longest first.
    rows = np.split(np.arange(lengths.sum()), np.cumsum(lengths)[:-1])
    by_step = np.concatenate([rows[i] for i in order])
    out_order = by_step if per_step else order
    y = y.reshape(len(y), -1)[out_order].astype(dtype)
    weight = np.full(len(y), 1 / len(y), dtype)
    batch = Batch(values, starts, lengths[order], y, weight)

    layout = Layout(x.shape[2], (stored("weight_hh_l0").shape[1],), len(stored("head_bias")))
    theta = np.empty(layout.size, dtype)
    for name, view in layout.named(theta).items():
        view[...] = stored(name)
    network = Network(
        layout, dtype, per_step=per_step, loss=TORCH_KINDS[case], loss_parameter=1.0,
        mean=np.zeros(x.shape[2]), scale=np.ones(x.shape[2]), n_threads=1,
    )  # fmt: skip
    tolerance = 1e-6 if dtype == np.float32 else 1e-12

    def same(found, expected):
        assert np.abs(found - expected).max() <= tolerance * max(1.0, np.abs(expected).max())

    same(network.predict(theta, batch), result("out")[out_order])
    states = network.states(theta, batch)
    same(states.h, result("h")[by_step])
    last = np.cumsum(lengths[order]) - 1
    same(states.c[last], result("c_last")[order])
    loss, gradient = network.loss_and_grad(theta, batch)
    same(loss, result("loss"))
    for name, part in layout.named(gradient).items():
        same(part, result(f"grad_{name}"))


def test_stored_vectors_are_what_pytorch_computes_today():
    torch = pytest.importorskip("torch")
    import make_torch_vectors

    for case, (lengths, _, _, _, per_step, loss) in make_torch_vectors.CASES.items():
        weights = {
            name: VECTORS[f"{case}/{name}"]
            for name in ("weight_ih_l0", "weight_hh_l0", "bias_l0", "head_weight", "head_bias")
        }
        x = torch.tensor(VECTORS[f"{case}/x"], dtype=torch.float64)
        y = torch.tensor(VECTORS[f"{case}/y"])
        for name, value in make_torch_vectors.run(x, lengths, y, weights, per_step, loss).items():
            expected = VECTORS[f"{case}/float64/{name}"]
            np.testing.assert_allclose(value.detach().numpy(), expected, atol=1e-12)


def test_vectors_that_the_kernels_would_misread_are_refused(make_problem):
    p = make_problem([3, 2], F=2, H=3, K=1)
    wrong = [p.theta.astype(np.float32), np.repeat(p.theta, 2)[::2], p.theta[:-1], p.theta[None]]
    for theta in wrong:
        with pytest.raises(ValueError, match="theta has dtype"):
            p.network.loss_and_grad(theta, p.batch)
        with pytest.raises(ValueError, match="theta has dtype"):
            p.network.predict(theta, p.batch)
        with pytest.raises(ValueError, match="grad has dtype"):
            p.network.loss_and_grad(p.theta, p.batch, theta)


def test_weightless_rows_add_exactly_nothing(make_problem):
    p = make_problem([4, 3, 3], F=2, H=3, K=1)
    weight = p.batch.weight.copy()
    weight[1] = 0
    full = p.network.loss_and_grad(p.theta, p.batch._replace(weight=weight))
    kept = [0, 2]
    values = np.concatenate([p.in_order[i] for i in kept])
    less = Batch(values, np.array([0, 4]), np.array([4, 3]), p.batch.y[kept], weight[kept])
    np.testing.assert_allclose(full[0], p.network.loss_and_grad(p.theta, less)[0], rtol=1e-14)
    np.testing.assert_allclose(full[1], p.network.loss_and_grad(p.theta, less)[1], atol=1e-15)


@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize(
    "lengths", [[6] * 70, [200, *[1] * 40], [1, 3, 9, 27, 81, 243, 729], range(1, 60)]
)
def test_waves_and_threads_change_nothing(make_problem, monkeypatch, lengths, per_step):
    """Nor does a block without sequences, where one sequence is longer than all others."""
    results = []
    for n_threads in (1, 2):
        for wave_bytes in (1, 50_000, 2**40):
            monkeypatch.setattr(plan_module, "_WAVE_BYTES", wave_bytes)
            plan_module._plan_of_equals.cache_clear()
            p = make_problem(
                lengths, F=2, H=5, K=2, per_step=per_step, n_threads=n_threads, dtype=np.float32
            )
            loss, gradient = p.loss_and_grad()
            outputs = p.network.predict(p.theta, p.batch)
            results.append((loss, gradient.tobytes(), outputs.tobytes()))
    plan_module._plan_of_equals.cache_clear()
    assert len(set(results)) == 1
    named = p.layout.named(p.theta)
    np.testing.assert_allclose(outputs, reference.outputs(p.in_order, named, per_step), atol=1e-5)


@pytest.mark.nojit
@pytest.mark.parametrize("n_threads", [1, 2, 8])
@pytest.mark.parametrize("lengths", [[5] * 100, [500, *[1] * 40], [3], list(range(99, 0, -1))])
def test_every_sequence_is_in_one_block_and_every_block_in_one_wave(lengths, n_threads):
    cut = plan_module.plan(np.array(lengths), Layout(2, (32,), 1), 4, n_threads)
    assert cut.ends[-1] == sum(lengths)
    assert cut.blocks[0] == 0
    assert cut.blocks[-1] == len(lengths)
    assert (np.diff(cut.blocks) >= 0).all()
    waves = [
        cut.blocks[first : first + cut.wave + 1]
        for first in range(0, len(cut.blocks) - 1, cut.wave)
    ]
    assert max(cut.ends[wave[-1]] - cut.ends[wave[0]] for wave in waves) == cut.rows


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.float16])
def test_inputs_of_any_precision_mean_the_same(make_problem, dtype):
    p = make_problem([3, 2, 2], F=3, H=2, K=1)
    values = np.round(4 * p.batch.values)  # exact in all of them
    expected = p.network.predict(p.theta, p.batch._replace(values=values))
    found = p.network.predict(p.theta, p.batch._replace(values=values.astype(dtype)))
    np.testing.assert_array_equal(found, expected)
