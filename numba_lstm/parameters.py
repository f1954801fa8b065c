"""How the weights lie in one flat vector theta: shapes, views, names, first values.

One vector for everything lets an optimiser, SciPy's minimisers and the gradient
check treat the network as a function of theta; the views share its memory.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np


class Weights(NamedTuple):
    """Views on theta, or on a gradient of theta.

    Attributes
    ----------
    W : tuple of ndarray of shape (F + 1 + H, 4H)
        For each cell its input weights W_x, the bias b, recurrent weights W_h: with rows
        (x_t, 1, h_{t-1}) one matrix product makes the pre-activations, and one their
        gradients.
    W_y : ndarray of shape (K, width)
        Weights of the linear head.
    b_y : ndarray of shape (K,)
        Bias of the head.
    """

    W: tuple[np.ndarray, ...]
    W_y: np.ndarray
    b_y: np.ndarray


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
    """

    n_inputs: int
    hidden_sizes: tuple[int, ...]
    n_outputs: int
    direction: str = "forward"
    merge: str = "concat"
    residual: bool = False

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
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the weights, in the order in which they lie in theta."""
        K, width = self.n_outputs, self.widths[-1]
        cells = ((F + 1 + H, 4 * H) for _, _, F, H, _ in self.cells)
        return *cells, (K, width), (K,)

    @property
    def places(self) -> tuple[tuple[slice, tuple[int, ...]], ...]:
        """Slice of theta and shape of each of the weights."""
        return _places(self)

    @property
    def size(self) -> int:
        """Length of theta."""
        return _places(self)[-1][0].stop

    def views(self, theta: np.ndarray) -> Weights:
        """Return the weights as views on ``theta`` (size,)."""
        *W, W_y, b_y = (theta[part].reshape(shape) for part, shape in self.places)
        return Weights(tuple(W), W_y, b_y)

    def named(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """Return views on ``theta`` under PyTorch's names and in PyTorch's shapes.

        ``weight_ih_l0`` (4H, F), ``weight_hh_l0`` (4H, H), ``bias_l0`` (4H,), with other
        numbers for further layers and "_reverse" behind for the second direction of two;
        ``head_weight`` (K, width), ``head_bias`` (K,); gates in the order i, f, g, o.
        """
        weights, named = self.views(theta), {}
        for cell, W in zip(self.cells, weights.W, strict=True):
            second = cell.reverse and self.direction == "both"
            name, F = f"l{cell.layer}" + "_reverse" * second, cell.n_inputs
            named[f"weight_ih_{name}"] = W[:F].T
            named[f"weight_hh_{name}"] = W[F + 1 :].T
            named[f"bias_{name}"] = W[F]
        return named | {"head_weight": weights.W_y, "head_bias": weights.b_y}

    def decay_mask(self, dtype: np.dtype) -> np.ndarray:
        """Return 1 for each element of theta that weight decay shrinks, 0 for biases."""
        mask = np.ones(self.size, dtype)
        for name, view in self.named(mask).items():
            if "bias" in name:
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
def _places(layout: Layout) -> tuple[tuple[slice, tuple[int, ...]], ...]:
    ends = np.cumsum([0, *(math.prod(shape) for shape in layout.shapes)]).tolist()
    parts = [slice(first, last) for first, last in itertools.pairwise(ends)]
    return tuple(zip(parts, layout.shapes, strict=True))


def initialise(layout: Layout, rng: np.random.Generator, dtype: np.dtype) -> np.ndarray:
    """Draw a first theta.

    Input and head weights are Glorot uniform (Glorot and Bengio 2010), each gate's
    recurrent matrix is orthogonal (Saxe et al. 2014), the forget gate's bias is 1
    (Jozefowicz et al. 2015) and every other bias 0.

    Parameters
    ----------
    layout : Layout
        Sizes of the network.
    rng : numpy.random.Generator
        Source of the random numbers; drawn in float64 for either dtype.
    dtype : numpy.dtype
        float32 or float64.

    Returns
    -------
    ndarray of shape (layout.size,)
        The new theta.
    """
    theta = np.zeros(layout.size, dtype)
    views = layout.views(theta)
    for cell, W in zip(layout.cells, views.W, strict=True):
        F, H = cell.n_inputs, cell.hidden_size
        limit = np.sqrt(6.0 / (F + H))
        W[:F] = rng.uniform(-limit, limit, (F, 4 * H))
        W[F, H : 2 * H] = 1.0
        for gate in range(4):
            q, r = np.linalg.qr(rng.standard_normal((H, H)))
            # The signs of r's diagonal make q uniform over the orthogonal matrices.
            W[F + 1 :, gate * H : (gate + 1) * H] = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    limit = np.sqrt(6.0 / sum(views.W_y.shape))
    views.W_y[...] = rng.uniform(-limit, limit, views.W_y.shape)
    return theta
