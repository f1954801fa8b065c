"""Tasks of Hochreiter and Schmidhuber (1997), each sequence of which is shown once.

Learning rates and the like were chosen on seeds from 100 on; reported are 1, 2, 3, ... A
network trains until it was five times in a row wrong in none of 2,560 sequences drawn for that
purpose, or the budget is used up. What is reported was then counted, once, on others.
"""

import math
from functools import partial

import numpy as np

from benchmarks.tasks import Run, Task
from numba_lstm import LSTMClassifier, LSTMRegressor
from numba_lstm.datasets import make_adding_problem, make_embedded_reber, make_temporal_order

N_TEST = 2560


def train(model, make, budget, part, wrong, watched, **options):
    """Train on sequences ``make(n, share of the budget used)`` at a rate that falls to zero.

    Returns how many were shown until ``wrong(model, *watched)`` was 0 five times, or the budget.
    """
    shown, right, rate = 0, 0, model.learning_rate_init
    while shown < budget:
        n = min(part, budget - shown)
        falling = 0.5 * (1 + math.cos(math.pi * shown / budget))
        model.set_params(learning_rate_init=max(rate * falling, 1e-6))
        model.partial_fit(*make(n, shown / budget), **options)
        shown += n
        right = 0 if wrong(model, *watched) else right + 1
        if right == 5:
            break
    return shown


def sources(seed):
    """Random states for training, watching and testing."""
    parts = np.random.SeedSequence(seed).spawn(3)
    return [np.random.RandomState(np.random.MT19937(part)) for part in parts]


# -- the adding problem ----------------------------------------------------------

ADDING = {
    "hidden_size": 4, "peephole": True, "forget_bias": 3.0, "learning_rate_init": 0.03,
    "batch_size": 16, "clip_norm": 0.1, "alpha": 0.0, "standardize": False,
}  # fmt: skip


def off_by_more(model, X, y):
    """How many sums are off by more than 0.04."""
    return int((np.abs(model.predict(X) - y) > 0.04).sum())


def adding(T, budget, growing, seed, quick, n_jobs):
    """``growing``: share of the budget over which the sequences grow from 50 steps to T."""
    training, watching, testing = sources(seed)
    model = LSTMRegressor(random_state=seed, n_jobs=n_jobs, **ADDING)

    def make(n, used):
        steps = int(50 * (T / 50) ** (used / growing)) if used < growing else T
        return make_adding_problem(n, steps, training)

    watched = make_adding_problem(N_TEST, T, watching)
    shown = train(model, make, budget // (20 if quick else 1), 3200, off_by_more, watched)
    wrong = off_by_more(model, *make_adding_problem(N_TEST, T, testing))
    weights = len(model.theta_)
    met = wrong <= 3 and weights <= 150
    return Run(wrong, met, {"shown": shown, "weights": weights})


# -- temporal order --------------------------------------------------------------

ORDER = {
    "hidden_size": 8, "peephole": True, "forget_bias": 3.0, "learning_rate_init": 0.005,
    "batch_size": 16, "clip_norm": 0.1, "alpha": 0.0, "standardize": False,
}  # fmt: skip


def unsure(model, X, y):
    """How many have an output off by more than 0.3: the paper's, wrong classes among them."""
    truth = y[:, np.newaxis] == model.classes_
    return int((np.abs(model.predict_proba(X) - truth) > 0.3).any(axis=1).sum())


def temporal_order(seed, quick, n_jobs):
    training, watching, testing = sources(seed)
    model = LSTMClassifier(random_state=seed, n_jobs=n_jobs, **ORDER)

    def make(n, used):
        return make_temporal_order(n, random_state=training)

    watched = make_temporal_order(N_TEST, random_state=watching)
    shown = train(model, make, 100_000 // (20 if quick else 1), 2000, unsure, watched)
    X, y = make_temporal_order(N_TEST, random_state=testing)
    more = {"shown": shown, "wrong class": int((model.predict(X) != y).sum())}
    return Run(wrong := unsure(model, X, y), wrong <= 3, more | {"weights": len(model.theta_)})


# -- the embedded Reber grammar --------------------------------------------------

REBER = {
    "hidden_size": 32, "forget_bias": 2.0, "learning_rate_init": 0.01, "batch_size": 8,
    "alpha": 0.0, "standardize": False,
}  # fmt: skip


def broken(model, X, y):
    """How many strings have a step at which some symbol that may not follow beats one that may."""
    count = 0
    for p, may in zip(model.predict_proba(X), y, strict=True):
        least, most = np.where(may, p, 2).min(axis=1), np.where(may, -1, p).max(axis=1)
        count += bool((least <= most).any())
    return count


def embedded_reber(seed, quick, n_jobs):
    """Trained on the symbol that follows, as the paper does, not on all that may."""
    training, watching, testing = sources(seed)
    model = LSTMClassifier(return_sequences=True, random_state=seed, n_jobs=n_jobs, **REBER)

    def make(n, used):
        X, _ = make_embedded_reber(n, training)
        return X, [np.append(x[1:].argmax(axis=1), 6) for x in X]

    watched = make_embedded_reber(N_TEST, watching)
    budget = 8440 // (4 if quick else 1)
    shown = train(model, make, budget, 400, broken, watched, classes=np.arange(7))
    wrong = broken(model, *make_embedded_reber(N_TEST, testing))
    return Run(wrong, wrong == 0, {"shown": shown, "weights": len(model.theta_)})


PAPER = "Hochreiter and Schmidhuber 1997"
TASKS = [
    Task(
        "adding-100",
        f"of {N_TEST} sums off by more than .04",
        "<= 3 within 256,000 sequences, 150 weights",
        f"{PAPER}, task 4: 74,000 sequences, 93 weights",
        partial(adding, 100, 256_000, 0),
        ADDING,
    ),
    Task(
        "adding-500",
        f"of {N_TEST} sums off by more than .04",
        "<= 3 within 500,000 sequences",
        f"{PAPER}, task 4: 209,000 sequences, 93 weights",
        partial(adding, 500, 500_000, 0),
        ADDING,
    ),
    Task(
        "adding-500-growing",
        f"of {N_TEST} sums off by more than .04; trained on 50 steps at first, then on ever more",
        "<= 3 within 500,000 sequences",
        f"{PAPER}, task 4: 209,000 sequences, 93 weights, all of 500 steps",
        partial(adding, 500, 500_000, 0.3),
        ADDING | {"growing": 0.3},
    ),
    Task(
        "temporal-order",
        f"of {N_TEST} with an output off by more than .3",
        "<= 3 within 100,000 sequences",
        f"{PAPER}, task 6a: 31,390 sequences",
        temporal_order,
        ORDER,
    ),
    Task(
        "embedded-reber",
        f"of {N_TEST} strings not right at every step",
        "0 within 8,440 sequences",
        f"{PAPER}, task 1: 8,440 sequences",
        embedded_reber,
        REBER,
    ),
]
