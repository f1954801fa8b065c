"""What networks learn, beside published figures: python benchmarks/learning.py.

Each task is trained with several seeds through the public estimators and held to a figure
of the literature. Settings were chosen on other seeds than those reported, or on data
held out of the training part: nothing was chosen by what is printed here. docs/learning.md
has the figures and what was tried.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.report import machine
from benchmarks.tasks import recorded, synthetic

TASKS = {task.name: task for task in (*synthetic.TASKS, *recorded.TASKS)}


def row(task, options):
    """Run a task with all seeds, and print what came."""
    print(f"\n{task.name}: {task.unit}\n  held to {task.held_to}; {task.source}")
    if not task.present():
        print("  not present")
        return None
    print(f"  settings: {', '.join(f'{k}={v!r}' for k, v in task.settings.items())}")
    found = []
    count = 1 if options.quick else options.seeds or task.seeds
    for seed in range(1, count + 1):
        run, seconds = task.timed(seed, options.quick, options.jobs)
        more = ", ".join(f"{name} {value:,}" for name, value in run.more.items())
        print(f"  seed {seed}: {run.figure:.4g}   {more}   {seconds:.1f} s", flush=True)
        found.append({"figure": run.figure, "met": run.met, "seconds": seconds, **run.more})
    return found


def spread(values):
    """Median, and range where there is one."""
    ends = min(values), statistics.median(values), max(values)
    low, middle, high = (f"{v:,.0f}" if v >= 1000 else f"{v:.4g}" for v in ends)
    return middle if low == high else f"{middle} ({low}..{high})"


def table(results):
    """Print one line for each task; of several seeds the median and the range.

    It is met if most seeds meet it.
    """
    print(
        f"\n{'task':<20}{'held to':<44}{'ours':<24}{'sequences shown':<28}{'s':>7}  met, by seeds"
    )
    for name, runs in results.items():
        if runs is None:
            print(f"{name:<20}{TASKS[name].held_to:<44}not present")
            continue
        shown = spread([run["shown"] for run in runs]) if "shown" in runs[0] else ""
        seconds = statistics.median(run["seconds"] for run in runs)
        met = sum(run["met"] for run in runs)
        verdict = f"{'yes' if met > len(runs) / 2 else 'no'}, {met} of {len(runs)}"
        print(
            f"{name:<20}{TASKS[name].held_to:<44}{spread([run['figure'] for run in runs]):<24}"
            f"{shown:<28}{seconds:>7.1f}  {verdict}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)}; or all")
    parser.add_argument("--quick", action="store_true", help="one seed, little training: a trial")
    parser.add_argument("--seeds", type=int, help="how many, in place of each task's own number")
    parser.add_argument("--jobs", type=int, help="threads, in place of all cores")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    unknown = set(options.tasks) - set(TASKS)
    if unknown:
        parser.error(f"no task {', '.join(sorted(unknown))}; there are {', '.join(TASKS)}")
    print(f"{machine()}{'; quick: figures of little training' if options.quick else ''}")
    results = {name: row(TASKS[name], options) for name in options.tasks or TASKS}
    table(results)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), **results}, indent=1))


if __name__ == "__main__":
    main()
