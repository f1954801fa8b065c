"""ONNX models put together node by node."""

import numpy as np
import onnx
from onnx import helper

rng = np.random.default_rng(0)


def draw(*shape):
    return rng.normal(0, 0.5, shape).astype(np.float32)


class Chain:
    """A model put together node by node; X is (N, T, F), or (T, N, F), or (N, T)."""

    def __init__(self, F=3, H=4, x=("N", "T", 3), extra=()):
        self.F, self.H, self.nodes, self.arrays = F, H, [], {}
        info = helper.make_tensor_value_info
        self.inputs = [info("X", 1, x), *(info(*given) for given in extra)]

    def hold(self, array, dtype=np.float32):
        name = f"constant_{len(self.arrays)}"
        self.arrays[name] = np.asarray(array, dtype)
        return name

    def add(self, op, *inputs, outputs=1, **attributes):
        names = [f"{op}_{len(self.nodes)}_{k}" for k in range(outputs)]
        inputs = [self.hold(i, i.dtype) if isinstance(i, np.ndarray) else i for i in inputs]
        self.nodes.append(helper.make_node(op, inputs, names, f"my_{names[0][:-2]}", **attributes))
        return names if outputs > 1 else names[0]

    def lstm(self, x, F=None, D=1, lengths="", states=("", ""), slots=(), **attributes):
        H = self.H
        weights = draw(D, 4 * H, F or self.F), draw(D, 4 * H, H), draw(D, 8 * H)
        inputs = [x, *weights, lengths, *states, *slots]
        if D == 2:
            attributes["direction"] = "bidirectional"
        return self.add("LSTM", *inputs, outputs=3, hidden_size=H, **attributes)

    def model(self, *outputs):
        graph = helper.make_graph(
            self.nodes, "chain", self.inputs,
            [helper.make_empty_tensor_value_info(name) for name in outputs],
            [onnx.numpy_helper.from_array(a, name) for name, a in self.arrays.items()],
        )  # fmt: skip
        opset = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8)
        return onnx.shape_inference.infer_shapes(model)


TIME_FIRST = {"perm": [1, 0, 2]}
X = draw(5, 6, 3)


def axes(*values):
    return np.array(values, np.int64)


def number(value):
    return np.float32(value)


def plain():
    chain = Chain()
    y, y_h, _ = chain.lstm(chain.add("Transpose", "X", **TIME_FIRST))
    return chain, y, y_h


def final_states(chain, y_h):
    return chain.add("Squeeze", y_h, axes(0))
