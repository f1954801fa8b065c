"""Long sequences in windows: the same loss and gradient, and a state that goes on."""

import numpy as np
import pytest
from test_stacks import EVERYTHING, VARIANTS

from numba_lstm.windows import windows

CASES = {
    "plain": {"H": (5,)},
    "two layers": {"H": (4, 3)},
    "learned state": {"H": (4, 3), "learned_state": True},
    "residual": {"H": (4, 4), "residual": True, **VARIANTS["all"]},
    "everything": {"H": (4, 3), **EVERYTHING},
    "dropped": {"H": (4, 3), "dropout": (0.2, 0.4, 0.3)},
    "everything, dropped": {"H": (4, 3), **EVERYTHING, "dropout": (0.2, 0.4, 0.3)},
}
LENGTHS = {"one length": [17] * 5, "ragged": [2, 16, 1, 4, 9, 17, 30], "one step": [1, 1]}
over_cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
over_lengths = pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
over_per_step = pytest.mark.parametrize("per_step", [False, True])


@over_per_step
@over_lengths
@over_cases
def test_recomputed_is_kept(make_problem, case, lengths, per_step):
    p = make_problem(lengths, F=2, K=2, per_step=per_step, **case)
    loss, gradient = p.loss_and_grad()
    p.network.recomputes = True
    found, recomputed = p.loss_and_grad()
    assert found == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(recomputed, gradient, rtol=0, atol=1e-12 * np.abs(gradient).max())


def test_recomputed_in_float32(make_problem):
    """Sums of windows are nearer to the truth than one long sum."""
    p = make_problem([300, 200, 50] * 5, F=3, K=1, H=(17,), per_step=True, dtype=np.float32)
    double = {name: getattr(p.batch, name).astype(float) for name in ("y", "weight")}
    exact = make_problem([1], F=3, K=1, H=(17,), per_step=True)
    _, expected = exact.network.loss_and_grad(p.theta.astype(float), p.batch._replace(**double))
    p.network.recomputes = True
    _, found = p.loss_and_grad()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_recomputing_takes_a_part_of_the_memory(make_problem):
    sizes = []
    for recomputes in (False, True):
        p = make_problem([2000] * 4, F=2, K=1, H=(16,), dtype=np.float32)
        p.network.recomputes = recomputes
        p.loss_and_grad()
        held = p.network._buffers._held.values()
        sizes.append(sum(work.memory.nbytes for _, _, work in held))
    assert sizes[1] < sizes[0] / 10


@over_per_step
@over_lengths
@over_cases
def test_windows_go_on_as_one_long_pass(make_problem, case, lengths, per_step):
    """Loss of the whole and the last state, by windows whose gradient is cut."""
    p = make_problem(lengths, F=2, K=2, per_step=per_step, **case)
    whole, B = p.network.no_state(len(lengths)), len(lengths)
    expected, _ = p.network.loss_and_grad(p.theta, p.batch, end=whole)
    total, state = 0.0, None
    for _, part in windows(p.batch, 4, per_step):
        n = len(part.lengths)
        begin = None if state is None else state.rows(slice(n))
        state = p.network.no_state(B) if state is None else state
        end = p.network.no_state(n)
        total += p.network.loss_and_grad(p.theta, part, state=begin, end=end)[0]
        state.put(slice(n), end)
    assert total == pytest.approx(expected, rel=1e-12)
    for found, parts in zip(state, whole, strict=True):
        for one, other in zip(found, parts, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-13)


@pytest.mark.parametrize("recomputes", [False, True])
def test_the_last_state_is_that_of_a_prediction(make_problem, recomputes):
    p = make_problem([7, 3, 5, 5] * 9, F=2, K=1, H=(4, 3), n_threads=2)
    p.network.recomputes = recomputes
    state, end = p.network.no_state(36), p.network.no_state(36)
    p.network.predict(p.theta, p.batch, state)
    p.network.loss_and_grad(p.theta, p.batch, end=end)
    for found, parts in zip(end, state, strict=True):
        for one, other in zip(found, parts, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-14)


def test_a_gradient_stops_at_a_given_state(make_problem):
    """It is that of the window alone: by differences with the state held."""
    p = make_problem([5, 3], F=2, K=1, H=(3,))
    rng = np.random.default_rng(0)
    state = p.network.no_state(2)
    for part in (*state.h, *state.c):
        part[...] = rng.standard_normal(part.shape)
    _, gradient = p.network.loss_and_grad(p.theta, p.batch, state=state)
    for j in range(0, p.theta.size, 7):
        values = []
        for step in (1e-5, -1e-5):
            theta = p.theta.copy()
            theta[j] += step
            values.append(p.network.loss_and_grad(theta, p.batch, state=state)[0])
        slope = (values[0] - values[1]) / 2e-5
        assert gradient[j] == pytest.approx(slope, rel=1e-6, abs=1e-9)
