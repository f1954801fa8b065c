"""An ONNX graph, walked through node by node, for the LSTM network that is in it.

Each value is an array known beforehand; or what computations with shapes make, which only
says how often something is repeated; or a Flow, a stage of the way from X to the outputs;
or Unread, which says what node was not understood. That is an error only if the output
depends on it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from numba_lstm.interop.onnx.flow import OPERATORS, Flow, RefusedError, concatenate
from numba_lstm.interop.onnx.values import Filled, Lengths, Shape, Unread, fold, initial
from numba_lstm.interop.onnx.weights import from_operator

_FLOATS = {1: np.float32, 10: np.float16, 11: np.float64}  # TensorProto's
# What leaves an array of one number, repeated, one of that number.
_PARTS = {"Cast", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
_ACTIVATIONS = ["Sigmoid", "Tanh", "Tanh"]


class Walk:
    """The values of a graph, and the LSTM layers found on the way.

    Parameters
    ----------
    model : onnx.ModelProto
        The model.

    Raises
    ------
    ValueError
        If the graph has no input of sequences.
    """

    def __init__(self, model: Any) -> None:
        from onnx import numpy_helper

        self._opsets = model.opset_import
        self._version = max(o.version for o in self._opsets if o.domain in ("", "ai.onnx"))
        graph = model.graph
        self._values: dict[str, Any] = {
            t.name: numpy_helper.to_array(t) for t in graph.initializer
        }
        self.layers: list[dict[str, Any]] = []
        self._inputs: Any = None
        for value in graph.input:
            if value.name not in self._values:
                self._values[value.name] = self._input(value)
        if not any(isinstance(value, Flow) for value in self._values.values()):
            raise ValueError(
                "The graph has no input of sequences, floating-point numbers with two or three "
                f"axes; its inputs are {[value.name for value in graph.input]}."
            )
        for node in graph.node:
            self._visit(node)

    def _input(self, value):
        kind, rank = value.type.tensor_type, len(value.type.tensor_type.shape.dim)
        if kind.elem_type not in _FLOATS:
            return Lengths() if rank == 1 else Unread(f"the input {value.name!r}")
        if rank in (2, 3) and not any(isinstance(v, Flow) for v in self._values.values()):
            return Flow("NTF"[:rank])
        return Unread(f"the input {value.name!r}")

    def _visit(self, node):
        """Set the outputs of a node."""
        from onnx import helper

        args = [self._values.get(name) if name else None for name in node.input]
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        unread = [arg for arg in args if isinstance(arg, Unread)]
        try:
            if unread:
                outputs = [unread[0]]
            elif node.domain not in ("", "ai.onnx"):
                raise RefusedError(f"an operator of {node.domain}")
            elif node.op_type == "LSTM":
                outputs = self._lstm(node, args, attributes)
            else:
                outputs = [self._value(node, args, attributes)]
        except RefusedError as error:
            text = f"node {node.name!r}, {node.op_type}({', '.join(node.input)}): {error}"
            outputs = [Unread(text)]
        if isinstance(outputs[0], Unread):
            outputs *= len(node.output)
        self._values.update(zip(node.output, outputs, strict=False))

    def _value(self, node, args, attributes):
        op, flows = node.op_type, [arg for arg in args if isinstance(arg, Flow)]
        if op == "Shape":
            return Shape()
        if len(flows) == len(args) > 0 and op == "Concat":
            return concatenate(flows, attributes["axis"])
        if flows:
            if op not in OPERATORS:
                raise RefusedError("an operator that has no counterpart here")
            if op == "Cast" and attributes["to"] not in _FLOATS:
                raise RefusedError("floating-point numbers become others")
            if op == "Softmax" and self._version < 13:
                attributes = {"axis": 1} | attributes
            return OPERATORS[op](flows[0], args, attributes)
        if any(isinstance(arg, Lengths) for arg in args):
            if op == "Cast":
                return args[0]
            raise RefusedError("lengths, which only LSTM may take")
        if all(arg is None or isinstance(arg, np.ndarray) for arg in args):
            return fold(node, args, self._opsets)
        if op == "Expand" and isinstance(args[0], np.ndarray | Filled):
            return args[0] if isinstance(args[0], Filled) else Filled(args[0])
        if op in _PARTS and isinstance(args[0], Filled) and args[0].array.size == 1:
            return args[0]
        if op == "ConstantOfShape":
            from onnx import numpy_helper

            value = attributes.get("value")
            found = np.zeros(1, np.float32) if value is None else numpy_helper.to_array(value)
            return Filled(found)
        return Shape()

    def _lstm(self, node, args, attributes):
        """Note a layer, and return its outputs."""
        x, W, R, B, lengths, h, c, P = args + [None] * (8 - len(args))
        if not isinstance(x, Flow):
            raise RefusedError("its input does not come from the graph's")
        direction = attributes.get("direction", b"forward").decode()
        D = 1 + (direction == "bidirectional")
        arrays = {"W": W, "R": R, "B": B, "P": P}
        if not all(value is None or isinstance(value, np.ndarray) for value in arrays.values()):
            raise RefusedError("weights that are not constant")
        if W is None or R is None or R.shape != (D, W.shape[1], W.shape[1] // 4):
            raise RefusedError("weights that do not fit one another")
        if [a.decode() for a in attributes.get("activations", [])] not in ([], _ACTIVATIONS * D):
            raise RefusedError("activations other than Sigmoid, Tanh and Tanh")
        if attributes.get("layout", 0):
            raise RefusedError("layout=1, which ONNX Runtime does not have either")
        if lengths is not None and not isinstance(lengths, Lengths):
            raise RefusedError("sequence_lens that are no input of the graph")
        H = R.shape[2]
        arrays |= {"h": initial(h, D, H, "initial_h"), "c": initial(c, D, H, "initial_c")}
        axes = x.axes
        if x.stage == 0 and self._inputs is None and axes == "NTF":
            axes = "TNF"  # X itself, with time in front
        if axes != "TNF" or x.part != "all" or x.head or x.stage != len(self.layers):
            raise RefusedError("its input is not all steps of the layer before, (T, N, F)")
        before = len(self.layers[-1]["arrays"]["W"]) if self.layers else 0
        if x.cells != tuple((x.stage - 1, d) for d in range(before)):
            raise RefusedError("its input is not all directions of the layer before")
        if x.stage == 0:
            self._inputs = replace(x, axes=axes)
        layer = {"arrays": arrays, "direction": direction, "merge": x.merge, "node": node.name}
        layer |= {"lengths": lengths is not None}
        layer |= {"clip": attributes.get("clip"), "coupled": attributes.get("input_forget", 0)}
        self.layers.append(layer)
        flow = Flow("TDNF", x.stage + 1, cells=tuple((x.stage, d) for d in range(D)))
        final = replace(flow, axes="DNF", part="final")
        return [flow, final, Unread(f"Y_c of node {node.name!r}, LSTM: the cells' last values")]

    def flow(self, name: str) -> Flow:
        """Return what an output is.

        Raises
        ------
        ValueError
            If there is no such output, or it is not understood.
        """
        value = self._values.get(name)
        if isinstance(value, Unread):
            raise ValueError(
                f"The output {name!r} depends on what this library's networks have no "
                f"counterpart for: {value.why}."
            )
        if not isinstance(value, Flow) or not value.stage:
            raise ValueError(f"The output {name!r} is not computed by LSTM operators from X.")
        directions = {layer["direction"] for layer in self.layers}
        for names in ("direction", "clip", "coupled", "lengths"):
            found = [layer[names] for layer in self.layers]
            if len(set(found)) > 1:
                nodes = [layer["node"] for layer in self.layers]
                raise ValueError(
                    f"The LSTM nodes {nodes} differ in {names}, {found}; this library's networks "
                    "have one for all layers."
                )
        merges = {layer["merge"] for layer in self.layers[1:]} | {value.merge}
        last = len(self.layers) - 1
        whole = tuple((last, d) for d in range(1 + (directions == {"bidirectional"})))
        edge = {"first": "reverse", "last": "forward"}.get(value.part)
        if value.stage <= last or value.cells != whole or len(merges) > 1 or "D" in value.axes:
            raise ValueError(
                f"The output {name!r} is not that of all directions of the last of {last + 1} "
                "LSTM layers, put together as in the others."
            )
        if value.head and len(value.activations) == len(value.head):
            raise ValueError(
                f"The output {name!r} ends in {value.activations[-1]}; this library's ends in a "
                "linear layer, or in probabilities. Take the output of that layer."
            )
        if edge and directions != {edge}:
            raise ValueError(
                f"The output {name!r} takes the {value.part} step of LSTM layers that read a "
                "sequence the other way, and have not seen it by then. Take Y_h in the graph."
            )
        if self.layers[0]["lengths"] and value.part in ("last", "mean", "max"):
            raise ValueError(
                f"The output {name!r} takes the {value.part} of all steps, with those behind a "
                "sequence's length among them. Take Y_h in the graph, or leave lengths out."
            )
        return value

    def network(self, flow: Flow) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return fields of the layout, and the weights of the LSTM layers."""
        weights: dict[str, np.ndarray] = {}
        sizes = tuple(layer["arrays"]["R"].shape[2] for layer in self.layers)
        there = {
            kind: any(layer["arrays"][kind] is not None for layer in self.layers)
            for kind in "BPhc"
        }
        there["h"] = there["c"] = there["h"] or there["c"]
        for k, layer in enumerate(self.layers):
            arrays, H = layer["arrays"], sizes[k]
            D, dtype = len(arrays["W"]), arrays["W"].dtype
            shapes = {"B": (D, 8 * H), "P": (D, 3 * H), "h": (D, 1, H), "c": (D, 1, H)}
            for kind, shape in shapes.items():
                if there[kind] and arrays[kind] is None:
                    arrays = arrays | {kind: np.zeros(shape, dtype)}
            weights |= from_operator(k, arrays)
        first = self.layers[0]
        direction = first["direction"]
        network = {
            "n_inputs": first["arrays"]["W"].shape[2],
            "hidden_sizes": sizes,
            "direction": {"bidirectional": "both"}.get(direction, direction),
            "merge": flow.merge if direction == "bidirectional" else "concat",
            "bias": there["B"],
            "peephole": there["P"],
            "coupled": bool(first["coupled"]),
            "limit": first["clip"] or np.inf,
            "learned_state": there["h"],
        }
        return network, weights

    def standardisation(self) -> dict[str, np.ndarray]:
        """Return ``input_mean`` and ``input_scale``, if there is anything in front of LSTM.

        Raises
        ------
        ValueError
            If a scale is not positive.
        """
        F = self.layers[0]["arrays"]["W"].shape[2]
        scale, shift = np.ravel(self._inputs.scale), np.ravel(self._inputs.shift)
        if (scale == 1).all() and not shift.any():
            return {}
        if not (np.isfinite(scale) & (scale > 0)).all():
            raise ValueError(
                f"The graph multiplies X by {scale}; this library's scales are positive."
            )
        with np.errstate(divide="ignore"):
            return {
                "input_mean": np.broadcast_to(-shift / scale, F),
                "input_scale": np.broadcast_to(1 / scale, F),
            }
