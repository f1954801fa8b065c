"""The comparison with cuDNN as a table."""

import statistics

from benchmarks.report import PLAIN, RED


def summarise(answers, floors):
    """Medians, ratios and their spread, by case.

    Parameters
    ----------
    answers : dict
        By case, then by worker ("ours", "torch", "tf32"), what each round answered: dicts with
        "caller" and "device", ours with "forward" and "backward" as well.
    floors : dict
        By case the seconds that the recurrence takes at least.
    """
    rows = {}
    for case, by_name in answers.items():
        medians = {
            name: {key: statistics.median(a[key] for a in found) for key in found[0]}
            for name, found in by_name.items()
            if found
        }
        row = {**medians, "floor": floors.get(case), "ratio": None}
        for name, key in (("torch", "ratio"), ("tf32", "ratio_tf32")):
            if name in medians:
                pairs = zip(by_name[name], by_name["ours"], strict=True)
                each = [their["caller"] / our["caller"] for their, our in pairs]
                row[key] = medians[name]["caller"] / medians["ours"]["caller"]
                row.setdefault("spread", (min(each), max(each)))
        rows[case] = row
    return rows


def table(title, rows):
    """Print a comparison, losses in red; return the geometric mean of its ratios."""
    print(f"\n{title}: milliseconds for the caller (of these on the device), µs a time step\n")
    print(
        f"{'B, T, F, H':<18}{'ours':>17}{'cuDNN':>17}{'cuDNN, TF32':>17}{'ratio':>7}{'TF32':>7}"
        f"{'spread':>13}{'recurrence':>12}{'counted':>9}"
    )
    for case, row in rows.items():
        steps = case[1] / 1e6
        times = "".join(
            f"{row[name]['caller'] * 1e3:>9.3f} ({row[name]['device'] * 1e3:.3f})"
            if name in row
            else f"{'-':>17}"
            for name in ("ours", "torch", "tf32")
        )
        ratios = "".join(
            f"{row[key]:>7.2f}" if row.get(key) else f"{'-':>7}" for key in ("ratio", "ratio_tf32")
        )
        low, high = row.get("spread", (0, 0))
        kernels = sum(row["ours"].get(name, 0) for name in ("forward", "backward")) / steps
        counted = f"{row['floor'] / steps:>9.2f}" if row["floor"] else f"{'-':>9}"
        text = f"{', '.join(map(str, case[:4])):<18}{times}{ratios}"
        text += f"{low:>7.2f}..{high:<4.2f}{kernels:>12.2f}{counted}"
        lost = any((row.get(key) or 1) < 1 for key in ("ratio", "ratio_tf32"))
        print(f"{RED}{text}{PLAIN}" if lost else text)
    found = [row["ratio"] for row in rows.values() if row["ratio"]]
    if not found:
        return None
    mean = statistics.geometric_mean(found)
    print(f"geometric mean of the ratios: {mean:.2f}")
    return mean
