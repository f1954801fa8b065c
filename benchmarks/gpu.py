"""Compare with PyTorch's cuDNN on a GPU: python benchmarks/gpu.py.

nn.LSTM runs in float32, with TensorFloat-32 and without. Each library runs in a process of its
own, and they take turns over several rounds; ratios above 1 mean that this library is the
faster one. Needs an NVIDIA GPU, the extra "cuda", and PyTorch with CUDA; ``--count`` needs
neither GPU nor PyTorch, but ptxas and nvdisasm: it prints the floor that follows from the
kernels' machine code. ``--check`` compares numbers with the CPU's, for compute-sanitizer.
"""

import argparse
import importlib.util
import json
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import sass
from benchmarks.floor import H200, floor, gradient_seconds
from benchmarks.gpu_tables import summarise, table
from benchmarks.report import PLAIN, RED, machine, picture
from benchmarks.turns import HERE, once, take_turns
from numba_lstm.backend import MATMUL_PRECISIONS

OURS, TORCH = "ours on the GPU", "torch on the GPU"

CASES = [  # B, T, F, H
    *((64, 100, 16, 64), (256, 100, 16, 64), (1024, 200, 8, 32)),
    *((128, 200, 32, 128), (512, 100, 32, 128), (64, 200, 64, 256)),
]
PASSES = {"predict": "forward", "forward": "forward", "backward": "backward"}
RAGGED = [(256, 100, 16, 64), (512, 100, 32, 128)]
MANY = [(1, 64, 50, 4, 32), (100, 64, 50, 4, 32)]  # M, B, T, F, H
# What docs/performance.md has of the CPU, and larger ones.
DEVICES = [
    *((32, 50, 1, 32), (64, 100, 16, 64), (32, 100, 32, 128), (256, 28, 28, 128)),
    *((128, 50, 64, 256), (1024, 200, 8, 32), (512, 100, 32, 128)),
]
FAR = {"float32": 1e-4, "tf32": 1e-2, "bf16": 1e-1}  # from the CPU's numbers, of their norm
QUICK = [(64, 100, 16, 64), (128, 200, 32, 128)]


def _floors(cases, task, precision):
    """Seconds that the recurrence takes at least, where that can be counted here."""
    found = {}
    try:
        for case in cases:
            B, T, F, H = case
            parts = ["forward", "backward"] if task == "train" else ["forward"]
            options = {"keeps": task == "train", "precision": precision}
            found[case] = T * sum(floor(part, B, F, H, **options).step for part in parts)
    except (sass.MissingToolError, AttributeError) as error:  # the simulator has no kernels
        print(f"  the floor by count is left out: {error}")
    return found


def _compare(title, task, cases, options, is_ragged=False):
    names = [OURS] if options.alone else [OURS, TORCH]

    def ask(worker, case):
        request = dict(zip("BTFH", case, strict=True), goal=options.goal, is_ragged=is_ragged)
        if worker.name == OURS:
            return worker.ask(task, **request, precision=options.rounded_to)
        return [worker.ask(task, **request, tf32=tf32) for tf32 in (False, True)]

    answers = {}
    for case, found in take_turns(names, cases, options.rounds, ask).items():
        pairs = found.get(TORCH, [])
        answers[case] = {"ours": found[OURS], **_both(pairs)}
    rows = summarise(answers, {} if is_ragged else _floors(cases, task, options.rounded_to))
    mean = table(title, rows)
    if options.picture and mean:
        path = str(options.picture).format(task=task + "_ragged" * is_ragged)
        picture(path, title, "B, T, F, H", rows)
    return {"rows": {str(case): row for case, row in rows.items()}, "mean": mean}


def _both(pairs):
    return {name: [pair[k] for pair in pairs] for k, name in enumerate(("torch", "tf32"))}


def train(options):
    return _compare("Training: a step of Adam", "train", options.cases, options)


def predict(options):
    return _compare("Forward pass", "predict", options.cases, options)


def ragged(options):
    """Lengths uniform in 10..T."""
    cases = options.shape or RAGGED
    return {
        task: _compare(f"Lengths uniform in 10..T, {task}", task, cases, options, True)
        for task in ("predict", "train")
    }


