"""LSTM weights as ONNX has them, for operator version 14 of the default domain.

    gates in the order i, o, f, c, where c is this library's g; peepholes i, o, f
    W (D, 4H, F), R (D, 4H, H), B (D, 8H): biases of W, then of R; P (D, 3H)
    initial_h and initial_c (D, N, H)

with D directions. Source: the ONNX specification, operator LSTM.
"""

from __future__ import annotations

import numpy as np

from numba_lstm.parameters import Layout

# Where the gates i, f, g, o, and the peepholes i, f, o, stand among ONNX's, and the reverse.
FROM_ONNX, TO_ONNX = [0, 2, 3, 1], [0, 3, 1, 2]
PEEPHOLES = [0, 2, 1]


def by_gate(array: np.ndarray, order: list[int]) -> np.ndarray:
    """Return gates of (n_gates H, ...), one upon the other, in another order."""
    H = len(array) // len(order)
    return array.reshape(len(order), H, *array.shape[1:])[order].reshape(array.shape)


def names_of(layer: int, n_directions: int) -> list[str]:
    """Return what the cells of a layer are called in :meth:`Layout.named`."""
    return [f"l{layer}", f"l{layer}_reverse"][:n_directions]


def to_operator(
    layout: Layout, named: dict[str, np.ndarray], layer: int
) -> dict[str, np.ndarray | None]:
    """Return the inputs of the operator for one layer.

    Parameters
    ----------
    layout : Layout
        Architecture.
    named : dict of str to ndarray
        Weights under the names of :meth:`Layout.named`.
    layer : int
        Which layer.

    Returns
    -------
    dict of str to ndarray or None
        W, R, B, P, and h and c of shape (D, 1, H), None where there are none; float32.
    """
    names = names_of(layer, 1 + (layout.direction == "both"))

    def stack(make):
        return np.ascontiguousarray(np.stack([make(name) for name in names]), np.float32)

    def initial(kind):
        return lambda name: named[f"initial_{kind}_{name}"][np.newaxis]

    def bias(name):
        b = by_gate(named[f"bias_{name}"], TO_ONNX)
        return np.concatenate([b, np.zeros_like(b)])

    def peephole(name):
        return by_gate(named[f"peephole_{name}"].reshape(-1), PEEPHOLES)

    return {
        "W": stack(lambda name: by_gate(named[f"weight_ih_{name}"], TO_ONNX)),
        "R": stack(lambda name: by_gate(named[f"weight_hh_{name}"], TO_ONNX)),
        "B": stack(bias) if layout.bias else None,
        "P": stack(peephole) if layout.peephole else None,
        "h": stack(initial("hidden")) if layout.learned_state else None,
        "c": stack(initial("cell")) if layout.learned_state else None,
    }


def from_operator(layer: int, inputs: dict[str, np.ndarray | None]) -> dict[str, np.ndarray]:
    """Return what :func:`to_operator` was given, of one layer, for what is not None.

    Biases of W and R are added up, rounded once.
    """
    W, R, B, P = (inputs[name] for name in "WRBP")
    assert W is not None
    assert R is not None
    named, H = {}, R.shape[2]
    for d, name in enumerate(names_of(layer, len(W))):
        named[f"weight_ih_{name}"] = by_gate(W[d], FROM_ONNX)
        named[f"weight_hh_{name}"] = by_gate(R[d], FROM_ONNX)
        if B is not None:
            b, c = np.split(B[d].astype(np.float64), 2)
            dtype = np.result_type(B, np.float32)
            named[f"bias_{name}"] = by_gate((b + c).astype(dtype), FROM_ONNX)
        if P is not None:
            named[f"peephole_{name}"] = by_gate(P[d], PEEPHOLES).reshape(3, H)
        for kind, initial in (("hidden", inputs["h"]), ("cell", inputs["c"])):
            if initial is not None:
                named[f"initial_{kind}_{name}"] = initial[d, 0]
    return named
