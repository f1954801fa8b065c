"""Predictions of a saved model with NumPy alone, for where no compiler may run.

This file imports nothing but Python's own library (from 3.11 on) and NumPy, so that it can
be copied by itself to where numba_lstm is not installed:

    from numpy_predictor import load_predictor
    y = load_predictor("model.lstm").predict(X)

A file of ``estimator.save(path)`` is a safetensors file: 8 bytes with the length of a header,
the header, which is JSON, and the numbers. All of the model but its weights stands as one
JSON text in the header's metadata. Nothing in a file is ever executed, and no more is
allocated than the file holds.

The equations are those of cell.py: N sequences, T time steps, F features, H hidden units,
gates in the order i, f, g, o.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from typing import Any

import numpy as np

FORMAT = 1
_DTYPES = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}
STANDARDISATION = ("input_mean", "input_scale", "target_mean", "target_scale")
_PART = 256  # sequences that go side by side


class NumpyPredictor:
    """Predictions of a saved estimator, in float64; made by :func:`load_predictor`.

    Attributes
    ----------
    description : dict
        What the file tells of the model: architecture, parameters, history.
    weights : dict of str to ndarray
        The weights, under PyTorch's names, and the standardisation.
    classes : ndarray of shape (n_classes,) or None
        The labels of a classifier.
    """

    def __init__(self, description: dict[str, Any], weights: dict[str, np.ndarray]) -> None:
        self.description, self.weights = description, weights
        self.classes = read_classes(description["targets"]["classes"])
        self._double = {name: array.astype(np.float64) for name, array in weights.items()}

    def predict(self, X: Any, times: Any = None) -> Any:
        """Predict targets or classes, as the estimator's ``predict`` does.

        Parameters
        ----------
        X : array-like of shape (N, T, F) or (N, T), or list of N arrays (T_i, F) or (T_i,)
            Sequences; NaN only where the estimator was fitted with ``missing="mask"``.
        times : array-like of shape (N, T) or (T,), or list of N arrays (T_i,), default=None
            When each step was, numbers or datetime64, if ``fit`` was given times.

        Returns
        -------
        ndarray of shape (N,) or (N, K); with an output at every step (N, T) or (N, T, K), or \
                for a list a list of N arrays
            Predictions, in float64 or of the classes' dtype.

        Raises
        ------
        ValueError
            If X or times are not like those that the estimator was fitted on.
        """
        return self._apply(self._decode, X, times)

    def predict_proba(self, X: Any, times: Any = None) -> Any:
        """Predict probabilities of classes, as the estimator's ``predict_proba`` does.

        Parameters
        ----------
        X, times
            As in ``predict``.

        Returns
        -------
        ndarray of shape (N, n_classes), or as in ``predict`` at every step
            Probabilities.

        Raises
        ------
        ValueError
            If the model is a regressor, or as in ``predict``.
        """
        if self.classes is None:
            raise ValueError("The file holds an LSTMRegressor, which has no probabilities.")
        return self._apply(self._probabilities, X, times)

    def _apply(self, decode, X, times):
        sequences, is_list = _sequences(X, self.description)
        decays = _decays(times, sequences, self.description["times"])
        found = []
        for first in range(0, len(sequences), _PART):
            part = slice(first, first + _PART)
            found += [decode(rows) for rows in self._outputs(sequences[part], decays[part])]
        if self.description["targets"]["per_step"]:
            return found if is_list else np.stack(found)
        return np.concatenate(found)

    def _outputs(self, sequences, decays):
        """Outputs of the network, of each sequence: (T_i, K), or (1, K)."""
        weights, layout = self._double, self.description["layout"]
        lengths = np.array([len(x) for x in sequences])
        N, T, F = len(sequences), lengths.max(), sequences[0].shape[1]
        x, decay = np.zeros((N, T, F)), np.zeros((N, T))
        for i, n in enumerate(lengths):
            x[i, :n], decay[i, :n] = sequences[i], decays[i]
        if self.description["inputs"]["masks"]:
            x = _fill_gaps(x, weights["input_mean"][:F])
        with np.errstate(over="ignore"):
            x = (x - weights["input_mean"]) / weights["input_scale"]
        x = np.clip(x, -1e18, 1e18)  # so that sums stay finite
        rows, ends = _layers(x, lengths, decay, weights, layout)
        if not self.description["targets"]["per_step"]:
            rows = _pool(rows, ends, lengths, weights, layout["pooling"])[:, np.newaxis]
            lengths = np.ones(N, int)
        if layout["head_size"]:
            rows = rows @ weights["head_hidden_weight"].T + weights["head_hidden_bias"]
            rows = np.tanh(rows) if layout["head_activation"] == "tanh" else np.maximum(rows, 0)
        rows = rows @ weights["head_weight"].T + weights["head_bias"]
        return [row[:n] for row, n in zip(rows, lengths, strict=True)]

    def _decode(self, out):
        targets = self.description["targets"]
        if self.classes is None:
            y = out * self._double["target_scale"] + self._double["target_mean"]
            return y if targets["has_columns"] else y[:, 0]
        if targets["multilabel"]:
            return (out > 0).astype(np.int64)
        return self.classes[
            out.argmax(axis=1) if out.shape[1] > 1 else (out[:, 0] > 0).astype(int)
        ]

    def _probabilities(self, out):
        if self.description["targets"]["multilabel"]:
            return _sigmoid(out)
        if out.shape[1] == 1:
            return np.hstack([_sigmoid(-out), _sigmoid(out)])
        share = np.exp(out - out.max(axis=1, keepdims=True))
        return share / share.sum(axis=1, keepdims=True)


# -- the network ---------------------------------------------------------------------


def _sigmoid(a):
    return 0.5 + 0.5 * np.tanh(0.5 * a)  # which cannot overflow


def _normalised(a, gain, shift):
    """Equations (1n) and (4n): each row with mean 0 and variance 1, then gain and shift."""
    centred = a - a.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    return gain * centred / np.sqrt(variance + 1e-5) + shift


def _cell(x, decay, weights, name, layout):
    """Hidden states (N, T, P) of one direction of a layer, for x (N, T, F) as it reads it."""

    def weight(kind, otherwise=0.0):
        return weights.get(f"{kind}_{name}", otherwise)

    def gate(k, seen):
        a_k = a[:, k * H : (k + 1) * H]
        if layout["norm"]:
            a_k = _normalised(a_k, gain[k], shift[k])
        return np.clip(a_k + seen, -limit, limit)

    W_x, W_h, W_r = weight("weight_ih").T, weight("weight_hh").T, weight("weight_hr", None)
    gain, shift = weight("norm_gain"), weight("norm_shift")
    H, limit = W_h.shape[1] // 4, layout["limit"] or math.inf
    p_i, p_f, p_o = weight("peephole", np.zeros((3, H)))
    z_h, z_c = layout["zoneout"]
    h = np.tile(weight("initial_hidden", np.zeros(len(W_h))), (len(x), 1))
    c = np.tile(weight("initial_cell", np.zeros(H)), (len(x), 1))
    states = np.empty((*x.shape[:2], len(W_h)))
    for t in range(x.shape[1]):
        if layout["decays"]:  # (3d)
            c = c + decay[:, t, np.newaxis] * np.tanh(
                c @ weight("decay_weight").T + weight("decay_bias")
            )
        h_last, c_last = h, c
        a = x[:, t] @ W_x + h @ W_h + weight("bias")  # (1)
        i = _sigmoid(gate(0, p_i * c))
        f = 1 - i if layout["coupled"] else _sigmoid(gate(1, p_f * c))
        c = f * c + i * np.tanh(gate(2, 0.0))  # (3)
        o = _sigmoid(gate(3, p_o * c))
        h = o * np.tanh(_normalised(c, gain[4], shift[4]) if layout["norm"] else c)  # (4)
        h = h if W_r is None else h @ W_r.T
        h, c = z_h * h_last + (1 - z_h) * h, z_c * c_last + (1 - z_c) * c  # (4z)
        states[:, t] = h
    return states


def _layers(x, lengths, decay, weights, layout):
    """Outputs of the last layer (N, T, width), and what it ends with (N, width)."""
    N, T = x.shape[:2]
    every, steps, last = np.arange(N)[:, np.newaxis], np.arange(T), lengths - 1
    # Steps as they are read backwards, and back: what lies behind a sequence's end stays.
    swap = np.where(steps < lengths[:, np.newaxis], last[:, np.newaxis] - steps, steps)
    # Backwards, the time since the step before is that to the one after.
    since = np.hstack([np.zeros((N, 1)), decay[every, swap][:, :-1]])
    ways = {"forward": [False], "reverse": [True], "both": [False, True]}[layout["direction"]]
    for layer in range(len(layout["hidden_sizes"])):
        rows, ends = [], []
        for k, backwards in enumerate(ways):
            name = f"l{layer}" + "_reverse" * k
            read = (x[every, swap], since) if backwards else (x, decay)
            h = _cell(*read, weights, name, layout)
            ends.append(h[np.arange(N), last])
            rows.append(h[every, swap] if backwards else h)
        P, below = rows[0].shape[2], x
        seen = [below[:, 0] if backwards else below[np.arange(N), last] for backwards in ways]
        if layout["merge"] == "concat":
            x, end = np.concatenate(rows, axis=2), np.hstack(ends)
            seen = [part[:, k * P : (k + 1) * P] for k, part in enumerate(seen)]
            end_below = np.hstack(seen)
        else:
            parts = len(rows) if layout["merge"] == "mean" else 1
            x, end, end_below = sum(rows) / parts, sum(ends) / parts, sum(seen) / len(seen)
        if layout["residual"] and layer > 0:
            x, end = x + below, end + end_below
    return x, end


def _pool(rows, ends, lengths, weights, pooling):
    """One row (width,) of each sequence: see cpu/pooling.py."""
    if pooling == "last":
        return ends
    there = (np.arange(rows.shape[1]) < lengths[:, np.newaxis])[:, :, np.newaxis]
    if pooling == "max":
        return np.where(there, rows, -np.inf).max(axis=1)
    share = there / lengths[:, np.newaxis, np.newaxis]
    if pooling == "attention":
        u = np.tanh(rows @ weights["attention_weight"].T + weights["attention_bias"])
        score = np.where(there, (u @ weights["attention_query"])[:, :, np.newaxis], -np.inf)
        share = np.exp(score - score.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
    return (share * rows).sum(axis=1)


def _fill_gaps(x, mean):
    """Three inputs for each: its last value, whether it is missing, log(1 + for how long)."""
    missing = np.isnan(x)
    filled, since = np.empty_like(x), np.zeros(x.shape)
    last, steps = np.tile(mean, (len(x), 1)), np.zeros(x[:, 0].shape)
    for t in range(x.shape[1]):
        last = filled[:, t] = np.where(missing[:, t], last, x[:, t])
        steps = since[:, t] = np.where(missing[:, t], steps + 1, 0)
    return np.concatenate([filled, missing, np.log1p(since)], axis=2)


# -- what predict is given -----------------------------------------------------------


def _unmasked(x):
    """An array with NaN for what is masked."""
    masked = np.ma.is_masked(x) and x.dtype.kind in "fiub"
    return np.ma.filled(x.astype(np.float64), np.nan) if masked else np.asarray(x)


def _sequences(X, description):
    """X as a list of float64 arrays (T_i, F), and whether it was a list of sequences."""
    masks, inputs = description["inputs"]["masks"], description["inputs"]
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1:
        X = list(X)
    is_list = isinstance(X, list | tuple) and any(hasattr(x, "__array__") for x in X)
    if not is_list:
        X = _unmasked(X)
        if X.ndim not in (2, 3):
            raise ValueError(f"X has shape {X.shape}; sequences come as (N, T, F) or (N, T).")
        if X.ndim == 2 and inputs["was_2d"] and X.shape[1] != inputs["n_features"]:
            raise ValueError(
                f"X has {X.shape[1]} columns; the model was fitted on {inputs['n_features']}."
            )
    F = description["layout"]["n_inputs"] // (3 if masks else 1)
    sequences = []
    for i, part in enumerate(X):
        x = _unmasked(part)
        if x.dtype.kind not in "fiub":
            raise ValueError(f"X[{i}] has dtype {x.dtype}; sequences are arrays of numbers.")
        x = x.astype(np.float64)
        x = x[:, np.newaxis] if x.ndim == 1 else x
        if x.ndim != 2 or x.shape[1] != F or not len(x):
            raise ValueError(f"X[{i}] has shape {np.shape(part)}; this model needs (T, {F}).")
        if np.isinf(x).any() or (np.isnan(x).any() and not masks):
            raise ValueError(f"X[{i}] contains NaN or infinity.")
        sequences.append(x)
    if not sequences:
        raise ValueError("X has no sequences.")
    return sequences, is_list


def _decays(times, sequences, description):
    """Return g - 1 of equation (3d) for every step of each sequence: see times.py."""
    kind, scale = description["kind"], description["scale"]
    if (times is None) != (kind is None):
        raise ValueError(f"The model was fitted with{'out' * (kind is None)} times.")
    if times is None:
        return [np.zeros(len(x)) for x in sequences]
    if len(times) and np.ndim(times[0]) == 0:
        times = [times] * len(sequences)
    if len(times) != len(sequences):
        raise ValueError(f"times has {len(times)} sequences and X has {len(sequences)}.")
    decays = []
    for i, (x, given) in enumerate(zip(sequences, times, strict=True)):
        moments = np.asarray(given)
        if moments.dtype == object and kind == "dates":
            moments = moments.astype("M8[us]")
        found = {"m": "dates", "M": "dates"}.get(moments.dtype.kind, "numbers")
        if moments.shape != (len(x),) or moments.dtype.kind not in "fiumM" or found != kind:
            raise ValueError(
                f"times[{i}] has shape {moments.shape} and dtype {moments.dtype}; this model "
                f"needs {kind} of shape {(len(x),)}."
            )
        if kind == "dates":  # nanoseconds of centuries do not fit 64 bits
            whole, second = moments.astype(f"{moments.dtype.kind}8[s]"), np.timedelta64(1, "s")
            gaps = np.diff(whole) / second + np.diff(moments - whole) / second
        else:
            gaps = np.diff(moments.astype(np.longdouble)).astype(np.float64)
        if not (np.isfinite(gaps) & (gaps >= 0)).all():
            raise ValueError(f"times[{i}] decreases, or is not finite.")
        change = 1.0 / np.log(np.e - 1.0 + gaps / scale) - 1.0 if scale else np.zeros(len(gaps))
        decays.append(np.append(0.0, change))
    return decays


# -- the file ------------------------------------------------------------------------


def load_predictor(path: str | os.PathLike) -> NumpyPredictor:
    """Read a file that ``estimator.save(path)`` wrote.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    NumpyPredictor
        With ``predict`` and ``predict_proba``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is another kind of file, of a newer version, or damaged.
    """
    content = read_file(path)
    tensors, description = parse(content, str(path))
    weights = {}
    for name, (dtype, shape, place) in tensors.items():
        weights[name] = np.frombuffer(content[place], dtype).reshape(shape)
        if not np.isfinite(weights[name]).all():
            raise ValueError(f"{path}: {name} contains NaN or infinity.")
        if name.endswith("_scale") and not (weights[name] > 0).all():
            raise ValueError(f"{path}: {name} must be positive.")
    return NumpyPredictor(description, weights)


def read_file(path: str | os.PathLike) -> bytes:
    """Return the content of a file whose header says that it is a model.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        As :func:`load_predictor`; other files are not read beyond their header.
    """
    if not isinstance(path, str | os.PathLike):  # an integer would be any open file
        raise TypeError(f"Pass the name of a file; got {type(path).__name__}.")
    with open(path, "rb") as file:
        start, size = file.read(8), os.fstat(file.fileno()).st_size
        if int.from_bytes(start, "little") > size - 8:
            raise ValueError(f"{path} is no file of numba_lstm's save, or is cut off.")
        _header(start + file.read(int.from_bytes(start, "little")), path)
        file.seek(0)
        return file.read()


def parse(content: bytes, path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check all of a file but the numbers' values, the parameters and the history.

    Parameters
    ----------
    content : bytes
        The whole file.
    path : str
        What to call it in messages.

    Returns
    -------
    tensors : dict of str to (dtype, shape, slice)
        Where in it the arrays lie, which have the shapes that the network needs.
    description : dict
        What it tells of the model.

    Raises
    ------
    ValueError
        As :func:`load_predictor`.
    """
    begin, header, description = _header(content, path)
    tensors = _places(header, begin, len(content), path)
    if description.get("checksum") != checksum(content, str(description.get("checksum"))):
        raise ValueError(f"{path} is damaged: its content does not match its checksum.")
    try:
        _check(description)
    except KeyError as error:
        raise ValueError(f"{path} does not describe a model: {error} is missing.") from error
    except (TypeError, OverflowError, RecursionError, ValueError) as error:
        raise ValueError(f"{path} does not describe a model: {error}") from error
    if len(description["layout"]["hidden_sizes"]) > len(tensors):
        raise ValueError(f"{path} describes more layers than it has arrays.")
    wanted = shapes(description)
    if wanted.keys() != tensors.keys():
        differing = sorted(wanted.keys() ^ tensors.keys())
        raise ValueError(f"{path}: the arrays are not those of its network: {differing!r:.200}.")
    single = tensors["head_weight"][0]
    for name, (dtype, shape, _) in tensors.items():
        right = wanted[name], _DTYPES["F64"] if name in STANDARDISATION else single
        if (shape, dtype) != right:
            raise ValueError(
                f"{path}: {name} is of shape {shape} and dtype {dtype}, and not {right}."
            )
    return tensors, description


