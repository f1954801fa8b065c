"""Machine code of the kernels, without a GPU: compiled, disassembled, and its time loop found.

NVVM comes with the extra "cuda"; ptxas and nvdisasm with NVIDIA's toolkit, or with the packages
nvidia-cuda-nvcc and nvidia-cuda-nvdisasm.
"""

import functools
import importlib.util
import itertools
import re
import shutil
import subprocess
import tempfile
import types
from pathlib import Path
from typing import NamedTuple


class MissingToolError(Exception):
    """What is needed to count is not here."""


class Instruction(NamedTuple):
    """One instruction: its operation with modifiers, what it writes and what it reads."""

    operation: str
    writes: tuple[str, ...]
    reads: tuple[str, ...]

    @property
    def name(self):
        return self.operation.split(".")[0]

    @property
    def width(self):
        """Bytes a thread that a load or store moves."""
        found = re.search(r"\.(128|64|U16|S16|U8|S8)\b", self.operation)
        return {"128": 16, "64": 8, "U16": 2, "S16": 2, "U8": 1, "S8": 1}[found[1]] if found else 4


class Code(NamedTuple):
    """A kernel's machine code: its time loop, and what a block takes of a multiprocessor."""

    loop: list[Instruction]
    threads: int
    registers: int
    shared: int
    spilled: int


def find_tool(name):
    """Path of a program of the toolkit."""
    if path := shutil.which(name):
        return path
    spec = importlib.util.find_spec("nvidia")
    for root in spec.submodule_search_locations if spec else ():
        for path in sorted(Path(root).glob(f"*/bin/{name}")):
            return str(path)
    raise MissingToolError(
        f"{name} is not here: counting needs NVIDIA's toolkit on the PATH, or the packages "
        "nvidia-cuda-nvcc and nvidia-cuda-nvdisasm."
    )


def compile_kernel(function, signature, threads, cc=(9, 0)):
    """Compile a kernel's Python function to PTX and machine code; return what nvdisasm says.

    Returns
    -------
    text : str
        The disassembly.
    figures : dict
        Registers of a thread, bytes of shared memory, bytes spilled.
    """
    ptxas, nvdisasm = find_tool("ptxas"), find_tool("nvdisasm")
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        source.write_text(_readable(_to_ptx(function, signature, threads, cc), ptxas))
        command = [ptxas, "-v", f"-arch=sm_{cc[0]}{cc[1]}", str(source), "-o", str(binary)]
        said = _output(command, lambda done: done.stderr)
        text = _output([nvdisasm, "-c", str(binary)], lambda done: done.stdout)
    patterns = {
        "registers": r"Used (\d+) registers",
        "shared": r"(\d+) bytes smem",
        "spilled": r"(\d+) bytes spill stores",
    }
    found = {name: re.search(pattern, said) for name, pattern in patterns.items()}
    return text, {name: int(match[1]) if match else 0 for name, match in found.items()}


def _to_ptx(function, signature, threads, cc):
    try:
        from numba.cuda import dispatcher

        from numba_lstm.cuda.device import cuda
    except ImportError as error:
        raise MissingToolError(
            f'Counting needs pip install "numba-lstm[cuda]" ({error}).'
        ) from error
    # A device function asks the driver, which need not be here, what to compile for.
    before = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: types.SimpleNamespace(compute_capability=cc)
    try:
        ptx, _ = cuda.compile_ptx(function, signature, cc=cc, launch_bounds=threads)
    except Exception as error:
        if "nvvm" in str(error).lower():
            raise MissingToolError(f"Counting needs NVVM: {error}") from error
        raise
    finally:
        dispatcher.get_current_device = before
    return ptx


def _output(command, part):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-1000:]}")
    return part(done)


@functools.cache
def _newest_ptx(ptxas):
    """Version of PTX that a ptxas reads: 9.0 for that of CUDA 13.0, 8.4 for 12.4."""
    said = _output([ptxas, "--version"], lambda done: done.stdout)
    major, minor = re.search(r"release (\d+)\.(\d+)", said).groups()
    return int(major) - 4, int(minor)


def _readable(ptx, ptxas):
    """PTX of a version that ptxas reads: NVVM may be the newer of the two."""
    newest = _newest_ptx(ptxas)
    version = tuple(map(int, re.search(r"(?m)^\.version (\d+)\.(\d+)", ptx).groups()))
    if version <= newest:
        return ptx
    return re.sub(r"(?m)^\.version .*$", ".version {}.{}".format(*newest), ptx)


