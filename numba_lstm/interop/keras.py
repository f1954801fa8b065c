"""Keras' LSTM, Bidirectional and Dense: weights in and out.

    kernel (F, 4H) = W_x      recurrent_kernel (H, 4H) = W_h      bias (4H,) = b

with the gates in the order i, f, c, o, where c is this library's g. Source: Keras 3, the
documentation of LSTM, Bidirectional and Dense, and what ``get_weights()`` returns.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from numba_lstm.interop.arrival import Asked, estimator_of
from numba_lstm.interop.departure import check_expressible, folded
from numba_lstm.interop.keras_models import read_model


def from_keras(
    weights: Any,
    *,
    bidirectional: bool | None = None,
    merge_mode: str = "concat",
    go_backwards: bool = False,
    return_sequences: bool = False,
    pooling: str = "last",
    head_activation: str | None = None,
    classes: Any = None,
    multilabel: bool = False,
    input_mean: Any = None,
    input_scale: Any = None,
    target_mean: Any = None,
    target_scale: Any = None,
    dtype: Any = None,
    **parameters: Any,
) -> Any:
    """Make a fitted estimator of the weights of Keras' LSTM, Bidirectional and Dense layers.

    Features are the columns of X in the order in which Keras got them; steps that Keras
    masked are left out of the sequences: pass a list of arrays of different lengths.

    Parameters
    ----------
    weights : list of ndarray, keras.Model or keras.layers.Layer
        What ``get_weights()`` of a model or a layer returned: of each LSTM the kernel (F, 4H),
        the recurrent kernel (H, 4H) and, if it has one, the bias (4H,); of a Bidirectional
        those of the layer that reads forward, then of the one that reads backward; of up to two
        Dense layers behind them the kernel (width, K) and the bias (K,). Without Dense the
        predictions are the outputs of the last layer. A model or a layer also tells what
        ``bidirectional`` to ``head_activation`` say, which then have to be left out.
    bidirectional : bool, default=None
        Whether the LSTMs are pairs of a Bidirectional. None is what the shapes say; where
        they leave it open, it has to be said.
    merge_mode : {"concat", "sum", "ave", "mean"}, default="concat"
        That of the Bidirectional layers; "mean" is Keras' "ave".
    go_backwards : bool, default=False
        Whether sequences are read from their last step: ``go_backwards=True`` in the first
        LSTM and in no other. With ``return_sequences`` the outputs of the estimator are in the
        order of its inputs, those of Keras in the opposite one.
    return_sequences : bool, default=False
        Whether to predict at every time step: ``return_sequences=True`` in the last LSTM.
    pooling : {"last", "mean", "max"}, default="last"
        "mean" for a GlobalAveragePooling1D in front of Dense, "max" for GlobalMaxPooling1D.
    head_activation : {"relu", "tanh"}, default=None
        Activation of the first of two Dense.
    classes : array-like of shape (n_classes,), default=None
        Labels in the order of the outputs, whose activation is softmax; or two labels for one
        output with a sigmoid, which is the probability of the second. Of two outputs the
        difference is kept. None for a regression.
    multilabel : bool, default=False
        Whether several outputs have a sigmoid, each for a label by itself.
    input_mean, input_scale : array-like of shape (F,), default=None
        Standardisation before the model, which the estimator then does: (x - mean) / scale.
    target_mean, target_scale : array-like of shape (K,), default=None
        What its outputs are scaled back by: output * scale + mean.
    dtype : {"float32", "float64"}, default=None
        Precision of the network; None for that of the weights.
    **parameters
        Further parameters of the estimator, for training that goes on with ``partial_fit`` or
        ``warm_start=True``.

    Returns
    -------
    LSTMRegressor or LSTMClassifier
        Fitted; predictions have an axis for K > 1 outputs, or for those of the last layer.

    Raises
    ------
    ValueError
        If there is a layer or an option beyond that, a shape does not fit, the shapes leave
        open what they mean, or a weight is not finite.
    TypeError
        If ``weights`` is nothing of that kind, or there is no such parameter.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_lstm import from_keras
    >>> rng = np.random.default_rng(0)
    >>> shapes = [(3, 16), (4, 16), (16,), (4, 2), (2,)]
    >>> model = from_keras([rng.normal(size=shape) for shape in shapes])
    >>> model.predict(rng.normal(size=(5, 7, 3))).shape
    (5, 2)
    """
    described: dict[str, tuple[Any, Any]] = {
        "bidirectional": (bidirectional, None),
        "merge_mode": (merge_mode, "concat"),
        "go_backwards": (go_backwards, False),
        "return_sequences": (return_sequences, False),
        "pooling": (pooling, "last"),
        "head_activation": (head_activation, None),
    }
    options = {name: value for name, (value, _) in described.items()}
    if hasattr(weights, "get_weights"):
        said = [name for name, (value, usual) in described.items() if value != usual]
        if said:
            raise ValueError(
                f"A Keras model or layer itself tells {', '.join(said)}. Leave that out, or pass "
                "its get_weights()."
            )
        options |= read_model(weights, classes is not None, multilabel)
        weights = weights.get_weights()
    elif not isinstance(weights, list | tuple):
        raise TypeError(
            "Pass a Keras model or layer, or the list of arrays that its get_weights() returns; "
            f"got {type(weights).__name__}."
        )
    merge = {"ave": "mean"}.get(options["merge_mode"], options["merge_mode"])
    if merge not in ("concat", "sum", "mean"):
        raise ValueError(
            f"merge_mode={merge!r}: this library's layers have 'concat', 'sum' and 'mean' (or "
            "'ave')."
        )
    asked = Asked(
        *(options["return_sequences"], options["pooling"], options["head_activation"]),
        *(classes, multilabel, input_mean, input_scale, target_mean, target_scale, dtype),
    )
    cells, head = _sort([np.asarray(array) for array in weights])
    both = _is_bidirectional(cells, head, merge, options["bidirectional"])
    if both and options["go_backwards"]:
        raise ValueError(
            "Bidirectional layers read both ways already; go_backwards=True is for others."
        )
    network = {
        "n_inputs": len(cells[0][0]),
        "hidden_sizes": tuple(len(cell[1]) for cell in cells[:: 1 + both]),
        "bias": len(cells[0]) == 3,
        "direction": "both" if both else "reverse" if options["go_backwards"] else "forward",
        "merge": merge if both else "concat",
    }
    named = {}
    for k, cell in enumerate(cells):
        name = f"l{k // 2}{'_reverse' * (k % 2)}" if both else f"l{k}"
        for kind, array in zip(("weight_ih", "weight_hh", "bias"), cell, strict=False):
            named[f"{kind}_{name}"] = array.T
    return estimator_of(network, named, [(W.T, b) for W, b in head], asked, parameters)


def to_keras_weights(estimator: Any, *, fold: bool = True) -> list[np.ndarray]:
    """Return a fitted estimator's weights as ``set_weights()`` of a Keras model takes them.

    For a Sequential of an LSTM(H) for each layer, all but the last with
    ``return_sequences=True``, or of Bidirectional(LSTM(H), merge_mode), and Dense(K); with
    ``head_hidden_size`` a Dense(M, head_activation) in front of that. A network that goes
    backwards has ``go_backwards=True`` in its first LSTM only. Of a classifier the outputs
    of Dense(K) are logits: one for two classes.

    Parameters
    ----------
    estimator : LSTMRegressor or LSTMClassifier
        Fitted.
    fold : bool, default=True
        Whether to put the standardisation of inputs and targets into the weights of the
        first layer, its biases, and the last Dense: the model then takes X and predicts y in
        their units, but for rounding. Else the weights are as they are, bit for bit, and
        the standardisation by ``input_mean_`` and so on is the caller's business.

    Returns
    -------
    list of ndarray
        Of each LSTM the kernel (F, 4H), the recurrent kernel (H, 4H) and the bias (4H,), if
        there is one; of Dense the kernel (width, K) and the bias (K,). In the estimator's
        dtype.

    Raises
    ------
    ValueError
        If the network has what Keras' layers have not; the message lists it.
    """
    able = frozenset({"hidden_size", "go_backwards", "merge_mode"})
    check_expressible(estimator, able, "A stack of Keras' LSTM layers")
    weights = folded(estimator, fold)
    cells = [name[len("weight_ih") :] for name in weights if name.startswith("weight_ih")]
    names = [kind + cell for cell in cells for kind in ("weight_ih", "weight_hh", "bias")]
    names += ["head_hidden_weight", "head_hidden_bias", "head_weight", "head_bias"]
    return [np.ascontiguousarray(weights[name].T) for name in names if name in weights]


def _sort(arrays):
    """Cut a list of arrays into LSTM cells and Dense layers."""
    shapes = [array.shape for array in arrays]
    cells, head, i = [], [], 0
    while i + 1 < len(arrays) and len(shapes[i]) == 2:
        G = shapes[i][1]
        if shapes[i + 1] != (G // 4, G) or G % 4:
            break
        end = i + 2 + (shapes[i + 2 : i + 3] == [(G,)])
        cells.append(arrays[i:end])
        i = end
    while i < len(arrays) and len(shapes[i]) == 2:
        has_bias = shapes[i + 1 : i + 2] == [(shapes[i][1],)]
        head.append((arrays[i], arrays[i + 1] if has_bias else None))
        i += 1 + has_bias
    if not cells or i < len(arrays) or len({len(cell) for cell in cells}) > 1:
        raise ValueError(
            f"Arrays of the shapes {shapes} are no weights of LSTM layers, alike with or without "
            "biases, and Dense layers: those are (F, 4H), (H, 4H) and (4H,) for each LSTM, then "
            "(width, K) and (K,)."
        )
    return cells, head


def _is_bidirectional(cells, head, merge, said):
    """Tell a stack of pairs from a stack of as many layers, by their shapes if not said."""

    def fits(both):
        if both and len(cells) % 2:
            return False
        width = len(cells[0][0])
        for k, (kernel, recurrent, *_) in enumerate(cells):
            if both and k % 2:
                if kernel.shape != cells[k - 1][0].shape:
                    return False
                width = len(recurrent) * (2 if merge == "concat" else 1)
            elif len(kernel) != width:
                return False
            elif not both:
                width = len(recurrent)
        return not head or len(head[0][0]) == width

    possible = [both for both in (False, True) if fits(both)]
    if said is not None:
        possible = [both for both in possible if both == bool(said)]
    if len(possible) == 1:
        return possible[0]
    shapes = [tuple(array.shape for array in cell) for cell in cells]
    heads = [kernel.shape for kernel, _ in head]
    if possible:
        raise ValueError(
            f"LSTM weights of the shapes {shapes} may be layers one upon the other, or of "
            "Bidirectional layers. Pass bidirectional=True or False."
        )
    raise ValueError(
        f"LSTM weights of the shapes {shapes} with Dense kernels {heads} behind make no stack of "
        f"layers with bidirectional={said} and merge_mode={merge!r}: each reads as many numbers "
        "as the one before gives, and all layers are of one kind."
    )