def many(options):
    """M models: side by side here, one after the other there."""
    names = [OURS] if options.alone else [OURS, TORCH]

    def ask(worker, case):
        request = dict(zip("MBTFH", case, strict=True), batches=8, goal=options.goal)
        return worker.ask("epochs", **request)

    answers, rows = take_turns(names, MANY, options.rounds, ask), {}
    print("\nA batch of each of M models, all that an epoch does included: milliseconds\n")
    for case, found in answers.items():
        medians = {name: statistics.median(values) for name, values in found.items()}
        text = f"{', '.join(map(str, case)):<24}{medians[OURS] * 1e3:>10.3f}"
        if TORCH in medians:
            ratio = medians[TORCH] / medians[OURS]
            text += f"   torch {medians[TORCH] * 1e3:.3f} (ratio {ratio:.2f})"
            text = f"{RED}{text}{PLAIN}" if ratio < 1 else text
        print(text)
        rows[str(case)] = medians
    return rows


def devices(options):
    """The estimators on the CPU and on the GPU: from where on a GPU is worth it."""

    def ask(worker, case):
        request = dict(zip("BTFH", case, strict=True), batches=8, goal=options.goal, threads=None)
        return {d: worker.ask("train", **request, device=d) for d in ("cpu", "cuda")}

    cases = options.shape or DEVICES
    answers, rows = take_turns(["ours"], cases, options.rounds, ask), {}
    print("\nA batch of fit: milliseconds\n")
    print(f"{'B, T, F, H':<20}{'cpu':>10}{'cuda':>10}{'cpu / cuda':>12}")
    for case, found in answers.items():
        medians = {d: statistics.median(a[d] for a in found["ours"]) for d in ("cpu", "cuda")}
        ratio = medians["cpu"] / medians["cuda"]
        text = f"{', '.join(map(str, case)):<20}{medians['cpu'] * 1e3:>10.3f}"
        text += f"{medians['cuda'] * 1e3:>10.3f}{ratio:>12.2f}"
        print(f"{RED}{text}{PLAIN}" if ratio < 1 else text)
        rows[str(case)] = medians
    return rows


def startup(options):
    """First and second fit on the GPU in a new process: kernels are compiled in each."""
    code = (
        f"import sys; sys.path.insert(0, {str(HERE.parent)!r}); "
        "import json, time; began = time.perf_counter(); import numpy as np; "
        "from numba_lstm import LSTMRegressor; "
        "X = np.random.default_rng(0).standard_normal((256, 20, 4)).astype('f4'); "
        "model = LSTMRegressor(32, max_iter=1, device='cuda'); "
        "model.fit(X, X[:, -1, 0]); first = time.perf_counter(); "
        "model.fit(X, X[:, -1, 0]); second = time.perf_counter(); "
        "print(json.dumps([first - began, second - first]))"
    )
    found = [once(code) for _ in range(options.rounds)]
    first, second = (statistics.median(part) for part in zip(*found, strict=True))
    print(f"\nA new process: import and first fit {first:.2f} s, the next fit {second:.3f} s")
    return {"first": first, "second": second}


def check(options):
    """Outputs, loss and gradient beside the CPU's, in this process: for compute-sanitizer."""
    from benchmarks.workers.gpu_ours import check as compare

    worst = 0.0
    for is_ragged in (False, True):
        for case in options.cases:
            B, T, F, H = case
            if options.quick and not options.shape:
                T = 12
            if is_ragged and T < 10:
                continue
            found = compare(B, T, F, H, is_ragged, options.rounded_to)
            worst = max(worst, *found.values())
            text = ", ".join(f"{name} {value:.1e}" for name, value in found.items())
            print(f"{B}, {T}, {F}, {H}{' ragged' * is_ragged}: {text}", flush=True)
    if not worst < FAR[options.precision]:
        sys.exit(f"The GPU's numbers differ from the CPU's: by {worst:.1e} of their norm.")
    print(f"The numbers are the CPU's, to {worst:.1e} of their norm.")


