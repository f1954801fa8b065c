"""Draw the pictures of README and docs: python docs/make_pictures.py (needs matplotlib)."""

import subprocess
import tempfile
import time
import timeit
from pathlib import Path

import matplotlib as mpl
import matplotlib.dates as mdates
import matplotlib.pyplot as plt
import numba
import numpy as np

import numba_lstm
from numba_lstm import LSTMRegressor
from numba_lstm.datasets import load_bike_sharing, make_adding_problem
from numba_lstm.interop.numpy_predictor import load_predictor

mpl.use("Agg")
IMAGES = Path(__file__).parent / "images"
BLUE, GREY, RED = "#2066a8", "#c4c4c4", "#c03b2b"
plt.rcParams.update(
    {
        "font.size": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "figure.dpi": 110,
    }
)


def readme():
    """Forecast and truth of the README's snippet."""
    data = load_bike_sharing()
    windows = np.lib.stride_tricks.sliding_window_view(data.users, 73)
    X, y = windows[:, :72], windows[:, 72]
    model = LSTMRegressor(hidden_size=32, max_iter=10, random_state=0).fit(X[:-720], y[:-720])
    forecast, hours = model.predict(X[-720:]), data.time[-720:]
    shown = slice(0, 10 * 24)
    figure, axes = plt.subplots(figsize=(9, 3.2), layout="constrained")
    axes.fill_between(hours[shown], y[-720:][shown], color=GREY, lw=0, label="truth")
    axes.plot(hours[shown], forecast[shown], color=BLUE, lw=1.5, label="forecast, one hour ahead")
    axes.set(ylabel="users an hour", ylim=(0, None), xlim=(hours[0], hours[shown][-1]))
    axes.set_title(f"R2 = {model.score(X[-720:], y[-720:]):.2f} on 30 days that it has not seen")
    axes.xaxis.set_major_locator(mdates.DayLocator())
    axes.xaxis.set_major_formatter(mdates.DateFormatter("%d %b"))
    axes.legend(frameon=False, ncols=2, loc="upper right", bbox_to_anchor=(1, 1.14))
    figure.savefig(IMAGES / "readme.png")
    plt.close(figure)


def gates():
    """What gates and cell do while the adding problem is solved."""
    X, y = make_adding_problem(10_000, 50, random_state=0)
    model = LSTMRegressor(
        16, batch_size=50, max_iter=20, learning_rate_init=0.01, learning_rate="cosine",
        random_state=0,
    ).fit(X, y)  # fmt: skip
    x, target = make_adding_problem(1, 50, random_state=3)
    _, c = model.hidden_states(x)
    found = model.gate_activations(x)
    marks = np.flatnonzero(x[0, :, 1])
    panels = {
        "input gate i": (found.input[0], "Greens", 0),
        "forget gate f": (found.forget[0], "Greens", 0),
        "cell c": (c[0], "RdBu_r", -np.abs(c).max()),
    }
    figure, axes = plt.subplots(4, 1, figsize=(9, 6.5), sharex=True, layout="constrained")
    axes[0].bar(np.arange(50), x[0, :, 0], color=[RED if t in marks else GREY for t in range(50)])
    axes[0].set_title(
        f"Add the two red numbers: {target[0]:.3f}, predicted {model.predict(x)[0]:.3f}"
    )
    for axis, (name, (values, colours, low)) in zip(axes[1:], panels.items(), strict=True):
        high = 1 if low == 0 else -low
        image = axis.imshow(values.T, aspect="auto", cmap=colours, vmin=low, vmax=high)
        axis.set(ylabel=name)
        figure.colorbar(image, ax=axis, pad=0.01)
        for t in marks:
            axis.axvline(t, color=RED, lw=1, ls=":")
    axes[-1].set(xlabel="time step")
    figure.savefig(IMAGES / "gates.png")
    plt.close(figure)


