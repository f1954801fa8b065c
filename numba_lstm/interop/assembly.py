"""A fitted estimator made of weights that were trained elsewhere, or of a file's."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from numba_lstm.estimators.targets import Targets
from numba_lstm.parameters import Layout
from numba_lstm.training.loop import is_sound
from numba_lstm.training.optimizers import Optimizer


def architecture_of(layout: Layout, per_step: bool) -> dict[str, Any]:
    """Return the estimators' parameters that ask for a layout.

    Parameters
    ----------
    layout : Layout
        Architecture of a network.
    per_step : bool
        Whether it has an output for every time step.

    Returns
    -------
    dict
        Values by the names of the estimators' parameters.
    """
    sizes = layout.hidden_sizes
    equal = len(set(sizes)) == 1
    return {
        "hidden_size": sizes[0] if equal else list(sizes),
        "num_layers": len(sizes) if equal else 1,
        "bidirectional": layout.direction == "both",
        "merge_mode": layout.merge,
        "go_backwards": layout.direction == "reverse",
        "residual": layout.residual,
        "bias": layout.bias or layout.norm,
        "proj_size": layout.proj_size,
        "layer_norm": layout.norm,
        "peephole": layout.peephole,
        "coupled_gates": layout.coupled,
        "cell_clip": layout.limit if np.isfinite(layout.limit) else None,
        "learn_initial_state": layout.learned_state,
        "pooling": layout.pooling,
        "head_hidden_size": layout.head_size or None,
        "head_activation": layout.head_activation,
        "return_sequences": per_step,
        "zoneout_hidden": layout.zoneout[0],
        "zoneout_cell": layout.zoneout[1],
    }


def theta_of(layout: Layout, weights: dict[str, np.ndarray], dtype: np.dtype) -> np.ndarray:
    """Return the vector that holds weights given by name.

    Parameters
    ----------
    layout : Layout
        Architecture of the network.
    weights : dict of str to ndarray
        Arrays under the names and in the shapes of :meth:`Layout.named`.
    dtype : numpy.dtype
        float32 or float64.

    Returns
    -------
    ndarray of shape (layout.size,)
        The new theta.

    Raises
    ------
    ValueError
        If an array is missing or one too many, has the wrong shape, NaN or infinity in it, or
        a number so large that products of two might overflow.
    """
    theta = np.zeros(layout.size, dtype)
    views = layout.named(theta)
    missing, unknown = sorted(views.keys() - weights), sorted(weights.keys() - views.keys())
    if missing or unknown:
        raise ValueError(
            f"The weights do not belong to this network: missing {missing}, unknown {unknown}."
        )
    for name, view in views.items():
        given = np.asarray(weights[name])
        if given.shape != view.shape:
            raise ValueError(
                f"{name} has shape {given.shape}, but this network needs {view.shape}."
            )
        with np.errstate(over="ignore"):
            view[...] = given
        if not np.isfinite(view).all() or not is_sound(view):
            raise ValueError(
                f"{name} contains NaN, infinity, or numbers too large to compute with in "
                f"{theta.dtype}: the largest is {np.abs(given).max()}."
            )
    return theta


def assemble(
    estimator: Any,
    layout: Layout,
    theta: np.ndarray,
    targets: Targets,
    *,
    input_mean: np.ndarray | None = None,
    input_scale: np.ndarray | None = None,
    target_mean: np.ndarray | None = None,
    target_scale: np.ndarray | None = None,
    masks: bool = False,
    was_2d: bool = False,
    n_features: int | None = None,
    time_scale: float | None = None,
    time_kind: str | None = None,
    feature_names: np.ndarray | None = None,
    loss_curve: list[float] | None = None,
    validation_scores: list[float] | None = None,
) -> Any:
    """Give an unfitted estimator what a fit would have left in it.

    The optimiser begins anew when the estimator is trained further.

    Parameters
    ----------
    estimator : LSTMRegressor or LSTMClassifier
        Unfitted, with the parameters that ask for ``layout``: see :func:`architecture_of`.
    layout : Layout
        Architecture of the network.
    theta : ndarray of shape (layout.size,)
        The weights.
    targets : Targets
        What the predictions are like; without values.
    input_mean, input_scale : ndarray of shape (layout.n_inputs,), optional
        Standardisation of the inputs; zeros and ones if None.
    target_mean, target_scale : ndarray of shape (targets.n_columns,), optional
        Standardisation of the targets; zeros and ones if None.
    masks : bool, default=False
        Whether two inputs of three tell what is missing: ``missing="mask"``.
    was_2d : bool, default=False
        Whether X was (N, T), so that each time step is a feature to scikit-learn.
    n_features : int, optional
        ``n_features_in_``, where that is not F: then T.
    time_scale, time_kind : optional
        Unit and kind of the times of a network whose cells decay.
    feature_names : ndarray of str of shape (F,), optional
        Names of the features.
    loss_curve, validation_scores : list of float, optional
        History of the training.

    Returns
    -------
    LSTMRegressor or LSTMClassifier
        The estimator.

    Raises
    ------
    ValueError
        If an array of the standardisation does not fit, or a scale is not positive.
    """
    F, K = layout.n_inputs // (3 if masks else 1), targets.n_columns
    fitted = {
        "input_mean_": _column("input_mean", input_mean, 0.0, layout.n_inputs),
        "input_scale_": _column("input_scale", input_scale, 1.0, layout.n_inputs),
        "target_mean_": _column("target_mean", target_mean, 0.0, K),
        "target_scale_": _column("target_scale", target_scale, 1.0, K),
    }
    curve, scores = list(loss_curve or []), list(validation_scores or [])
    random_state = check_random_state(estimator.random_state)
    fitted |= {
        "_targets": targets,
        "_layout": layout,
        "_masks": masks,
        "_n_inputs": F,
        "_was_2d": was_2d,
        "n_features_in_": n_features or F,
        "time_scale_": time_scale,
        "_time_kind": time_kind,
        "_generator": np.random.default_rng(random_state.randint(2**31 - 1, size=4)),
        "_optimizer": Optimizer(layout.decay_mask(theta.dtype), estimator._solver_settings()),
        "theta_": theta,
        "n_outputs_": layout.n_outputs,
        "loss_curve_": curve,
        "n_iter_": len(curve),
        "loss_": curve[-1] if curve else np.nan,
        "best_loss_": min(curve, default=np.nan),
        "validation_scores_": scores or None,
        "best_validation_score_": max(scores, default=None),
    }
    if targets.classes is not None:
        fitted["classes_"] = targets.classes
    if feature_names is not None:
        fitted["feature_names_in_"] = feature_names
    estimator.__dict__.update(fitted)
    return estimator


def _column(name, given, usual, n):
    """Check one array of the standardisation."""
    if given is None:
        return np.full(n, usual)
    array = np.array(given, np.float64)
    sound = array.shape == (n,) and np.isfinite(array).all()
    if not sound or (usual and not (array > 0).all()):
        raise ValueError(
            f"{name} must have shape {(n,)} and {'positive' if usual else 'finite'} numbers in "
            f"it; got shape {array.shape}, {array}."
        )
    return array
