"""Compile every kernel for GPUs, without one: python tests/compile_kernels.py [ptxas].

Prints a line of JSON for each: what the machine code takes, and what is in the PTX that should
not be there. Modules of numba_lstm.cuda with kernels say in ``compile_cases()`` how these are
called, and in ``least_capability`` which targets lack their instructions. Of kernels that differ
in their sizes only, one is compiled for the older targets.
"""

import importlib
import json
import pkgutil
import re
import subprocess
import sys
import tempfile
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from numba import cuda
from numba.cuda import dispatcher
from numba.cuda.cudadrv import nvvm

import numba_lstm.cuda
from numba_lstm.cuda import device

TARGETS = (9, 0), (8, 0), (7, 5)

# In names of kernels.
SIZES = re.compile(r"\b(?:H|X|NB)=\d+,? ?|\b\d+x\d+\b")

# What ptxas prints, and patterns of the PTX.
TAKEN = {
    "registers": r"Used (\d+) registers",
    "spilled": r"(\d+) bytes spill stores",
    "reloaded": r"(\d+) bytes spill loads",
    "stack": r"(\d+) bytes stack frame",
}
WRITTEN = {"local": r"\b(?:ld|st)\.local\b", "float64": r"\.f64\b", "atomic": r"\b(?:atom|red)\."}


def modules():
    """All modules of numba_lstm.cuda."""
    for found in pkgutil.iter_modules(numba_lstm.cuda.__path__):
        yield importlib.import_module(f"numba_lstm.cuda.{found.name}")


def cases():
    """Module, name, function, signature and threads of each kernel, and its targets."""
    seen, listed, there = set(), set(), {}
    for module in modules():
        there |= {
            value.py_func: f"{module.__name__}.{name}"
            for name, value in vars(module).items()
            if isinstance(value, dispatcher.CUDADispatcher) and not value.targetoptions["device"]
        }
        fit = [t for t in TARGETS if t >= getattr(module, "least_capability", TARGETS[-1])]
        for name, function, signature, threads in getattr(module, "compile_cases", list)():
            if (function, signature) in seen:
                continue
            listed.add(function)
            kind = SIZES.sub("", name)
            targets = fit[: 1 if kind in seen else None]
            seen |= {kind, (function, signature)}
            yield module, name, function, signature, threads, targets
    if forgotten := there.keys() - listed:
        raise LookupError(f"No compile_cases for {[there[each] for each in forgotten]}.")


def through_ptxas(ptxas, ptx, capability):
    """Return what machine code takes."""
    # NVVM of the wheels is newer than many a ptxas, and writes a version of PTX that this does
    # not read: 13.5 writes 9.5, and 13.0 reads 9.0 at most. The instructions are those of 8.0.
    ptx = re.sub(r"(?m)^\.version .*$", ".version 8.0", ptx)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(ptx)
        target = "-arch=sm_{}{}".format(*capability)
        # To be linked, as numba-cuda does it; whole programs would need fewer registers.
        command = [ptxas, "-c", "-v", target, str(path), "-o", str(path.with_suffix(".cubin"))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found = {name: re.search(pattern, done.stderr) for name, pattern in TAKEN.items()}
    return {name: int(match[1]) if match else 0 for name, match in found.items()}


def main():
    try:
        nvvm.NVVM()
    except Exception as error:  # whatever is missing, or too old
        sys.exit(f"NVVM: {error}")
    ptxas = sys.argv[1] if len(sys.argv) > 1 else None
    with ThreadPoolExecutor(1) as assembler:  # works while the next kernel is compiled
        running = [assembler.submit(finish, result, ptx, ptxas) for result, ptx in compiled()]
    for future in running:
        print(json.dumps(future.result()))


def compiled():
    """What is known of each kernel, and its PTX."""
    for module, name, function, signature, threads, targets in cases():
        # As they are launched: with bounds where their module asks for them.
        bounds = threads if getattr(module, "kernel", None) is device.kernel else None
        for capability in targets:
            # Functions that kernels call are compiled for the device that is there.
            current = types.SimpleNamespace(compute_capability=capability)
            dispatcher.get_current_device = lambda current=current: current
            ptx, _ = cuda.compile_ptx(function, signature, cc=capability, launch_bounds=bounds)
            short = module.__name__.rpartition(".")[2]
            yield {"module": short, "name": name, "threads": threads, "target": capability}, ptx


def finish(result, ptx, ptxas):
    """Add what is found in the PTX, and by ptxas."""
    result |= {key: len(re.findall(pattern, ptx)) for key, pattern in WRITTEN.items()}
    # ptxas counts what is in shared memory only for whole programs.
    arrays = re.findall(r"\.shared \.align \d+ \.b8 \w+\[(\d+)\]", ptx)
    result["shared"] = sum(map(int, arrays))
    if ptxas:
        result |= through_ptxas(ptxas, ptx, result["target"])
    return result


if __name__ == "__main__":
    main()
