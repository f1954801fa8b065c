"""Fitted estimators of any architecture, for the tests of what is made of them."""

from types import SimpleNamespace

import numpy as np
from hypothesis import strategies as st

from numba_lstm import LSTMClassifier, LSTMRegressor

CHOICES = {
    "hidden_size": [1, 3, 5, [3, 3], [4, 2], [2, 3, 4]],
    "bidirectional": [False, True],
    "merge_mode": ["concat", "sum", "mean"],
    "go_backwards": [False, True],
    "residual": [False, True],
    "bias": [True, False],
    "proj_size": [0, 1],
    "layer_norm": [False, True],
    "peephole": [False, True],
    "coupled_gates": [False, True],
    "cell_clip": [None, 0.5],
    "learn_initial_state": [False, True],
    "pooling": ["last", "last", "mean", "max", "attention"],
    "head_hidden_size": [None, 3],
    "head_activation": ["relu", "tanh"],
    "return_sequences": [False, True],
    "zoneout_hidden": [0.0, 0.2],
    "zoneout_cell": [0.0, 0.3],
    "standardize": [True, False],
    "dtype": ["float32", "float64"],
}
STEPWISE = {"bidirectional": [False], "go_backwards": [False], "pooling": ["last"]}
LABELS = [
    np.array([-3, 7, 9]),
    np.array([1, 2, 200], np.uint8),
    np.array([0.0, 1.0, 7.0]),
    np.array([False, True]),
    np.array(["no", "yes"]),
    np.array(["a", "b\u00e9", "\u4e2d"], object),
]


@st.composite
def fitted_models(draw, stepwise=False):
    """An estimator with weights far from their first values, and what it may be given.

    Of ``stepwise`` ones each step's output follows from the steps so far.
    """
    choices = CHOICES | (STEPWISE if stepwise else {})
    chosen = {name: draw(st.sampled_from(values)) for name, values in choices.items()}
    sizes = chosen["hidden_size"] if isinstance(chosen["hidden_size"], list) else [9]
    if chosen["bidirectional"]:
        chosen["go_backwards"] = False
    if chosen["pooling"] != "last":
        chosen["return_sequences"] = False
    if chosen["layer_norm"]:
        chosen["bias"] = True
    if 1 in (sizes[0], chosen["hidden_size"]):
        chosen["proj_size"] = 0
    if len(set(sizes)) > 1 and not chosen["proj_size"]:
        chosen["residual"] = False
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))
    F, T = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    X = rng.standard_normal((9, T, F)) * 3 + 1
    kind = draw(st.sampled_from(["one", "two", "classes", "labels"]))
    masked, timed = draw(st.booleans()), draw(st.booleans()) and T > 1
    shape = (9, T) if chosen["return_sequences"] else (9,)
    if kind in ("one", "two"):
        y = rng.standard_normal((*shape, 2) if kind == "two" else shape) * 5 + 20
        model = LSTMRegressor(**chosen)
    else:
        labels = draw(st.sampled_from(LABELS))
        y = labels[np.arange(np.prod(shape)).reshape(shape) % len(labels)]
        if kind == "labels":
            y = rng.integers(0, 2, (*shape, 2))
            y[0] = 1
        model = LSTMClassifier(**chosen)
    if masked:
        X[rng.random(X.shape) < 0.3] = np.nan
    times = np.cumsum(rng.exponential(2.0, (9, T)), axis=1) if timed else None
    model.set_params(max_iter=1, random_state=0, missing="mask" if masked else "error")
    model.fit(X, y, times=times)
    model.theta_ += rng.normal(0, 0.3, model.theta_.size).astype(model.theta_.dtype)
    lengths = rng.integers(1, T + 1, 9)
    ragged = [x[:n] for x, n in zip(X, lengths, strict=True)]
    ragged_times = [t[:n] for t, n in zip(times, lengths, strict=True)] if timed else None
    return SimpleNamespace(model=model, X=X, times=times, ragged=ragged, ragged_times=ragged_times)


def in_float64(model):
    """Let a drawn estimator be of float64, with the same weights."""
    model.theta_ = model.theta_.astype(np.float64)
    return model.set_params(dtype="float64")