def _header(content, path):
    """Where the arrays begin, where each of them lies, and the description of the model."""
    n = int.from_bytes(content[:8], "little")
    if len(content) < 8 or n > len(content) - 8:
        raise ValueError(f"{path} is no file of numba_lstm's save, or is cut off.")
    header = _json(content[8 : 8 + n], path)
    metadata = header.pop("__metadata__", None)
    text = metadata.get("numba_lstm") if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise ValueError(f"{path} is a safetensors file, but none of numba_lstm's save.")
    description = _json(text, path)
    version = description.get("format")
    if type(version) is not int or version != FORMAT:
        raise ValueError(
            f"{path} has format {version!r:.40}, and this version of numba_lstm reads format "
            f"{FORMAT}. If it is a newer one, update numba_lstm."
        )
    return 8 + n, header, description


def checksum(content: bytes, digits: str) -> str:
    """Return the checksum of a file: of all its bytes, with zeros for its own ``digits``."""
    first, found = content.find(digits.encode()), hashlib.blake2b(digest_size=32)
    if len(digits) != 64 or first < 0:
        return "nothing to compare with"
    found.update(content[:first] + b"0" * 64)
    found.update(memoryview(content)[first + 64 :])
    return found.hexdigest()


def _json(text, path):
    def unique(pairs):
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            raise ValueError("a name stands twice")
        return dict(pairs)

    def refuse(number):
        raise ValueError(f"{number} is no number of JSON")

    try:
        text = text.decode() if isinstance(text, bytes) else text
        found = json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is no file of numba_lstm's save, or damaged: {error}."
        ) from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} is no file of numba_lstm's save, or damaged.")
    return found


