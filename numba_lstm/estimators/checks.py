"""Checks of an estimator's parameters and X."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from numba_lstm._collector import collector_paused
from numba_lstm._warning import warn
from numba_lstm.inputs import check_sequences
from numba_lstm.sequences import Sequences
from numba_lstm.times import check_times

# What parameters must be for the loss to be one function of theta.
_ONE_LOSS = {
    **dict.fromkeys(("dropout", "input_dropout", "recurrent_dropout"), 0.0),
    **dict.fromkeys(("zoneout_hidden", "zoneout_cell"), 0.0),
    "stateful": False,
    "tbptt_steps": None,
    "early_stopping": False,
}


def check_parameters(estimator: Any, continued: bool) -> np.dtype:
    """Check the constraints, and what these cannot say; return the dtype."""
    with collector_paused:  # both import Numba, the second all that trains
        from numba_lstm.cpu.threads import resolve_n_jobs
        from numba_lstm.training import loop  # noqa: F401

    estimator._validate_params()  # scikit-learn skips it in further calls of partial_fit
    try:
        dtype = np.dtype(estimator.dtype)
    except TypeError:
        dtype = np.dtype(object)
    if dtype not in (np.dtype(np.float32), np.dtype(np.float64)) or estimator.dtype is None:
        raise ValueError(
            f"dtype={estimator.dtype!r}: the network computes in 'float32' or 'float64'."
        )
    resolve_n_jobs(estimator.n_jobs)
    asked = estimator._make_layout(1, 1)  # whose own checks come first
    if estimator.solver == "lbfgs":
        check_one_loss(estimator, "solver='lbfgs'")
        if estimator.checkpoint is not None:
            raise ValueError(
                "solver='lbfgs' writes no checkpoint. Set checkpoint=None, or another solver; "
                "with warm_start=True a fit of few iterations can be gone on with."
            )
    if estimator.dropout > 0 and len(asked.hidden_sizes) == 1:
        warn(
            f"dropout={estimator.dropout} drops what goes from one layer to the next, and there "
            "is one layer only. Use input_dropout or recurrent_dropout, or more layers.",
            UserWarning,
        )
    if continued:
        _check_unchanged(estimator, asked, dtype)
    if continued and estimator.return_sequences != estimator._targets.per_step:
        raise ValueError(
            f"The estimator was fitted with return_sequences={estimator._targets.per_step} and "
            "cannot go on with another value. Fit anew, with warm_start=False, or clone it."
        )
    return dtype


def check_one_loss(estimator: Any, asker: str) -> None:
    """Refuse what makes the loss a matter of chance, or more than one function of theta."""
    for name, usual in _ONE_LOSS.items():
        value = getattr(estimator, name)
        if value != usual:
            raise ValueError(
                f"{name}={value!r} does not go with {asker}, which takes the loss for one "
                f"function of the weights, the same at every call, of all data. Set "
                f"{name}={usual!r}."
            )


def trains_in_batches(estimator: Any) -> bool:
    """Whether there is a partial_fit, as scikit-learn's ``available_if`` asks."""
    if estimator.solver == "lbfgs":
        raise AttributeError(
            "partial_fit is for the solvers that train in batches, which 'lbfgs' does not. Use "
            "another one, or fit with warm_start=True."
        )
    return True


def _check_unchanged(estimator, asked, dtype):
    """Refuse to go on with another network than was fitted."""
    if (estimator.missing == "mask") != estimator._masks:
        raise ValueError(
            f"The estimator was fitted with missing={'mask' if estimator._masks else 'error'!r} "
            f"and cannot go on with {estimator.missing!r}. Fit anew, with warm_start=False, or "
            "clone it."
        )
    fitted = estimator._layout
    asked = asked._replace(
        n_inputs=fitted.n_inputs, n_outputs=fitted.n_outputs, decays=fitted.decays
    )
    if (asked, dtype) == (fitted, estimator.theta_.dtype):
        return
    raise ValueError(
        f"The estimator was fitted with {_describe(fitted, estimator.theta_.dtype)} and cannot "
        f"go on with {_describe(asked, dtype)}. Fit anew, with warm_start=False, or clone it."
    )


