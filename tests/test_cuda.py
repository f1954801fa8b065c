"""Kernels for GPUs in a simulator: see tests/simulator."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from numba import config

HERE = Path(__file__).parent

FEWEST_TESTS = 180  # of the simulator


def run(command, **environment):
    """Run Python as this one runs, but for what the environment says of the tests."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTEST_ADDOPTS", "COVERAGE_FILE")}
    path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *command],
        env=kept | {"PYTHONPATH": path} | environment,
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(config.ENABLE_CUDASIM, reason="this is the simulator")
def test_kernels_in_the_simulator():
    """All of tests/simulator, in a process that simulates from the beginning."""
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore::RuntimeWarning"]
    command.append(str(HERE / "simulator"))
    done = run(command, NUMBA_ENABLE_CUDASIM="1", NUMBA_DISABLE_JIT="1")
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(r"(\d+) (\w+)", done.stdout.splitlines()[-1])
    counts = {what: int(number) for number, what in found}
    assert counts["passed"] >= FEWEST_TESTS, done.stdout
    assert "skipped" not in counts, done.stdout
