"""What the recurrence's kernels are compiled for, and how they divide their work."""

from __future__ import annotations

from typing import NamedTuple

# Inputs that are multiplied at a time, of those whose weights are not held.
CHUNK = 4

# Inputs of a layer, at most, that the recurrence multiplies itself. More of them go through
# a matrix product of all time steps at once, which needs no registers of the recurrence.
_FEW_INPUTS = 33


class Kind(NamedTuple):
    """What a kernel is compiled for.

    Attributes
    ----------
    dtype : str
        "float32" or "float64".
    H : int
        Hidden units.
    X : int
        Columns of inputs, the bias's 1 included, that are multiplied with their weights here;
        0 if pre-activations are given.
    NB : int
        Sequences of a block: 1, 2 or 4; with a ``precision`` 4 or 8.
    keeps : bool
        Whether gates, cells and h_{t-1} of each step are kept, for a gradient.
    every_step : bool
        Whether h_t of each step is written, or read its gradient.
    begins : bool
        Whether there are states to begin with.
    learned : bool
        Whether there are none and those in theta take their place.
    passes : bool
        Whether gradients of the state go in at the end and come out at the beginning.
    masked : bool
        Whether h_{t-1} is multiplied by a mask.
    varied : bool
        Whether there are peepholes, a limit or coupled gates.
    peephole : bool
        Whether there are peepholes.
    precision : {"", "bf16", "tf32"}
        What is multiplied is rounded to, for tensor cores; empty if it is not.
    zoned : bool
        Whether some units stay as they were.
    """

    dtype: str
    H: int
    X: int
    NB: int
    keeps: bool = False
    every_step: bool = False
    begins: bool = False
    learned: bool = False
    passes: bool = False
    masked: bool = False
    varied: bool = False
    peephole: bool = False
    precision: str = ""
    zoned: bool = False

    @property
    def threads(self) -> int:
        """Threads of a block: whole warps, and with a ``precision`` pairs of them."""
        units = 16 if self.precision else 8
        return 4 * (-(-self.H // units) * units)


def most_sequences(H: int, dtype: str) -> int:
    """Sequences of a block at most: 4, but where shared memory holds da of two only."""
    return 4 if H <= 128 or dtype == "float32" else 2


class Share(NamedTuple):
    """How the inputs of a thread are divided up.

    Attributes
    ----------
    held : int
        Those whose weights stay in registers.
    chunks, rest : int
        Chunks of others, and others still.
    sure : int
        Inputs that each thread has; of one more, the last, only some have it.
    """

    held: int
    chunks: int
    rest: int
    sure: int

    @property
    def total(self) -> int:
        """Inputs of a thread."""
        return self.held + CHUNK * self.chunks + self.rest


def share(kind: Kind, n_inputs: int, lanes: int) -> Share:
    """Divide inputs up between registers and memory.

    A multiprocessor has 65,536 registers, and a thread at most 255; what else a thread needs
    was read off ptxas for all kinds that the tests compile.
    """
    words = 1 if kind.dtype == "float32" else 2
    registers = min(255, 65_536 // kind.threads // 8 * 8)
    other = 44 + words * (6 + 4 * kind.NB + 8 * kind.zoned) + 8 * (kind.varied + kind.masked)
    if kind.dtype == "float64":
        other += 32 + 96 * (kind.varied and kind.masked)
    most = max(0, registers - other) // (4 * words)
    total, sure = -(-n_inputs // lanes), n_inputs // lanes
    if total <= most:
        return Share(total, 0, 0, sure)
    # A chunk's weights need registers, too.
    held = min(sure, max(0, most - CHUNK))
    chunks = (sure - held) // CHUNK
    return Share(held, chunks, total - held - CHUNK * chunks, sure)


def is_fused(X: int, H: int) -> bool:
    """Whether the recurrence multiplies X columns of inputs itself."""
    return min(_FEW_INPUTS, H) >= X


def sequences_of_block(
    H: int, dtype: str, B: int, M: int, n_multiprocessors: int, precision: str = ""
) -> int:
    """Sequences of a block: as few as there are multiprocessors for."""
    # A product on tensor cores has 8 columns, full or not.
    fewer, most = ((4,), 8) if precision else ((1, 2), most_sequences(H, dtype))
    return next((n for n in fewer if M * -(-B // n) <= n_multiprocessors or n == most), most)