def residual():
    """Eight layers, with and without skip connections."""
    X = np.random.default_rng(0).standard_normal((1000, 20, 3))
    y = X[:, -1, 0] + X[:, -5, 1] * X[:, -2, 2]
    figure, axes = plt.subplots(figsize=(9, 3.2), layout="constrained")
    for skips, colour, name in ((False, GREY, "plain"), (True, BLUE, "residual=True")):
        for seed in range(5):
            model = LSTMRegressor(
                16, num_layers=8, residual=skips, max_iter=60, random_state=seed
            ).fit(X, y)
            label = name if seed == 0 else None
            axes.plot(model.loss_curve_, color=colour, lw=1.5, label=label)
    axes.set(xlabel="epoch", ylabel="training loss", yscale="log", xlim=(0, 59))
    axes.set_title("Eight layers of 16 units, five seeds each")
    axes.legend(frameon=False)
    figure.savefig(IMAGES / "residual.png")
    plt.close(figure)


def attention():
    """Which steps attention finds where one of twenty is marked."""
    rng = np.random.default_rng(0)
    X, where = rng.standard_normal((1000, 20, 2)), rng.integers(0, 20, 1000)
    X[:, :, 1] = np.arange(20) == where[:, np.newaxis]
    y = X[np.arange(1000), where, 0]
    model = LSTMRegressor(
        8, pooling="attention", max_iter=60, learning_rate_init=0.02, random_state=0
    ).fit(X[:800], y[:800])
    weights, marks = model.attention_weights(X[800:840]), where[800:840]
    figure, axes = plt.subplots(figsize=(9, 3.4), layout="constrained")
    image = axes.imshow(weights.T, aspect="auto", cmap="Blues", vmin=0, vmax=1, origin="lower")
    axes.plot(marks, "o", mfc="none", mec=RED, ms=7, label="the step to remember")
    axes.set(xlabel="sequence", ylabel="time step", yticks=range(0, 20, 5))
    axes.set_title(f"Attention weights; R2 = {model.score(X[800:], y[800:]):.3f} on new sequences")
    axes.legend(loc="lower left", bbox_to_anchor=(0.75, 1.0), frameon=False)
    figure.colorbar(image, ax=axes, pad=0.01)
    figure.savefig(IMAGES / "attention.png")
    plt.close(figure)


def streaming():
    """The alarm of docs/streaming.md."""
    rng = np.random.default_rng(0)
    signal = np.sin(np.arange(3000) / 9) + 0.1 * rng.standard_normal(3000)
    X = np.lib.stride_tricks.sliding_window_view(signal[:-1], 40)[:, :, np.newaxis]
    y = signal[40:]
    model = LSTMRegressor(hidden_size=16, max_iter=3, random_state=0).fit(X[:2000], y[:2000])
    usual = np.std(y[2000:2500] - model.predict(X[2000:2500]))
    recording = signal[2500:].copy()
    recording[400] += 1.5
    stream, expected = model.stream(), []
    for x in X[2460]:
        forecast = stream.step(x)
    for x in recording:
        expected.append(forecast)
        forecast = stream.step([x])
    shown, error = np.arange(330, 470), recording - expected
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(9, 4.2), sharex=True, height_ratios=[2, 1], layout="constrained"
    )
    above.plot(shown, recording[shown], ".", color="#808080", ms=4, label="signal")
    above.plot(shown, np.array(expected)[shown], color=BLUE, lw=1.5, label="forecast")
    above.set(title="Each step is forecast before it comes", ylabel="signal")
    above.legend(frameon=False, ncols=2, loc="upper right", bbox_to_anchor=(1, 1.2))
    below.axhspan(-6 * usual, 6 * usual, color="#dcdcdc", lw=0, label="six standard deviations")
    below.plot(shown, error[shown], color="#606060", lw=1)
    alarms = shown[np.abs(error[shown]) > 6 * usual]
    below.plot(alarms, error[alarms], "o", color=RED, ms=5, label="alarm")
    below.set(ylabel="error", xlabel="time step", xlim=(shown[0], shown[-1]))
    below.legend(frameon=False, ncols=2, loc="upper left", borderaxespad=0)
    figure.savefig(IMAGES / "streaming.png")
    plt.close(figure)