# -- the time loop ------------------------------------------------------------------

_LINE = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:(@!?U?P\w+)\s+)?([A-Z][\w.]*)\s*([^;]*);")
_REGISTER = re.compile(r"\b(U?R\d+|U?P\d+)\b")
_PRODUCTS = {"FFMA", "DFMA", "HMMA"}
_NO_RESULT = {
    "STS",
    "STG",
    "BRA",
    "BAR",
    "BSSY",
    "BSYNC",
    "EXIT",
    "CALL",
    "RET",
    "NOP",
    "WARPSYNC",
}


def parse(text):
    """Read a kernel out of a disassembly.

    Returns
    -------
    lines : list of (Instruction, target)
        Target is the place that a branch goes to, or None.
    """
    found, places = [], {}
    for line in text.splitlines():
        if label := re.match(r"\s*(\.L_x_\d+|\$\w+):", line):
            places[label[1]] = len(found)
        elif match := _LINE.search(line):
            target = re.search(r"`\((\S+?)\)", line)
            found.append((_instruction(*match.groups()), target and target[1]))
    return [(one, places.get(target)) for one, target in found], sorted(set(places.values()))


def _instruction(guard, operation, operands):
    parts = [part.strip() for part in operands.split(",")]
    name, n = operation.split(".")[0], 0
    if name not in _NO_RESULT:
        n = 1
        while n < min(2, len(parts)) and re.fullmatch(r"U?P(\d|T)", parts[n]):
            n += 1  # carries, and the second result of a comparison
        if name == "SHFL":
            n = 2
    wide = re.search(r"\.(128|64|WIDE)\b", operation)
    count = {"128": 4, "64": 2, "WIDE": 2}[wide[1]] if wide else 1
    writes = [_registers(part) for part in parts[:n]]
    results = [one for some in writes for one in some]
    results += [_next(one, k) for one in results if "P" not in one for k in range(1, count)]
    reads = [one for part in [guard or "", *parts[n:]] for one in _registers(part)]
    reads += [_next(one, 1) for one in re.findall(r"\b(U?R\d+)\.64", operands)]
    return Instruction(operation, tuple(results), tuple(reads))


def _registers(text):
    return _REGISTER.findall(text)


def _next(register, k):
    kind, number = re.match(r"(U?R)(\d+)", register).groups()
    return f"{kind}{int(number) + k}"


def time_loop(text, inner_trips=lambda ffma: 1):
    """Instructions that a warp executes in one time step, in their order.

    What is called (the slow paths of divisions) is left out, with the blocks that call.

    Parameters
    ----------
    text : str
        A disassembly.
    inner_trips : callable
        Given the multiply-adds, or the products of tensor cores, of a loop within the loop, how
        often it goes round in a step.
    """
    lines, labels = parse(text)
    loops = [(t, i) for i, (_, t) in enumerate(lines) if t is not None and t <= i]
    with_barrier = [
        (begin, end)
        for begin, end in loops
        if any(one.name == "BAR" for one, _ in lines[begin : end + 1])
    ]
    if not with_barrier:
        raise ValueError("There is no loop with a barrier in this code.")
    begin, end = min(with_barrier, key=lambda loop: loop[1] - loop[0])
    leaders = {begin, *labels, *(i + 1 for i, (one, _) in enumerate(lines) if one.name == "BRA")}
    cuts = sorted(cut for cut in leaders if begin <= cut <= end) + [end + 1]
    inner = [loop for loop in loops if begin <= loop[0] and loop[1] < end]
    found = []
    for first, last in itertools.pairwise(cuts):
        block = [one for one, _ in lines[first:last]]
        if any(one.name in ("CALL", "WARPSYNC") for one in block):
            continue
        times = 1
        for a, b in inner:
            if a <= first <= b:
                times = inner_trips(sum(one.name in _PRODUCTS for one, _ in lines[a : b + 1]))
        found.append((block, times))
    return _repeated(found)


def _repeated(blocks):
    """Blocks as often as they are executed; neighbours of one loop in turn."""
    trace, k = [], 0
    while k < len(blocks):
        times, group = blocks[k][1], []
        while k < len(blocks) and blocks[k][1] == times:
            group += blocks[k][0]
            k += 1
        trace += group * times
    return trace
