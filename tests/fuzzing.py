"""Random arguments for tests/test_fuzzing.py, right and wrong ones."""

import numpy as np

RIGHT = {
    "hidden_size": [1, 2, 3, 5, [3, 3], [4, 2], np.int64(2)],
    "bidirectional": [False, True],
    "merge_mode": ["concat", "sum", "mean"],
    "go_backwards": [False, True],
    "residual": [False, True],
    "bias": [True, False],
    "proj_size": [0, 0, 1],
    "layer_norm": [False, True],
    "peephole": [False, True],
    "coupled_gates": [False, True],
    "cell_clip": [None, 0.5],
    "learn_initial_state": [False, True],
    "pooling": ["last", "mean", "max", "attention"],
    "head_hidden_size": [None, 3],
    "return_sequences": [False, True],
    "zoneout_cell": [0.0, 0.3],
    "dropout": [0.0, 0.3],
    "input_dropout": [0.0, 0.3],
    "recurrent_dropout": [0.0, 0.3],
    "missing": ["error", "mask"],
    "head_activation": ["relu", "tanh"],
    "learning_rate": ["constant", "cosine", "plateau"],
    "alpha": [1e-4, 0.0, 1.0],
    "shuffle": [True, False],
    "forget_bias": [1.0, -2],
    "solver": ["adam", "sgd", "rmsprop", "lbfgs"],
    "max_iter": [1, 2],
    "batch_size": ["auto", 1, 3],
    "early_stopping": [False, True],
    "validation_fraction": [0.1, 0.5],
    "clip_norm": [1.0, None],
    "learning_rate_init": [0.005, 1e30],
    "tbptt_steps": [None, 2],
    "stateful": [False, True],
    "memory": ["full", "recompute"],
    "warm_start": [False, True],
    "standardize": [True, False],
    "dtype": ["float32", "float64", np.float64],
}
WRONG = {
    "hidden_size": [0, -1, 2.5, "four", None, [], [2, 0]],
    "merge_mode": ["both"],
    "proj_size": [-1, 7, 1.5],
    "pooling": ["first", None],
    "cell_clip": [0.0, -1, "1"],
    "max_iter": [0, 1.5, None],
    "batch_size": [0, "all"],
    "learning_rate_init": [0.0, np.nan, "fast"],
    "validation_fraction": [0.0, 1.0],
    "dtype": ["float16", int, None, "abc"],
    "solver": ["newton"],
    "dropout": [1.0, -0.1, "much"],
    "missing": ["ignore"],
    "n_jobs": [0, "two"],
    "device": ["gpu", None],
    "matmul_precision": ["bf16", "half", None],
    "random_state": ["seed", -1],
}


def listed(options):
    """Pairs of a parameter's name and a value."""
    return [(name, value) for name, values in options.items() for value in values]


def arranged(array, rng):
    """The same numbers otherwise in memory."""
    way = rng.integers(6)
    if way == 1:
        return np.asfortranarray(array)
    if way == 2:  # every other one of a larger array
        wide = np.repeat(array, 2, axis=-1)
        return wide[..., ::2]
    if way == 3:
        return np.ascontiguousarray(array[::-1])[::-1]
    if way == 4:
        array = array.copy()
        array.setflags(write=False)
    if way == 5 and array.dtype.kind == "f":
        return array.astype(array.dtype.newbyteorder())
    return array


def numbers(shape, rng):
    """An array of one of many types, in one of many orders."""
    kind = ["f2", "f4", "f8", "i1", "i8", "u2", "?", "O"][rng.integers(8)]
    scale = 10.0 ** rng.integers(-3, 4)
    values = rng.standard_normal(shape) * (10 if kind == "i1" else scale)
    values = np.abs(values) if kind == "u2" else values
    return arranged(values.astype(kind), rng)