def _places(header, begin, end, path):
    """Where the tensors lie: one after the other, from ``begin`` to ``end``."""
    places = {}
    for name, entry in header.items():
        try:
            dtype, shape = _DTYPES[entry["dtype"]], entry["shape"]
            offsets = first, last = entry["data_offsets"]
            sound = len(entry) == 3 and all(
                type(n) is int and 0 <= n < 2**63 for n in (*shape, *offsets)
            )
        except (KeyError, TypeError, ValueError):
            sound = False
        if not sound or last - first != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{path}: the header's entry for {name!r:.80} makes no sense.")
        places[name] = dtype, tuple(shape), slice(begin + first, begin + last)
    for first, last in sorted((place.start, place.stop) for *_, place in places.values()):
        if first != begin:
            raise ValueError(f"{path}: its arrays overlap, or leave gaps.")
        begin = last
    if begin != end:
        raise ValueError(f"{path} is cut off, or longer than its arrays.")
    return places


def _is_count(value):
    return type(value) is int and 0 < value < 2**31


def _is_size(value):
    return _is_count(value) or (type(value) is int and value == 0)


def _is_flag(value):
    return type(value) is bool


def _is_positive_or_none(value):
    return value is None or (type(value) is float and 0 < value < math.inf)


def _is_share(value):
    return type(value) is float and 0 <= value < 1


