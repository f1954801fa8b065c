"""ONNX models as estimators."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from numba_lstm.interop.arrival import Asked, checked_dtype, estimator_of
from numba_lstm.interop.onnx.export import import_onnx, to_onnx
from numba_lstm.interop.onnx.walk import Walk
from numba_lstm.interop.onnx.weights import from_operator
from numba_lstm.parameters import Layout


def from_onnx(
    model: Any,
    *,
    output: str | None = None,
    classes: Any = None,
    multilabel: bool = False,
    dtype: Any = None,
    **parameters: Any,
) -> Any:
    """Make a fitted estimator of an ONNX model with LSTM operators.

    What :func:`to_onnx` wrote comes back as it was, in float32. Of other models a chain is
    understood: standardisation by constants; LSTM nodes, uni- or bidirectional, with constant
    weights and initial states that are constant and the same for all sequences; then the last
    step, the final states, the mean or the maximum over time, or all steps; up to two linear
    layers (Gemm, or MatMul and Add) with Relu or Tanh between them; Softmax or Sigmoid.
    PyTorch's exporter writes such models.

    Parameters
    ----------
    model : str, path, bytes or onnx.ModelProto
        The model, or where it is.
    output : str, default=None
        Which output of the graph to predict; None is the first.
    classes : array-like of shape (n_classes,), default=None
        Labels in the order of the outputs; where the graph ends in Softmax or Sigmoid 0, 1
        and so on, if None. Of two outputs the difference is kept.
    multilabel : bool, default=False
        Whether the outputs are logits of labels that do not exclude one another.
    dtype : {"float32", "float64"}, default=None
        Precision of the network; None for that of the weights.
    **parameters
        Further parameters of the estimator, for training that goes on with ``partial_fit`` or
        ``warm_start=True``.

    Returns
    -------
    LSTMRegressor or LSTMClassifier
        Fitted; predictions have an axis for K > 1 outputs, and those of a regression are in
        the graph's units. X is (N, T, F) also where the graph takes (T, N, F).

    Raises
    ------
    ValueError
        If the output depends on a node that is not understood, which the message names, or on
        layers that this library's network does not have side by side.
    TypeError
        If it is neither a model nor a file's name.
    onnx.checker.ValidationError
        If it is no ONNX model.
    ImportError
        If onnx is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_lstm import LSTMRegressor, from_onnx, to_onnx
    >>> X = np.random.default_rng(0).normal(size=(20, 5, 2))
    >>> model = LSTMRegressor(4, max_iter=1).fit(X, X[:, 0, 0])
    >>> bool(np.allclose(from_onnx(to_onnx(model)).predict(X), model.predict(X), atol=1e-6))
    True
    """
    onnx = import_onnx()
    from google.protobuf.message import DecodeError  # which onnx brings

    if isinstance(model, bytes | str | os.PathLike):
        read = onnx.load_model_from_string if isinstance(model, bytes) else onnx.load
        try:
            model = read(model)
        except DecodeError as error:
            name = "What was passed" if isinstance(model, bytes) else model
            raise ValueError(f"{name} is no ONNX model, or is damaged: {error}") from error
    elif not isinstance(model, onnx.ModelProto):
        raise TypeError(
            "Pass an onnx.ModelProto, its bytes, or the name of a file; got "
            f"{type(model).__name__}."
        )
    onnx.checker.check_model(model)
    if output is None and classes is None and not multilabel:
        estimator = _read_own(onnx, model, dtype, parameters)
        if estimator is not None:
            return estimator
    walk = Walk(model)
    flow = walk.flow(output or model.graph.output[0].name)
    network, weights = walk.network(flow)
    K = len(flow.head[-1][0]) if flow.head else 0
    if flow.decode == "softmax" and (multilabel or K < 2):
        raise ValueError(
            f"The graph ends in Softmax of {K} outputs: classes, two at least, that exclude one "
            "another. Leave multilabel out, or name the output in front of it."
        )
    if flow.decode == "sigmoid" and K > 1:
        multilabel = True
    elif flow.decode and classes is None and not multilabel:
        classes = np.arange(max(K, 2))
    asked = Asked(
        return_sequences=flow.part == "all",
        pooling=flow.part if flow.part in ("mean", "max") else "last",
        head_activation=flow.activations[0] if flow.activations else None,
        classes=classes,
        multilabel=multilabel,
        dtype=dtype,
        **walk.standardisation(),
    )
    return estimator_of(network, weights, list(flow.head), asked, parameters)


def _read_own(onnx, model, dtype, parameters):
    """Read a model of this library's, which it is if written again it is the same."""
    about = {prop.key: prop.value for prop in model.metadata_props}.get("numba_lstm")
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    if about is None:
        return None
    try:
        about = json.loads(about)
        estimator = _assemble(about, arrays, dtype, {})
        again = to_onnx(estimator, lengths=about["lengths"], dtype=about["dtype"])
    except (ValueError, LookupError, TypeError, AttributeError, MemoryError):
        return None  # somebody else's graph by now; what it is the general way says
    written = {t.name: onnx.numpy_helper.to_array(t) for t in again.graph.initializer}
    same = written.keys() == arrays.keys() and all(
        np.array_equal(written[name], arrays[name]) for name in arrays
    )
    if not same or list(again.graph.node) != list(model.graph.node):
        return None
    return _assemble(about, arrays, dtype, parameters)


def _assemble(about, arrays, dtype, parameters):
    """Make an estimator of what to_onnx noted beside the graph, and of its initialisers."""
    from numba_lstm.estimators.classifier import LSTMClassifier
    from numba_lstm.estimators.regressor import LSTMRegressor
    from numba_lstm.estimators.targets import Targets
    from numba_lstm.interop.assembly import architecture_of, assemble, theta_of
    from numba_lstm.interop.numpy_predictor import STANDARDISATION

    fields = about["layout"]
    fields |= {name: tuple(fields[name]) for name in ("hidden_sizes", "zoneout")}
    fields["limit"] = np.inf if fields["limit"] is None else fields["limit"]
    layout = Layout(**fields)
    weights = {}
    for layer in range(len(layout.hidden_sizes)):
        weights |= from_operator(layer, {kind: arrays.get(f"{kind}_{layer}") for kind in "WRBPhc"})
    for name in ("attention_weight", "head_hidden_weight", "head_weight"):
        if name in arrays:
            weights[name] = arrays[name].T
    for name in ("attention_bias", "head_hidden_bias", "head_bias"):
        if name in arrays:
            weights[name] = arrays[name]
    if "attention_query" in arrays:
        weights["attention_query"] = arrays["attention_query"][:, 0]
    classes = arrays.get("classes")
    if about["multilabel"]:
        classes = np.arange(layout.n_outputs)
    elif classes is not None and classes.dtype.kind in "OS":
        classes = np.array([str(label) for label in classes])
    targets = Targets(
        *(None, layout.n_outputs, about["has_columns"], about["per_step"], classes),
        multilabel=about["multilabel"],
    )
    names = STANDARDISATION
    kind: Any = LSTMRegressor if classes is None else LSTMClassifier
    usual = {"dtype": dtype or "float32", "standardize": any(name in arrays for name in names)}
    estimator = kind(**architecture_of(layout, targets.per_step), **(usual | parameters))
    theta = theta_of(layout, weights, checked_dtype(estimator, layout))
    return assemble(
        estimator, layout, theta, targets, **{name: arrays.get(name) for name in names}
    )
