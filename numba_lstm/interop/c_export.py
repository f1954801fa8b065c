"""A fitted network as one C file, for microcontrollers and programs in C."""

from __future__ import annotations

import json
import math
import os
import re
import string
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from numba_lstm._files import path_to_write, replace_file
from numba_lstm.interop.c_source import FUNCTIONS, array, number, with_parts


def export_c(estimator: Any, path: str | os.PathLike, prefix: str = "lstm") -> None:
    """Write a fitted network to a C file that predicts one time step at a time.

    The file is C99 and needs nothing but the standard ``math.h``. It has the weights as
    constants, ``float`` or ``double`` as the estimator's dtype, a struct for the state,
    and two functions: ``void lstm_init(lstm_state *)`` and
    ``void lstm_step(lstm_state *, const float *x, float *y)``, which gives what
    ``estimator.predict`` would for all steps so far: numbers in the units of the targets, or
    probabilities of the classes. It allocates nothing and keeps nothing but the state. A
    comment at its top says how to use it.

    Parameters
    ----------
    estimator : LSTMRegressor or LSTMClassifier
        Fitted, reading forward and without pooling over time.
    path : str or path-like
        The file, replaced if it exists.
    prefix : str, default="lstm"
        What the names in the file begin with: a letter, then letters, digits and
        underscores.

    Raises
    ------
    NotFittedError
        If the estimator has not been fitted.
    ValueError
        If the network cannot go step by step, a weight is not finite, or the prefix is no
        name.
    OSError
        If the file cannot be written; what was there stays.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from pathlib import Path
    >>> import numba_lstm
    >>> X = np.random.default_rng(0).standard_normal((20, 5, 2))
    >>> model = numba_lstm.LSTMRegressor(4, max_iter=1).fit(X, X[:, -1, 0])
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     numba_lstm.export_c(model, f"{directory}/pump.c", prefix="pump")
    ...     print("void pump_step(" in Path(f"{directory}/pump.c").read_text())
    True
    """
    from numba_lstm.estimators.base import BaseLSTM

    if not isinstance(estimator, BaseLSTM):
        raise TypeError(
            f"Pass a fitted LSTMRegressor or LSTMClassifier; got {type(estimator).__name__}. An "
            "LSTMTransformer has one, estimator_."
        )
    check_is_fitted(estimator)
    if not isinstance(prefix, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", prefix, re.ASCII):
        raise ValueError(
            f"prefix={prefix!r}: names in C are of letters, digits and underscores, and begin "
            "with a letter here."
        )
    _check_steps(estimator)
    path = path_to_write(path)
    text = _source(estimator, prefix)
    replace_file(path, [text.encode("ascii")])


def _check_steps(estimator):
    """Refuse what has no output that follows from the steps so far."""
    from numba_lstm.one_step import check_forward

    layout = estimator._layout
    check_forward(layout, "The C code's step")
    if layout.decays and math.isnan(estimator.time_scale_):
        raise ValueError(
            "No time passed between the steps that the network was fitted on. Fit one without "
            "times."
        )
    arrays = {"theta_": estimator.theta_} | {
        name: getattr(estimator, name)
        for name in ("input_mean_", "input_scale_", "target_mean_", "target_scale_")
    }
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{name} contains NaN or infinity.")


def _source(estimator, prefix):
    """The whole text."""
    layout, dtype = estimator._layout, estimator.theta_.dtype
    targets, last_layer = estimator._targets, len(layout.hidden_sizes) - 1
    kind = "values"
    if targets.classes is not None:
        kind = "softmax" if layout.n_outputs > 1 else "binary"
        kind = "labels" if targets.multilabel else kind
    parts = {
        "bias": layout.bias,
        "peephole": layout.peephole,
        "norm": layout.norm,
        "projection": layout.proj_size > 0,
        "decays": layout.decays,
        "coupled": layout.coupled,
        "limit": layout.limit <= float(np.finfo(dtype).max),
        "zoneout": any(layout.zoneout),
        "masks": estimator._masks,
        "hidden": layout.head_size > 0,
        layout.head_activation: layout.head_size > 0,
        kind: True,
    }
    there = {name for name, has in parts.items() if has}
    single, T = dtype == np.float32, "float" if dtype == np.float32 else "double"
    peepholes = {"p_i": "p[k] * c[k]", "p_f": "p[H + k] * c[k]", "p_o": "p[2 * H + k] * c_k"}
    names = {
        "p": prefix,
        "T": T,
        **{name: name + "f" * single for name in ("exp", "tanh", "sqrt")},
        "epsilon": number(1e-5, dtype),
        "limit": number(layout.limit, dtype) if "limit" in there else "",
        "clip": f"{prefix}_clip" if "limit" in there else "",
        **{name: f" + {text}" * layout.peephole for name, text in peepholes.items()},
        # Of coupled gates the forget gate has no weights.
        **({"G": 3, "g": 1, "o": 2} if layout.coupled else {"G": 4, "g": 2, "o": 3}),
        **dict(zip(("z_h", "z_c"), (number(z, dtype) for z in layout.zoneout), strict=True)),
        "F": layout.n_inputs // (3 if estimator._masks else 1),
        "n_inputs": layout.n_inputs,
        "n_scratch": (3 if layout.coupled else 4) * max(layout.hidden_sizes),
        "K": layout.n_outputs,
        "M": layout.head_size,
        "width": layout.widths[-1],
        "head_inputs": layout.head_inputs,
        "last": _output(layout, last_layer),
        "head_input": "hidden" if layout.head_size else _output(layout, last_layer),
        "time_scale": number(estimator.time_scale_ or 1.0, np.dtype(np.float64)),
        "gap": "double gap, " if layout.decays else "",
        "init": _init(estimator, prefix),
        "buffers": _buffers(layout, T),
        "layers": _layers(layout, prefix),
    }
    code = string.Template(with_parts(FUNCTIONS, there)).substitute(names)
    pieces = _comment(estimator, prefix, T), "#include <math.h>\n", _state(estimator, prefix, T)
    return "\n".join((*pieces, _constants(estimator, prefix), code.strip(), ""))


def _output(layout, layer):
    """Where the outputs of a layer are."""
    return f"out_{layer}" if layout.residual and layer > 0 else f"s->h_{layer}"


def _state(estimator, prefix, T):
    """The struct."""
    lines = [
        f"    {T} h_{cell.layer}[{cell.output_size}], c_{cell.layer}[{cell.hidden_size}];"
        for cell in estimator._layout.cells
    ]
    if estimator._masks:
        F = estimator._layout.n_inputs // 3
        lines.append(f"    double last[{F}], since[{F}]; /* what was seen of each input */")
    if estimator._layout.decays:
        lines.append("    int started;")
    return "\n".join(["typedef struct {", *lines, f"}} {prefix}_state;", ""])


def _constants(estimator, prefix):
    """Definitions of all arrays."""
    layout, constants = estimator._layout, {}
    for name, weight in layout.named(estimator.theta_).items():
        if layout.coupled and re.match("(weight_ih|weight_hh|bias|norm)_", name):
            n = 1 if name.startswith("norm") else weight.shape[0] // 4
            weight = np.delete(weight, slice(n, 2 * n), axis=0)  # of the forget gate
        constants[name] = weight
    constants |= {"input_mean": estimator.input_mean_, "input_scale": estimator.input_scale_}
    if estimator._targets.classes is None:
        constants["target_mean"] = estimator.target_mean_
        constants["target_scale"] = estimator.target_scale_
    return "\n".join(array(f"{prefix}_{name}", values) for name, values in constants.items())


def _init(estimator, prefix):
    """Statements that set the state."""
    lines = []
    for cell in estimator._layout.cells:
        sizes = {"h": cell.output_size, "c": cell.hidden_size}
        for part, name in (("h", "hidden"), ("c", "cell")):
            learned = f"{prefix}_initial_{name}_l{cell.layer}[k]"
            lines.append(f"    for (k = 0; k < {sizes[part]}; k++)")
            first = learned if estimator._layout.learned_state else "0"
            lines.append(f"        s->{part}_{cell.layer}[k] = {first};")
    if estimator._masks:
        lines.append(f"    for (k = 0; k < {estimator._layout.n_inputs // 3}; k++) {{")
        lines.append(f"        s->last[k] = {prefix}_input_mean[k];")
        lines.append("        s->since[k] = 0;\n    }")
    if estimator._layout.decays:
        lines.append("    s->started = 0;")
    return "\n".join(lines)


def _buffers(layout, T):
    """Declarations of what a step needs besides."""
    buffers = [(_output(layout, cell.layer), cell.output_size) for cell in layout.cells]
    buffers = [(name, size) for name, size in buffers if not name.startswith("s->")]
    buffers += [("hidden", layout.head_size)] if layout.head_size else []
    return "\n".join(f"    {T} {name}[{size}];" for name, size in buffers)


def _layers(layout, prefix):
    """One call for each layer, and what is added to its outputs."""
    lines, below = [], "inputs"
    optional = ["bias"] * layout.bias + ["peephole"] * layout.peephole
    optional += ["norm_gain", "norm_shift"] * layout.norm
    optional += ["weight_hr"] if layout.proj_size else []
    optional += ["decay_weight", "decay_bias"] * layout.decays
    for cell in layout.cells:
        k, F, H, P = cell.layer, cell.n_inputs, cell.hidden_size, cell.output_size
        names = [f"{prefix}_{name}_l{k}" for name in ("weight_ih", "weight_hh", *optional)]
        names += ["decay"] * layout.decays
        weights = ",\n        ".join(names)
        lines.append(
            f"    {prefix}_cell({F}, {H}, {P}, {below},\n        {weights},\n"
            f"        s->h_{k}, s->c_{k}, a);"
        )
        out = _output(layout, k)
        if out != f"s->h_{k}":
            lines.append(f"    for (j = 0; j < {P}; j++)")
            lines.append(f"        {out}[j] = s->h_{k}[j] + {below}[j];")
        below = out
    return "\n".join(lines)


def _comment(estimator, prefix, T):
    """What the file is and how to use it."""
    from numba_lstm import __version__

    layout, classes = estimator._layout, estimator._targets.classes
    F = layout.n_inputs // (3 if estimator._masks else 1)
    K = layout.n_outputs if classes is None else len(classes)
    gap = "gap, " if layout.decays else ""
    calls = {
        f"{prefix}_state state;": "",
        f"{T} x[{F}], y[{K}];": "",
        f"{prefix}_init(&state);": "before the first step of a sequence",
        f"{prefix}_step(&state, x, {gap}y);": "for every time step",
    }
    wide = max(map(len, calls)) + 3
    lines = [
        f"{type(estimator).__name__} of numba_lstm {__version__}: {layout.size} weights, C99.",
        "",
        "Include this file in one C file, or compile it and declare there what follows.",
        "",
        *(f"    {call:{wide}}{when}" for call, when in calls.items()),
        "",
        f"x: the {F} inputs of the step, in the units of the training data"
        + (", NaN where one is missing." if estimator._masks else ", finite."),
    ]
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None and not estimator._was_2d:
        lines += [f"    x[{j}]: {_quoted(name)}" for j, name in enumerate(names)]
    if layout.decays:
        unit = "seconds" if estimator._time_kind == "dates" else "the units of the times"
        lines.append(f"gap: the time since the step before, a double, in {unit}, not below 0.")
    if classes is None:
        lines.append(f"y: the {K} outputs after this step, in the units of the targets.")
    else:
        several = estimator._targets.multilabel
        what = "each label by itself" if several else "each class"
        lines.append(f"y: the probability of {what} after this step.")
        lines += [f"    y[{k}]: {_quoted(label)}" for k, label in enumerate(classes.tolist())]
    lines += [
        "",
        "Nothing is kept but the state: states may be copied, and several go side by side. Do",
        "not compile with -ffast-math, which knows neither NaN nor infinity.",
    ]
    return "\n".join(["/*", *(f" * {line}".rstrip() for line in lines), " */"])


def _quoted(label):
    """A label as it may stand in a comment, whatever is in it."""
    text = json.dumps(str(label)) if isinstance(label, str) else str(label)
    return text.replace("/", "\\u002f").replace("?", "\\u003f")