def _list_of(sound):
    return lambda value: type(value) is list and len(value) > 0 and all(map(sound, value))


def _one_of(*values):
    return lambda value: type(value) in (str, type(None)) and value in values


_FIELDS = {
    "layout": {
        "n_inputs": _is_count,
        "hidden_sizes": _list_of(_is_count),
        "n_outputs": _is_count,
        "direction": _one_of("forward", "reverse", "both"),
        "merge": _one_of("concat", "sum", "mean"),
        **dict.fromkeys(["residual", "bias", "peephole", "coupled"], _is_flag),
        "limit": _is_positive_or_none,
        "learned_state": _is_flag,
        "pooling": _one_of("last", "mean", "max", "attention"),
        "proj_size": _is_size,
        "norm": _is_flag,
        "zoneout": lambda value: _list_of(_is_share)(value) and len(value) == 2,
        "decays": _is_flag,
        "head_size": _is_size,
        "head_activation": _one_of("relu", "tanh"),
    },
    "targets": {
        "n_outputs": _is_count,
        **dict.fromkeys(["has_columns", "per_step", "multilabel"], _is_flag),
        "classes": lambda value: value is None or type(value) is dict,
    },
    "inputs": {
        **dict.fromkeys(["masks", "was_2d"], _is_flag),
        "n_features": _is_count,
        "feature_names": lambda names: (
            names is None or _list_of(lambda name: type(name) is str)(names)
        ),
    },
    "times": {"scale": _is_positive_or_none, "kind": _one_of(None, "numbers", "dates")},
}


