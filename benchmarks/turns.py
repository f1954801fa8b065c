"""Libraries in processes of their own that take turns at being measured."""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
WORKERS = {
    "ours": "ours.py",
    "torch": "pytorch.py",
    "onnxruntime": "onnx_runtime.py",
    "ours on the GPU": "gpu_ours.py",
    "torch on the GPU": "gpu_torch.py",
}


class Worker:
    """A library in its own process, which waits while the others are measured."""

    def __init__(self, name):
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "workers" / WORKERS[name])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.versions = json.loads(self.process.stdout.readline())

    def ask(self, task, **request):
        self.process.stdin.write(json.dumps({"task": task, **request}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def take_turns(names, cases, rounds, ask):
    """Ask every library about every case, in turn, ``rounds`` times.

    Returns
    -------
    answers : dict
        By case, then by library: a list with one answer a round.
    """
    workers = [Worker(name) for name in names]
    for worker in workers:
        print(f"  {worker.name}: {worker.versions}", flush=True)
    answers = {case: {name: [] for name in names} for case in cases}
    for turn in range(rounds):
        for case in cases:
            for worker in workers:
                answers[case][worker.name].append(ask(worker, case))
                if len(workers) > 1:
                    time.sleep(0.25)  # OpenMP's threads go on spinning for a while
        print(f"  round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
    for worker in workers:
        worker.close()
    return answers


def best_product(threads):
    """Rate in GFLOP/s of the best large product of NumPy and PyTorch, here and now."""
    rates = []
    for name in ("ours", "torch"):
        worker = Worker(name)
        rates.append(worker.ask("product", size=1536, threads=threads, goal=0.5))
        worker.close()
    return max(rates)


def summarise(answers, rivals):
    """Median seconds by library, and the ratio to the best rival with its spread."""
    rows = {}
    for case, times in answers.items():
        medians = {name: statistics.median(values) for name, values in times.items()}
        best = [min(values) for values in zip(*(times[n] for n in rivals), strict=True)]
        ratios = [b / o for b, o in zip(best, times["ours"], strict=True)]
        rows[case] = {
            "seconds": medians,
            "ratio": min(medians[name] for name in rivals) / medians["ours"],
            "spread": (min(ratios), max(ratios)),
        }
    return rows


def once(code, environment=None):
    """Run Python code in a new process; returns what it printed, as JSON."""
    environment = dict(os.environ if environment is None else environment)
    # An installed package has its bytecode, so let the sources here have theirs.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)
