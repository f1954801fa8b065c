"""The recurrence on tensor cores against a naive cell that rounds what it multiplies."""

import numpy as np
import pytest
from rounded import RoundedCell
from test_recurrent import zone

from numba_lstm.cuda import tensor_backward, tensor_forward, tensor_packing
from numba_lstm.cuda.device import cuda
from numba_lstm.cuda.kinds import Kind
from numba_lstm.cuda.tensor_backward import make_backward
from numba_lstm.cuda.tensor_cores import storage
from numba_lstm.cuda.tensor_forward import make_forward
from numba_lstm.cuda.tensor_packing import backward_division, forward_division, pack

pytestmark = pytest.mark.nojit


def device(array):
    return cuda.to_device(np.ascontiguousarray(array, np.float32))


def new(*shape):
    return device(np.full(shape, np.nan))


def packed_of(kind, division, theta, at):
    packed = cuda.to_device(np.full((len(theta), division.size), 77, storage(kind.precision)[0]))
    pack(packed, theta, at, division)
    return packed


def run(kind, lengths, M=1, reverse=False, limit=np.inf, coupled=False, F=2, seed=0, seeds=None):
    """Forward and backward pass of both kernels; what they give, and a naive cell."""
    rng = np.random.default_rng(seed)
    H, B, fused = kind.H, len(lengths), kind.X > 0
    naive = RoundedCell(
        *(kind.precision, 0 if fused else F + 1, rng),
        *(lengths, M, F, H, kind, reverse, limit, coupled),
    )
    zoneout = zone(naive, kind, seeds)
    V, offset = F + 1 + H, 3  # of W in theta, among other weights
    first = np.append(0, np.cumsum(np.tile(lengths, M))).astype(np.int64)
    S, after = first[-1], offset + V * 4 * H
    theta = np.full((M, after + 5 * H + 2), np.nan)
    theta[:, offset:after] = naive.W.reshape(M, -1)
    theta[:, after : after + 3 * H] = naive.peephole.reshape(M, -1)
    if kind.learned:
        theta[:, after + 3 * H : -2] = np.hstack([naive.h_0[::B], naive.c_0[::B]])
    xh = np.full((S, V), np.nan)
    xh[:, :F], xh[:, F] = naive.x, 1
    a = np.zeros((1, 1))
    if not fused:
        model = np.repeat(np.arange(M), S // M)
        a = np.einsum("sk,skg->sg", xh[:, : F + 1], naive.W[model, : F + 1])

    theta, xh, a, first = device(theta), device(xh), device(a), cuda.to_device(first)
    h_0, c_0, mask = device(naive.h_0), device(naive.c_0), device(naive.mask)
    gates, c, y = new(S, 4 * H), new(S, H), new(S, H + 1)
    h_end, c_end = new(M * B, H + 2), new(M * B, H)
    W_h = offset + (F + 1) * 4 * H
    limit, grid = np.float32(limit), (-(-B // kind.NB), M)
    packed = packed_of(kind, forward_division(kind), theta, offset if fused else W_h)
    make_forward(kind)[grid, kind.threads](
        *(packed, theta, after, after + 3 * H, limit, coupled, xh, F + 1, a, first, B, reverse),
        *(h_0, c_0, mask, gates, c, y, 1, h_end, 2, c_end, *zoneout),
    )
    found = {"y": y.copy_to_host()[:, 1:], "h_end": h_end.copy_to_host()[:, 2:]}
    found |= {"c_end": c_end.copy_to_host(), "c": c.copy_to_host()}
    found["h_before"] = xh.copy_to_host()[:, F + 1 :]
    if not kind.keeps:
        assert np.isnan(gates.copy_to_host()).all()
        return found, naive
    dy, dc, d_end = device(naive.dy), device(naive.dc), np.hstack([naive.dh, naive.dh])
    dh = device(0.25 * naive.dh * kind.passes)
    d_end[:, H:] *= 1 - 0.25 * kind.passes
    dh_0, dc_0, d_peephole = new(M * B, H), new(M * B, H), new(M * B, 3 * H)
    packed = packed_of(kind, backward_division(kind), theta, W_h)
    make_backward(kind)[grid, kind.threads](
        *(packed, theta, after, after + 3 * H, limit, coupled),
        *(first, B, reverse, c_0, mask, gates, c, dy, 0),
        *(device(d_end), H, dh, dc, dh_0, dc_0, d_peephole, *zoneout),
    )
    for name, array in (("da", gates), ("dh_0", dh_0), ("dc_0", dc_0), ("dp", d_peephole)):
        found[name] = array.copy_to_host()
    return found, naive


EVERYTHING = Kind("float32", 5, 3, 8, True, True, True, False, True, True, True, True)
CASES = [
    (Kind("float32", 5, 3, 8, keeps=True, every_step=True), [3, 2], {}),
    (Kind("float32", 8, 3, 4, keeps=True), [3, 2, 2, 1, 0], {"M": 2}),
    (Kind("float32", 12, 3, 8, keeps=True, every_step=True), [3, 1, 2, 3] * 2 + [2], {}),
    (Kind("float32", 5, 3, 8, keeps=True), [2, 3, 1, 0, 2], {"reverse": True, "M": 2}),
    (Kind("float32", 8, 0, 8, keeps=True), [2, 1], {}),
    (Kind("float32", 17, 17, 4, keeps=True), [2, 2, 2], {"F": 16}),
    (
        Kind("float32", 12, 3, 8, True, True, begins=True, passes=True, masked=True),
        [2, 1, 0],
        {"reverse": True},
    ),
    (Kind("float32", 5, 3, 4, True, learned=True), [2, 1, 0], {"M": 2}),
    (EVERYTHING, [3, 2], {"limit": 0.6}),
    (EVERYTHING._replace(NB=4), [1, 3, 2], {"limit": 0.6}),
    (Kind("float32", 5, 3, 8, keeps=True, varied=True), [2], {"coupled": True}),
    (Kind("float32", 8, 3, 8, every_step=True), [2, 3, 0], {}),
    (EVERYTHING._replace(NB=4, zoned=True), [1, 3, 2], {"seeds": [2**40 + 5], "reverse": True}),
    (Kind("float32", 8, 3, 8, keeps=True, zoned=True), [3, 1, 0], {"seeds": [7, 0], "M": 2}),
]

# Sums are made in float32, and in another order: what is rounded after them may be rounded to
# its other neighbour.
TOLERANCE = {"rtol": 1e-5, "atol": 5e-6}


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
@pytest.mark.parametrize(("kind", "lengths", "options"), CASES)
def test_both_kernels_agree_with_a_naive_cell(kind, lengths, options, precision):
    kind = kind._replace(precision=precision)
    found, naive = run(kind, lengths, **options)
    expected = naive.forward()
    names = ["h_end", "c_end", *["y"] * kind.every_step, *["c", "h_before"] * kind.keeps]
    if kind.keeps:
        expected |= naive.backward()
        names += ["da", *["dh_0", "dc_0"] * (kind.passes or kind.learned), *["dp"] * kind.peephole]
    else:
        assert np.isnan(found["c"]).all()
    for name in names:
        np.testing.assert_allclose(found[name], expected[name], **TOLERANCE, err_msg=name)


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_weights_that_registers_do_not_hold(precision, monkeypatch):
    monkeypatch.setattr(tensor_packing, "OTHER_FORWARD", 231)  # three products' fragments
    monkeypatch.setattr(tensor_packing, "OTHER_BACKWARD", 243)
    kind = Kind("float32", 46, 3, 8, keeps=True, every_step=True, precision=precision)
    for division in forward_division(kind), backward_division(kind):
        assert division.held == 1
        assert division.chunks > 1
    for make in make_forward, make_backward:
        make.cache_clear()
    try:
        test_both_kernels_agree_with_a_naive_cell(kind, [2, 2, 1], {}, precision)
    finally:
        for make in make_forward, make_backward:
            make.cache_clear()


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_bits_do_not_depend_on_the_sequences_of_a_block(precision):
    kind = Kind("float32", 5, 3, 4, keeps=True, every_step=True, precision=precision)
    few, many = (run(kind._replace(NB=NB), [3, 2, 2, 1, 3])[0] for NB in (4, 8))
    for name, array in few.items():
        np.testing.assert_array_equal(many[name], array, err_msg=name)


@pytest.mark.parametrize("coupled", [False, True])
def test_the_naive_gradient_is_that_of_differences(coupled):
    rng = np.random.default_rng(1)
    kind = EVERYTHING._replace(H=3, dtype="float64")
    naive = RoundedCell(None, 0, rng, [3, 0, 2], 2, 2, 3, kind, True, 0.6, coupled)
    zone(naive, kind._replace(zoned=coupled), [5, 0])
    for name, gradient in naive.backward().items():
        np.testing.assert_allclose(gradient, naive.difference(name), rtol=1e-6, atol=1e-8)


def test_both_modules_make_their_kernels_of_the_same_kinds():
    cases = [module.compile_cases() for module in (tensor_forward, tensor_backward)]
    kinds = [{name.partition(" ")[2] for name, *_ in found} for found in cases]
    assert kinds[0] == kinds[1]
    assert len(kinds[0]) >= 24
