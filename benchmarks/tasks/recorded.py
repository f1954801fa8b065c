"""Recorded data: chorales, speakers, power demand, plays.

What a setting is was chosen by data held out of the training part: the chorales' own
validation split, or cross-validation. The test part is read once, to report it.
"""

import math
from pathlib import Path

import numpy as np

from benchmarks.tasks import Run, Task
from numba_lstm import LSTMClassifier
from numba_lstm.datasets import load_japanese_vowels, load_jsb_chorales, load_tiny_shakespeare

# -- Bach's chorales: what sounds next -------------------------------------------

CHORALES = {
    "hidden_size": 100, "num_layers": 2, "return_sequences": True, "input_dropout": 0.1,
    "dropout": 0.4, "recurrent_dropout": 0.5, "learning_rate_init": 0.01,
    "learning_rate": "cosine", "batch_size": 8, "max_iter": 200, "standardize": False,
    "early_stopping": True, "n_iter_no_change": 50,
}  # fmt: skip


def frame_loss(model, X, y):
    """Negative log-likelihood of a frame in nats: summed over the keys, mean over all frames."""
    log_p = np.concatenate(model.predict_log_proba(X))
    # log(1 - p) from log(p), exact where p is near 0 or 1.
    log_not = np.log(-np.expm1(np.minimum(log_p, -1e-12)))
    sounds = np.concatenate(y)
    return float(-np.where(sounds, log_p, log_not).sum(axis=1).mean())


def chorales(seed, quick, n_jobs):
    parts = load_jsb_chorales()
    (X, y), (X_val, y_val), (X_test, y_test) = (
        ([roll[:-1] for roll in part], [roll[1:] for roll in part]) for part in parts
    )
    settings = CHORALES | ({"max_iter": 3} if quick else {})
    model = LSTMClassifier(random_state=seed, n_jobs=n_jobs, **settings)
    model.fit(X, y, X_val=X_val, y_val=y_val)
    loss = frame_loss(model, X_test, y_test)
    validation = round(frame_loss(model, X_val, y_val), 3)
    more = {"validation": validation, "epochs": model.n_iter_, "weights": len(model.theta_)}
    return Run(loss, loss <= 8.45, more)


# -- nine speakers ---------------------------------------------------------------

VOWELS = {
    "hidden_size": 64, "bidirectional": True, "recurrent_dropout": 0.4,
    "learning_rate_init": 0.01, "learning_rate": "cosine", "batch_size": 8, "max_iter": 40,
}  # fmt: skip


def vowels(seed, quick, n_jobs):
    X_train, X_test, y_train, y_test = load_japanese_vowels()
    settings = VOWELS | ({"max_iter": 5} if quick else {})
    model = LSTMClassifier(random_state=seed, n_jobs=n_jobs, **settings).fit(X_train, y_train)
    accuracy = model.score(X_test, y_test)
    return Run(accuracy, accuracy >= 0.98, {"weights": len(model.theta_)})


# -- summer or winter, from a day's power demand ---------------------------------

POWER = {
    "hidden_size": 64, "recurrent_dropout": 0.5, "alpha": 0.01, "batch_size": 16, "max_iter": 80,
    "learning_rate": "cosine",
}  # fmt: skip
ITALY = Path(__file__).parents[2].parent / "shared/data/italy_power_demand/italy_power_demand.npz"


def power_demand(seed, quick, n_jobs):
    """Trained on 67 days: each hour's demand, and its difference to the hour before.

    The data may not be shipped, and are read where they happen to be.
    """
    with np.load(ITALY) as arrays:
        demand, y, test = arrays["X"].reshape(-1, 24), arrays["y"], arrays["is_test"]
    X = np.stack([demand, np.diff(demand, axis=1, prepend=demand[:, :1])], axis=2)
    settings = POWER | ({"max_iter": 5} if quick else {})
    model = LSTMClassifier(random_state=seed, n_jobs=n_jobs, **settings).fit(X[~test], y[~test])
    accuracy = model.score(X[test], y[test])
    return Run(accuracy, accuracy >= 0.96, {"weights": len(model.theta_)})


# -- Shakespeare, character by character -----------------------------------------

PLAYS = {
    "hidden_size": 128, "num_layers": 2, "return_sequences": True, "learning_rate_init": 0.01,
    "learning_rate": "cosine", "batch_size": 16, "clip_norm": 0.5, "max_iter": 8,
    "standardize": False,
}  # fmt: skip
WINDOW = 128


def shakespeare(seed, quick, n_jobs):
    """Trained on windows that do not overlap; tested on the last tenth in one piece."""
    text = np.frombuffer(load_tiny_shakespeare().encode("ascii"), np.uint8)
    characters, codes = np.unique(text, return_inverse=True)
    symbols = np.eye(len(characters), dtype=np.uint8)[codes]  # a byte each: 72 MB
    n_train = int(0.9 * len(codes))
    n_windows = (n_train - 1) // WINDOW
    steps = n_windows * WINDOW
    X = symbols[:steps].reshape(n_windows, WINDOW, -1)  # a view
    y = codes[1 : steps + 1].reshape(n_windows, WINDOW)
    settings = PLAYS | ({"max_iter": 1} if quick else {})
    model = LSTMClassifier(random_state=seed, n_jobs=n_jobs, **settings).fit(X, y)
    log_p = model.predict_log_proba(symbols[np.newaxis, n_train:-1])[0]
    truth = np.searchsorted(model.classes_, codes[n_train + 1 :])
    bits = float(-log_p[np.arange(len(truth)), truth].mean() / math.log(2))
    return Run(bits, bits <= 2.3, {"epochs": model.n_iter_, "weights": len(model.theta_)})


TASKS = [
    Task(
        "jsb-chorales",
        "nats a frame on the test split",
        "<= 8.45",
        "Bai, Kolter and Koltun 2018, LSTM",
        chorales,
        CHORALES,
        seeds=3,
    ),
    Task(
        "japanese-vowels",
        "accuracy on the test part",
        ">= .98",
        "published .96 to .99; a classifier blind to the order .981",
        vowels,
        VOWELS,
    ),
    Task(
        "italy-power-demand",
        "accuracy on the test part",
        ">= .96",
        "1-NN with DTW .950, ROCKET .970",
        power_demand,
        POWER | {"inputs": "demand and differences"},
        present=ITALY.exists,
    ),
    Task(
        "tiny-shakespeare",
        "bits a character on the last tenth",
        "<= 2.3 within ten minutes on two cores",
        "a bound of our own, for two layers of 128",
        shakespeare,
        PLAYS | {"window": WINDOW},
        seeds=1,
    ),
]
