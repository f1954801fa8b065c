"""Stacks and variants against what PyTorch, ONNX Runtime and Keras computed."""

import json
from pathlib import Path

import numpy as np
import pytest

from numba_lstm import losses
from numba_lstm.network import Network
from numba_lstm.parameters import Layout, initialise
from numba_lstm.sequences import Batch

DATA = Path(__file__).parent / "data"
TORCH, ONNX, KERAS = (np.load(DATA / f"{name}_vectors.npz") for name in ("stack", "onnx", "keras"))


def cases(vectors):
    return sorted({name.split("/")[0] for name in vectors if "/" in name})


class Stored:
    """One case: a network with the stored weights, and a batch of its sequences."""

    def __init__(self, vectors, case, dtype, per_step=False):
        self.get = get = lambda name: vectors[f"{case}/{name}"]
        self.has = lambda name: f"{case}/{name}" in vectors
        architecture = json.loads(str(get("architecture")))
        architecture["hidden_sizes"] = tuple(architecture["hidden_sizes"])
        x, lengths = get("x"), get("lengths")
        K = len(get("weights/head_weight")) if self.has("weights/head_weight") else 1
        self.layout = Layout(n_inputs=x.shape[2], n_outputs=K, **architecture)
        self.theta = np.zeros(self.layout.size, dtype)
        for name, view in self.layout.named(self.theta).items():
            if self.has(f"weights/{name}"):
                view[...] = get(f"weights/{name}")
        self.network = Network(
            self.layout, dtype, per_step=per_step, loss=losses.SQUARED_ERROR, loss_parameter=0.0,
            mean=np.zeros(x.shape[2]), scale=np.ones(x.shape[2]), n_threads=1,
        )  # fmt: skip
        self.order = np.argsort(-lengths, kind="stable")
        rows = np.split(np.arange(lengths.sum()), np.cumsum(lengths)[:-1])
        self.rows = np.concatenate([rows[i] for i in self.order])
        sorted_lengths = lengths[self.order]
        self.batch = Batch(
            np.concatenate([x[i, : lengths[i]] for i in self.order]),
            np.cumsum(sorted_lengths) - sorted_lengths,
            sorted_lengths.astype(np.int64),
        )

    def first_state(self):
        state = self.network.first_state(self.theta, len(self.order))
        if self.has("initial_h"):
            ends = np.cumsum([cell.hidden_size for cell in self.layout.cells])[:-1]
            for part, name in zip(state, ("initial_h", "initial_c"), strict=True):
                given = self.get(name)[self.order].astype(self.theta.dtype)
                part[:] = [np.ascontiguousarray(rows) for rows in np.split(given, ends, axis=1)]
        return state

    def check_last(self, state, tolerance, precision=""):
        for part, name in zip(state, ("h_last", "c_last"), strict=True):
            expected = self.get(precision + name)[self.order]
            np.testing.assert_allclose(np.hstack(part), expected, rtol=0, atol=tolerance)

    def check_states(self, h, tolerance):
        found = self.network.states(self.theta, self.batch).h
        np.testing.assert_allclose(found, h[self.rows], rtol=0, atol=tolerance)


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", cases(TORCH))
def test_stacks_are_those_of_pytorch(case, dtype):
    p, tolerance = Stored(TORCH, case, dtype), 1e-6 if dtype == np.float32 else 1e-12
    precision = np.dtype(dtype).name
    p.check_states(p.get(f"{precision}/h"), tolerance)
    y = p.get("y")[p.order].astype(dtype)
    batch = p.batch._replace(y=y, weight=np.full(len(y), 1 / len(y), dtype))
    loss, gradient = p.network.loss_and_grad(p.theta, batch)
    assert loss == pytest.approx(float(p.get(f"{precision}/loss")), rel=5 * tolerance)
    for name, found in p.layout.named(gradient).items():
        expected = p.get(f"{precision}/grad_{name}")
        size = np.abs(expected).max()
        np.testing.assert_allclose(
            found, expected, rtol=0, atol=tolerance * max(1, size), err_msg=name
        )


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", cases(ONNX))
def test_variants_are_those_of_onnx_runtime(case, dtype):
    """Which computes in float32 only."""
    p = Stored(ONNX, case, dtype)
    if not p.has("initial_h"):
        p.check_states(p.get("h"), 1e-6)
    state = p.first_state()
    p.network.predict(p.theta, p.batch, state)
    p.check_last(state, 1e-6)


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", cases(KERAS))
@pytest.mark.parametrize("per_step", [True, False])
def test_layers_are_those_of_keras(per_step, case, dtype):
    """Masked sequences included: to this library they are sequences of different lengths.

    The stored head passes on what it gets: predictions are outputs of the last layer.
    """
    p, tolerance = Stored(KERAS, case, dtype, per_step), 1e-6 if dtype == np.float32 else 1e-12
    precision, state = f"{np.dtype(dtype).name}/", p.first_state()
    found = p.network.predict(p.theta, p.batch, state)
    if per_step:
        sequences = p.get(f"{precision}sequences")
        # With go_backwards Keras returns the last step first, padding before it; this library,
        # and Bidirectional, keep the order of the inputs.
        if p.layout.direction == "reverse":
            sequences = sequences[:, ::-1]
        pairs = zip(p.order, p.batch.lengths, strict=True)
        expected = np.concatenate([sequences[i, :n] for i, n in pairs])
    else:
        expected = p.get(f"{precision}last")[p.order]
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    p.check_last(state, tolerance, precision)


