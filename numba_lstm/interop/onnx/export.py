"""Networks as ONNX models."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from numba_lstm.interop.departure import check_expressible
from numba_lstm.interop.onnx.graph import IR_VERSION, OPSET, Graph, add_head, add_layers

_ABLE = frozenset({
    "hidden_size", "go_backwards", "merge_mode", "residual", "peephole", "coupled_gates",
    "cell_clip", "learn_initial_state", "pooling",
})  # fmt: skip
_FLOATS = {"float32": 1, "float64": 11}  # TensorProto's FLOAT and DOUBLE
_INT64, _INT32 = 7, 6


def to_onnx(estimator: Any, *, lengths: bool = False, dtype: str = "float32") -> Any:
    """Return a fitted estimator as an ONNX model.

    A graph of standard operators, opset 17, for any number of sequences and steps: the
    standardisation of the inputs, LSTM for each layer, pooling, head, and the targets' units
    or the classes. It computes in float32, the one precision in which ONNX Runtime has LSTM,
    also where the estimator has float64.

    Inputs are "X" (N, T, F) and, if asked for, "lengths" (N,) of int32, from 1 to T: what is
    in X behind a sequence's length does not count. Outputs are those of ``predict`` and
    ``predict_proba``, as skl2onnx calls them: "variable" (N,) or (N, K) of a regressor;
    "label" (N,) and "probabilities" (N, n_classes) of a classifier, without ZipMap; with
    ``return_sequences`` with T behind N, and what stands behind a sequence's length has no
    meaning. Labels are strings, numbers or bool; with several labels for each sequence 0 and
    1, (N, n_classes).

    Parameters
    ----------
    estimator : LSTMRegressor or LSTMClassifier
        Fitted, without ``proj_size``, ``layer_norm``, zoneout, ``missing="mask"`` and times,
        for which the operator has no place.
    lengths : bool, default=False
        Whether sequences may be of different lengths.
    dtype : {"float32", "float64"}, default="float32"
        Of X, "variable" and "probabilities", and of the arithmetic that scales them. Where
        the mean of a feature or of a target is large beside its standard deviation, float32
        loses digits that float64 keeps.

    Returns
    -------
    onnx.ModelProto
        The model, checked by ``onnx.checker``; ``onnx.save(model, path)`` writes it.

    Raises
    ------
    ValueError
        If the network has what the operator has not (the message lists it), or float32 cannot
        hold its weights or its standardisation.
    ImportError
        If onnx is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_lstm import LSTMRegressor, to_onnx
    >>> X = np.random.default_rng(0).normal(size=(20, 5, 2))
    >>> model = to_onnx(LSTMRegressor(4, max_iter=1).fit(X, X[:, 0, 0]))
    >>> [node.op_type for node in model.graph.node][:4]
    ['Sub', 'Div', 'Transpose', 'LSTM']
    """
    import_onnx()
    if dtype not in _FLOATS:
        raise ValueError(f"dtype={dtype!r}: X may be 'float32' or 'float64'.")
    check_expressible(estimator, _ABLE, "ONNX's operator LSTM")
    layout, targets = estimator._layout, estimator._targets
    graph = Graph(bool(lengths))
    x = _scale(graph, estimator, np.dtype(dtype))
    named = estimator.parameters_
    with np.errstate(over="ignore"):  # which is refused below
        rows = add_layers(graph, layout, named, x, targets.per_step)
        out = add_head(graph, layout, named, rows)
    if targets.per_step:
        out = graph.add("Transpose", out, perm=[1, 0, 2])
    decode = _add_values if targets.classes is None else _add_classes
    outputs = decode(graph, estimator, out, np.dtype(dtype))
    wrong = [name for name, array in graph.arrays.items() if not _is_finite(array)]
    if wrong:
        raise ValueError(
            f"float32, in which ONNX Runtime computes, or the {dtype} of X, cannot hold {wrong}. "
            "Scale the data beforehand, or use dtype='float64' for the standardisation."
        )
    return _model(graph, estimator, outputs, dtype)


def import_onnx() -> Any:
    """Return the package onnx, or say how to get it."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            'ONNX models need the package onnx: pip install "numba-lstm[onnx]".'
        ) from error
    return onnx


