"""PyTorch's nn.LSTM: weights in and out.

    b_ih + b_hh = b        everything else has the same name, shape and order of gates

Source: the documentation of torch.nn.LSTM (variables) and torch.nn.Linear.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from numba_lstm.interop.arrival import Asked, estimator_of
from numba_lstm.interop.departure import check_expressible, folded

_KEY = re.compile(r"(.*?)(weight_ih|weight_hh|bias_ih|bias_hh|weight_hr)_l(\d+)(_reverse)?")

# Modules without weights that change nothing in a prediction.
_IDLE = {"Dropout", "Dropout1d", "Identity", "Sequential", "ModuleList", "ModuleDict"}
_PROBABILITIES = {"Softmax", "LogSoftmax", "Sigmoid"}
_ACTIVATIONS = {"ReLU": "relu", "Tanh": "tanh"}


def from_torch(
    module_or_state_dict: Any,
    *,
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
    """Make a fitted estimator of the weights of PyTorch's nn.LSTM and nn.Linear.

    Layers, directions, projection and biases are read from names and shapes. The two biases
    that PyTorch has are added up, a sum that float32 rounds: ``dtype="float64"`` does not.
    Features are the columns of X in the order in which PyTorch got them.

    Parameters
    ----------
    module_or_state_dict : torch.nn.Module or dict of str to tensor or ndarray
        A module with one nn.LSTM and up to two nn.Linear behind it, its ``state_dict()``, or
        the same as NumPy arrays, for which PyTorch need not be installed. Without nn.Linear
        the predictions are the hidden states of the last layer.
    return_sequences : bool, default=False
        Whether to predict at every time step. Else from the hidden state that each direction
        ends with: PyTorch's ``h_n``, and ``output[:, -1]`` of one direction only.
    pooling : {"last", "mean", "max"}, default="last"
        What the module makes of the outputs of all steps, if not that.
    head_activation : {"relu", "tanh"}, default=None
        What lies between two nn.Linear; needed where a state_dict has two.
    classes : array-like of shape (n_classes,), default=None
        Labels, in the order of the outputs, which are then logits: of a softmax, or one of
        the logistic function, which is that of the second label. Of two logits their
        difference is kept. None for a regression.
    multilabel : bool, default=False
        Whether the outputs are logits of labels that do not exclude one another.
    input_mean, input_scale : array-like of shape (F,), default=None
        Standardisation before the module, which the estimator then does: (x - mean) / scale.
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
        Fitted; predictions have an axis for K > 1 outputs, or hidden states.

    Raises
    ------
    ValueError
        If there is anything in the module or the state_dict beyond that, a shape does not
        fit, or a weight is not finite.
    TypeError
        If it is neither a module nor a dict, or there is no such parameter.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_lstm import from_torch
    >>> rng = np.random.default_rng(0)
    >>> state = {
    ...     "lstm.weight_ih_l0": rng.normal(size=(16, 3)),
    ...     "lstm.weight_hh_l0": rng.normal(size=(16, 4)),
    ...     "lstm.bias_ih_l0": rng.normal(size=16),
    ...     "lstm.bias_hh_l0": rng.normal(size=16),
    ...     "head.weight": rng.normal(size=(2, 4)),
    ...     "head.bias": rng.normal(size=2),
    ... }
    >>> from_torch(state).predict(rng.normal(size=(5, 7, 3))).shape
    (5, 2)
    """
    state = module_or_state_dict
    if not isinstance(state, Mapping):
        if not (hasattr(state, "state_dict") and hasattr(state, "modules")):
            raise TypeError(
                f"Pass a torch.nn.Module or its state_dict(); got {type(state).__name__}."
            )
        found = _inspect(state, classes is not None or multilabel)
        head_activation = head_activation or found
        state = state.state_dict()
    asked = Asked(
        *(return_sequences, pooling, head_activation, classes, multilabel),
        *(input_mean, input_scale, target_mean, target_scale, dtype),
    )
    cells, rest = _sort(state)
    network, weights = _layers(cells, asked.dtype)
    return estimator_of(network, weights, _linear(rest), asked, parameters)


def to_torch_state_dict(
    estimator: Any, *, fold: bool = True, as_tensors: bool = False
) -> dict[str, Any]:
    """Return a fitted estimator's weights as a state_dict.

    For a module with ``self.lstm = nn.LSTM(F, H, num_layers, bias, batch_first=True,
    bidirectional=..., proj_size=...)`` and ``self.head = nn.Linear(..., K)``; where
    ``head_hidden_size`` is set, ``self.head = nn.Sequential(nn.Linear(..., M), nn.ReLU(),
    nn.Linear(M, K))``. Of a classifier the outputs are logits: one for two classes.

    Parameters
    ----------
    estimator : LSTMRegressor or LSTMClassifier
        Fitted.
    fold : bool, default=True
        Whether to put the standardisation of inputs and targets into the weights of the
        first layer, its biases, and the head: the module then takes X and predicts y in
        their units, but for rounding. Else the weights are as they are, bit for bit, and
        the standardisation by ``input_mean_`` and so on is the caller's business.
    as_tensors : bool, default=False
        Whether to return PyTorch's tensors, or NumPy arrays.

    Returns
    -------
    dict of str to ndarray or tensor
        "lstm.weight_ih_l0" (4H, F), "lstm.weight_hh_l0" (4H, P), "lstm.bias_ih_l0" (4H,),
        "lstm.bias_hh_l0", zeros, and so on; "head.weight" (K, width), "head.bias" (K,). In
        the estimator's dtype.

    Raises
    ------
    ValueError
        If the network has what nn.LSTM has not; the message lists it.
    ImportError
        If PyTorch is not installed, with ``as_tensors``.
    """
    able = frozenset({"proj_size"})
    check_expressible(estimator, able, "PyTorch's nn.LSTM")
    if as_tensors:
        try:
            import torch
        except ImportError as error:
            raise ImportError(
                "as_tensors=True needs PyTorch: pip install torch. Without it, arrays are "
                "returned."
            ) from error
    head_size, state = estimator._layout.head_size, {}
    for name, value in folded(estimator, fold).items():
        value = np.ascontiguousarray(value)
        if name.startswith("head"):
            place = "head" + ((".0" if "hidden" in name else ".2") if head_size else "")
            state[f"{place}.{name.split('_')[-1]}"] = value
        elif name.startswith("bias"):
            state[f"lstm.bias_ih{name.removeprefix('bias')}"] = value
            state[f"lstm.bias_hh{name.removeprefix('bias')}"] = np.zeros_like(value)
        else:
            state[f"lstm.{name}"] = value
    return {k: torch.from_numpy(v) for k, v in state.items()} if as_tensors else state


def _inspect(module, classifies):
    """Refuse modules that weights do not tell of; return the activation in the head."""
    idle, line = _IDLE | (_PROBABILITIES if classifies else set()), []
    for name, part in module.named_modules():
        kind = type(part).__name__
        leaf = next(iter(part.children()), None) is None
        if kind in {"LSTM", "Linear", *_ACTIVATIONS}:
            line.append(kind)
        elif leaf and kind not in idle:
            hint = " Say classes= if that is what it makes." if kind in _PROBABILITIES else ""
            raise ValueError(
                f"The module has a {kind} ({name!r}), which this library's network has no place "
                f"for.{hint} Pass the state_dict() of the LSTM and the head alone."
            )
    known = [["LSTM"], ["LSTM", "Linear"]]
    known += [["LSTM", "Linear", activation, "Linear"] for activation in _ACTIVATIONS]
    if line not in known:
        raise ValueError(
            f"The module has {', '.join(line)}, but this library's network is one LSTM, and "
            "behind it one nn.Linear, or two with ReLU or Tanh between them. Pass the "
            "state_dict(), and head_activation, if it does the same with other parts."
        )
    return _ACTIVATIONS[line[2]] if len(line) > 2 else None


def _array(value):
    """Return a tensor or an array as an array of floating-point numbers."""
    if hasattr(value, "detach"):
        single = str(value.dtype) != "torch.float64"
        value = value.detach().cpu().double().numpy()
        return value.astype(np.float32) if single else value
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _sort(state):
    """Sort the weights of the one LSTM, by kind, layer and direction, from all others."""
    cells, rest, early = {}, {}, None
    for key, value in state.items():
        match = _KEY.fullmatch(key)
        if match is None:
            early = early if cells else key
            rest[key] = _array(value)
            continue
        prefix, kind, layer, reverse = match.groups()
        cells.setdefault(prefix, {})[kind, int(layer), bool(reverse)] = _array(value)
    if len(cells) != 1:
        raise ValueError(
            f"The weights of one nn.LSTM are needed, found those of {len(cells)}"
            f"{': ' * bool(cells)}{', '.join(map(repr, cells))}. The keys are {list(state)}."
        )
    if early is not None:
        raise ValueError(
            f"{early!r} comes before the weights of the nn.LSTM. An embedding, or a layer in "
            "front, has no place in this library's network: apply it to X. If it is the head, "
            "put it behind the LSTM."
        )
    return next(iter(cells.values())), rest


def _layers(cells, dtype):
    """Return the architecture, and the weights under this library's names."""
    n_layers = 1 + max(layer for _, layer, _ in cells)
    both = any(reverse for *_, reverse in cells)
    bias = any(kind.startswith("bias") for kind, *_ in cells)
    projects = any(kind == "weight_hr" for kind, *_ in cells)
    kinds = ["weight_ih", "weight_hh"] + ["bias_ih", "bias_hh"] * bias + ["weight_hr"] * projects
    ways = (False, True)[: 1 + both]
    wanted = {(k, layer, way) for k in kinds for layer in range(n_layers) for way in ways}
    if wanted != cells.keys():
        raise ValueError(
            f"The weights of the LSTM are incomplete: missing {sorted(wanted - cells.keys())}, "
            f"unexpected {sorted(cells.keys() - wanted)} (kind, layer, reverse)."
        )
    weights, sizes = {}, []
    first = cells["weight_ih", 0, False]
    P = cells["weight_hr", 0, False].shape[0] if projects else 0
    width = first.shape[1] if first.ndim == 2 else 0
    for layer in range(n_layers):
        W = cells["weight_hh", layer, False]
        H = cells["weight_hr", layer, False].shape[1] if projects else W.shape[-1]
        for way in ways:
            name = f"l{layer}" + "_reverse" * way
            cell = {kind: cells[kind, layer, way] for kind in kinds}
            shapes = {"weight_ih": (4 * H, width), "weight_hh": (4 * H, P or H)}
            shapes |= {"bias_ih": (4 * H,), "bias_hh": (4 * H,), "weight_hr": (P, H)}
            wrong = {kind: cell[kind].shape for kind in kinds if cell[kind].shape != shapes[kind]}
            if wrong:
                raise ValueError(
                    f"Weights of {name} have the shapes {wrong}, but an LSTM with {H} units has "
                    f"{ {kind: shapes[kind] for kind in wrong} }. Are they a GRU's or an RNN's?"
                )
            weights |= {f"{kind}_{name}": cell[kind] for kind in kinds if "bias" not in kind}
            if bias:
                weights[f"bias_{name}"] = _sum(cell["bias_ih"], cell["bias_hh"], dtype)
        sizes.append(H)
        width = (P or H) * (1 + both)
    network = {"n_inputs": first.shape[1], "hidden_sizes": tuple(sizes), "bias": bias}
    return network | {"direction": "both" if both else "forward", "proj_size": P}, weights


def _sum(b, c, dtype):
    """Add two biases, rounding once; b itself, to the sign of its zeros, where c is 0."""
    total = np.where(c == 0, b, np.add(b, c, dtype=np.float64))
    return total if dtype is not None else total.astype(np.result_type(b, c))


def _linear(rest):
    """Pair the weights and biases of the linear layers, in their order."""
    head, prefixes = [], [key.removesuffix("weight") for key in rest if key.endswith("weight")]
    known = {prefix + kind for prefix in prefixes for kind in ("weight", "bias")}
    unknown = [key for key in rest if key not in known]
    unknown += [f"{p}weight" for p in prefixes if rest[f"{p}weight"].ndim != 2]
    if unknown:
        raise ValueError(
            f"Beside an nn.LSTM and nn.Linear there is {', '.join(map(repr, unknown))}, which "
            "this library's network has no place for. Leave it out if it does nothing."
        )
    for prefix in prefixes:
        head.append((rest[f"{prefix}weight"], rest.get(f"{prefix}bias")))
    return head