def count(options):
    """Floor of the recurrence and of the weights' gradient, by case."""
    rows = {}
    print(f"\nCounted, not measured: {H200.name}, {options.precision}\n")
    print(
        f"{'B, T, F, H':<19}{'pass':<10}{'NB':>3}{'blocks':>8}{'a SM':>6}{'registers':>10}"
        f"{'instructions':>13}{'products':>9}{'  limit':<19}{'µs a step':>10}{'waiting':>9}"
        f"{'ms':>8}"
    )
    for case in options.cases:
        B, T, F, H = case
        found = {
            name: floor(which, B, F, H, keeps=name != "predict", precision=options.rounded_to)
            for name, which in PASSES.items()
        }
        for name, f in found.items():
            print(
                f"{', '.join(map(str, case)):<19}{name:<10}{f.NB:>3}{f.blocks:>8}{f.at_once:>6}"
                f"{f.code.registers:>10}{f.found.total:>13}"
                f"{f.found.products / f.found.total:>9.2f}  {f.limit:<17}"
                f"{f.step * 1e6:>10.2f}{f.waited * 1e6:>9.2f}{f.step * T * 1e3:>8.3f}"
            )
        gradient = gradient_seconds(B, T, F, H)
        print(f"{'':19}gradient of the weights: {gradient * 1e3:.3f} ms")
        rows[str(case)] = {
            name: {
                "step": f.step, "waiting": f.waited, "limit": f.limit,
                "registers": f.code.registers, "spilled": f.code.spilled,
                "by_pipe": dict(f.found.by_pipe),
            }
            for name, f in found.items()
        } | {"gradient": gradient}  # fmt: skip
    print(
        "\nproducts: share of the instructions that multiply weights. µs a step: the busiest\n"
        "part alone, a lower bound under the assumptions of floor.py; waiting: an estimate with\n"
        "latencies; ms: the bound for all steps."
    )
    return rows


TASKS = {task.__name__: task for task in (train, predict, ragged, many, devices, startup)}


def missing(options):
    """What this run needs and does not find, in a sentence; None if all is there."""
    try:
        from numba_lstm.cuda.device import why_not

        reason = why_not()
    except ImportError as error:
        reason = str(error)
    if reason:
        return f"No GPU can be used: {reason}. benchmarks/gpu.py --count needs none."
    if options.alone or options.check:
        return None
    if importlib.util.find_spec("torch") is None:
        return "PyTorch is not installed (pip install torch). Use --alone to leave it out."
    code = "import json, torch; print(json.dumps(torch.cuda.is_available()))"
    if not once(code):
        return "This PyTorch finds no GPU: install one with CUDA. Use --alone to leave it out."
    return None


def parse(arguments=None):
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=[*TASKS, "all"], default="all")
    parser.add_argument("--quick", action="store_true", help="few, short rounds")
    parser.add_argument("--count", action="store_true", help="the floor by count; needs no GPU")
    parser.add_argument("--check", action="store_true", help="compare numbers with the CPU's")
    parser.add_argument(
        "--precision", choices=MATMUL_PRECISIONS, default="float32",
        help="of products in the recurrence (not for the tasks many, devices and startup)",
    )  # fmt: skip
    parser.add_argument("--alone", action="store_true", help="without PyTorch")
    parser.add_argument("--shape", type=_shape, action="append", help="B,T,F,H instead")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--picture", type=Path, help="where to draw (PNG), {task} in the name")
    options = parser.parse_args(arguments)
    options.rounds, options.goal = (2, 0.2) if options.quick else (5, 1.0)
    short = options.quick and not options.check
    options.rounded_to = options.precision.replace("float32", "")
    options.cases = options.shape or (QUICK if short else CASES)
    return options


def _shape(text):
    parts = tuple(map(int, text.split(",")))
    if len(parts) != 4 or min(parts) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not B,T,F,H")
    return parts


def main(arguments=None):
    options = parse(arguments)
    results = {"machine": machine(), "precision": options.precision}
    if options.count:
        try:
            results["count"] = count(options)
        except sass.MissingToolError as error:
            sys.exit(str(error))
    else:
        if reason := missing(options):
            sys.exit(reason)
        if options.check:
            check(options)
            return
        print(f"{results['machine']}; medians of {options.rounds} rounds")
        for name in TASKS if options.task == "all" else [options.task]:
            results[name] = TASKS[name](options)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
