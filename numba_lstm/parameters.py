"""How the weights lie in one flat vector theta: shapes, views, names, first values.

One vector for everything lets an optimiser, SciPy's minimisers and the gradient
check treat the network as a function of theta; the views share its memory.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np


class Cell(NamedTuple):
    """One direction of one layer.

    Attributes
    ----------
    layer : int
        Which layer, from 0.
    reverse : bool
        Whether it reads each sequence from its last step to its first.
    n_inputs, hidden_size : int
        F, of its inputs, and H.
    column : int
        Where its hidden state begins among the outputs of its layer.
    """

    layer: int
    reverse: bool
    n_inputs: int
    hidden_size: int
    column: int


class Layout(NamedTuple):
    """Architecture of a network, from which the places of its weights in theta follow.

    Attributes
    ----------
    n_inputs : int
        Features F of a time step.
    hidden_sizes : tuple of int
        H of each layer.
    n_outputs : int
        K.
    direction : {"forward", "reverse", "both"}
        Which way the layers read a sequence.
    merge : {"concat", "sum", "mean"}
        What a layer of both directions makes of their hidden states.
    residual : bool
        Whether a layer's inputs are added to its outputs, from the second layer on.
    bias : bool
        Whether the cells have biases.
    peephole : bool
        Whether the gates see the cell, by weights of their own.
    coupled : bool
        Whether the forget gate is 1 - i. The weights that it would have are kept, and unused.
    limit : float
        What pre-activations are clipped to; infinity for no limit.
    learned_state : bool
        Whether h_0 and c_0 are weights, too, or zero.
    pooling : {"last", "mean", "max", "attention"}
        What the head sees of a sequence: the hidden state that each direction of the last
        layer ends with, or its outputs at all steps, pooled (cpu/pooling.py).
    """

    n_inputs: int
    hidden_sizes: tuple[int, ...]
    n_outputs: int
    direction: str = "forward"
    merge: str = "concat"
    residual: bool = False
    bias: bool = True
    peephole: bool = False
    coupled: bool = False
    limit: float = math.inf
    learned_state: bool = False
    pooling: str = "last"

    @property
    def is_plain(self) -> bool:
        """Whether the cells are those of equations (1) to (4)."""
        return not self.peephole and not self.coupled and self.limit == math.inf

    @property
    def combines(self) -> bool:
        """Whether outputs of layers are other than hidden states: merged, added to, pooled."""
        merges = self.direction == "both" and self.merge != "concat"
        return merges or self.residual or self.pooling != "last"

    @property
    def widths(self) -> tuple[int, ...]:
        """Outputs of each layer."""
        concatenated = 2 if self.direction == "both" and self.merge == "concat" else 1
        return tuple(concatenated * H for H in self.hidden_sizes)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Cells of all layers, in the order in which they lie in theta."""
        return _cells(self)

    @property
    def shapes(self) -> dict[tuple[int, str], tuple[int, ...]]:
        """Shapes of the weights, in the order in which they lie in theta.

        Of each cell k there are (k, "W") of shape (F + 1 + H, 4H): input weights W_x, the
        bias b (without biases F + H rows) and recurrent weights W_h: with rows
        (x_t, 1, h_{t-1}) one matrix product makes the pre-activations, and one their
        gradients. Then (k, "peephole") of shape (3, H), p_i, p_f and p_o, and (k, "state")
        of shape (2, H), h_0 and c_0, where there are any. With attention (-1, "W_a") of shape
        (width, width), (-1, "b_a") and (-1, "v_a") follow. Last come the weights of the linear
        head, (-1, "W") of shape (K, width) and (-1, "b") of shape (K,).
        """
        K = self.n_outputs
        shapes: dict[tuple[int, str], tuple[int, ...]] = {}
        for k, cell in enumerate(self.cells):
            F, H = cell.n_inputs, cell.hidden_size
            shapes[k, "W"] = F + self.bias + H, 4 * H
            if self.peephole:
                shapes[k, "peephole"] = 3, H
            if self.learned_state:
                shapes[k, "state"] = 2, H
        width = self.widths[-1]
        if self.pooling == "attention":
            shapes |= {(-1, "W_a"): (width, width), (-1, "b_a"): (width,), (-1, "v_a"): (width,)}
        return shapes | {(-1, "W"): (K, width), (-1, "b"): (K,)}

    @property
    def places(self) -> dict[tuple[int, str], slice]:
        """Slice of theta of each of the weights."""
        return _places(self)

    @property
    def size(self) -> int:
        """Length of theta."""
        return _places(self)[-1, "b"].stop

    def views(self, theta: np.ndarray) -> dict[tuple[int, str], np.ndarray]:
        """Return the weights as views on ``theta`` (size,)."""
        places = self.places
        return {key: theta[places[key]].reshape(shape) for key, shape in self.shapes.items()}

    def named(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """Return views on ``theta`` under PyTorch's names and in PyTorch's shapes.

        ``weight_ih_l0`` (4H, F), ``weight_hh_l0`` (4H, H), ``bias_l0`` (4H,), with other
        numbers for further layers and "_reverse" behind for the second direction of two;
        ``head_weight`` (K, width), ``head_bias`` (K,); gates in the order i, f, g, o.
        ``peephole_l0`` (3, H) has p_i, p_f and p_o, ``initial_state_l0`` (2, H) h_0 and c_0;
        ``attention_weight`` (width, width), ``attention_bias`` and ``attention_query``
        (width,) are those of the pooling.
        """
        weights, named = self.views(theta), {}
        for k, cell in enumerate(self.cells):
            second = cell.reverse and self.direction == "both"
            name, F, W = f"l{cell.layer}" + "_reverse" * second, cell.n_inputs, weights[k, "W"]
            named[f"weight_ih_{name}"] = W[:F].T
            named[f"weight_hh_{name}"] = W[F + self.bias :].T
            if self.bias:
                named[f"bias_{name}"] = W[F]
            if self.peephole:
                named[f"peephole_{name}"] = weights[k, "peephole"]
            if self.learned_state:
                named[f"initial_state_{name}"] = weights[k, "state"]
        if self.pooling == "attention":
            named["attention_weight"] = weights[-1, "W_a"].T
            named["attention_bias"] = weights[-1, "b_a"]
            named["attention_query"] = weights[-1, "v_a"]
        return named | {"head_weight": weights[-1, "W"], "head_bias": weights[-1, "b"]}

    def decay_mask(self, dtype: np.dtype) -> np.ndarray:
        """Return 1 where weight decay shrinks theta, 0 for biases and states."""
        mask = np.ones(self.size, dtype)
        for name, view in self.named(mask).items():
            if "bias" in name or "state" in name:
                view[...] = 0
        return mask


@functools.lru_cache(maxsize=64)
def _cells(layout: Layout) -> tuple[Cell, ...]:
    """Asked for at every batch, as is what follows from it."""
    reverse = {"forward": (False,), "reverse": (True,), "both": (False, True)}
    cells, F = [], layout.n_inputs
    for layer, (H, width) in enumerate(zip(layout.hidden_sizes, layout.widths, strict=True)):
        for k, backwards in enumerate(reverse[layout.direction]):
            cells.append(Cell(layer, backwards, F, H, k * (width - H)))
        F = width
    return tuple(cells)


@functools.lru_cache(maxsize=64)
def _places(layout: Layout) -> dict[tuple[int, str], slice]:
    places, first = {}, 0
    for key, shape in layout.shapes.items():
        places[key] = slice(first, first + math.prod(shape))
        first = places[key].stop
    return places


def initialise(
    layout: Layout, rng: np.random.Generator, dtype: np.dtype, forget_bias: float = 1.0
) -> np.ndarray:
    """Draw a first theta.

    Input, attention and head weights are Glorot uniform (Glorot and Bengio 2010), each gate's
    recurrent matrix is orthogonal (Saxe et al. 2014), the forget gate's bias is 1 unless
    told otherwise (Jozefowicz et al. 2015) and all else 0: other biases, peepholes and
    initial states.

    Parameters
    ----------
    layout : Layout
        Architecture of the network.
    rng : numpy.random.Generator
        Source of the random numbers; drawn in float64 for either dtype.
    dtype : numpy.dtype
        float32 or float64.
    forget_bias : float
        Bias of the forget gates.

    Returns
    -------
    ndarray of shape (layout.size,)
        The new theta.
    """
    theta = np.zeros(layout.size, dtype)
    views = layout.views(theta)
    for k, cell in enumerate(layout.cells):
        F, H, W = cell.n_inputs, cell.hidden_size, views[k, "W"]
        limit = np.sqrt(6.0 / (F + H))
        W[:F] = rng.uniform(-limit, limit, (F, 4 * H))
        if layout.bias:
            W[F, H : 2 * H] = forget_bias
        for gate in range(4):
            q, r = np.linalg.qr(rng.standard_normal((H, H)))
            # The signs of r's diagonal make q uniform over the orthogonal matrices.
            W[F + layout.bias :, gate * H : (gate + 1) * H] = q * np.where(np.diag(r) < 0, -1, 1)
    for key in ("W_a", "v_a", "W"):
        if (-1, key) in views:
            weight = views[-1, key]
            limit = np.sqrt(6.0 / (weight.shape[0] + (weight.shape[1] if weight.ndim > 1 else 1)))
            weight[...] = rng.uniform(-limit, limit, weight.shape)
    return theta
