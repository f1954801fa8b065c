"""Inputs, joining of layers, and their gradients, against NumPy."""

import numpy as np
import pytest

from numba_lstm.cuda.device import cuda
from numba_lstm.cuda.rows import gather, join, join_backward, share_of
from numba_lstm.parameters import Layout

pytestmark = pytest.mark.nojit

# Two models of three sequences, one of them without a step.
B, LENGTHS = 3, np.array([3, 0, 2, 1, 4, 2])
FIRST = np.append(0, np.cumsum(LENGTHS))
S, SPARE = FIRST[-1], 2
SEQUENCE = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def device(*arrays):
    found = [None if array is None else cuda.to_device(array) for array in arrays]
    return found if len(found) > 1 else found[0]


def drawn(rng, rows, columns, dtype):
    """Random numbers, with some rows more than are in use."""
    return rng.standard_normal((rows + SPARE, columns)).astype(dtype)


@DTYPES
@pytest.mark.parametrize(("F", "bias", "drops"), [(1, True, False), (5, False, True), (33, 1, 1)])
@pytest.mark.parametrize("given", [np.float32, np.float64])
def test_inputs_are_standardised_in_float64(rng, dtype, given, F, bias, drops):
    values = (1e6 + rng.standard_normal((40, F))).astype(given)
    values[3, 0] = 1e300 if given == np.float64 else 1e38
    starts = np.array([2, 0, 30, 7, 11, 3])
    mean, inverse = 1e6 + rng.standard_normal((2, F)), 0.5 + rng.random((2, F))
    mask = (2 * (rng.random((len(LENGTHS), F)) < 0.5)).astype(dtype) if drops else None
    xh = drawn(rng, S, F + bias + 2, dtype)
    before, on_device = xh.copy(), device(xh)
    gather(
        *(on_device, *device(values, starts, FIRST, mean, inverse, mask), bias, B),
    )
    found, model = on_device.copy_to_host(), SEQUENCE // B
    step = np.arange(S) - FIRST[SEQUENCE]
    rows = values[starts[SEQUENCE] + step].astype(np.float64)
    expected = (rows - mean[model]) * inverse[model]
    expected = np.clip(expected, -1e18, 1e18).astype(dtype)
    if drops:
        expected *= mask[SEQUENCE]
    np.testing.assert_array_equal(found[:S, :F], expected)
    assert (found[:S, F : F + bias] == 1).all()
    np.testing.assert_array_equal(found[:, F + bias :], before[:, F + bias :])
    np.testing.assert_array_equal(found[S:], before[S:])


def test_long_sequences_are_cut_into_parts(rng):
    values, first = rng.standard_normal((40, 33)), np.array([0, 40])
    xh = device(np.zeros((40, 33)))
    plain = device(np.zeros((1, 33)), np.ones((1, 33)))
    gather(xh, *device(values, np.zeros(1, np.int64), first), *plain, None, False, 1)
    np.testing.assert_array_equal(xh.copy_to_host(), values)


CASES = [
    # direction, merge, residual, drops, directions of the next layer, bias
    ("forward", "concat", False, True, 1, True),
    ("reverse", "concat", True, False, 1, False),
    ("both", "concat", True, True, 2, True),
    ("both", "sum", False, True, 2, False),
    ("both", "mean", True, True, 1, True),
    ("both", "mean", True, False, 0, False),
]


def case(rng, direction, merge, residual, drops, n_next, dtype, P=5):
    layout = Layout(2, (P, P), 1, direction=direction, merge=merge, residual=residual)
    directions, width = 2 if direction == "both" else 1, layout.widths[0]
    outs = drawn(rng, S, directions * P, dtype)
    x = drawn(rng, S, width, dtype) if residual else None
    mask = (2 * (rng.random((len(LENGTHS), width)) < 0.5)).astype(dtype) if drops else None
    weights = [drawn(rng, S, width + 3, dtype) for _ in range(n_next)]
    return layout, width, outs, x, mask, weights