@pytest.mark.nojit
def test_biases_begin_as_those_of_keras():
    layout = Layout(n_inputs=3, hidden_sizes=(4,), n_outputs=1)
    theta = initialise(layout, np.random.default_rng(0), np.float32)
    np.testing.assert_array_equal(layout.named(theta)["bias_l0"], KERAS["new_bias"])


# What Keras' own tests expect (keras/src/layers/rnn/lstm_test.py and bidirectional_test.py, of
# Keras 3). Input weights are 0.01, recurrent weights 0.02, biases 0.03 and 1 for the forget gate;
# x counts up from 0, and so does a state that is given, times a factor for each direction.
LONG, SHORT = (3, 6, 4, 3), (2, 4, 3, 2)  # N, T, F, H
PUBLISHED = {  # sizes, options, outputs: one number where those of all units agree
    "plain": (LONG, {}, [[0.6288687], [0.86899155], [0.9460773]]),
    "backwards": (LONG, {"direction": "reverse"}, [[0.35622165], [0.74789524], [0.8872726]]),
    "one_bias": (LONG, {"forget_bias": 0.03}, [[0.57019705], [0.8661914], [0.9459622]]),
    "no_bias": (LONG, {"bias": False}, [[0.54986924], [0.86226785], [0.9443936]]),
    "stateful": ((2, 3, 4, 4), {"times": 2}, [[0.3124785], [0.6863672]]),
    "initial_state": (
        SHORT,
        {"initial_h": [1], "initial_c": [1]},
        [[0.20574439, 0.3558822], [0.64930826, 0.66276]],
    ),
    "backwards_initial_state": (
        SHORT,
        {"direction": "reverse", "initial_h": [1], "initial_c": [1]},
        [[0.13281618, 0.2790356], [0.5839337, 0.5992567]],
    ),
    "masked": (SHORT, {"steps": [[0, 1, 2], [0, 1]]}, [[0.11755939], [0.28556206]]),
    "masked_sequences": (
        SHORT,
        {"steps": [[0, 1, 2], [0, 1]], "per_step": True},
        [[0.0158891], [0.05552048], [0.11755939], [0.14185596], [0.28556206]],
    ),
    "backwards_masked": (
        SHORT,
        {"steps": [[1, 2, 3], [2, 3]], "direction": "reverse"},
        [[0.15341201], [0.3844719]],
    ),
    "both": (
        SHORT,
        {"direction": "both", "c": [[0.35567185, 0.2501858], [1.0492687, 0.941473]]},
        [[0.1990008, 0.1990008, 0.12659755, 0.12659755]]
        + [[0.52335435, 0.52335435, 0.44717982, 0.44717982]],
    ),
    "both_stateful": (
        SHORT,
        {"direction": "both", "times": 2},
        [[0.26234663, 0.26234663, 0.16959146, 0.16959146]]
        + [[0.6137073, 0.6137073, 0.5381646, 0.5381646]],
    ),
    "both_initial_state": (
        SHORT,
        {"direction": "both", "initial_h": [1, 3], "initial_c": [2, 4]},
        [[0.20794602, 0.4577124, 0.14046375, 0.48191673]]
        + [[0.6682636, 0.6711909, 0.60943645, 0.60950446]],
    ),
}


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", PUBLISHED)
def test_expectations_of_keras_own_tests_hold(case, dtype):
    (N, T, F, H), options, expected = PUBLISHED[case]
    direction, bias = options.get("direction", "forward"), options.get("bias", True)
    architecture = {"hidden_sizes": [H], "direction": direction, "bias": bias}
    steps = options.get("steps", [range(T)] * N)
    x = np.zeros((N, T, F))
    for i, given in enumerate(steps):
        x[i, : len(given)] = np.arange(N * T * F).reshape(x.shape)[i, given]
    lengths = np.array([len(given) for given in steps])
    vectors = {"x": x, "lengths": lengths, "architecture": json.dumps(architecture)}
    biases = np.repeat([0.03, options.get("forget_bias", 1), 0.03, 0.03], H)
    for name in ("l0", "l0_reverse"):
        vectors[f"weights/weight_ih_{name}"] = 0.01
        vectors[f"weights/weight_hh_{name}"] = 0.02
        vectors[f"weights/bias_{name}"] = biases
    vectors["weights/head_weight"] = np.eye(2 * H if direction == "both" else H)
    for name in {"initial_h", "initial_c"} & options.keys():
        counting = np.arange(N * H).reshape(N, H)
        vectors[name] = np.hstack([factor * counting for factor in options[name]])
    vectors = {f"{case}/{name}": value for name, value in vectors.items()}
    p = Stored(vectors, case, dtype, options.get("per_step", False))
    state = p.first_state()
    for _ in range(options.get("times", 1)):
        found = p.network.predict(p.theta, p.batch, state)
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=0, atol=1e-6)
    if "c" in options:
        np.testing.assert_allclose(
            np.hstack(state.c), np.repeat(options["c"], H, axis=1), rtol=0, atol=1e-6
        )