def draw_X(rng, F):
    """Sequences, and the number of their steps; now and then something that is none."""
    N, longest = rng.integers(1, 7), rng.integers(1, 6)
    form = rng.integers(8)
    if form == 0:
        lengths = rng.integers(1, longest + 1, N)
        X = [numbers((n, F), rng) for n in lengths]
        return (tuple(X) if rng.random() < 0.3 else X), lengths
    lengths = np.full(N, longest)
    if form == 1:
        return numbers((N, longest), rng), lengths
    X = numbers((N, longest, F), rng)
    if form == 2:
        return X.tolist(), lengths
    if form == 3:
        wrong = np.array(X, float)
        wrong.flat[rng.integers(wrong.size)] = rng.choice([np.nan, np.inf, -np.inf])
        wrongs = [
            wrong, X[:0], X[:, :0], X[0, 0], X[..., np.newaxis], X.astype(str), X + 1j, None, 3.0,
            "text", [X[0], X[0, :0]], [X[0], None], [[1.0], [2.0, [3.0]]], X.astype("M8[s]")
            if X.dtype.kind == "i" else {}, [X[0], X[0, :, :1].repeat(F + 1, axis=1)],
        ]  # fmt: skip
        return wrongs[rng.integers(len(wrongs))], lengths
    return X, lengths


def draw_y(rng, classifier, per_step, lengths):
    """Targets that fit the sequences, for the most part."""
    if rng.random() < 0.1:
        per_step = not per_step
    K = [(), (), (), (1,), (2,)][rng.integers(5)]
    n = len(lengths) + (rng.random() < 0.05)

    def some(shape):
        if classifier:
            y = rng.integers(0, 2 if K else rng.integers(2, 4), shape)
            return y.astype([int, float, bool, str, object][0 if K else rng.integers(5)])
        return numbers(shape, rng)

    y = some((n, *K))
    if per_step and len(set(lengths)) == 1:
        y = some((n, lengths[0], *K))
    elif per_step:
        y = [some((m, *K)) for m in lengths]
    if rng.random() < 0.1:
        wrongs = [None, "text", 1.0, [], [np.nan] * n, ["a", 1.0] * n, [None] * n, {}, [1j] * n]
        wrongs += [np.full((n, 1, 1, 1), 1.0), np.full(n, np.inf), ["few", "words"] * n]
        y = wrongs[rng.integers(len(wrongs))]
    return y


def draw_weight(rng, n):
    found = rng.integers(12)
    if found == 0:
        wrongs = [np.zeros(n), -np.ones(n), np.full(n, np.nan), np.ones(n + 1), "one"]
        return wrongs[rng.integers(len(wrongs))]
    if found < 4:
        return arranged(rng.integers(0, 3, n).astype(["f4", "f8", "i8"][found - 1]), rng)
    return None


def draw_times(rng, lengths):
    """Times that fit the sequences, for the most part, as numbers or dates."""

    def some(n):
        moments = np.cumsum(rng.choice([0.0, 0.5, 1.0, 7.0], n))
        return moments.astype("M8[h]") if dates else moments

    dates, n = rng.random() < 0.2, len(lengths)
    times = [some(m) for m in lengths]
    found = rng.integers(10)
    if found == 0:
        nan = [np.full(m, np.nan) for m in lengths]
        backwards = [np.arange(m)[::-1] - 1.0 * (m > 1) for m in lengths]
        wrongs = [nan, backwards, times[1:], "now", 3.0, [t[1:] for t in times], [None] * n, {}]
        return wrongs[rng.integers(len(wrongs))]
    if len(set(lengths)) == 1:
        return times[0] if found < 4 else np.array(times)
    return times


def draw_state(model, rng, n):
    """A state for n sequences, for the most part one of the network's shapes."""
    layout = model._layout
    directions = 2 if layout.direction == "both" else 1
    n += rng.random() < 0.05

    def part(sizes):
        arrays = [rng.standard_normal((n, directions * size)) for size in sizes]
        return arrays if len(arrays) > 1 else arrays[0]

    hidden = [layout.proj_size or H for H in layout.hidden_sizes]
    state = part(hidden), part(layout.hidden_sizes)
    if rng.random() < 0.1:
        wrongs = [state[0], "state", (state[0], None), (None, None), np.nan, ([], [])]
        return wrongs[rng.integers(len(wrongs))]
    return state
