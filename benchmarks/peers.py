"""Compare with PyTorch and ONNX Runtime: python benchmarks/peers.py.

Each library runs in a process of its own, and they take turns over several rounds:
threads of one would disturb the others'. Ratios above 1 mean that this library is
the faster one. Needs the extra "peers" (pip install ".[peers]").
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
WORKERS = {"ours": "ours.py", "torch": "pytorch.py", "onnxruntime": "onnx_runtime.py"}
GRID = [  # B, T, F, H
    *((32, 50, 1, 32), (16, 200, 4, 16), (32, 24, 8, 64), (64, 100, 16, 64), (32, 100, 32, 128)),
    *((256, 28, 28, 128), (128, 50, 64, 256), (64, 50, 128, 512)),
    *((32, 60, 3, 50), (64, 40, 7, 100), (20, 120, 5, 37)),
]
RAGGED = [(64, 100, 16, 64), (32, 100, 32, 128)]
RED, PLAIN = ("\033[31m", "\033[0m") if sys.stdout.isatty() else ("", "")


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
        answer = json.loads(self.process.stdout.readline())
        time.sleep(0.25)  # OpenMP's threads go on spinning for a while
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def flop(B, T, F, H, training):
    """Floating-point operations of the matrix products of one batch."""
    forward = 2 * B * T * 4 * H * (F + H)
    # Backward: dh, dW_x and dW_h; dx is not needed.
    return forward + 2 * B * T * 4 * H * (F + 2 * H) if training else forward


def compare(workers, cases, rounds, ask):
    """Ask every worker about every case, in turn, ``rounds`` times."""
    seconds = {case: {worker.name: [] for worker in workers} for case in cases}
    for turn in range(rounds):
        for case in cases:
            for worker in workers:
                answer = ask(worker, case)
                seconds[case][worker.name].append(answer)
        print(f"round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
    return seconds


def summarise(seconds, rival_names):
    """Median seconds, and the ratio to the best rival with its spread over rounds."""
    rows = {}
    for case, times in seconds.items():
        medians = {name: statistics.median(values) for name, values in times.items()}
        best = [min(values) for values in zip(*(times[n] for n in rival_names), strict=True)]
        ratios = [b / o for b, o in zip(best, times["ours"], strict=True)]
        rows[case] = {
            "seconds": medians,
            "ratio": min(medians[name] for name in rival_names) / medians["ours"],
            "spread": (min(ratios), max(ratios)),
        }
    return rows


def table(title, rows, names, rate, best_rate):
    """Print a comparison; losses in red."""
    print(f"\n{title}\n")
    head = "".join(f"{name:>13}" for name in names)
    print(f"{'B, T, F, H':<20}{head}{'ratio':>8}{'spread':>14}{'GFLOP/s':>9}{'of best':>9}")
    for case, row in rows.items():
        times = "".join(f"{row['seconds'][name] * 1e3:>10.3f} ms" for name in names)
        gflops = rate(case) / row["seconds"]["ours"] / 1e9
        low, high = row["spread"]
        text = (
            f"{', '.join(map(str, case)):<20}{times}{row['ratio']:>8.2f}{low:>7.2f}..{high:<5.2f}"
        )
        text += f"{gflops:>9.0f}{gflops / best_rate:>9.2f}"
        print(f"{RED}{text}{PLAIN}" if row["ratio"] < 1 else text)
        row["gflops"], row["of_best"] = gflops, gflops / best_rate
    mean = statistics.geometric_mean(row["ratio"] for row in rows.values())
    print(f"geometric mean of the ratios: {mean:.2f}")
    return mean


def picture(path, title, rows):
    """Bars of the ratios, on a logarithmic axis."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    labels = [", ".join(map(str, case)) for case in rows]
    ratios = [row["ratio"] for row in rows.values()]
    spread = [row["spread"] for row in rows.values()]
    errors = [
        [max(r - low, 0) for r, (low, _) in zip(ratios, spread, strict=True)],
        [max(high - r, 0) for r, (_, high) in zip(ratios, spread, strict=True)],
    ]
    figure, axes = plt.subplots(figsize=(9, 0.42 * len(rows) + 1.4), layout="constrained")
    colours = ["#2066a8" if ratio >= 1 else "#c03b2b" for ratio in ratios]
    bars = axes.barh(labels, ratios, color=colours, xerr=errors, ecolor="#777777")
    axes.bar_label(bars, [f" {ratio:.2f}" for ratio in ratios], padding=12)
    axes.axvline(1, color="#222222", lw=1)
    axes.invert_yaxis()
    axes.set(xlabel="times faster (above 1: this library is ahead)", ylabel="B, T, F, H")
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_xlim(0, max(*ratios, 1) * 1.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def startup(rounds):
    """Import and one short fit in a new process, ours with a warm cache, and PyTorch's."""
    data = "import time; began = time.perf_counter(); import numpy as np; "
    data += "X = np.random.default_rng(0).standard_normal((1000, 50, 4)).astype(np.float32); "
    ours = data + (
        "from numba_lstm import LSTMRegressor; "
        "LSTMRegressor(32, max_iter=1, batch_size=64).fit(X, X[:, -1, 0]); "
        "print(time.perf_counter() - began)"
    )
    torch = data + (
        "import sys; sys.argv = ['']; "
        f"sys.path.insert(0, {str(HERE.parent)!r}); "
        "from benchmarks.workers import pytorch; "
        "import benchmarks.workers.common as c; c.data = lambda *a: (X, X[:, -1, 0]); "
        "pytorch.data = c.data; pytorch.median_seconds = lambda f, goal: f() or 0.0; "
        "pytorch.train(64, 50, 4, 32, 16, 2, 0); print(time.perf_counter() - began)"
    )
    seconds = {"ours": [], "torch": []}
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"NUMBA_CACHE_DIR": cache}

        def once(code):
            done = subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, check=True
            )
            return float(done.stdout)

        cold = once(ours)
        for _ in range(rounds):
            for name, code in (("ours", ours), ("torch", torch)):
                seconds[name].append(once(code))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print("\nA new process: import, and one epoch of 1000 x 50 x 4, H=32\n")
    print(f"ours, nothing compiled yet   {cold:6.2f} s")
    print(f"ours, from the cache         {medians['ours']:6.2f} s")
    print(f"torch                        {medians['torch']:6.2f} s")
    print(f"ours / torch                 {medians['ours'] / medians['torch']:6.2f}")
    return {"cold": cold, **medians}


