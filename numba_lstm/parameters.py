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
    """Views on theta, or on a gradient of theta, as the kernels use them.

    Attributes
    ----------
    W : ndarray of shape (F + 1 + H, 4H)
        Input weights W_x, the bias b, recurrent weights W_h: with rows (x_t, 1, h_{t-1})
        one matrix product makes the pre-activations, and one their gradients.
    W_y : ndarray of shape (K, H)
        Weights of the linear head.
    b_y : ndarray of shape (K,)
        Bias of the head.
    """

    W: np.ndarray
    W_y: np.ndarray
    b_y: np.ndarray


class Layout(NamedTuple):
    """Sizes of a network, from which the places of its weights in theta follow.

    Attributes
    ----------
    n_inputs, hidden_size, n_outputs : int
        F, H and K.
    """

    n_inputs: int
    hidden_size: int
    n_outputs: int

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of :class:`Weights`, in the order in which they lie in theta."""
        F, H, K = self
        return (F + 1 + H, 4 * H), (K, H), (K,)

    @property
    def size(self) -> int:
        """Length of theta."""
        return sum(math.prod(shape) for shape in self.shapes)

    def views(self, theta: np.ndarray) -> Weights:
        """Return the weights as views on ``theta`` (size,)."""
        return Weights(*(theta[part].reshape(shape) for part, shape in _places(self)))

    def named(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """Return views on ``theta`` under PyTorch's names and in PyTorch's shapes.

        ``weight_ih_l0`` (4H, F), ``weight_hh_l0`` (4H, H), ``bias_l0`` (4H,),
        ``head_weight`` (K, H), ``head_bias`` (K,); gates in the order i, f, g, o.
        """
        weights, F = self.views(theta), self.n_inputs
        return {
            "weight_ih_l0": weights.W[:F].T,
            "weight_hh_l0": weights.W[F + 1 :].T,
            "bias_l0": weights.W[F],
            "head_weight": weights.W_y,
            "head_bias": weights.b_y,
        }

    def decay_mask(self, dtype: np.dtype) -> np.ndarray:
        """Return 1 for each element of theta that weight decay shrinks, 0 for biases."""
        mask = np.ones(self.size, dtype)
        for name, view in self.named(mask).items():
            if "bias" in name:
                view[...] = 0
        return mask


@functools.lru_cache(maxsize=64)
def _places(layout: Layout) -> tuple[tuple[slice, tuple[int, ...]], ...]:
    """Slice of theta and shape of each of the weights: asked for twice a batch."""
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
    F, H, K = layout
    theta = np.zeros(layout.size, dtype)
    views = layout.views(theta)
    limit = np.sqrt(6.0 / (F + H))
    views.W[:F] = rng.uniform(-limit, limit, (F, 4 * H))
    views.W[F, H : 2 * H] = 1.0
    for gate in range(4):
        q, r = np.linalg.qr(rng.standard_normal((H, H)))
        # The signs of r's diagonal make q uniform over the orthogonal matrices.
        views.W[F + 1 :, gate * H : (gate + 1) * H] = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    limit = np.sqrt(6.0 / (H + K))
    views.W_y[...] = rng.uniform(-limit, limit, (K, H))
    return theta
