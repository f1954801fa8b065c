"""Compare with PyTorch and ONNX Runtime: python benchmarks/peers.py.

Each library runs in a process of its own, and they take turns over several rounds:
threads of one would disturb the others'. Ratios above 1 mean that this library is
the faster one. Needs the extra "peers" (pip install ".[peers]").
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.own import long, scaling, variants
from benchmarks.report import GRID, flop, machine, picture, table
from benchmarks.turns import HERE, best_product, once, summarise, take_turns

TITLES = {
    "train": "Training: one batch of fit in the steady state, beside PyTorch",
    "predict": "Prediction of one batch, beside the better of PyTorch and ONNX Runtime",
    "stacks": "Training: one batch of 32, 100, 32, 128 in larger networks, beside PyTorch",
    "step": "One time step of one stream, beside the better of LSTMCell and ONNX Runtime",
}


def grid(task, options):
    """The grid, in training or in prediction."""
    names = ["ours", "torch"] + ["onnxruntime"] * (task == "predict")

    def ask(worker, case):
        B, T, F, H = case
        request = {"B": B, "T": T, "F": F, "H": H, "threads": options.threads}
        if task == "train":
            request["batches"] = 16 if H < 256 else 4
        return worker.ask(task, goal=options.goal, **request)

    best = best_product(options.threads)
    print(f"  best large product: {best:.0f} GFLOP/s")
    rows = summarise(take_turns(names, GRID, options.rounds, ask), names[1:])

    def rate(case):
        return flop(*case, training=task == "train")

    mean = table(TITLES[task], "B, T, F, H", rows, names, rate, best)
    if options.picture:
        path = str(options.picture).format(task=task)
        picture(path, TITLES[task], "B, T, F, H", rows)
    return {"rows": {str(c): row for c, row in rows.items()}, "mean": mean, "best": best}


def train(options):
    return grid("train", options)


def predict(options):
    return grid("predict", options)


# Networks of more than one layer or direction, under the names of PyTorch's parameters.
ARCHITECTURES = {
    "one layer": {},
    "two layers": {"num_layers": 2},
    "bidirectional": {"bidirectional": True},
    "two layers, bidirectional": {"num_layers": 2, "bidirectional": True},
}


def stacks(options):
    """Training of larger networks, at one size of the grid."""
    names, (B, T, F, H) = ["ours", "torch"], (32, 100, 32, 128)

    def ask(worker, case):
        request = {"B": B, "T": T, "F": F, "H": H, "threads": options.threads, "batches": 8}
        return worker.ask("train", goal=options.goal, **request, **ARCHITECTURES[case[0]])

    cases = [(name,) for name in ARCHITECTURES]
    rows = summarise(take_turns(names, cases, options.rounds, ask), names[1:])
    mean = table(TITLES["stacks"], "network", rows, names)
    return {"rows": {case[0]: row for case, row in rows.items()}, "mean": mean}


def step(options):
    """One step at a time, one sequence, the state held by the caller or the library."""
    names = ["ours", "torch", "onnxruntime"]
    cases = [(1, 32), (16, 64), (32, 128)]

    def ask(worker, case):
        return worker.ask("step", F=case[0], H=case[1], goal=options.goal)

    rows = summarise(take_turns(names, cases, options.rounds, ask), names[1:])
    mean = table(TITLES["step"], "F, H", rows, names)
    return {"rows": {str(c): row for c, row in rows.items()}, "mean": mean}


def ragged(options):
    """Lengths uniform in 10..100, beside both ways of PyTorch, and beside whole sequences."""
    cases = [(64, 100, 16, 64), (32, 100, 32, 128)]

    def ask(worker, case):
        B, T, F, H = case
        request = {"B": B, "T": T, "F": F, "H": H, "threads": options.threads, "batches": 16}
        return worker.ask("ragged", goal=options.goal, **request)

    answers = take_turns(["ours", "torch"], cases, options.rounds, ask)
    print("\nTraining on lengths uniform in 10..100, a batch\n")
    found = {}
    for case, by_name in answers.items():
        ours, whole = (
            statistics.median(a[way] for a in by_name["ours"]) for way in ("packed", "whole")
        )
        theirs = {
            way: statistics.median(a[way] for a in by_name["torch"])
            for way in ("packed", "padded")
        }
        print(
            f"{', '.join(map(str, case)):<20}{ours * 1e3:>9.3f} ms   torch packed "
            f"{theirs['packed'] * 1e3:.1f} ms (ratio {theirs['packed'] / ours:.2f}), padded "
            f"{theirs['padded'] * 1e3:.1f} ms (ratio {theirs['padded'] / ours:.2f});\n"
            f"{'':20}as many steps in sequences of one length {whole * 1e3:.3f} ms "
            f"(ragged / this {ours / whole:.2f})"
        )
        found[str(case)] = {"ours": ours, "whole": whole, **theirs}
    return found


def startup(options):
    """Import and one short fit in a new process, ours with a warm cache, and PyTorch's."""
    data = "import time; began = time.perf_counter(); import numpy as np; "
    data += "X = np.random.default_rng(0).standard_normal((1000, 50, 4)).astype(np.float32); "
    code = {
        "numpy and sklearn.base alone": data + "import sklearn.base; ",
        "ours": data + "from numba_lstm import LSTMRegressor; "
        "LSTMRegressor(32, max_iter=1, batch_size=64).fit(X, X[:, -1, 0]); ",
        "torch": data + "import sys; sys.argv = ['']; "
        f"sys.path.insert(0, {str(HERE.parent)!r}); "
        "from benchmarks.workers import pytorch; "
        "pytorch.data = lambda *a: (X, X[:, -1, 0]); "
        "pytorch.median_seconds = lambda f, goal: f() or 0.0; "
        "pytorch.train(64, 50, 4, 32, 16, 2, 0); ",
    }
    seconds = {name: [] for name in code}
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"NUMBA_CACHE_DIR": cache}
        tail = "print(time.perf_counter() - began)"
        cold = once(code["ours"] + tail, environment)
        for _ in range(options.rounds):
            for name, lines in code.items():
                seconds[name].append(once(lines + tail, environment))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print("\nA new process: import, and one epoch of 1000 x 50 x 4, H=32\n")
    print(f"{'ours, nothing compiled yet':<32}{cold:6.2f} s")
    for name, value in medians.items():
        print(f"{name:<32}{value:6.2f} s")
    print(f"{'ours / torch':<32}{medians['ours'] / medians['torch']:6.2f}")
    return {"cold": cold, **medians}


