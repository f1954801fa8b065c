"""What becomes of X on its way through an ONNX graph: its axes, tracked by letters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Flow:
    """What becomes of X.

    Attributes
    ----------
    axes : str
        N sequences, T steps, t one step of these, D directions, F numbers.
    stage : int
        LSTM layers behind it.
    part : str
        What of these layers' steps: "all", "last", "first", "final" (states), "mean", "max".
    cells : tuple of pairs of int
        Layer and direction of the cells whose outputs these are, along D, or F.
    merge : str
        What was made of two directions.
    head, activations : tuple
        Linear layers (K, width) and (K,), and what follows them.
    decode : str
        "softmax" or "sigmoid", at the end.
    scale, shift : ndarray
        Of inputs, what they are multiplied by, and then what is added.
    """

    axes: str
    stage: int = 0
    part: str = "all"
    cells: tuple[tuple[int, int], ...] = ()
    merge: str = "concat"
    head: tuple[Any, ...] = ()
    activations: tuple[str, ...] = ()
    decode: str = ""
    scale: Any = 1.0
    shift: Any = 0.0


class RefusedError(Exception):
    """A node that has no counterpart."""


def _need(condition, why):
    if not condition:
        raise RefusedError(why)


def _letter(flow, axis):
    _need(-len(flow.axes) <= axis < len(flow.axes), "an axis that there is not")
    return flow.axes[axis]


def _constant(args, k, default=None):
    """Return a constant input, which some versions of an operator have as an attribute."""
    value = args[k] if len(args) > k and args[k] is not None else default
    _need(value is None or isinstance(value, np.ndarray), "an input that is not constant")
    return value


def _integers(args, k, attributes, name):
    value = _constant(args, k)
    value = attributes.get(name) if value is None else value
    return None if value is None else [int(v) for v in np.ravel(value)]


def _transpose(flow, args, attributes):
    order = attributes.get("perm", range(len(flow.axes))[::-1])
    return replace(flow, axes="".join(flow.axes[k] for k in order))


def _squeeze(flow, args, attributes):
    axes = _integers(args, 1, attributes, "axes")
    _need(axes is not None, "axes that are left to be found")
    letters = {_letter(flow, axis) for axis in axes}
    one = {"t", "D"} if len(flow.cells) == 1 else {"t"}
    if flow.head and len(flow.head[-1][0]) == 1:
        one |= {"F"}
    _need(letters <= one, "an axis that may be longer than 1")
    return replace(flow, axes="".join(a for a in flow.axes if a not in letters))


def _reshape(flow, args, attributes):
    shape = _integers(args, 1, attributes, "shape")
    _need(flow.axes.endswith("DF") and shape is not None, "other axes than directions and units")
    *rest, last = shape
    _need(len(rest) == len(flow.axes) - 2 and set(rest) <= {0, -1}, f"the shape {shape}")
    _need(last > 0 or (last == -1 and -1 not in rest), f"the shape {shape}")
    return replace(flow, axes=flow.axes.replace("DF", "F"))


def _step(flow, first):
    _need(flow.part == "all" and flow.stage > 0, "one step of what has no steps")
    return {"part": "first" if first else "last"}


def _gather(flow, args, attributes):
    index = _constant(args, 1)
    letter = _letter(flow, attributes.get("axis", 0))
    _need(index.size == 1 and letter in "TD", "other than one step or one direction")
    k, kept = int(index.reshape(-1)[0]), index.ndim > 0
    if letter == "T":
        _need(k in (0, -1), f"step {k}")
        return replace(flow, axes=flow.axes.replace("T", "t" * kept), **_step(flow, k == 0))
    _need(-len(flow.cells) <= k < len(flow.cells), f"direction {k}")
    return replace(flow, axes=flow.axes.replace("D", "D" * kept), cells=(flow.cells[k],))


def _slice(flow, args, attributes):
    starts, ends = (_integers(args, k, attributes, n) for k, n in ((1, "starts"), (2, "ends")))
    axes = _integers(args, 3, attributes, "axes") or list(range(len(starts or [])))
    steps = _integers(args, 4, attributes, "steps") or [1]
    _need(starts and ends and len(axes) == 1 and steps == [1], "more than a slice of one axis")
    letter, start, end = _letter(flow, axes[0]), starts[0], ends[0]
    if letter == "D":
        cells = flow.cells[slice(start, end)]
        _need(cells, "no direction")
        return replace(flow, cells=cells)
    first = (start, end) == (0, 1)
    _need(letter == "T" and (first or (start == -1 and end > 2**30)), f"{start} to {end}")
    return replace(flow, axes=flow.axes.replace("T", "t"), **_step(flow, first))


def _reduce(kind):
    def reduce(flow, args, attributes):
        axes = _integers(args, 1, attributes, "axes")
        _need(axes is not None and len(axes) == 1, "other than one axis")
        letter, kept = _letter(flow, axes[0]), attributes.get("keepdims", 1)
        if letter == "D" and not kept and kind != "max":
            return replace(flow, axes=flow.axes.replace("D", ""), merge=kind)
        _need(letter == "T" and kind != "sum" and flow.part == "all" and flow.stage, "this axis")
        return replace(flow, axes=flow.axes.replace("T", "t" if kept else ""), part=kind)

    return reduce


def _linear(flow, W, b):
    _need(W.ndim == 2 and flow.axes.endswith("F") and flow.stage > 0, "other axes than the last")
    _need("D" not in flow.axes and "t" not in flow.axes, "directions or a step beside the units")
    _need(len(flow.activations) == len(flow.head), "no activation between two linear layers")
    _need(not flow.decode, "probabilities")
    return replace(flow, head=(*flow.head, (W, b)))


def _matmul(flow, args, attributes):
    _need(isinstance(args[0], Flow), "weights in front")
    return _linear(flow, _constant(args, 1).T, None)


def _gemm(flow, args, attributes):
    _need(isinstance(args[0], Flow) and not attributes.get("transA", 0), "weights in front")
    W, c = _constant(args, 1), _constant(args, 2)
    W = (W if attributes.get("transB", 0) else W.T) * W.dtype.type(attributes.get("alpha", 1.0))
    b = None
    if c is not None:
        b = np.broadcast_to(np.ravel(c), len(W)) * c.dtype.type(attributes.get("beta", 1.0))
    return _linear(flow, W, b)


def _affine(op):
    def affine(flow, args, attributes):
        _need(all(isinstance(a, Flow | np.ndarray) for a in args), "two parts of the network")
        _need(sum(isinstance(a, Flow) for a in args) == 1, "two parts of the network")
        first = isinstance(args[0], Flow)
        _need(first or op in ("Add", "Mul"), "a constant less this, or divided by it")
        c = np.asarray(args[1] if first else args[0], np.float64)
        _need(c.size in (1, c.shape[-1] if c.ndim else 1), f"an array of shape {c.shape}")
        a, b = {"Add": (1.0, c), "Sub": (1.0, -c), "Mul": (c, 0.0), "Div": (1 / c, 0.0)}[op]
        a, b = np.ravel(a), np.ravel(b)
        _need(flow.axes.endswith("F") or c.size == 1, "other axes than the last")
        if flow.stage == 0:
            return replace(flow, scale=a * flow.scale, shift=a * flow.shift + b)
        _need(
            flow.head and len(flow.activations) < len(flow.head) and not flow.decode,
            "what is not behind a linear layer",
        )
        *before, (W, bias) = flow.head
        _need(len(b) in (1, len(W)) and len(a) in (1, len(W)), f"an array of shape {c.shape}")
        bias = np.zeros(len(W), W.dtype) if bias is None else bias
        # Ones and zeros leave the others as they were, to the bit.
        last = (W * a[:, np.newaxis]).astype(W.dtype), (bias * a + b).astype(bias.dtype)
        return replace(flow, head=(*before, last))

    return affine


def _activation(name):
    def activation(flow, args, attributes):
        _need(len(flow.head) == 1 and not flow.activations, "other than the head's hidden layer")
        return replace(flow, activations=(name,))

    return activation


def _probabilities(name):
    def probabilities(flow, args, attributes):
        axis = attributes.get("axis", -1) % len(flow.axes)
        last = axis == len(flow.axes) - 1 and flow.axes.endswith("F")
        _need(name == "sigmoid" or last, "another axis than the last")
        _need(flow.head and len(flow.activations) < len(flow.head), "what is no linear layer's")
        _need(not flow.decode, "probabilities")
        return replace(flow, decode=name)

    return probabilities


def concatenate(flows: list[Flow], axis: int) -> Flow:
    """Return final states side by side, along their directions or their units."""
    first = flows[0]
    _need(all(f.axes == first.axes and f.part == "final" for f in flows), "other than states")
    _need(not any(f.head or f.merge != "concat" for f in flows), "other than states")
    _need(_letter(first, axis) in "DF", "sequences")
    cells = tuple(cell for flow in flows for cell in flow.cells)
    return replace(first, cells=cells, stage=max(flow.stage for flow in flows))


def _same(flow, args, attributes):
    return flow


def _unsqueeze(flow, args, attributes):
    axes = _integers(args, 1, attributes, "axes")
    _need(flow.axes == "NT" and axes in ([2], [-1]), "other than a series of numbers")
    return replace(flow, axes="NTF")


# What nodes make of a Flow: functions of it, of all inputs (None, array, Flow, ...), and of
# the attributes.
OPERATORS = {
    "Identity": _same,
    "Dropout": _same,
    "Cast": _same,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Gather": _gather,
    "Slice": _slice,
    "ReduceMean": _reduce("mean"),
    "ReduceSum": _reduce("sum"),
    "ReduceMax": _reduce("max"),
    "MatMul": _matmul,
    "Gemm": _gemm,
    **{op: _affine(op) for op in ("Add", "Sub", "Mul", "Div")},
    "Relu": _activation("relu"),
    "Tanh": _activation("tanh"),
    "Softmax": _probabilities("softmax"),
    "Sigmoid": _probabilities("sigmoid"),
}
