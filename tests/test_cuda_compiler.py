"""Kernels for GPUs through their compiler, which needs no GPU."""

import importlib
import importlib.util
import json
import re
import shutil
from pathlib import Path

import pytest
from numba import config
from test_cuda import run

HERE = Path(__file__).parent

# Bytes of a thread's registers that are written to memory, at most, of layers of so many units;
# and of those in which some stay as they were.
ALLOWED_SPILLS = {
    ("backward", "float64", 256): 192,
    ("backward", "bf16", 256): 56,
}
ALLOWED_ZONED = {
    ("forward", "float64", 256): 8,
    ("backward", "float64", 128): 8,
    ("backward", "bf16", 256): 60,
    ("backward", "tf32", 256): 68,
}

# Modules whose kernels need a GPU newer than sm_75.
TENSOR_CORES = {"tensor_forward", "tensor_backward", "tensor_packing"}


def least_capability(module):
    """The oldest target that a module of numba_lstm.cuda is compiled for."""
    found = importlib.import_module(f"numba_lstm.cuda.{module}")
    return getattr(found, "least_capability", (0, 0))


def find_ptxas():
    """NVIDIA's assembler, if it is on the path or came with a wheel."""
    if found := shutil.which("ptxas"):
        return found
    wheels = importlib.util.find_spec("nvidia")
    folders = wheels.submodule_search_locations if wheels else []
    return next((str(p) for d in folders for p in Path(d).glob("**/bin/ptxas")), None)


@pytest.fixture(scope="module")
def kernels():
    """What is found of every kernel, compiled for every target."""
    if config.ENABLE_CUDASIM:
        pytest.skip("The simulator compiles nothing.")
    if importlib.util.find_spec("numba_cuda") is None:
        pytest.skip("numba-cuda is not installed.")
    ptxas = find_ptxas()
    done = run([str(HERE / "compile_kernels.py"), *([ptxas] if ptxas else [])])
    if done.returncode and done.stderr.startswith("NVVM: "):
        pytest.skip(f"There is no NVVM, which compiles for GPUs: {done.stderr}")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def assembled(kernels):
    """The same, if there is machine code."""
    if "registers" not in kernels[0]:
        pytest.skip("ptxas, which makes machine code of PTX, is not installed.")
    return kernels


def none_of(kernels, wrong):
    """No kernel is wrong; or those are shown."""
    found = [kernel for kernel in kernels if wrong(kernel)]
    assert not found, "\n".join(map(str, found))


def test_all_modules_with_kernels_are_compiled_for_all_targets(kernels):
    folder = HERE.parent / "numba_lstm" / "cuda"
    makes_kernels = re.compile(r"^@(?:cuda\.)?jit$|\bjit\((?:make|pack)|\bkernel\(", re.MULTILINE)
    modules = {p.stem for p in folder.glob("*.py") if makes_kernels.search(p.read_text())}
    modules -= {"device"}  # which compiles for the others
    for target in (9, 0), (8, 0), (7, 5):
        there = {kernel["module"] for kernel in kernels if tuple(kernel["target"]) == target}
        lack = {m for m in modules if target < least_capability(m)}
        # The kernels of sums come with those of products.
        assert there | {"sums"} == modules - lack
    assert lack == TENSOR_CORES  # of sm_75
    for dtype in "float32", "float64":
        assert any(k["name"].startswith("column_sums") and dtype in k["name"] for k in kernels)


def test_nothing_lies_in_local_memory_nor_is_added_atomically(kernels):
    """Results depend on no order in which blocks run."""
    none_of(kernels, lambda kernel: kernel["local"] or kernel["atomic"])


def test_the_recurrence_of_float32_computes_in_float32(kernels):
    modules = {"recurrent"} | TENSOR_CORES
    recurrent = [k for k in kernels if k["module"] in modules and "float64" not in k["name"]]
    assert len(recurrent) > 60
    none_of(recurrent, lambda kernel: kernel["float64"])


def test_a_block_has_the_shared_memory_that_it_takes(kernels):
    """48 KiB, without asking for more."""
    none_of(kernels, lambda kernel: kernel["shared"] > 48 * 1024)
    names = {kernel["name"].split()[0] for kernel in kernels if kernel["shared"] > 0}
    assert {"forward", "backward", "times", "gram", "losses"} <= names


def test_a_multiprocessor_holds_a_block(assembled):
    def is_too_large(kernel):
        # Registers are given out to warps, 256 at a time.
        warps, each = -(-kernel["threads"] // 32), -(-kernel["registers"] // 8) * 8
        return warps * 32 * each > 65_536 or kernel["registers"] > 255

    none_of(assembled, is_too_large)


def test_registers_spill_only_where_it_is_known(assembled):
    def spills(kernel):
        H = re.search(r"\bH=(\d+)", kernel["name"])
        name = kernel["name"]
        number = next((n for n in ("float64", "bf16", "tf32") if n in name), "float32")
        case = (name.split()[0], number, int(H[1])) if H else None
        allowed = ALLOWED_SPILLS.get(case, 0)
        if "zoned=True" in name:
            allowed = max(allowed, ALLOWED_ZONED.get(case, 0))
        return max(kernel["spilled"], kernel["reloaded"]) > allowed

    none_of(assembled, spills)