def _is_finite(array):
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def _scale(graph, estimator, dtype):
    """Append the standardisation of X, and the order of axes that LSTM has."""
    x, mean, scale = "X", estimator.input_mean_, estimator.input_scale_
    if mean.any() or (scale != 1).any():
        with np.errstate(over="ignore", under="ignore"):
            mean, scale = mean.astype(dtype), scale.astype(dtype)
        # What rounds to 0 is refused with what rounds to infinity.
        scale[scale == 0] = np.inf
        x = graph.add("Sub", x, graph.array("input_mean", mean, dtype))
        x = graph.add("Div", x, graph.array("input_scale", scale, dtype))
    if dtype == np.float64:
        x = graph.add("Cast", x, to=_FLOATS["float32"])
    return graph.add("Transpose", x, perm=[1, 0, 2])


def _add_values(graph, estimator, out, dtype):
    """Append the targets' units; return outputs with their types and last axes."""
    mean, scale = estimator.target_mean_, estimator.target_scale_
    if dtype == np.float64:
        out = graph.add("Cast", out, to=_FLOATS["float64"])
    if mean.any() or (scale != 1).any():
        with np.errstate(over="ignore"):
            out = graph.add("Mul", out, graph.array("target_scale", scale, dtype))
            out = graph.add("Add", out, graph.array("target_mean", mean, dtype))
    if estimator._targets.has_columns:
        graph.add("Identity", out, out="variable")
        return [("variable", _FLOATS[dtype.name], [len(mean)])]
    graph.add("Squeeze", out, graph.axes(-1), out="variable")
    return [("variable", _FLOATS[dtype.name], [])]


def _add_classes(graph, estimator, out, dtype):
    """Append labels and probabilities; return outputs with their types and last axes."""
    targets, n_classes = estimator._targets, len(estimator.classes_)
    number, name = _FLOATS[dtype.name], "probabilities"
    if dtype == np.float64:
        out = graph.add("Cast", out, to=number)
    if targets.multilabel or targets.n_outputs == 1:
        zero = graph.array("nothing", 0.0, dtype)
    if targets.multilabel:
        graph.add("Cast", graph.add("Greater", out, zero), to=_INT64, out="label")
        graph.add("Sigmoid", out, out=name)
        return [("label", _INT64, [n_classes]), (name, number, [n_classes])]
    if targets.n_outputs == 1:
        first = graph.add("Sigmoid", graph.add("Neg", out))
        graph.add("Concat", first, graph.add("Sigmoid", out), axis=-1, out=name)
        index = graph.add("Cast", graph.add("Greater", out, zero), to=_INT64)
        index = graph.add("Squeeze", index, graph.axes(-1))
    else:
        graph.add("Softmax", out, axis=-1, out=name)
        index = graph.add("ArgMax", out, axis=-1, keepdims=0)
    classes, kind = _labels(estimator.classes_)
    graph.add("Gather", graph.array("classes", classes, classes.dtype), index, out="label")
    return [("label", kind, []), (name, number, [n_classes])]


def _labels(classes):
    """Return labels of a type that ONNX has, and its number there."""
    kinds = {"i": (np.int64, _INT64), "u": (np.int64, _INT64), "b": (bool, 9), "f": (float, 11)}
    text = classes.dtype.kind == "U" or all(isinstance(label, str) for label in classes)
    if text:
        return classes.astype(object), 8
    dtype, kind = kinds.get(classes.dtype.kind, (None, None))
    if dtype is None or (classes.astype(dtype) != classes).any():
        raise ValueError(
            f"The labels {classes.tolist()} are no strings, 64-bit integers, float64 or bool, "
            "which are what ONNX has."
        )
    return classes.astype(dtype), kind


def _model(graph, estimator, outputs, dtype):
    onnx = import_onnx()
    helper, layout, targets = onnx.helper, estimator._layout, estimator._targets
    inputs = [helper.make_tensor_value_info("X", _FLOATS[dtype], ["N", "T", estimator._n_inputs])]
    if graph.has_lengths:
        inputs.append(helper.make_tensor_value_info("lengths", _INT32, ["N"]))
    batch = ["N", "T"] if targets.per_step else ["N"]
    name = type(estimator).__name__
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            name,
            inputs,
            [helper.make_tensor_value_info(name, kind, batch + to) for name, kind, to in outputs],
            [onnx.numpy_helper.from_array(array, name) for name, array in graph.arrays.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="numba_lstm",
    )
    about = layout._asdict() | {"limit": layout.limit if np.isfinite(layout.limit) else None}
    about = {
        "layout": about,
        "lengths": graph.has_lengths,
        "dtype": dtype,
        "per_step": targets.per_step,
        "has_columns": targets.has_columns,
        "multilabel": targets.multilabel,
    }
    helper.set_model_props(model, {"numba_lstm": json.dumps(about)})
    onnx.checker.check_model(model, full_check=True)
    return model
