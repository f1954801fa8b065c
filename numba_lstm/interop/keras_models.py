"""What a Keras model or layer tells beyond its weights; Keras itself is not imported."""

from __future__ import annotations

import itertools
from typing import Any

# Layers that change nothing in a prediction, or what sequences of their own length do here.
_IDLE = {"InputLayer", "Masking", "Dropout", "SpatialDropout1D", "GaussianNoise"}
_POOLING = {"GlobalAveragePooling1D": "mean", "GlobalMaxPooling1D": "max"}


def read_model(model: Any, classifies: bool, multilabel: bool) -> dict[str, Any]:
    """Read the options of a chain of layers.

    Parameters
    ----------
    model : keras.Model or keras.layers.Layer
        A chain of LSTM or Bidirectional layers, a pooling, Dense layers.
    classifies, multilabel : bool
        Whether there are classes, and whether they do not exclude one another.

    Returns
    -------
    dict
        ``bidirectional``, ``merge_mode``, ``go_backwards``, ``return_sequences``,
        ``pooling`` and ``head_activation`` of :func:`from_keras`.

    Raises
    ------
    ValueError
        If a layer or an option has no counterpart.
    """
    chain = _chain(model)
    lstms: list[Any] = []
    poolings: list[Any] = []
    dense: list[Any] = []
    for layer in chain:
        kind, config = type(layer).__name__, layer.get_config()
        if kind == "TimeDistributed":
            kind, config = config["layer"]["class_name"], config["layer"]["config"]
        stage = lstms if kind in ("LSTM", "Bidirectional") else dense
        if kind in _IDLE:
            continue
        if kind in _POOLING and not poolings and not dense:
            poolings.append(_POOLING[kind])
        elif kind in ("LSTM", "Bidirectional", "Dense") and not (
            stage is lstms and (poolings or dense)
        ):
            stage.append((kind, config))
        else:
            _refuse(layer, "")
    if not lstms:
        raise ValueError(f"{type(model).__name__} has no LSTM layer.")
    options = _read_lstms(lstms)
    if poolings:
        options |= {"pooling": poolings[0], "return_sequences": False}
    return options | _read_dense(dense, classifies, multilabel)


def _chain(model):
    """Return the layers, one after another."""
    layers = getattr(model, "layers", None)
    if layers is None or type(model).__name__ in ("LSTM", "Bidirectional"):
        return [model]
    if type(model).__name__ != "Sequential":
        for before, after in itertools.pairwise(layers):
            if getattr(after, "input", None) is not before.output:
                _refuse(after, f", which does not follow {before.name!r} alone")
    return layers


def _refuse(layer, why):
    raise ValueError(
        f"The model has a {type(layer).__name__} layer, {layer.name!r}{why}. Here LSTM or "
        "Bidirectional layers come first, then one pooling, then up to two Dense, each after the "
        "other. Pass the get_weights() of those that are like that."
    )


def _read_lstms(lstms):
    """Check options of the LSTM layers that all need to have, and return the others."""
    read = []
    for kind, config in lstms:
        merge, cells = None, [config]
        if kind == "Bidirectional":
            merge = config["merge_mode"]
            parts = [config[part] for part in ("layer", "backward_layer")]
            cells = [part["config"] for part in parts]
            if {part["class_name"] for part in parts} != {"LSTM"}:
                raise ValueError(
                    f"{config['name']!r} is a Bidirectional of other layers than LSTM."
                )
            if [cell["go_backwards"] for cell in cells] != [False, True]:
                raise ValueError(
                    f"The layers of {config['name']!r} read backwards, then forward. Use the "
                    "usual order."
                )
            if merge not in ("concat", "sum", "ave"):
                raise ValueError(
                    f"{config['name']!r} has merge_mode={merge!r}; this library's layers have "
                    "'concat', 'sum' and 'ave'."
                )
        for cell in cells:
            found = cell["activation"], cell["recurrent_activation"]
            if found != ("tanh", "sigmoid"):
                raise ValueError(
                    f"{cell['name']!r} has the activations {found}; this library's cells have "
                    "'tanh' and 'sigmoid'."
                )
        read.append((merge, bool(cells[0]["go_backwards"]), bool(cells[0]["return_sequences"])))
    merges, backwards, sequences = zip(*read, strict=True)
    if len(set(merges)) > 1:
        raise ValueError(
            f"The layers have the merge modes {merges}, None for an LSTM that reads one way; this "
            "library's networks have one for all of them."
        )
    if any(backwards[1:]) or (backwards[0] and sequences[-1]):
        raise ValueError(
            f"The LSTM layers have go_backwards={list(backwards)} and return_sequences="
            f"{list(sequences)}. Here, all layers read backwards or none: go_backwards=True is "
            "for the first alone, whose outputs are in the opposite order, and not with outputs "
            "at every step, which this library keeps in the order of the inputs."
        )
    return {
        "bidirectional": merges[0] is not None,
        "merge_mode": merges[0] or "concat",
        "go_backwards": backwards[0],
        "return_sequences": sequences[-1],
    }


def _read_dense(dense, classifies, multilabel):
    """Check the activations of the Dense layers."""
    activations = [config["activation"] for _, config in dense]
    *hidden, last = activations or ["linear"]
    K = dense[-1][1]["units"] if dense else 0
    allowed = ["linear"]
    if multilabel or (classifies and K == 1):
        allowed.append("sigmoid")
    elif classifies:
        allowed.append("softmax")
    if last not in allowed or len(hidden) > 1 or not set(hidden) <= {"relu", "tanh"}:
        raise ValueError(
            f"The Dense layers have the activations {activations}. Here, the last is linear, or "
            "with classes='...' softmax (of one unit sigmoid), or with multilabel=True sigmoid; "
            "one before it has relu or tanh."
        )
    return {"head_activation": hidden[0] if hidden else None}
