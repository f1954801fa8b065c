"""Draw the pictures of README and docs: python docs/make_pictures.py (needs matplotlib)."""

from pathlib import Path

import matplotlib as mpl
import matplotlib.dates as mdates
import matplotlib.pyplot as plt
import numpy as np

from numba_lstm import LSTMRegressor
from numba_lstm.datasets import load_bike_sharing, make_adding_problem

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


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    readme()
    gates()