def _describe(layout, dtype):
    sizes = layout.hidden_sizes
    same = len(set(sizes)) == 1
    words = [f"hidden_size={sizes[0] if same else sizes}"]
    words += [f"num_layers={len(sizes)}"] * (same and len(sizes) > 1)
    words += [f"direction {layout.direction}"] * (layout.direction != "forward")
    words += [f"merge_mode={layout.merge!r}"] * (layout.direction == "both")
    words += ["residual=True"] * layout.residual
    words += ["bias=False"] * (not layout.bias and not layout.norm)
    words += [f"proj_size={layout.proj_size}"] * (layout.proj_size > 0)
    words += ["layer_norm=True"] * layout.norm
    words += ["peephole=True"] * layout.peephole
    words += ["coupled_gates=True"] * layout.coupled
    words += [f"cell_clip={layout.limit}"] * (layout.limit < np.inf)
    words += ["learn_initial_state=True"] * layout.learned_state
    words += [f"pooling={layout.pooling!r}"] * (layout.pooling != "last")
    words += [
        f"zoneout_{name}={share}"
        for name, share in zip(("hidden", "cell"), layout.zoneout, strict=True)
        if share
    ]
    if layout.head_size:
        words += [f"head_hidden_size={layout.head_size}"]
        words += [f"head_activation={layout.head_activation!r}"]
    return ", ".join([*words, f"dtype={dtype.name!r}"])


def check_first_X(estimator: Any, X: Any) -> tuple[Sequences, dict[str, Any]]:
    """Check the X of a fit; return it and the attributes that scikit-learn's checks set."""
    sequences = check_sequences(X, allow_nan=estimator.missing == "mask")
    probe = copy.copy(estimator)  # so that a later error leaves the estimator as it was
    for key in ("n_features_in_", "feature_names_in_"):
        probe.__dict__.pop(key, None)
    probe._n_inputs, probe._was_2d = sequences.n_inputs, sequences.kind == "2-D"
    if probe._was_2d:
        validate_data(probe, X, reset=True, skip_check_array=True)
    else:
        probe.n_features_in_ = sequences.n_inputs
        if sequences.feature_names is not None:
            probe.feature_names_in_ = np.array(sequences.feature_names, dtype=object)
    return sequences, attributes_of_X(probe)


def attributes_of_X(estimator: Any) -> dict[str, Any]:
    """Return what a fitted estimator knows of the X that it was fitted on."""
    names, known = ("n_features_in_", "feature_names_in_", "_n_inputs", "_was_2d"), vars(estimator)
    return {name: known[name] for name in names if name in known}


def check_X(estimator: Any, X: Any, name: str = "X") -> Sequences:
    """Check an X that has to be like the one that an estimator was fitted on."""
    sequences = check_sequences(X, name=name, allow_nan=estimator._masks)
    expected, was_2d = estimator._n_inputs, estimator._was_2d
    if sequences.kind == "3-D" and sequences.n_inputs == expected and not was_2d:
        return sequences  # the usual case
    if sequences.kind == "2-D" and was_2d:
        validate_data(estimator, X, reset=False, skip_check_array=True)
    elif sequences.n_inputs != expected:
        hint = ""
        if sequences.kind == "2-D":
            hint = (
                f" {name} has two dimensions and was taken for {len(sequences)} univariate "
                f"sequences; {name}[np.newaxis] is one sequence of several features."
            )
        raise ValueError(
            f"{name} has {sequences.n_inputs} features, but {type(estimator).__name__} is "
            f"expecting {expected} features as input at every time step.{hint}"
        )
    elif sequences.feature_names is not None and not was_2d:
        known = list(vars(estimator).get("feature_names_in_", sequences.feature_names))
        if sequences.feature_names != known:
            raise ValueError(
                "The feature names should match those that were passed during fit: "
                f"{name} has {sequences.feature_names}, fit had {known}."
            )
    return sequences


def check_given_times(
    times: Any, sequences: Sequences, wanted: bool | None, kind: str | None, name: str
) -> str | None:
    """Check times, and that they are given if ``wanted``, or not, and of the same kind.

    Puts the gaps between them into ``sequences`` and returns their kind, or None.
    """
    if wanted is not None and (times is not None) != wanted:
        raise ValueError(
            f"The estimator was fitted with times; pass {name}=, too."
            if wanted
            else f"{name} was given, but the estimator was fitted without times. Fit it with them."
        )
    if times is None:
        return None
    sequences.gaps, found = check_times(times, sequences, name)
    if kind is not None and found != kind:
        raise ValueError(
            f"{name} holds {found}, but the estimator was fitted with {kind} as times."
        )
    return found