def machine():
    """One line about where this ran."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--task", choices=["train", "predict", "startup", "ragged", "all"], default="all"
    )
    parser.add_argument("--quick", action="store_true", help="few, short rounds")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--picture", type=Path, help="where to draw (PNG), {task} in the name")
    options = parser.parse_args()
    rounds, goal = (2, 0.15) if options.quick else (5, 0.6)
    tasks = ["train", "predict", "ragged", "startup"] if options.task == "all" else [options.task]
    results = {"machine": machine(), "threads": options.threads}
    print(f"{results['machine']}; {options.threads} threads, medians of {rounds} rounds")

    def measure(task, names, cases, ask):
        workers = [Worker(name) for name in names]
        for worker in workers:
            print(f"  {worker.name}: {worker.versions}")
        best = max(
            worker.ask("product", size=1536, threads=options.threads, goal=0.5)
            for worker in workers
            if worker.name != "onnxruntime"
        )
        print(f"  best large product of these: {best:.0f} GFLOP/s")
        seconds = compare(workers, cases, rounds, ask)
        for worker in workers:
            worker.close()
        return seconds, best

    def grid(task, names):
        def ask(worker, case):
            B, T, F, H = case
            request = {"B": B, "T": T, "F": F, "H": H, "threads": options.threads, "goal": goal}
            if task == "train":
                request["batches"] = 16 if H < 256 else 4
            return worker.ask(task, **request)

        seconds, best = measure(task, names, GRID, ask)
        rows = summarise(seconds, names[1:])
        title = {
            "train": "Training: one batch of fit in the steady state, beside PyTorch",
            "predict": "Prediction of one batch, beside the better of PyTorch and ONNX Runtime",
        }[task]
        mean = table(title, rows, names, lambda c: flop(*c, task == "train"), best)
        if options.picture:
            picture(str(options.picture).format(task=task), title, rows)
        return {"rows": {str(c): row for c, row in rows.items()}, "mean": mean, "best": best}

    def ragged():
        def ask(worker, case):
            B, T, F, H = case
            request = {"B": B, "T": T, "F": F, "H": H, "threads": options.threads, "goal": goal}
            return worker.ask("ragged", batches=16, **request)

        seconds, _ = measure("ragged", ["ours", "torch"], RAGGED, ask)
        print("\nTraining on lengths uniform in 10..100, seconds a batch\n")
        found = {}
        for case, answers in seconds.items():
            ours = statistics.median(a["packed"] for a in answers["ours"])
            theirs = {
                way: statistics.median(a[way] for a in answers["torch"])
                for way in ("packed", "padded")
            }
            print(
                f"{', '.join(map(str, case)):<20}{ours * 1e3:>9.3f} ms   torch packed "
                f"{theirs['packed'] * 1e3:.1f} ms (ratio {theirs['packed'] / ours:.2f}), padded "
                f"{theirs['padded'] * 1e3:.1f} ms (ratio {theirs['padded'] / ours:.2f})"
            )
            found[str(case)] = {"ours": ours, **theirs}
        return found

    for task in tasks:
        if task == "train":
            results[task] = grid(task, ["ours", "torch"])
        elif task == "predict":
            results[task] = grid(task, ["ours", "torch", "onnxruntime"])
        elif task == "ragged":
            results[task] = ragged()
        else:
            results[task] = startup(rounds)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
