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

from benchmarks.report import flop, machine, picture, table
from benchmarks.turns import HERE, best_product, once, summarise, take_turns

GRID = [  # B, T, F, H
    *((32, 50, 1, 32), (16, 200, 4, 16), (32, 24, 8, 64), (64, 100, 16, 64), (32, 100, 32, 128)),
    *((256, 28, 28, 128), (128, 50, 64, 256), (64, 50, 128, 512)),
    *((32, 60, 3, 50), (64, 40, 7, 100), (20, 120, 5, 37)),
]
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


# What the cell and the head can be told, under the estimators' names.
VARIANTS = {
    "plain": {},
    "peephole": {"peephole": True},
    "coupled_gates": {"coupled_gates": True},
    "cell_clip": {"cell_clip": 3.0},
    "no bias": {"bias": False},
    "learn_initial_state": {"learn_initial_state": True},
    "go_backwards": {"go_backwards": True},
    "all of these": {
        "peephole": True,
        "coupled_gates": True,
        "cell_clip": 3.0,
        "learn_initial_state": True,
        "go_backwards": True,
    },
    "dropout": {"input_dropout": 0.2, "recurrent_dropout": 0.2},
    "mean": {"pooling": "mean"},
    "max": {"pooling": "max"},
    "attention": {"pooling": "attention"},
}


def variants(options):
    """Time of a batch in training with each variant, beside the plain LSTM."""
    B, T, F, H = 64, 100, 16, 64

    def ask(worker, case):
        request = {"B": B, "T": T, "F": F, "H": H, "threads": options.threads, "batches": 16}
        return worker.ask("train", goal=options.goal, **request, **VARIANTS[case[0]])

    answers = take_turns(["ours"], [(name,) for name in VARIANTS], options.rounds, ask)
    medians = {case[0]: statistics.median(found["ours"]) for case, found in answers.items()}
    print(f"\nTraining at {B}, {T}, {F}, {H}: time of a batch, of the plain LSTM's\n")
    for name, value in medians.items():
        print(f"{value / medians['plain']:6.2f}  {name}")
    return medians


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


def scaling(options):
    """Beside itself: odd sizes, float64, threads, and ever more data."""

    def seconds(worker, B, T, F, H, batches, threads=options.threads, dtype="float32"):
        request = {"B": B, "T": T, "F": F, "H": H, "batches": batches, "dtype": dtype}
        return worker.ask("train", goal=options.goal, threads=threads, **request)

    def gflops(worker, B, T, F, H):
        return flop(B, T, F, H, training=True) / seconds(worker, B, T, F, H, 16) / 1e9

    def ask(worker, case):
        kind, *sizes = case
        if kind == "odd":
            B, T, F, H = sizes
            return gflops(worker, B, T, F, H) / gflops(worker, B, T, F, -(-H // 16) * 16)
        if kind == "float64":
            return seconds(worker, *sizes, 8) / seconds(worker, *sizes, 8, dtype="float64")
        if kind == "batch":
            return seconds(worker, *sizes, 100, threads=1) * 1e6
        if kind == "threads":
            return seconds(worker, *sizes, 4, threads=1) / seconds(worker, *sizes, 4)
        B, T, F, H, batches = sizes  # growth: nanoseconds a time step of a sequence
        return seconds(worker, B, T, F, H, batches) / (B * T) * 1e9

    odd = [("odd", *case) for case in GRID if case[3] % 16] + [("odd", 32, 28, 28, 200)]
    float64 = [("float64", 32, 100, 32, 128), ("float64", 256, 28, 28, 128)]
    threads = [("threads", 256, 28, 28, 128), ("threads", 64, 100, 16, 64)]
    n = [("N", 100, 20, 16, 64, batches) for batches in (10, 100, 1000)]
    t = [("T", 64, T, 16, 64, 16) for T in (10, 100, 500, 2000)]
    cases = [*odd, *float64, *threads, ("batch", 16, 2, 2, 2), *n, *t]
    answers = take_turns(["ours"], cases, options.rounds, ask)
    medians = {case: statistics.median(by_name["ours"]) for case, by_name in answers.items()}
    print("\nThis library beside itself, training (B, T, F, H)\n")
    for case, value in medians.items():
        sizes = ", ".join(map(str, case[1:5]))
        text = {
            "odd": f"GFLOP/s at {sizes}, of those at the next multiple of 16",
            "float64": f"speed in float64, of that in float32, at {sizes}",
            "batch": f"microseconds a batch, kernels included, at {sizes}, one thread",
            "threads": f"times faster with {options.threads} threads than with one, at {sizes}",
            "N": f"ns a step of a sequence, {case[-1] * 100:,} sequences at {sizes}",
            "T": f"ns a step of a sequence, T = {case[2]:,}, at {sizes}",
        }[case[0]]
        print(f"{value:9.2f}  {text}")
    return {str(case): value for case, value in medians.items()}


TASKS = {
    task.__name__: task
    for task in (train, predict, stacks, variants, step, ragged, startup, memory, scaling)
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
