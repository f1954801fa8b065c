"""Tables on the screen, losses in red, and pictures."""

import os
import platform
import statistics
import sys
from pathlib import Path

RED, PLAIN = ("\033[31m", "\033[0m") if sys.stdout.isatty() else ("", "")

GRID = [  # B, T, F, H
    *((32, 50, 1, 32), (16, 200, 4, 16), (32, 24, 8, 64), (64, 100, 16, 64), (32, 100, 32, 128)),
    *((256, 28, 28, 128), (128, 50, 64, 256), (64, 50, 128, 512)),
    *((32, 60, 3, 50), (64, 40, 7, 100), (20, 120, 5, 37)),
]


def machine():
    """One line about where this ran."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def flop(B, T, F, H, training):
    """Floating-point operations of the matrix products of one batch."""
    forward = 2 * B * T * 4 * H * (F + H)
    # Backward: dh, dW_x and dW_h; dx is not needed.
    return forward + 2 * B * T * 4 * H * (F + 2 * H) if training else forward


def table(title, head, rows, names, rate=None, best_rate=None):
    """Print a comparison; returns the geometric mean of its ratios."""
    print(f"\n{title}\n")
    more = f"{'GFLOP/s':>9}{'of best':>9}" if rate else ""
    columns = "".join(f"{name:>14}" for name in names)
    print(f"{head:<20}{columns}{'ratio':>8}{'spread':>14}{more}")
    for case, row in rows.items():
        times = "".join(f"{row['seconds'][name] * 1e3:>11.4f} ms" for name in names)
        low, high = row["spread"]
        text = (
            f"{', '.join(map(str, case)):<20}{times}{row['ratio']:>8.2f}{low:>7.2f}..{high:<5.2f}"
        )
        if rate:
            row["gflops"] = rate(case) / row["seconds"]["ours"] / 1e9
            row["of_best"] = row["gflops"] / best_rate
            text += f"{row['gflops']:>9.0f}{row['of_best']:>9.2f}"
        print(f"{RED}{text}{PLAIN}" if row["ratio"] < 1 else text)
    mean = statistics.geometric_mean(row["ratio"] for row in rows.values())
    print(f"geometric mean of the ratios: {mean:.2f}")
    return mean


def picture(path, title, head, rows):
    """Bars of the ratios."""
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
    axes.barh(labels, ratios, color=colours, xerr=errors, ecolor="#777777")
    furthest = [ratio + error for ratio, error in zip(ratios, errors[1], strict=True)]
    for place, (ratio, end) in enumerate(zip(ratios, furthest, strict=True)):
        axes.text(end, place, f"  {ratio:.2f}", va="center")
    axes.axvline(1, color="#222222", lw=1)
    axes.invert_yaxis()
    axes.set(xlabel="times faster (above 1: this library is ahead)", ylabel=head)
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_xlim(0, max(*furthest, 1) * 1.15)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
