"""The benchmark's side of this library: its code runs, and its numbers are the CPU's."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import gpu
from benchmarks.workers import gpu_ours

pytestmark = pytest.mark.nojit


@pytest.mark.parametrize("is_ragged", [False, True])
def test_numbers(is_ragged, monkeypatch):
    def short(T, F, N):
        rng = np.random.default_rng(0)
        return [rng.standard_normal((n, F)).astype("f4") for n in (1, 3, 2)], rng.random(N)

    monkeypatch.setattr(gpu_ours, "ragged", short)
    found = gpu_ours.check(3, 3, 2, 2, is_ragged)
    assert set(found) == {"outputs", "loss", "gradient"}
    assert max(found.values()) < 1e-5


@pytest.mark.parametrize("precision", ["", "bf16"])
@pytest.mark.parametrize(
    ("task", "names"), [("predict", {"forward"}), ("train", {"forward", "backward"})]
)
def test_times(task, names, precision, monkeypatch):
    monkeypatch.setattr("benchmarks.workers.gpu_clock.QUEUED", 1)
    found = getattr(gpu_ours, task)(B=2, T=1, F=1, H=2, goal=0, precision=precision)
    assert set(found) == {"caller", "device"} | names
    assert found["caller"] > 0
    assert gpu_ours.layers.make_forward.__module__ == "numba_lstm.cuda.recurrent"
    module = gpu_ours.tensor_backward
    assert module.make_backward.__module__ == module.__name__


def test_many_models():
    assert gpu_ours.epochs(M=2, B=2, T=1, F=1, H=2, batches=1, goal=0) > 0


def test_check_from_the_command_line(capsys):
    for options in [], ["--precision", "tf32"]:
        gpu.main(["--check", "--shape", "2,2,1,2", *options])
        assert "The numbers are the CPU's" in capsys.readouterr().out
