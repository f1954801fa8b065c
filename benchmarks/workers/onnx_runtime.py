"""ONNX Runtime's side of the comparisons: an LSTM operator and a linear head."""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.workers.common import data, median_seconds, serve


def _model(F, H, with_state=False):
    """The network; ``with_state`` also takes and returns h and c."""
    rng = np.random.default_rng(0)

    def weight(name, *shape):
        values = rng.uniform(-1, 1, shape).astype(np.float32) / np.sqrt(H, dtype=np.float32)
        return numpy_helper.from_array(values, name)

    nodes = [
        helper.make_node("Transpose", ["X"], ["X_time"], perm=[1, 0, 2]),
        helper.make_node(
            "LSTM",
            ["X_time", "W", "R", "B", *(["", "h_0", "c_0"] if with_state else [])],
            ["", "h", *(["c"] if with_state else [])],
            hidden_size=H,
        ),
        helper.make_node("Squeeze", ["h", "axes"], ["h_last"]),
        helper.make_node("Gemm", ["h_last", "W_y", "b_y"], ["y"], transB=1),
    ]
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", "T", F])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1])]
    if with_state:
        state = [1, "N", H]
        inputs += [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, state) for n in ("h_0", "c_0")
        ]
        outputs += [helper.make_tensor_value_info(n, TensorProto.FLOAT, state) for n in ("h", "c")]
    graph = helper.make_graph(
        nodes,
        "lstm",
        inputs,
        outputs,
        [
            *(weight("W", 1, 4 * H, F), weight("R", 1, 4 * H, H), weight("B", 1, 8 * H)),
            *(weight("W_y", 1, H), weight("b_y", 1)),
            numpy_helper.from_array(np.array([0]), "axes"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def step(F, H, goal):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        _model(F, H, with_state=True).SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
    )
    x = np.zeros((1, 1, F), np.float32)
    h = c = np.zeros((1, 1, H), np.float32)

    def hundred():
        nonlocal h, c
        for _ in range(100):
            _, h, c = session.run(None, {"X": x, "h_0": h, "c_0": c})

    return median_seconds(hundred, goal) / 100


def predict(B, T, F, H, threads, goal):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    model = _model(F, H)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    X, _ = data(B, T, F, B)
    return median_seconds(lambda: session.run(None, {"X": X}), goal)


if __name__ == "__main__":
    serve({"predict": predict, "step": step}, ["onnxruntime"])