def _check(description):
    """Check that what a file tells of a model is whole and agrees with itself."""
    for part, fields in _FIELDS.items():
        found = description[part]
        if type(found) is not dict or found.keys() != fields.keys():
            raise ValueError(f"{part} has other fields than {sorted(fields)}.")
        for name, sound in fields.items():
            if not sound(found[name]):
                raise ValueError(f"{part} says {name}={found[name]!r:.80}.")
    layout, targets, inputs = (description[part] for part in ("layout", "targets", "inputs"))
    F, K = layout["n_inputs"] // (3 if inputs["masks"] else 1), layout["n_outputs"]
    classes, names = read_classes(targets["classes"]), inputs["feature_names"]
    n_outputs = K if classes is None else len(classes)
    if classes is not None and not targets["multilabel"]:
        n_outputs = 1 if len(classes) == 2 else len(classes)
    kind = {True: "LSTMRegressor", False: "LSTMClassifier"}[classes is None]
    sizes, time = layout["hidden_sizes"], description["times"]
    several = targets["multilabel"] if classes is not None else targets["has_columns"] or K > 1
    for sound, name in (
        (description["estimator"] == kind, "the estimator"),
        (targets["n_outputs"] == K == n_outputs, "the number of outputs"),
        (targets["has_columns"] == several, "the columns of the targets"),
        (classes is not None or not targets["multilabel"], "the labels"),
        (not inputs["masks"] or layout["n_inputs"] == 3 * F, "the masks"),
        (inputs["n_features"] == F or (inputs["was_2d"] and F == 1), "the number of features"),
        (names is None or len(names) == inputs["n_features"], "the names of the features"),
        ((time["kind"] is not None) == layout["decays"], "the times"),
        (time["scale"] is None or layout["decays"], "the unit of the times"),
        (layout["pooling"] == "last" or not targets["per_step"], "the pooling"),
        (layout["proj_size"] < min(sizes), "the projection"),
        (not layout["residual"] or len(set(sizes)) == 1 or layout["proj_size"], "the layers"),
    ):
        if not sound:
            raise ValueError(f"{name} contradicts the rest.")


