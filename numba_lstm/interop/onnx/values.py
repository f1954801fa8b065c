"""What values of an ONNX graph may be beside a stage of the network, and constants among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from numba_lstm.interop.onnx.flow import RefusedError


@dataclass(frozen=True)
class Filled:
    """An array, as often as a shape has it that the inputs decide."""

    array: np.ndarray


class Shape:
    """Numbers that follow from the shapes of the inputs."""


class Lengths:
    """An input of integers: how long the sequences are."""


@dataclass(frozen=True)
class Unread:
    """A value that was not understood, and why."""

    why: str


def fold(node: Any, args: list[np.ndarray | None], opsets: Any) -> np.ndarray:
    """Compute a node all of whose inputs are known, as ONNX's reference does."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    feeds = {name: arg for name, arg in zip(node.input, args, strict=True) if arg is not None}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in feeds.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(node.output[0])]
    graph = helper.make_graph([node], "constant", inputs, outputs)
    model = helper.make_model(graph, opset_imports=opsets)
    try:
        results: Any = ReferenceEvaluator(model).run(None, feeds)
    except Exception as error:  # whatever an operator may raise
        raise RefusedError(f"constants that cannot be computed ({error})") from error
    return np.asarray(results[0])


def initial(value: Any, D: int, H: int, name: str) -> np.ndarray | None:
    """Return an initial state (D, 1, H), None if it is 0."""
    if value is None:
        return None
    array = value.array if isinstance(value, Filled) else value
    if not isinstance(array, np.ndarray):
        raise RefusedError(f"{name} that is not constant")
    array = array.reshape((1,) * (3 - array.ndim) + array.shape) if array.ndim < 3 else array
    if (array != array[:, :1]).any():
        raise RefusedError(f"{name} that differs between sequences")
    return np.broadcast_to(array[:, :1], (D, 1, H)) if array.any() else None
