"""Matrix products on tensor cores: the simulator's stand-in, rounding, and packed weights."""

import numpy as np
import pytest
import simulated
from rounded import rounded

from numba_lstm.cuda.device import cuda
from numba_lstm.cuda.kinds import Kind
from numba_lstm.cuda.tensor_cores import depth, make_multiply, make_rounded, make_take, storage
from numba_lstm.cuda.tensor_packing import Division, pack

pytestmark = pytest.mark.nojit

PRECISIONS = pytest.mark.parametrize("precision", ["bf16", "tf32"])


@PRECISIONS
def test_numbers_are_rounded_to_the_nearest(precision):
    rng = np.random.default_rng(0)
    bits = {"bf16": 8, "tf32": 11}[precision]
    ties = np.ldexp(2.0 * np.arange(2**bits, 2**bits + 40) + 1, -bits - 1)
    x = np.concatenate([rng.standard_normal(500), 10.0 ** rng.integers(-30, 30, 200), ties, -ties])
    x = np.append(x, 0).astype(np.float32)
    found = np.array([make_rounded(precision)(one) for one in x])
    if precision == "bf16":
        found = (found.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(found, rounded(x.astype(np.float64), precision))


# From the figures of the PTX ISA: (row, column) of a lane's numbers of A, of B and of C.
PLACES = [
    ("tf32", 0, "0,0 8,0 0,4 8,4", "0,0 4,0", "0,0 0,1 8,0 8,1"),
    ("tf32", 29, "7,1 15,1 7,5 15,5", "1,7 5,7", "7,2 7,3 15,2 15,3"),
    ("bf16", 0, "0,0 0,1 8,0 8,1 0,8 0,9 8,8 8,9", "0,0 1,0 8,0 9,0", "0,0 0,1 8,0 8,1"),
    (
        *("bf16", 6, "1,4 1,5 9,4 9,5 1,12 1,13 9,12 9,13"),
        *("4,1 5,1 12,1 13,1", "1,4 1,5 9,4 9,5"),
    ),
]


@pytest.mark.parametrize(("precision", "lane", "of_a", "of_b", "of_c"), PLACES)
def test_a_lane_holds_what_the_isa_says(precision, lane, of_a, of_b, of_c):
    where = [
        [tuple(map(int, place.split(","))) for place in text.split()]
        for text in (of_a, of_b, of_c)
    ]
    each = 2 if precision == "bf16" else 1
    number = iter(range(1, 1000))
    registers, values = [], []
    for n in (4, 2):
        values.append(np.array([next(number) for _ in range(each * n)], np.float32))
        words = values[-1].view(np.uint32)
        registers.append(words if each == 1 else words[::2] >> 16 | words[1::2])
    c = np.array([next(number) for _ in range(4)], np.float32)
    empty = [np.zeros_like(registers[0]), np.zeros_like(registers[1]), np.zeros(4)]
    lanes = [[*registers, c] if k == lane else empty for k in range(32)]
    for matrix, places, numbers in zip(
        simulated.fragments(precision, *zip(*lanes, strict=True)), where, [*values, c], strict=True
    ):
        assert np.count_nonzero(matrix) == len(places)
        assert [matrix[place] for place in places] == list(numbers)


@PRECISIONS
@pytest.mark.parametrize("tiles", [1, 2])
def test_products_of_fragments_are_those_of_matrices(precision, tiles):
    """What is packed as units and gates, against matrices that are made of W itself."""
    D, (stored, _) = depth(precision), storage(precision)
    H, n, held = 11, 2 * D + 3, 3
    kind = Kind("float32", H, 0, 8, precision=precision)
    backward, warps = tiles == 1, kind.threads // 32
    n_inputs = 4 * H if backward else n
    products = -(-n_inputs // (2 * D)) if backward else held
    division = Division(precision, H, n_inputs, backward, warps, products, 0)
    rng, M, at = np.random.default_rng(tiles), 2, 3
    theta = rng.standard_normal((M, at + max(n, H) * 4 * H)).astype(np.float32)
    packed = cuda.to_device(np.full((M, division.size), 77, stored))
    pack(packed, cuda.to_device(theta), at, division)
    sides = 2 if backward else 1
    v = rounded(rng.standard_normal((sides * products * D, 8)), precision)
    take, multiply = make_take(tiles * products), make_multiply(precision, products, tiles)
    per_warp, model = 128 * tiles * products, division.size * 8 // D

    @cuda.jit
    def kernel(packed, vectors, out):
        t, m = cuda.threadIdx.x, cuda.blockIdx.x
        lane, warp = t & 31, t >> 5
        fragments = take(packed, m * model + warp * per_warp + 4 * lane)
        start = 2 * lane + (64 * products * (warp & 1) if tiles == 1 else 0)
        out[m, t] = multiply((np.float32(0),) * 8, fragments, vectors, start)

    # 8 rows of D numbers for each product, a sequence each.
    rows = v.reshape(-1, D, 8).transpose(0, 2, 1).astype(np.float32).reshape(-1)
    if precision == "bf16":
        rows = (rows.view(np.uint32) >> 16).astype(np.uint16)
    out = np.zeros((M, 32 * warps, 8), np.float32)
    kernel[M, 32 * warps](packed, rows, out)

    for m in range(M):
        W = theta[m, at:].astype(np.float64)
        W = rounded(W[: (H if backward else n) * 4 * H].reshape(-1, 4, H), precision)
        for t in range(32 * warps):
            warp, group, part = t >> 5, (t & 31) >> 2, t & 3
            sums = out[m, t].reshape(4, 2)
            columns = v[:, 2 * part : 2 * part + 2]
            if not backward:
                unit = 8 * warp + group
                expected = np.zeros((4, 2))
                if unit < H:
                    expected = np.einsum("kg,kn->gn", W[:, :, unit], columns[:n])
                np.testing.assert_allclose(sums, expected, atol=2e-5)
                continue
            # W_h's row of a unit, times da of all units, gate by gate within a unit.
            own = slice(warp % 2 * products * D, (warp % 2 + 1) * products * D)
            for low in range(2):
                unit = 16 * (warp // 2) + group + 8 * low
                row = np.zeros(2 * products * D)
                if unit < H:
                    row[: 4 * H] = W[unit].T.reshape(-1)
                expected = row[own] @ columns[own]
                np.testing.assert_allclose(sums[low] + sums[low + 2], expected, atol=2e-5)


def test_numbers_that_were_not_rounded_are_an_error():
    multiply = make_multiply("tf32", 1, 1)

    @cuda.jit
    def kernel(vectors):
        multiply((np.float32(0),) * 8, (np.uint32(1),) * 4, vectors, 2 * cuda.threadIdx.x)

    with pytest.raises(RuntimeError, match="not rounded"):
        kernel[1, 32](np.zeros(64, np.float32))
