"""A fitted estimator as one file, and back: no pickle, safe to open from a stranger.

The file is a safetensors file. Its arrays are the weights, under the names of
:meth:`Layout.named`, and the standardisation; its metadata one JSON text with all else. A
checksum covers all of it: safetensors has none. :mod:`numba_lstm.interop.numpy_predictor`
reads the same files without this package.

Reference: https://github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

import json
import math
import os
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from numba_lstm._files import path_to_write, replace_file
from numba_lstm.interop import numpy_predictor
from numba_lstm.interop.numpy_predictor import STANDARDISATION
from numba_lstm.interop.values import from_json, to_json

if TYPE_CHECKING:
    from numba_lstm import LSTMClassifier, LSTMRegressor

_NO_CHECKSUM = "0" * 64


def save(estimator: Any, path: str | os.PathLike) -> None:
    """Write a fitted estimator to a file; see ``estimator.save``.

    Parameters
    ----------
    estimator : LSTMRegressor or LSTMClassifier
        Fitted.
    path : str or path-like
        The file, replaced if it exists.

    Raises
    ------
    NotFittedError
        If the estimator has not been fitted.
    TypeError
        If it is of another class, a parameter is what no file holds, or ``path`` is no path.
    ValueError
        If a weight is not finite, or the parameters describe another network than was fitted.
    OSError
        If the file cannot be written; what was there stays.
    ImportError
        If safetensors is not installed.
    """
    safetensors = _safetensors()
    check_is_fitted(estimator)
    path = path_to_write(path)
    text = json.dumps(_describe(estimator))
    arrays = estimator._layout.named(estimator.theta_)
    arrays |= {name: getattr(estimator, f"{name}_") for name in STANDARDISATION}
    # safetensors takes the memory of an array for its numbers, whatever their order.
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    content = safetensors.save(arrays, {"numba_lstm": text})
    digits = numpy_predictor.checksum(content, _NO_CHECKSUM).encode()
    content = content.replace(_NO_CHECKSUM.encode(), digits, 1)
    try:
        _estimator(content, "its file")  # what would not be loaded is not written
    except ValueError as error:
        message = f"This estimator cannot be saved, since it could not be loaded: {error}"
        raise ValueError(message) from error
    replace_file(path, [content])


def load(path: str | os.PathLike) -> LSTMRegressor | LSTMClassifier:
    """Read an estimator that ``estimator.save(path)`` wrote.

    Predictions, states and streams have the same bits as before, and ``get_params`` the same
    values; ``checkpoint`` and a ``RandomState`` come back as None, a ``validation_split`` that
    is a splitter as "random". Nothing in a file is ever executed, and what is not whole and
    consistent is refused. Trained further, with ``warm_start=True`` or ``partial_fit``, the
    network goes on from its weights, but the optimiser and the random numbers begin anew.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    LSTMRegressor or LSTMClassifier
        The fitted estimator.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is another kind of file, of a newer version, or damaged.
    ImportError
        If safetensors is not installed.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> import numba_lstm
    >>> X = np.random.default_rng(0).standard_normal((20, 5, 2))
    >>> model = numba_lstm.LSTMRegressor(4, max_iter=1).fit(X, X[:, -1, 0])
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     model.save(f"{directory}/model.lstm")
    ...     same = numba_lstm.load(f"{directory}/model.lstm")
    >>> bool((same.predict(X) == model.predict(X)).all())
    True
    """
    _safetensors()
    return _estimator(numpy_predictor.read_file(path), str(path))


def _describe(estimator):
    """All of a fitted estimator but its arrays, as JSON can hold it."""
    from numba_lstm import __version__

    if type(estimator) not in _classes().values():
        raise TypeError(
            f"save is for {' and '.join(_classes())} themselves, and this is a "
            f"{type(estimator).__name__}, of which a file holds no code. Use pickle."
        )
    targets, scale = estimator._targets, estimator.time_scale_
    names, scores = getattr(estimator, "feature_names_in_", None), estimator.validation_scores_
    return {
        "format": numpy_predictor.FORMAT,
        "checksum": _NO_CHECKSUM,
        "library": __version__,
        "estimator": type(estimator).__name__,
        "parameters": _parameters_to_json(estimator),
        "layout": _layout_to_json(estimator._layout),
        "targets": {
            "n_outputs": int(targets.n_outputs),
            "has_columns": bool(targets.has_columns),
            "per_step": bool(targets.per_step),
            "multilabel": bool(targets.multilabel),
            "classes": _classes_to_json(targets.classes),
        },
        "inputs": {
            "masks": bool(estimator._masks),
            "was_2d": bool(estimator._was_2d),
            "n_features": int(estimator.n_features_in_),
            "feature_names": None if names is None else [str(name) for name in names],
        },
        "times": {
            # NaN, where no time passed in training, is no number of JSON.
            "scale": None if scale is None or math.isnan(scale) else float(scale),
            "kind": estimator._time_kind,
        },
        "history": {
            "loss_curve": [float(loss) for loss in estimator.loss_curve_],
            "validation_scores": None if scores is None else [float(score) for score in scores],
        },
    }


def _parameters_to_json(estimator):
    found = {}
    for name, value in estimator.get_params(deep=False).items():
        if isinstance(value, np.random.RandomState | np.random.Generator):
            # A generator is shared with whoever passed it: a copy of its state would draw
            # what they draw, too.
            value = None
        if name == "validation_split" and not isinstance(value, str):
            value = "random"  # no file holds code, and the next fit is for whoever calls it
        if name == "checkpoint":
            value = None  # where the next fit writes is for whoever calls it to say
        try:
            found[name] = to_json(value)
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"{name}={value!r:.200} cannot be saved: {error} Set the parameter to numbers, "
                "text, None, or lists, tuples and dicts of these."
            ) from error
    return found


def _layout_to_json(layout):
    limit = layout.limit if math.isfinite(layout.limit) else None
    return json.loads(json.dumps(layout._replace(limit=limit)._asdict()))


def _classes_to_json(classes):
    if classes is None:
        return None
    values = [str(label) if isinstance(label, str) else label for label in classes.tolist()]
    if not {type(label) for label in values} <= {bool, int, float, str}:
        raise TypeError(
            f"The classes are of dtype {classes.dtype}, and a file holds numbers and text as "
            "labels. Fit with such labels."
        )
    return {"dtype": classes.dtype.str, "values": values}


def _estimator(content, path):
    """The estimator that the content of a file describes."""
    from safetensors import SafetensorError

    tensors, description = numpy_predictor.parse(content, path)
    expected = SafetensorError, KeyError, TypeError, ValueError, OverflowError, RecursionError
    try:
        return _assemble(tensors, description, _safetensors().load(content))
    except expected as error:
        raise ValueError(f"{path} does not describe an estimator: {error}") from error


def _assemble(tensors, description, arrays):
    from numba_lstm.estimators.checks import check_parameters
    from numba_lstm.estimators.targets import Targets
    from numba_lstm.interop.assembly import assemble, theta_of

    stored, targets, inputs = (description[part] for part in ("layout", "targets", "inputs"))
    estimator = _unfitted(description)
    # Before there are as many layers as a parameter says.
    if estimator.num_layers > len(stored["hidden_sizes"]):
        raise ValueError(f"num_layers={estimator.num_layers} is not what its weights are of.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what could have been said at the fit
        dtype = check_parameters(estimator, continued=False)
    layout = estimator._make_layout(stored["n_inputs"], stored["n_outputs"], stored["decays"])
    found = _layout_to_json(layout) | {
        "per_step": bool(estimator.return_sequences),
        "masks": estimator.missing == "mask",
        "dtype": dtype.name,
    }
    fitted = stored | {
        "per_step": targets["per_step"],
        "masks": inputs["masks"],
        "dtype": tensors["head_weight"][0].name,
    }
    for name, asked in found.items():
        if asked != fitted[name]:
            raise ValueError(
                f"Its parameters ask for a network with {name}={asked!r:.80}, and the weights "
                f"are of one with {fitted[name]!r:.80}."
            )
    classes = numpy_predictor.read_classes(targets["classes"])
    names, kind = inputs["feature_names"], description["times"]["kind"]
    scale = description["times"]["scale"]
    statistics = {name: arrays.pop(name) for name in STANDARDISATION}
    return assemble(
        estimator,
        layout,
        theta_of(layout, arrays, dtype),
        Targets(None, **(targets | {"classes": classes})),
        **statistics,
        masks=inputs["masks"],
        was_2d=inputs["was_2d"],
        n_features=inputs["n_features"],
        time_scale=math.nan if kind and scale is None else scale,
        time_kind=kind,
        feature_names=None if names is None else np.array(names, object),
        **_history(description["history"]),
    )


def _unfitted(description):
    """An estimator with the parameters of a file, each of a kind that it can have."""
    kind, given = _classes()[description["estimator"]], description["parameters"]
    if not isinstance(given, dict):
        raise ValueError("Its parameters are no names with values.")
    unknown = sorted(given.keys() - set(kind._get_param_names()))
    if unknown:
        raise ValueError(
            f"{kind.__name__} has no parameters {unknown!r:.200} in this version of numba_lstm."
        )
    if given.get("checkpoint") is not None:
        raise ValueError("It says where to write files, which is not for a model to say.")
    estimator = kind(**{name: from_json(value) for name, value in given.items()})
    estimator._validate_params()
    return estimator


def _history(stored):
    if not isinstance(stored, dict):
        raise ValueError("The history is no list of numbers.")
    curves = stored["loss_curve"], stored["validation_scores"]
    for curve in (curves[0], curves[1] or []):
        if type(curve) is not list or not all(
            type(x) is float and math.isfinite(x) for x in curve
        ):
            raise ValueError("The history is no list of numbers.")
    return {"loss_curve": curves[0], "validation_scores": curves[1]}


def _classes() -> dict[str, Any]:
    from numba_lstm import LSTMClassifier, LSTMRegressor

    return {"LSTMRegressor": LSTMRegressor, "LSTMClassifier": LSTMClassifier}


def _safetensors():
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            'Files of models need the package safetensors: pip install "numba-lstm[files]".'
        ) from error
    return safetensors.numpy