def read_classes(given: dict[str, Any] | None) -> np.ndarray | None:
    """Return the classes that a file describes, in the dtype that they had.

    Parameters
    ----------
    given : dict or None
        With "dtype", NumPy's name for it, and "values".

    Raises
    ------
    ValueError
        If they are no sorted, different labels of that dtype.
    """
    if given is None:
        return None
    dtype, values = str(given["dtype"]), given["values"]
    kinds = {"b": (bool,), "i": (int,), "u": (int,), "f": (float,), "U": (str,), "O": (str,)}
    if not re.fullmatch(r"\|b1|\|O|[<>|][iu][1248]|[<>]f[248]|[<>]U[1-9]\d{0,6}", dtype):
        raise ValueError(f"the classes have dtype {dtype:.80}.")
    if type(values) is not list or {type(label) for label in values} != {*kinds[dtype[1]]}:
        raise ValueError(f"the classes are no list of labels of dtype {dtype}.")
    if np.dtype(dtype).itemsize * len(values) > 2**20 + 64 * sum(map(len, map(str, values))):
        raise ValueError(f"dtype {dtype} takes far more room than the classes need.")
    classes = np.array(values, dtype)
    if classes.tolist() != values or values != sorted(set(values)):
        raise ValueError(f"the classes are not sorted, or no labels of dtype {dtype}.")
    return classes


