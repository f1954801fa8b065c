"""A fitted estimator of weights that another library trained."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from numba_lstm.interop.numpy_predictor import STANDARDISATION
from numba_lstm.parameters import Layout


class Asked(NamedTuple):
    """What weights do not tell, and whoever brings them has to say.

    Attributes
    ----------
    return_sequences : bool
        Whether there is an output for every time step.
    pooling : {"last", "mean", "max"}
        What the head sees of a sequence otherwise.
    head_activation : {"relu", "tanh"} or None
        What lies between two layers of the head.
    classes : array-like of shape (n_classes,) or None
        Labels, in the order of the outputs; None for a regression.
    multilabel : bool
        Whether the outputs are labels that do not exclude one another.
    input_mean, input_scale : array-like of shape (F,) or None
        Standardisation of the inputs.
    target_mean, target_scale : array-like of shape (K,) or None
        Standardisation of the targets.
    dtype : {"float32", "float64"} or None
        Precision of the network; None for that of the weights.
    """

    return_sequences: bool = False
    pooling: str = "last"
    head_activation: str | None = None
    classes: Any = None
    multilabel: bool = False
    input_mean: Any = None
    input_scale: Any = None
    target_mean: Any = None
    target_scale: Any = None
    dtype: Any = None


def estimator_of(
    network: dict[str, Any],
    weights: dict[str, np.ndarray],
    head: list[tuple[np.ndarray, np.ndarray | None]],
    asked: Asked,
    parameters: dict[str, Any],
) -> Any:
    """Return a fitted estimator of weights that were trained elsewhere.

    Parameters
    ----------
    network : dict
        Fields of :class:`Layout`, without those of the head.
    weights : dict of str to ndarray
        Of the LSTM layers, under the names and in the shapes of :meth:`Layout.named`.
    head : list of pairs of ndarray
        Weights (K, width) and biases (K,) or None of the linear layers behind them: two, one,
        or none, where the hidden state itself is what is predicted.
    asked : Asked
        The rest of the network.
    parameters : dict
        Further parameters of the estimator.

    Returns
    -------
    LSTMRegressor or LSTMClassifier
        The estimator.

    Raises
    ------
    ValueError
        If the weights do not fit one another or what was asked, or a parameter has a value
        that it cannot have.
    TypeError
        If there is no such parameter.
    """
    from numba_lstm.estimators.classifier import LSTMClassifier
    from numba_lstm.estimators.regressor import LSTMRegressor
    from numba_lstm.interop.assembly import architecture_of, assemble, theta_of

    if asked.pooling == "attention":
        raise ValueError(
            "pooling='attention' has weights of its own, which were not given. Use 'last', 'mean' "
            "or 'max'."
        )
    stack = Layout(n_outputs=1, pooling=asked.pooling, **network)
    weights = weights | _head(head, stack.widths[-1], asked)
    targets, weights = _targets(weights, bool(head), asked)
    if len(head) > 1:
        network = network | {"head_size": len(weights["head_hidden_bias"])}
        network["head_activation"] = asked.head_activation
    layout = Layout(n_outputs=targets.n_outputs, pooling=asked.pooling, **network)
    dtype = np.dtype(np.result_type(*weights.values(), np.float32))
    kind: Any = LSTMRegressor if targets.classes is None else LSTMClassifier
    standardisation = {name: getattr(asked, name) for name in STANDARDISATION}
    standardised = any(value is not None for value in standardisation.values())
    usual: dict[str, Any] = {"dtype": asked.dtype or dtype.name, "standardize": standardised}
    estimator = kind(**architecture_of(layout, targets.per_step), **(usual | parameters))
    chosen = checked_dtype(estimator, layout)
    theta = theta_of(layout, weights, chosen)
    return assemble(estimator, layout, theta, targets, **standardisation)


def checked_dtype(estimator: Any, layout: Layout) -> np.dtype:
    """Check an estimator's parameters, and that they ask for a layout; return its dtype."""
    from numba_lstm.estimators.checks import check_parameters

    dtype = check_parameters(estimator, False)
    if estimator.missing != "error":
        raise ValueError(
            f"missing={estimator.missing!r} needs inputs that tell what is missing, which a "
            "network of other origin has not. Leave it out."
        )
    if estimator._make_layout(layout.n_inputs, layout.n_outputs) != layout:
        raise ValueError(
            "The parameters ask for another network than the weights make. Leave out those that "
            f"describe it: the weights are of {layout}."
        )
    return dtype


def _head(head, width, asked):
    """Bring the linear layers under this library's names."""
    if not head:
        as_it_is = np.eye(width, dtype=np.float32)
        return {"head_weight": as_it_is, "head_bias": np.zeros_like(as_it_is[0])}
    if len(head) > 2:
        raise ValueError(
            f"The head has {len(head)} linear layers; this library's has one, or two with an "
            "activation between them."
        )
    if len(head) == 2 and asked.head_activation not in ("relu", "tanh"):
        raise ValueError(
            "The head has two linear layers, whose weights do not tell what lies between them. "
            f"Pass head_activation='relu' or 'tanh'; got {asked.head_activation!r}."
        )
    named = {}
    for prefix, (W, b) in zip(("head_hidden", "head")[-len(head) :], head, strict=True):
        if W.ndim != 2 or W.shape[1] != width or (b is not None and b.shape != (len(W),)):
            raise ValueError(
                f"A linear layer of the head has weights {W.shape} and biases "
                f"{None if b is None else b.shape}; behind {width} numbers it has (K, {width}) "
                "and (K,)."
            )
        bias = np.zeros(len(W), W.dtype) if b is None else b
        named |= {f"{prefix}_weight": W, f"{prefix}_bias": bias}
        width = len(W)
    return named


def _targets(weights, has_head, asked):
    """Return what is predicted, and the weights, of two classes with one output for both."""
    from numba_lstm.estimators.targets import Targets

    K, per_step = len(weights["head_bias"]), bool(asked.return_sequences)
    if asked.classes is None and not asked.multilabel:
        return Targets(None, K, K > 1 or not has_head, per_step), weights
    if asked.target_mean is not None or asked.target_scale is not None:
        raise ValueError(
            "target_mean and target_scale are for a regression, and classes or multilabel make a "
            "classification. Leave them out."
        )
    if asked.multilabel:
        if asked.classes is not None and not np.array_equal(asked.classes, np.arange(K)):
            raise ValueError(
                f"classes={asked.classes!r}: with multilabel=True labels are the numbers of the "
                f"outputs, 0 to {K - 1}. Leave classes out."
            )
        return Targets(None, K, True, per_step, np.arange(K), multilabel=True), weights
    classes = np.asarray(asked.classes)
    if classes.ndim != 1 or len(classes) < 2 or len(classes) != max(K, 2):
        raise ValueError(
            f"classes has shape {classes.shape}, but the head has {K} outputs: pass "
            f"{max(K, 2)} labels{', the second of which is that of the output' * (K == 1)}."
        )
    order = np.argsort(classes, kind="stable")
    if (classes[order][1:] == classes[order][:-1]).any():
        raise ValueError(f"classes={classes.tolist()} names a label twice.")
    W, b = weights["head_weight"], weights["head_bias"]
    if K == 1:
        if order[0]:
            weights = weights | {"head_weight": -W, "head_bias": -b}
    else:
        W, b = W[order], b[order]
        if K == 2:  # softmax of two is the logistic function of what lies between them
            W, b = W[1:] - W[:1], b[1:] - b[:1]
        weights = weights | {"head_weight": W, "head_bias": b}
    return Targets(None, 1 if len(classes) == 2 else K, False, per_step, classes[order]), weights
