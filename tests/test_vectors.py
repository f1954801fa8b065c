"""Stacks and variants against what PyTorch and ONNX Runtime computed."""

import json
from pathlib import Path

import numpy as np
import pytest

from numba_lstm import losses
from numba_lstm.network import Network
from numba_lstm.parameters import Layout
from numba_lstm.sequences import Batch

DATA = Path(__file__).parent / "data"
TORCH, ONNX = np.load(DATA / "stack_vectors.npz"), np.load(DATA / "onnx_vectors.npz")


def cases(vectors):
    return sorted({name.split("/")[0] for name in vectors.files})


class Stored:
    """One case: a network with the stored weights, and a batch of its sequences."""

    def __init__(self, vectors, case, dtype):
        self.get = get = lambda name: vectors[f"{case}/{name}"]
        self.has = lambda name: f"{case}/{name}" in vectors.files
        architecture = json.loads(str(get("architecture")))
        architecture["hidden_sizes"] = tuple(architecture["hidden_sizes"])
        x, lengths = get("x"), get("lengths")
        K = get("y").shape[1] if self.has("y") else 1
        self.layout = Layout(n_inputs=x.shape[2], n_outputs=K, **architecture)
        self.theta = np.zeros(self.layout.size, dtype)
        for name, view in self.layout.named(self.theta).items():
            if self.has(f"weights/{name}"):
                view[...] = get(f"weights/{name}")
        self.network = Network(
            self.layout, dtype, per_step=False, loss=losses.SQUARED_ERROR, loss_parameter=0.0,
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

    def check_states(self, h, tolerance):
        found = self.network.states(self.theta, self.batch).h
        np.testing.assert_allclose(found, h[self.rows], atol=tolerance)


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
        np.testing.assert_allclose(found, expected, atol=tolerance * max(1, size), err_msg=name)


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", cases(ONNX))
def test_variants_are_those_of_onnx_runtime(case, dtype):
    """Which computes in float32 only."""
    p = Stored(ONNX, case, dtype)
    state = p.network.first_state(p.theta, len(p.order))
    if p.has("initial_h"):
        for part, name in zip(state, ("initial_h", "initial_c"), strict=True):
            given = np.split(p.get(name)[p.order].astype(dtype), len(part), axis=1)
            part[:] = [np.ascontiguousarray(rows) for rows in given]
    else:
        p.check_states(p.get("h"), 1e-6)
    p.network.predict(p.theta, p.batch, state)
    for part, name in zip(state, ("h_last", "c_last"), strict=True):
        np.testing.assert_allclose(np.hstack(part), p.get(name)[p.order], atol=1e-6)
