"""What a fitted network has that another library has not, and weights that suit it."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from numba_lstm.parameters import Layout


def hindrances(estimator: Any, able: frozenset[str]) -> list[str]:
    """List what a fitted network has and another library does not.

    Parameters
    ----------
    estimator : LSTMRegressor or LSTMClassifier
        Fitted.
    able : frozenset of str
        Names of parameters, of those below, that may have any value.

    Returns
    -------
    list of str
        The parameters and their values.
    """
    layout: Layout = estimator._layout
    found = {
        "hidden_size": (list(layout.hidden_sizes), len(set(layout.hidden_sizes)) > 1),
        "go_backwards": (True, layout.direction == "reverse"),
        "merge_mode": (layout.merge, layout.direction == "both" and layout.merge != "concat"),
        "residual": (True, layout.residual),
        "proj_size": (layout.proj_size, layout.proj_size > 0),
        "layer_norm": (True, layout.norm),
        "peephole": (True, layout.peephole),
        "coupled_gates": (True, layout.coupled),
        "cell_clip": (layout.limit, layout.limit < np.inf),
        "learn_initial_state": (True, layout.learned_state),
        "pooling": (layout.pooling, layout.pooling == "attention"),
        "zoneout_hidden": (layout.zoneout[0], layout.zoneout[0] > 0),
        "zoneout_cell": (layout.zoneout[1], layout.zoneout[1] > 0),
        "missing": ("mask", estimator._masks),
    }
    hinder = [f"{k}={v!r}" for k, (v, there) in found.items() if there and k not in able]
    return hinder + ["times in fit"] * layout.decays


def check_expressible(estimator: Any, able: frozenset[str], place: str) -> None:
    """Refuse an estimator that is not fitted, or has what ``place`` cannot hold."""
    if not hasattr(estimator, "_make_layout"):
        raise TypeError(
            f"Pass a fitted LSTMRegressor or LSTMClassifier; got {type(estimator).__name__}."
        )
    check_is_fitted(estimator)
    hinder = hindrances(estimator, able)
    if hinder:
        raise ValueError(
            f"{place} cannot hold this network, fitted with {', '.join(hinder)}. Fit one without."
        )


def folded(estimator: Any, fold: bool) -> dict[str, np.ndarray]:
    """Return copies of the weights with the standardisation in them.

    W_x and b take over that of the inputs, the head that of the targets, computed in
    float64. A network without biases gets some, where it needs them for that.

    Parameters
    ----------
    estimator : LSTMRegressor or LSTMClassifier
        Fitted, without layer normalisation.
    fold : bool
        Whether to, or to return the weights as they are.

    Returns
    -------
    dict of str to ndarray
        Under the names of ``parameters_``, in the estimator's dtype.

    Raises
    ------
    ValueError
        If the dtype cannot hold the result, or would lose three digits and more by it: where a
        mean is large beside its scale.
    """
    weights = {name: view.copy() for name, view in estimator.parameters_.items()}
    if not fold:
        return weights
    dtype = estimator.theta_.dtype
    for name in ("input", "target"):
        ratio = np.abs(getattr(estimator, f"{name}_mean_") / getattr(estimator, f"{name}_scale_"))
        if ratio.max() * np.finfo(dtype).eps > 1e-3:
            raise ValueError(
                f"{name}_mean_ is up to {ratio.max():.3g} times {name}_scale_, which in {dtype} "
                "leaves few digits for what matters, were it part of the weights. Use fold=False "
                f"and standardise beside the network, by {name}_mean_ and {name}_scale_, or "
                "dtype='float64'."
            )
    mean, scale = estimator.input_mean_, estimator.input_scale_
    first = [name.removeprefix("weight_ih") for name in weights if name.startswith("weight_ih_l0")]
    cells = [name.removeprefix("weight_ih") for name in weights if name.startswith("weight_ih")]
    with np.errstate(over="ignore"):
        for name in cells if mean.any() else []:
            weights.setdefault(f"bias{name}", np.zeros(len(weights[f"weight_ih{name}"]), dtype))
        for name in first if mean.any() or (scale != 1).any() else []:
            W = weights[f"weight_ih{name}"] / scale
            weights[f"weight_ih{name}"] = W.astype(dtype)
            if mean.any():
                weights[f"bias{name}"] = (weights[f"bias{name}"] - W @ mean).astype(dtype)
        if estimator._targets.classes is None:
            mean, scale = estimator.target_mean_, estimator.target_scale_
            if mean.any() or (scale != 1).any():
                W, b = weights["head_weight"], weights["head_bias"]
                weights["head_weight"] = (W * scale[:, np.newaxis]).astype(dtype)
                weights["head_bias"] = (b * scale + mean).astype(dtype)
    wrong = [name for name, value in weights.items() if not np.isfinite(value).all()]
    if wrong:
        raise ValueError(
            f"With the standardisation in them {wrong} are more than {dtype} holds. Use "
            "fold=False and standardise beside the network, by input_mean_ and so on."
        )
    return weights
