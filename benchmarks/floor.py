"""What the recurrence takes at least on an H100 or H200, counted from its machine code.

A multiprocessor has 4 schedulers, each of which issues one instruction a clock for a warp of
32 threads, and has pipes that take so many clocks of one:

    multiply-adds 1, integer multiply-adds 2, other integer and comparisons 2, reciprocals 8,
    products of tensor cores (16 x 8, over 16 numbers of bf16 or 8 of tf32) 4.

Shared memory delivers 128 bytes a clock to the threads, and exchanges between threads go the
same way; everything else 64 bytes a clock, which is what the second-level cache gives to one
multiprocessor (hits in the first-level cache may come twice as fast).

The busiest of these is the floor of a time step, for a warp that has a part in everything:
nothing waits in it, neither for an instruction's result nor at a barrier nor for a cache.
``waiting`` adds the results' latencies (figures of published microbenchmarks, rounded) by
issuing the loop's instructions in order for as many warps as there are: an estimate, no bound.
"""

import functools
import re
from collections import Counter
from typing import NamedTuple

from benchmarks import sass


class Chip(NamedTuple):
    """What a GPU has."""

    name: str
    multiprocessors: int
    clock: float  # Hz
    registers: int = 65_536
    threads: int = 2048
    blocks: int = 32
    shared: int = 228 * 1024


H200 = Chip("H200 (132 multiprocessors, 1.98 GHz)", 132, 1.98e9)

_FP32 = {"FFMA", "FADD", "FMUL"}
_FP64 = {"DFMA", "DADD", "DMUL", "DSETP"}
_CONTROL = {"BRA", "BSSY", "BSYNC", "BAR", "NOP", "EXIT", "WARPSYNC", "BRX"}
_TENSOR = {"HMMA"}
_XU = {"MUFU", "I2F", "F2I", "F2F"}

# Clocks until a result is there.
_LATENCY = {
    "multiply-add": 4, "float64": 8, "integer multiply": 5, "integer": 5, "reciprocal": 20,
    "shared memory": 29, "exchange": 25, "global memory": 38, "uniform": 10, "control": 2,
    "tensor cores": 33,
}  # fmt: skip
_BARRIER = 20  # clocks, once the last warp has come
_FAR = 260  # of what comes from the second-level cache


def pipe(one):
    """Which pipe executes an instruction."""
    name = one.name
    if name in _FP32:
        return "multiply-add"
    if name in _FP64:
        return "float64"
    if name in _TENSOR:
        return "tensor cores"
    if name == "IMAD":
        return "integer multiply"
    if name in _XU:
        return "reciprocal"
    if name in ("LDS", "STS", "LDSM"):
        return "shared memory"
    if name in ("LDG", "STG", "LDL", "STL", "LDC"):
        return "global memory" if name != "LDC" else "uniform"
    if name == "SHFL":
        return "exchange"
    if name in _CONTROL:
        return "control"
    if re.match(r"(U[A-Z]|R2UR|S2UR|S2R)", name):
        return "uniform"
    return "integer"


class Count(NamedTuple):
    """Instructions of a warp in a time step.

    Attributes
    ----------
    by_pipe : Counter
        How many go to which pipe.
    products : int
        Multiply-adds with weights, of all the multiply-adds.
    shared_bytes, loaded_bytes, stored_bytes : int
        Bytes that shared memory delivers, and that are read and written elsewhere.
    """

    by_pipe: Counter
    products: int
    shared_bytes: int
    loaded_bytes: int
    stored_bytes: int

    @property
    def total(self):
        return sum(self.by_pipe.values())


def count(loop, products=0):
    """Count a time loop's instructions."""
    moved = Counter()
    for one in loop:
        moved[one.name] += 32 * one.width
    shared = moved["LDS"] + moved["STS"]
    loaded, stored = moved["LDG"] + moved["LDL"], moved["STG"] + moved["STL"]
    return Count(Counter(map(pipe, loop)), products, shared, loaded, stored)


