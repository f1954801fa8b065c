"""The recurrence on a GPU against a naive LSTM, and its gradient against differences."""

import numpy as np
import pytest
from naive import Cell

from numba_lstm.cuda import kinds, recurrent
from numba_lstm.cuda.device import cuda
from numba_lstm.cuda.recurrent import Kind, make_backward, make_forward
from numba_lstm.cuda.zoneout import chances_of
from numba_lstm.parameters import Layout

pytestmark = pytest.mark.nojit


def zone(naive, kind, seeds):
    """Have units of a naive cell stay as they were; return the kernels' arguments for that."""
    number, first_step, chances = 3, 1000, (0.25, 0.5)
    seeds = [1] * naive.M if seeds is None else seeds
    if kind.zoned:
        naive.zone(seeds, number, first_step, chances)
    layout, seeds = Layout(1, (1,), 1, zoneout=chances), cuda.to_device(np.array(seeds))
    return seeds, first_step, number, *chances_of(layout, np.dtype(kind.dtype))


def run(
    kind, lengths, M=1, reverse=False, limit=np.inf, coupled=False, fused=True, F=2, seed=0,
    seeds=None,
):  # fmt: skip
    """Forward and backward pass of both kernels; what they give, and a naive cell."""
    rng = np.random.default_rng(seed)
    dtype, H, B = np.dtype(kind.dtype), kind.H, len(lengths)
    naive = Cell(rng, lengths, M, F, H, kind, reverse, limit, coupled)
    zoneout = zone(naive, kind, seeds)
    V = F + 1 + H
    first = np.zeros(M * B + 1, np.int64)
    np.cumsum(np.tile(lengths, M), out=first[1:])
    S = first[-1]
    offset = 3  # of W in theta, among other weights
    after = offset + V * 4 * H
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

    def device(array):
        return cuda.to_device(np.ascontiguousarray(array, dtype))

    def new(*shape):
        return device(np.full(shape, np.nan))

    theta, xh, a, first = device(theta), device(xh), device(a), cuda.to_device(first)
    h_0, c_0, mask = device(naive.h_0), device(naive.c_0), device(naive.mask)
    gates, c, y = new(S, 4 * H), new(S, H), new(S, H + 1)
    h_end, c_end = new(M * B, H + 2), new(M * B, H)
    at = offset if fused else offset + (F + 1) * 4 * H
    limit = dtype.type(limit)
    grid = (-(-B // kind.NB), M)
    make_forward(kind)[grid, kind.threads](
        *(theta, at, after, after + 3 * H, limit, coupled, xh, F + 1, a, first, B, reverse),
        *(h_0, c_0, mask, gates, c, y, 1, h_end, 2, c_end, *zoneout),
    )
    found = {"y": y.copy_to_host()[:, 1:], "h_end": h_end.copy_to_host()[:, 2:]}
    found |= {"c_end": c_end.copy_to_host(), "c": c.copy_to_host(), "gates": gates.copy_to_host()}
    found["h_before"] = xh.copy_to_host()[:, F + 1 :]
    if not kind.keeps:
        return found, naive
    dy, dc, d_end = device(naive.dy), device(naive.dc), np.hstack([naive.dh, naive.dh])
    dh = device(0.25 * naive.dh * kind.passes)
    d_end[:, H:] *= 1 - 0.25 * kind.passes
    d_end = device(d_end)
    dh_0, dc_0, d_peephole = new(M * B, H), new(M * B, H), new(M * B, 3 * H)
    make_backward(kind)[grid, kind.threads](
        *(theta, offset + (F + 1) * 4 * H, after, after + 3 * H, limit, coupled),
        *(first, B, reverse, c_0, mask, gates, c, dy, 0),
        *(d_end, H, dh, dc, dh_0, dc_0, d_peephole, *zoneout),
    )
    for name, array in (("da", gates), ("dh_0", dh_0), ("dc_0", dc_0), ("dp", d_peephole)):
        found[name] = array.copy_to_host()
    return found, naive


CASES = [
    (Kind("float64", 3, 3, 1, keeps=True, every_step=True), [3, 2], {}),
    (Kind("float64", 3, 3, 4, keeps=True), [3, 2, 2, 1, 0], {"M": 2}),
    (Kind("float64", 5, 3, 2, keeps=True, every_step=True), [3, 3, 1], {"reverse": True}),
    (Kind("float64", 2, 0, 4, keeps=True), [2, 1], {"fused": False}),
    (
        Kind("float64", 2, 3, 4, True, True, begins=True, passes=True, masked=True),
        [2, 1, 0],
        {"reverse": True},
    ),
    (Kind("float64", 2, 3, 2, True, learned=True), [2, 1, 0], {}),
    (
        Kind("float64", 3, 3, 4, True, True, True, False, True, True, True, True),
        [3, 2],
        {"limit": 0.6},
    ),
    (Kind("float64", 3, 3, 2, keeps=True, varied=True), [2], {"coupled": True}),
    (Kind("float32", 9, 3, 4, keeps=True, every_step=True), [2, 1], {}),
    (Kind("float32", 8, 0, 1), [2], {"fused": False}),
    (
        Kind("float64", 3, 3, 4, True, True, True, False, True, True, True, True, zoned=True),
        [3, 2],
        {"limit": 0.6, "seeds": [2**40 + 5], "reverse": True},
    ),
    (Kind("float64", 5, 3, 2, keeps=True, zoned=True), [3, 1, 0], {"seeds": [7, 0], "M": 2}),
    (Kind("float32", 3, 0, 1, every_step=True, zoned=True), [3], {"fused": False}),
]


@pytest.mark.parametrize(("kind", "lengths", "options"), CASES)
def test_both_kernels_agree_with_a_naive_cell(kind, lengths, options):
    found, naive = run(kind, lengths, **options)
    tolerance = {"rtol": 1e-10, "atol": 1e-12} if kind.dtype == "float64" else {"atol": 2e-6}
    expected = naive.forward()
    names = ["h_end", "c_end"] + ["y"] * kind.every_step
    names += ["gates_before", "c", "h_before"] * kind.keeps
    for name in names:
        if name == "gates_before":
            continue  # the backward pass has overwritten them
        np.testing.assert_allclose(found[name], expected[name], **tolerance, err_msg=name)
    if not kind.keeps:
        assert np.isnan(found["c"]).all()
        return
    tolerance = {"rtol": 1e-6, "atol": 1e-8} if kind.dtype == "float64" else {"atol": 1e-4}
    names = ["da"] + ["dh_0", "dc_0"] * (kind.passes or kind.learned) + ["dp"] * kind.peephole
    for name in names:
        np.testing.assert_allclose(found[name], naive.difference(name), **tolerance, err_msg=name)


def test_weights_that_registers_do_not_hold(monkeypatch):
    def few(kind, n_inputs, lanes):
        total, sure = -(-n_inputs // lanes), n_inputs // lanes
        return kinds.Share(0, min(sure, 1), total - min(sure, 1), sure)

    for module in kinds, recurrent:
        monkeypatch.setattr(module, "CHUNK", 1)
    monkeypatch.setattr(recurrent, "share", few)
    kind = Kind("float64", 5, 3, 2, keeps=True, every_step=True)
    for make in make_forward, make_backward:
        make.cache_clear()
    try:
        test_both_kernels_agree_with_a_naive_cell(kind, [2, 2, 1], {})
    finally:
        for make in make_forward, make_backward:
            make.cache_clear()


def test_bits_do_not_depend_on_the_sequences_of_a_block():
    found = [
        run(Kind("float32", 3, 3, NB, keeps=True, every_step=True), [3, 2, 2, 1])[0]
        for NB in (1, 2, 4)
    ]
    for other in found[1:]:
        for name, array in found[0].items():
            np.testing.assert_array_equal(other[name], array, err_msg=name)