def lbfgs():
    """Loss by time of one core on ten sequences: L-BFGS and Adam."""
    rng = np.random.default_rng(0)
    force = np.repeat(rng.uniform(-1, 1, (10, 20)), 5, axis=1)
    x, v, places = np.zeros(10), np.zeros(10), []
    for u in force.T:
        v = v + 0.2 * (u - 0.5 * v - x - 0.5 * x**3)
        x = x + 0.2 * v
        places.append(x)
    place = np.array(places).T
    kinds = {
        "Adam": (GREY, {"max_iter": 1500}),
        "Adam, learning_rate_init=0.02": (RED, {"max_iter": 1500, "learning_rate_init": 0.02}),
        'solver="lbfgs"': (BLUE, {"solver": "lbfgs", "max_iter": 1000, "tol": 0}),
    }
    figure, axes = plt.subplots(figsize=(9, 3.4), layout="constrained")
    for name, (colour, options) in kinds.items():
        for seed in range(5):
            model = LSTMRegressor(
                8, return_sequences=True, n_jobs=1, n_iter_no_change=10**6, random_state=seed,
                **options,
            )  # fmt: skip
            model.fit(force, place)  # compiles, the first time
            began = time.process_time()
            model.fit(force, place)
            seconds = time.process_time() - began
            curve = np.array(model.loss_curve_)
            clock = seconds * np.arange(1, len(curve) + 1) / len(curve)
            width, label = 0.7 if colour == RED else 1.3, name if seed == 0 else None
            axes.plot(clock, curve, color=colour, lw=width, label=label)
            first, last = np.argmax(curve < 1e-3), np.flatnonzero(curve > 1e-3)[-1]
            print(
                f"{name}: below 0.001 first at {clock[first]:.3f} s, last from {clock[last]:.3f}"
            )
    axes.set(xlabel="seconds of one core", ylabel="training loss", yscale="log", xlim=(0, 0.3))
    axes.set_title("Ten sequences of a driven oscillator, 8 units, five seeds each")
    axes.legend(frameon=False)
    figure.savefig(IMAGES / "lbfgs.png")
    plt.close(figure)


C_PROGRAM = """
#include <stdio.h>
#include <time.h>
#include "model.c"

int main(void) {
    static float x[100][8];
    float y[1], sum = 0;
    lstm_state state;
    double best = 1e9;
    for (int round = 0; round < 300; round++) {
        clock_t begin = clock();
        for (int k = 0; k < 20; k++) {
            lstm_init(&state);
            for (int t = 0; t < 100; t++) lstm_step(&state, x[t], y);
            sum += y[0];
        }
        double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC / 20;
        if (seconds < best) best = seconds;
    }
    printf("%g %g\\n", best, sum);
    return 0;
}
"""


