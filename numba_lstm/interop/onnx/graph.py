"""A network as a graph of ONNX's operators.

Inside the graph sequences are (T, N, width), as the operator LSTM has them. All operators
are of the default domain, version 17, whose LSTM is that of version 14.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from numba_lstm.interop.onnx.weights import to_operator
from numba_lstm.parameters import Layout

OPSET, IR_VERSION = 17, 8
_LOWEST = np.finfo(np.float32).min


class Graph:
    """Nodes and initialisers, as they are put together, for the inputs X and lengths.

    Parameters
    ----------
    has_lengths : bool
        Whether there are lengths.
    """

    def __init__(self, has_lengths: bool) -> None:
        self.has_lengths = has_lengths
        self.nodes: list[Any] = []
        self.arrays: dict[str, np.ndarray] = {}

    def array(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        """Hold an initialiser under a name, which is returned."""
        self.arrays[name] = np.ascontiguousarray(value, dtype).reshape(np.shape(value))
        return name

    def axes(self, *axes: int) -> str:
        """Hold axes, or a shape, as operators take them as an input."""
        return self.array("axes_" + "_".join(map(str, axes)), axes, np.int64)

    def add(self, op: str, *inputs: str, out: Any = None, **attributes: Any) -> str:
        """Append a node, but not one twice; return the name of its output.

        ``out`` is that name, or a list of names for several outputs.
        """
        from onnx import helper

        node = helper.make_node(op, list(inputs), ["?"], **attributes)
        for known in self.nodes if out is None else ():
            if (known.op_type, known.input, known.attribute) == (op, node.input, node.attribute):
                return known.output[0]
        node.name = f"{op}_{len(self.nodes)}"
        del node.output[:]
        node.output.extend(out if isinstance(out, list) else [out or node.name.lower()])
        self.nodes.append(node)
        return node.output[0]

    def size(self, axis: int) -> str:
        """Return the number of sequences N (axis 0) or of steps T (axis 1), of shape (1,)."""
        return self.add("Gather", self.add("Shape", "X"), self.axes(axis), axis=0)

    def counting(self, axis: int) -> str:
        """Return 0, 1, ... as far as an axis of X goes."""
        zero, one = (self.array(f"number_{k}", k, np.int64) for k in (0, 1))
        return self.add("Range", zero, self.add("Squeeze", self.size(axis)), one)

    def long_lengths(self) -> str:
        """Return the lengths (N,) as the integers that indices and comparisons take."""
        return self.add("Cast", "lengths", to=7)

    def inside(self) -> str:
        """Return whether a step belongs to a sequence: (T, N, 1)."""
        step = self.add("Unsqueeze", self.counting(1), self.axes(1))
        inside = self.add("Less", step, self.long_lengths())
        return self.add("Unsqueeze", inside, self.axes(2))

    def edge(self, x: str, last: bool) -> str:
        """Return the first step of each sequence (T, N, width), or its last: (N, width)."""
        if not (last and self.has_lengths):
            index = self.array("number_-1" if last else "number_0", -1 if last else 0, np.int64)
            return self.add("Gather", x, index, axis=0)
        one = self.array("number_1", 1, np.int64)
        step = self.add("Sub", self.long_lengths(), one)
        pairs = [self.add("Unsqueeze", k, self.axes(1)) for k in (step, self.counting(0))]
        return self.add("GatherND", x, self.add("Concat", *pairs, axis=1))


def add_layers(
    graph: Graph, layout: Layout, named: dict[str, np.ndarray], x: str, per_step: bool
) -> str:
    """Append the LSTM layers and the pooling.

    Parameters
    ----------
    graph : Graph
        What to append to.
    layout : Layout
        Architecture, without projection, layer normalisation, zoneout and times.
    named : dict of str to ndarray
        Weights under the names of :meth:`Layout.named`.
    x : str
        Standardised inputs (T, N, F).
    per_step : bool
        Whether every step has an output.

    Returns
    -------
    str
        What the head sees: (T, N, width), or (N, width).
    """
    n_layers = len(layout.hidden_sizes)
    for layer in range(n_layers):
        ends = layer == n_layers - 1 and not per_step and layout.pooling == "last"
        residual = layout.residual and layer > 0
        outputs = ["", f"Y_h_{layer}"] if ends else [f"Y_{layer}"]
        _add_lstm(graph, layout, named, layer, x, outputs)
        y = _merge(graph, layout, outputs[-1], layer, ends)
        if residual:
            y = graph.add("Add", y, _edges(graph, layout, x) if ends else x)
        x = y
    return x if ends or per_step else _pool(graph, layout, named, x)


def _add_lstm(graph, layout, named, layer, x, outputs):
    arrays = to_operator(layout, named, layer)
    inputs = {
        kind: graph.array(f"{kind}_{layer}", arrays[kind])
        for kind in arrays
        if arrays[kind] is not None
    }
    for kind in {"h", "c"} & inputs.keys():
        one = graph.axes(1)
        rows = graph.add("Concat", one, graph.size(0), one, axis=0)
        inputs[kind] = graph.add("Expand", inputs[kind], rows, out=f"initial_{kind}_{layer}")
    slots = [x, *(inputs.get(kind, "") for kind in "WRB")]
    slots += ["lengths" if graph.has_lengths else ""]
    slots += [inputs.get(kind, "") for kind in "hcP"]
    while not slots[-1]:
        slots.pop()
    direction = {"both": "bidirectional"}.get(layout.direction, layout.direction)
    attributes = {"hidden_size": layout.hidden_sizes[layer], "direction": direction}
    if layout.coupled:
        attributes["input_forget"] = 1
    if layout.limit <= float(np.finfo(np.float32).max):
        attributes["clip"] = layout.limit
    graph.add("LSTM", *slots, out=outputs, **attributes)


def _merge(graph, layout, y, layer, ends):
    """Put the directions together: y is (T, D, N, H), or (D, N, H) where it ``ends``."""
    axis, shape = (0, (0,)) if ends else (1, (0, 0))
    if layout.direction != "both":
        return graph.add("Squeeze", y, graph.axes(axis))
    if layout.merge == "sum":
        return graph.add("ReduceSum", y, graph.axes(axis), keepdims=0)
    if layout.merge == "mean":
        return graph.add("ReduceMean", y, axes=[axis], keepdims=0)
    beside = graph.add("Transpose", y, perm=[1, 0, 2] if ends else [0, 2, 1, 3])
    return graph.add("Reshape", beside, graph.axes(*shape, 2 * layout.hidden_sizes[layer]))


def _edges(graph, layout, x):
    """Return the inputs x at the steps that the directions end with, as outputs lie."""
    if layout.direction != "both":
        return graph.edge(x, last=layout.direction == "forward")
    ends = [graph.edge(x, last) for last in (True, False)]
    if layout.merge != "concat":
        return graph.add("Mean", *ends)
    H = layout.hidden_sizes[-1]
    halves = [
        graph.add("Slice", end, graph.axes(k * H), graph.axes((k + 1) * H), graph.axes(1))
        for k, end in enumerate(ends)
    ]
    return graph.add("Concat", *halves, axis=1)


def _pool(graph, layout, named, y):
    """Pool (T, N, width) over the steps of each sequence."""

    def fill(values, value, name):
        """Put a number in the place of what lies behind the sequences."""
        if not graph.has_lengths:
            return values
        return graph.add("Where", graph.inside(), values, graph.array(name, value))

    if layout.pooling == "max":
        return graph.add("ReduceMax", fill(y, _LOWEST, "lowest"), axes=[0], keepdims=0)
    y = fill(y, 0.0, "zero")
    if layout.pooling == "mean":
        if not graph.has_lengths:
            return graph.add("ReduceMean", y, axes=[0], keepdims=0)
        lengths = graph.add("Unsqueeze", graph.add("Cast", "lengths", to=1), graph.axes(1))
        return graph.add("Div", graph.add("ReduceSum", y, graph.axes(0), keepdims=0), lengths)
    W, b, v = (named[f"attention_{part}"] for part in ("weight", "bias", "query"))
    u = graph.add("MatMul", y, graph.array("attention_weight", W.T))
    u = graph.add("Tanh", graph.add("Add", u, graph.array("attention_bias", b)))
    score = graph.add("MatMul", u, graph.array("attention_query", v[:, np.newaxis]))
    share = graph.add("Softmax", fill(score, _LOWEST, "lowest"), axis=0)
    return graph.add("ReduceSum", graph.add("Mul", share, y), graph.axes(0), keepdims=0)


def add_head(graph: Graph, layout: Layout, named: dict[str, np.ndarray], rows: str) -> str:
    """Append the head to rows (..., width); return its outputs (..., K)."""
    parts = ["head_hidden", "head"] if layout.head_size else ["head"]
    for part in parts:
        weight = graph.array(f"{part}_weight", named[f"{part}_weight"].T)
        bias = graph.array(f"{part}_bias", named[f"{part}_bias"])
        rows = graph.add("Add", graph.add("MatMul", rows, weight), bias)
        if part == "head_hidden":
            rows = graph.add({"relu": "Relu", "tanh": "Tanh"}[layout.head_activation], rows)
    return rows