def joined(layout, outs, x, mask):
    """Outputs and next inputs, in NumPy, of the rows in use."""
    outs = outs[:S]
    P = layout.hidden_sizes[0]
    if layout.merges:
        outs = (outs[:, :P] + outs[:, P:]) / (2 if layout.merge == "mean" else 1)
    out = outs if x is None else outs + x[:S]
    return out, out if mask is None else out * mask[SEQUENCE]


@DTYPES
@pytest.mark.parametrize(("direction", "merge", "residual", "drops", "n_next", "bias"), CASES)
def test_join(rng, dtype, direction, merge, residual, drops, n_next, bias):
    layout, width, outs, x, mask, xhs = case(rng, direction, merge, residual, drops, n_next, dtype)
    kept, share = layout.merges or residual, share_of(layout)
    out = device(np.full((S + SPARE, width), 7, dtype)) if kept else None
    found = [device(xh) for xh in xhs]
    join(out, *device(outs, x), tuple(found), *device(mask, FIRST), share, bias)
    expected_out, expected = joined(layout, outs, x, mask)
    tolerance = 4 * np.finfo(dtype).eps
    if kept:
        np.testing.assert_allclose(out.copy_to_host()[:S], expected_out, 0, tolerance)
        assert (out.copy_to_host()[S:] == 7).all()
    for before, xh in zip(xhs, found, strict=True):
        after = xh.copy_to_host()
        np.testing.assert_allclose(after[:S, :width], expected, 0, tolerance)
        assert (after[:S, width : width + bias] == 1).all()
        np.testing.assert_array_equal(after[:, width + bias :], before[:, width + bias :])
        np.testing.assert_array_equal(after[S:], before[S:])


@pytest.mark.parametrize(("direction", "merge", "residual", "drops", "n_next", "bias"), CASES)
def test_gradient_of_join(rng, direction, merge, residual, drops, n_next, bias):
    """Against differences of a function of the next layer's inputs and of the outputs."""
    layout, width, outs, x, mask, d_xhs = case(
        rng, direction, merge, residual, drops, n_next, np.float64
    )
    d_above = drawn(rng, S, width, np.float64)  # as a residual connection above has it

    def value(outs, x):
        out, inputs = joined(layout, outs, x, mask)
        return (d_above[:S] * out).sum() + sum((d[:S, :width] * inputs).sum() for d in d_xhs)

    d_out, d_outs = device(np.zeros_like(d_above), np.zeros_like(outs))
    join_backward(
        *(d_out, d_outs, tuple(device(d) for d in d_xhs), *device(mask, d_above, FIRST)),
        *(width, share_of(layout)),
    )
    for variable, found in ((outs, d_outs), (x, d_out))[: 1 + residual]:
        found = found.copy_to_host()
        assert (found[S:] == 0).all()
        for row, column in zip(rng.integers(S, size=12), range(12), strict=True):
            place, values = (row, column % variable.shape[1]), []
            for change in (1e-3, -1e-3):  # it is linear: any step will do
                variable[place] += change
                values.append(value(outs, x))
                variable[place] -= change
            slope = (values[0] - values[1]) / 2e-3
            np.testing.assert_allclose(found[place], slope, 1e-8, 1e-9)


@DTYPES
def test_gradient_of_join_in_place_and_in_part(rng, dtype):
    d_above, d_xh = drawn(rng, S, 4, dtype), drawn(rng, S, 6, dtype)
    both = device(d_above)
    join_backward(both, None, (device(d_xh),), None, both, device(FIRST), 4, 0.0)
    expected = d_above + d_xh[:, :4]
    np.testing.assert_array_equal(both.copy_to_host()[:S], expected[:S])
    d_outs = device(np.zeros((S, 4), dtype))
    join_backward(None, d_outs, (device(d_xh),), None, None, device(FIRST), 4, 0.0)
    np.testing.assert_array_equal(d_outs.copy_to_host(), d_xh[:S, :4])


@pytest.fixture
def rng():
    return np.random.default_rng(7)