def deployment():
    """What a sequence of 100 steps takes in each of the ways of docs/deployment.md."""
    import onnxruntime

    X = np.random.default_rng(0).standard_normal((64, 100, 8)).astype(np.float32)
    model = LSTMRegressor(32, max_iter=1, n_jobs=1, random_state=0).fit(X, X[:, -1, 0])
    x, stream, step = X[:1], model.stream(), model.compile()

    @numba.njit
    def walk(x, state):
        for t in range(len(x)):
            y = step(x[t], state)
        return y

    def steps():
        stream.reset()
        for row in x[0]:
            stream.step(row)

    with tempfile.TemporaryDirectory() as directory:
        model.save(f"{directory}/model.lstm")
        predictor = load_predictor(f"{directory}/model.lstm")
        numba_lstm.export_c(model, f"{directory}/model.c")
        (Path(directory) / "main.c").write_text(C_PROGRAM)
        build = ["gcc", "-O2", "-std=c99", "main.c", "-o", "main", "-lm"]
        subprocess.run(build, cwd=directory, check=True)
        done = subprocess.run([f"{directory}/main"], capture_output=True, check=True)
        in_c = float(done.stdout.split()[0])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    onnx = numba_lstm.to_onnx(model).SerializeToString()
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    ways = {
        "compile(), in njit code": lambda: walk(x[0], step.new_state()),
        "predict": lambda: model.predict(x),
        "stream(), step by step": steps,
        "ONNX Runtime": lambda: session.run(None, {"X": x}),
        "NumPy alone": lambda: predictor.predict(x),
    }
    seconds = {
        name: min(timeit.repeat(way, number=5, repeat=200)) / 5 for name, way in ways.items()
    }
    seconds["C99, gcc -O2"] = in_c
    order = sorted(seconds, key=seconds.get, reverse=True)
    figure, axes = plt.subplots(figsize=(9, 3), layout="constrained")
    colours = [GREY if name == "ONNX Runtime" else BLUE for name in order]
    bars = axes.barh(order, [1e6 * seconds[name] for name in order], color=colours)
    axes.bar_label(bars, fmt="{:.0f} µs", padding=4)
    axes.set(xscale="log", xlim=(10, 2e4), xticks=[])
    axes.spines[["bottom", "left"]].set_visible(False)
    axes.tick_params(left=False, bottom=False, which="both")
    axes.set_title("One sequence of 100 steps, 8 features, 32 units, one core")
    figure.savefig(IMAGES / "deployment.png")
    plt.close(figure)


def _grid(axes, x, y, columns, rows, size, colours, **options):
    """Squares, filled row by row from above; ``colours`` has what is asked for [row][column]."""
    for row in range(rows):
        for column in range(columns):
            place = x + column * size, y - (row + 1) * size
            colour = colours(row, column)
            if isinstance(colour, str | tuple):
                colour = [colour]
            for k, one in enumerate(colour):  # stripes: a sum of several threads
                width = size / len(colour)
                corner = place[0] + k * width, place[1]
                axes.add_patch(plt.Rectangle(corner, width, size, color=one, lw=0))
            axes.add_patch(plt.Rectangle(place, size, size, fill=False, ec="white", lw=0.8))


def _arrow(axes, begin, end, **style):
    style = {"arrowstyle": "-|>", "color": "#707070", "lw": 1, "shrinkA": 0, "shrinkB": 0} | style
    axes.annotate("", end, begin, arrowprops=style)