def clocks(found, warps):
    """Clocks that each part of a multiprocessor is busy in a step, of so many warps."""
    n, each = found.by_pipe, warps / 4
    integer_products = n["integer multiply"]
    return {
        "issue": found.total * each,
        "multiply-add": max(n["multiply-add"] + integer_products, 2 * integer_products) * each,
        "float64": 2 * n["float64"] * each,
        "integer": 2 * n["integer"] * each,
        "reciprocal": 8 * n["reciprocal"] * each,
        "tensor cores": 4 * n["tensor cores"] * each,
        "shared memory": (found.shared_bytes / 128 + n["exchange"]) * warps,
        "caches": (found.loaded_bytes + found.stored_bytes) / 64 * warps,
    }


def side_by_side(code, chip=H200):
    """Blocks that a multiprocessor has room for at once."""
    registers = -(-code.registers // 8) * 8 * 32 * (-(-code.threads // 32))
    shared = code.shared + 1024  # which the system keeps of each block
    return min(
        chip.registers // registers,
        chip.threads // code.threads,
        chip.shared // shared,
        chip.blocks,
    )


def waiting(loop, warps, far=False):
    """Clocks of a step for so many warps, with the latencies of results, at the barrier's end.

    One scheduler issues for every fourth warp, the first that can go on; shared memory is
    divided evenly among the four.
    """
    loop, n = [_prepared(one, far) for one in loop], -(-warps // 4)
    at, ready, free = [0] * n, [{} for _ in range(n)], Counter()
    clock, last, end = 0, 0, 0
    while any(k < len(loop) for k in at):
        soonest, chosen = None, 0
        for step in range(n):
            w = (last + step) % n
            if at[w] == len(loop):
                continue
            _, unit, _, _, reads = loop[at[w]]
            can = max([clock, free[unit], *(ready[w].get(r, 0) for r in reads)])
            if soonest is None or can < soonest:
                soonest, chosen = can, w
            if can == clock:
                break
        writes, unit, busy, latency, _ = loop[at[chosen]]
        free[unit] = soonest + busy
        for register in writes:
            ready[chosen][register] = soonest + latency
        at[chosen] += 1
        clock, last, end = soonest + 1, chosen, max(end, soonest + 1)
    return end + _BARRIER


def _prepared(one, far):
    unit = pipe(one)
    busy = {"multiply-add": 1, "integer multiply": 2, "integer": 2, "reciprocal": 8, "float64": 2}
    busy |= {"tensor cores": 4}
    clocks = busy.get(unit, 1)
    if unit in ("shared memory", "exchange"):
        clocks, latency, unit = max(1, 4 * 32 * one.width // 128), _LATENCY[unit], "shared memory"
    elif unit == "global memory":
        clocks, latency = 4 * 32 * one.width // 64, _FAR if far else _LATENCY[unit]
    else:
        latency = _LATENCY[unit]
    return one.writes, unit, clocks, latency, one.reads


# -- kernels ------------------------------------------------------------------------


@functools.cache
def recurrence(which, kind):
    """Code and count of a recurrence's kernel: "forward" or "backward"."""
    from numba_lstm.cuda import recurrent

    if kind.precision:
        return _recurrence_on_tensor_cores(which, kind)
    make = {"forward": recurrent.make_forward, "backward": recurrent.make_backward}[which]
    cases = recurrent.compile_cases()
    signature = next(
        case[2] for case in cases if case[0].startswith(f"{which} Kind(dtype='{kind.dtype}'")
    )
    text, figures = sass.compile_kernel(make(kind).py_func, signature, kind.threads)
    inputs, lanes = (kind.X + kind.H, 4) if which == "forward" else (4 * kind.H, 16)
    parts = recurrent.share(kind, inputs, lanes)
    in_chunks = 4 * kind.NB * (parts.total - parts.held - parts.rest)
    loop = sass.time_loop(text, lambda ffma: max(1, in_chunks // max(ffma, 1)))
    return sass.Code(loop, kind.threads, **figures), count(loop, 4 * kind.NB * parts.total)


def _recurrence_on_tensor_cores(which, kind):
    from numba_lstm.cuda import tensor_backward, tensor_forward, tensor_packing

    module = {"forward": tensor_forward, "backward": tensor_backward}[which]
    parts = getattr(tensor_packing, f"{which}_division")(kind)
    signature = next(
        case[2] for case in module.compile_cases() if f"'{kind.precision}'" in case[0]
    )
    function = getattr(module, f"make_{which}")(kind).py_func
    text, figures = sass.compile_kernel(function, signature, kind.threads)
    in_chunks = parts.tiles * (parts.products - parts.held)
    loop = sass.time_loop(text, lambda products: max(1, in_chunks // max(products, 1)))
    found = count(loop, parts.tiles * parts.products)
    return sass.Code(loop, kind.threads, **figures), found


class Floor(NamedTuple):
    """What a launch takes at least.

    Attributes
    ----------
    NB, blocks, at_once : int
        Sequences of a block, blocks in all, and those side by side on the busiest multiprocessor.
    found : Count
        Of a warp.
    limit : str
        What the floor is made of.
    step, waited : float
        Seconds of a time step of the whole batch: the floor, and the estimate with latencies.
    """

    NB: int
    blocks: int
    at_once: int
    code: sass.Code
    found: Count
    limit: str
    step: float
    waited: float


def floor(which, B, F, H, M=1, keeps=False, dtype="float32", chip=H200, NB=None, precision=""):
    """Floor of the recurrence of one layer with biases: B sequences each of M models."""
    from numba_lstm.cuda.kinds import is_fused, sequences_of_block
    from numba_lstm.cuda.recurrent import Kind

    NB = NB or sequences_of_block(H, dtype, B, M, chip.multiprocessors, precision)
    X = F + 1 if which == "forward" and is_fused(F + 1, H) else 0
    kind = Kind(dtype, H, X, NB, keeps=keeps or which == "backward", precision=precision)
    code, found = recurrence(which, kind)
    blocks = M * -(-B // NB)
    most = -(-blocks // chip.multiprocessors)
    at_once = min(most, side_by_side(code, chip))
    warps, waves = at_once * code.threads // 32, -(-most // at_once)
    busy = clocks(found, warps)
    limit = max(busy, key=busy.get)
    far = found.loaded_bytes * code.threads // 32 > 200 * 1024
    seconds = waves / chip.clock
    waited = seconds * max(waiting(code.loop, warps, far), busy[limit])
    return Floor(NB, blocks, at_once, code, found, limit, busy[limit] * seconds, waited)


@functools.cache
def product(n_a, n_b):
    """Instructions a multiply-add of the products in float32, for weights of n_a x n_b."""
    import numpy as np

    from numba_lstm.cuda import products
    from numba_lstm.cuda.tiles import GRAM, make_product

    dtype = np.dtype(np.float32)
    tile = products._tile_of_gram(dtype, n_a, n_b)
    signature = next(case[2] for case in products.compile_cases() if case[0].startswith("gram"))
    text, _ = sass.compile_kernel(make_product(dtype, GRAM, tile), signature, tile.threads)
    whole = tile.high * tile.wide * tile.depth  # of what shared memory holds at a time
    loop = sass.time_loop(text, lambda ffma: whole // ffma)
    return len(loop) / sum(one.name == "FFMA" for one in loop), tile


def gradient_seconds(B, T, F, H, M=1, chip=H200):
    """Floor of the weights' gradient, the product of all steps' inputs with da."""
    n_a, n_b = F + 1 + H, 4 * H
    each, tile = product(n_a, n_b)
    rows, columns = (-(-n // s) * s for n, s in ((n_a, tile.height), (n_b, tile.width)))
    instructions = M * B * T * rows * columns / 32 * each
    return instructions / (4 * chip.multiprocessors * chip.clock)