def memory(options):
    """Memory that one epoch adds to the process, beyond the data."""
    print("\nTraining on 256 MB in float32 (512 in float64): N=20,000, T=100, F=32, H=64, B=64\n")
    found = {}
    for name, kinds in {"ours": ("float32", "float64", "memmap"), "torch": ("float32",)}.items():
        for kind in kinds:
            code = (
                f"import sys; sys.path.insert(0, {str(HERE.parent)!r}); "
                "import json; from benchmarks.workers.memory import added; "
                f"print(json.dumps(added({name!r}, {kind!r})))"
            )
            found[f"{name}, {kind}"] = once(code)
            print(f"{name + ', ' + kind:<20}{found[f'{name}, {kind}'] / 2**20:>9.1f} MB more")
    return found


TASKS = {
    task.__name__: task
    for task in (train, predict, stacks, variants, step, ragged, startup, memory, long, scaling)
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=[*TASKS, "all"], default="all")
    parser.add_argument("--quick", action="store_true", help="few, short rounds")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--picture", type=Path, help="where to draw (PNG), {task} in the name")
    options = parser.parse_args()
    options.rounds, options.goal = (2, 0.15) if options.quick else (5, 0.6)
    results = {"machine": machine(), "threads": options.threads}
    print(f"{results['machine']}; {options.threads} threads, medians of {options.rounds} rounds")
    for name in TASKS if options.task == "all" else [options.task]:
        results[name] = TASKS[name](options)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