def gpu():
    """Who holds what in the kernels of the recurrence."""
    four = ["#2066a8", "#8cc5e3", "#e69f4c", "#c03b2b"]
    sixteen = [tuple(colour) for colour in plt.get_cmap("viridis")(np.linspace(0.05, 0.95, 16))]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 6.6), layout="constrained")
    for axes in (left, right):
        axes.set(xlim=(0, 10), ylim=(0, 12.2), xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    small = {"fontsize": 9, "color": "#404040"}

    left.set_title("Forward: four threads share a unit")
    _grid(left, 2, 11.2, 12, 4, 0.5, lambda _, k: four[k % 4])
    for x, text in ((2.75, "$x_t$"), (3.75, "1"), (6, "$h_{t-1}$")):
        left.text(x, 11.35, text, ha="center")
    left.text(
        1.85,
        10.2,
        "shared memory:\na row for each\nof 4 sequences",
        ha="right",
        va="center",
        **small,
    )
    for s in range(4):
        x = 2.05 + 2.05 * s
        _arrow(left, (2.25 + 0.5 * s + 2, 9.15), (x + 0.6, 8.5), color=four[s])
        left.text(x + 0.6, 8.15, f"thread {s}", ha="center", **small)
        _grid(left, x, 8, 3, 4, 0.4, lambda *_, s=s: four[s])
        _arrow(left, (x + 0.6, 6.35), (x + 0.6, 5.85))
        _grid(left, x - 0.2, 5.8, 4, 4, 0.4, lambda *_, s=s: four[s])
        for other in range(4):
            end = 2.05 + 2.05 * other + 0.6
            _arrow(left, (x - 0.2 + 0.4 * (other + 0.5), 4.15), (end, 3.25), color=four[s], lw=0.9)
        _grid(left, x + 0.4, 3.2, 1, 4, 0.4, lambda *_: four)
        _arrow(left, (x + 0.6, 1.55), (x + 0.6, 1.05))
        left.text(x + 0.6, 0.75, f"$c_t, h_t$ of\nsequence {s}", ha="center", va="center", **small)
    for y, text in (
        (7.2, "registers:\ni, f, g, o of every\nfourth input"),
        (5, "sums, by gate\nand sequence"),
        (3.7, "shuffles"),
        (2.4, "one sequence,\nall gates, all inputs"),
    ):
        left.text(1.7, y, text, ha="right", va="center", **small)
    left.plot([9.5, 9.95, 9.95], [0.75, 0.75, 10.2], color="#707070", lw=1)
    _arrow(left, (9.97, 10.2), (8.05, 10.2))
    left.text(8.25, 10.4, "the other copy,\nthen a barrier", **small)

    right.set_title("Backward: sixteen threads share four units")
    _grid(right, 0.6, 11.2, 32, 4, 0.275, lambda _, k: sixteen[k % 16])
    right.text(5, 11.35, "$da_{t+1}$: 4H gradients of 4 sequences", ha="center")
    for s in range(16):
        x = 0.7 + 0.56 * s
        _arrow(right, (0.74 + 0.275 * (s + 8), 10.05), (x + 0.2, 8.5), color=sixteen[s], lw=0.8)
        right.text(x + 0.2, 8.15, s, ha="center", **small)
        _grid(right, x, 8, 2, 4, 0.2, lambda *_, s=s: sixteen[s])
        _arrow(right, (x + 0.2, 7.15), (x + 0.2, 6.65), lw=0.8)
        _grid(right, x, 6.6, 4, 4, 0.11, lambda *_, s=s: sixteen[s])
        _arrow(right, (x + 0.2, 6.1), (3.4 + 0.2 * s, 4.75), color=sixteen[s], lw=0.8)
    right.text(0.65, 8.75, "thread", ha="right", **small)
    right.text(9.75, 7.6, "$W_h$", va="center", **small)
    right.text(9.75, 6.35, "sums", va="center", **small)
    right.text(2.1, 5.3, "shuffles", ha="right", va="center", **small)
    _grid(right, 3.4, 4.7, 4, 4, 0.75, lambda *_: sixteen)
    for row in range(4):
        for column in range(4):
            right.text(
                *(3.775 + 0.75 * column, 4.325 - 0.75 * row, row * 4 + column),
                ha="center", va="center", fontsize=9, color="white", fontweight="bold",
            )  # fmt: skip
    right.text(3.3, 3.2, "sequence", ha="right", va="center", rotation=90, **small)
    right.text(4.15, 1.35, "unit", ha="center", **small)
    right.text(
        6.65,
        3.2,
        "a thread has one unit\nof one sequence:\n$dh_t$, all inputs",
        va="center",
        **small,
    )
    _arrow(right, (4.9, 1.6), (4.9, 1.05))
    right.text(
        4.9,
        0.75,
        "$da_t$ and $dc_{t-1}$, to the other copy and to memory",
        ha="center",
        va="center",
        **small,
    )
    figure.savefig(IMAGES / "gpu.png")
    plt.close(figure)


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    readme()
    gates()
    residual()
    attention()
    streaming()
    lbfgs()
    deployment()
    gpu()