def shapes(description: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a model's arrays by name: those of ``Layout.named``, and more."""
    layout = description["layout"]
    F, K = layout["n_inputs"], layout["n_outputs"]
    binary = description["targets"]["classes"] and not description["targets"]["multilabel"]
    n_targets = 1 if binary else K
    found: dict[str, tuple[int, ...]] = {"input_mean": (F,), "input_scale": (F,)}
    found |= {"target_mean": (n_targets,), "target_scale": (n_targets,)}
    ways = ["", "_reverse"] if layout["direction"] == "both" else [""]
    for layer, H in enumerate(layout["hidden_sizes"]):
        P = layout["proj_size"] or H
        for way in ways:
            parts: list[tuple[Any, str, tuple[int, ...]]] = [
                (True, "weight_ih", (4 * H, F)),
                (True, "weight_hh", (4 * H, P)),
                (layout["bias"], "bias", (4 * H,)),
                (layout["peephole"], "peephole", (3, H)),
                (layout["norm"], "norm_gain", (5, H)),
                (layout["norm"], "norm_shift", (5, H)),
                (layout["proj_size"], "weight_hr", (P, H)),
                (layout["decays"], "decay_weight", (H, H)),
                (layout["decays"], "decay_bias", (H,)),
                (layout["learned_state"], "initial_hidden", (P,)),
                (layout["learned_state"], "initial_cell", (H,)),
            ]
            found |= {f"{name}_l{layer}{way}": shape for there, name, shape in parts if there}
        F = P * (len(ways) if layout["merge"] == "concat" else 1)
    if layout["pooling"] == "attention":
        found |= {"attention_weight": (F, F), "attention_bias": (F,), "attention_query": (F,)}
    if layout["head_size"]:
        M = layout["head_size"]
        found |= {"head_hidden_weight": (M, F), "head_hidden_bias": (M,)}
        F = M
    return found | {"head_weight": (K, F), "head_bias": (K,)}
