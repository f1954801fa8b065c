"""The library beside itself: the tasks of peers.py that have no rival."""

import statistics
import sys

from benchmarks.report import GRID, flop
from benchmarks.turns import HERE, once, take_turns

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
    "proj_size": {"proj_size": 32},
    "layer_norm": {"layer_norm": True},
    "zoneout": {"zoneout_hidden": 0.1, "zoneout_cell": 0.3},
    "times": {"times": True},
    "head_hidden_size": {"head_hidden_size": 64},
    "tbptt_steps": {"tbptt_steps": 25},
    "mean": {"pooling": "mean"},
    "max": {"pooling": "max"},
    "attention": {"pooling": "attention"},
}

# How far the data grow: sequences, and time steps of each.
NUMBERS, LENGTHS = (1000, 10_000, 100_000), (10, 100, 500, 2000)


def variants(options):
    """Time of a batch in training with each variant, beside the plain LSTM."""
    B, T, F, H = 64, 100, 16, 64

    def ask(worker, case):
        request = {"B": B, "T": T, "F": F, "H": H, "threads": options.threads, "batches": 16}
        cases = [request | VARIANTS[name] for name in ("plain", case[0])]
        plain, seconds = worker.ask("side by side", goal=options.goal, cases=cases)
        return seconds / plain

    answers = take_turns(["ours"], [(name,) for name in VARIANTS], options.rounds, ask)
    print(f"\nTraining at {B}, {T}, {F}, {H}: time of a batch, of the plain LSTM's (range)\n")
    for (name,), found in answers.items():
        ratios = found["ours"]
        print(f"{statistics.median(ratios):6.2f}  {name} ({min(ratios):.2f}..{max(ratios):.2f})")
    return {name: found["ours"] for (name,), found in answers.items()}


def long(options):
    """Sequences of 10,000 steps: all that was computed kept, or computed twice."""
    answers = {"full": [], "recompute": []}
    for turn in range(options.rounds):
        for how, found in answers.items():
            code = f"import sys; sys.path.insert(0, {str(HERE.parent)!r}); import json; "
            code += "from benchmarks.workers.memory import long; "
            found.append(once(code + f"print(json.dumps(long({how!r}, {options.threads})))"))
        print(f"  round {turn + 1} of {options.rounds}", file=sys.stderr, flush=True)
    print("\nTraining on 64 sequences of 10,000 steps in batches of 32, F=4, H=128: an epoch\n")
    medians = {}
    for how, found in answers.items():
        seconds, size = medians[how] = [
            statistics.median(part) for part in zip(*found, strict=True)
        ]
        print(f"{how:<12}{seconds:8.2f} s{size / 2**20:9.1f} MB more")
    seconds, size = (b / a for a, b in zip(medians["full"], medians["recompute"], strict=True))
    print(f"{'ratio':<12}{seconds:8.2f}  {size:9.2f}")
    return medians


def scaling(options):
    """Beside itself: odd sizes, float64, threads, and ever more data."""

    def request(B, T, F, H, batches, threads=options.threads, dtype="float32"):
        sizes = {"B": B, "T": T, "F": F, "H": H, "batches": batches}
        return {**sizes, "threads": threads, "dtype": dtype}

    def ask(worker, case):
        kind, *sizes = case
        B, T, F, H = sizes
        whole = -(-H // 16) * 16
        cases = {
            "odd": [request(*sizes, 16), request(B, T, F, whole, 16)],
            "float64": [request(*sizes, 8), request(*sizes, 8, dtype="float64")],
            "threads": [request(*sizes, 4), request(*sizes, 4, threads=1)],
            "batch": [request(*sizes, 100, threads=1)],
            "N": [request(*sizes, n // B) for n in NUMBERS],
            "T": [request(B, t, F, H, max(2, 2000 // t)) for t in LENGTHS],
        }[kind]
        return worker.ask("side by side", goal=options.goal, cases=cases)

    def figures(case, seconds):
        kind, B, T, F, H = case
        if kind == "odd":
            whole = -(-H // 16) * 16
            more = flop(B, T, F, whole, training=True) / flop(B, T, F, H, training=True)
            return [seconds[1] / seconds[0] / more]
        if kind == "batch":
            return [seconds[0] * 1e6]
        if kind in "NT":  # nanoseconds a time step of a sequence
            steps = [T] * len(NUMBERS) if kind == "N" else LENGTHS
            return [s / (B * t) * 1e9 for s, t in zip(seconds, steps, strict=True)]
        return [seconds[0] / seconds[1] if kind == "float64" else seconds[1] / seconds[0]]

    odd = [("odd", *case) for case in GRID if case[3] % 16] + [("odd", 32, 28, 28, 200)]
    float64 = [("float64", 32, 100, 32, 128), ("float64", 256, 28, 28, 128)]
    threads = [("threads", 256, 28, 28, 128), ("threads", 64, 100, 16, 64)]
    growth = [("N", 100, 20, 16, 64), ("T", 64, "T", 16, 64)]
    cases = [*odd, *float64, *threads, ("batch", 16, 2, 2, 2), *growth]
    answers = take_turns(["ours"], cases, options.rounds, ask)
    print("\nThis library beside itself, training (B, T, F, H)\n")
    found = {}
    for case, by_name in answers.items():
        rounds = [figures(case, seconds) for seconds in by_name["ours"]]
        found[case] = [statistics.median(values) for values in zip(*rounds, strict=True)]
        sizes = ", ".join(map(str, case[1:]))
        text = {
            "odd": f"GFLOP/s at {sizes}, of those at the next multiple of 16",
            "batch": f"microseconds a batch, kernels included, at {sizes}, one thread",
            "float64": f"speed in float64, of that in float32, at {sizes}",
            "threads": f"times faster with {options.threads} threads than with one, at {sizes}",
            "N": f"ns a step of a sequence, with {NUMBERS} sequences at {sizes}",
            "T": f"ns a step of a sequence, T = {LENGTHS}, at {sizes}",
        }[case[0]]
        values = ", ".join(f"{value:.4g}" for value in found[case])
        spread = [min(map(min, rounds)), max(map(max, rounds))]
        print(f"{values:>24}  {text} ({spread[0]:.4g}..{spread[1]:.4g})")
    return {str(case): values for case, values in found.items()}
