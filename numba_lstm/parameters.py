"""How the weights lie in one flat vector theta: shapes, views, names, first values.

One vector for everything lets an optimiser, SciPy's minimisers and the gradient
check treat the network as a function of theta; the views share its memory.
"""

from __future__ import annotations

import contextlib
import functools
import math
from typing import NamedTuple

import numpy as np

from numba_lstm._blas import one_blas_thread

# Units of which OpenBLAS factors a matrix on one thread anyway.
_SMALL = 64


class Cell(NamedTuple):
    """One direction of one layer.

    Attributes
    ----------
    layer : int
        Which layer, from 0.
    reverse : bool
        Whether it reads each sequence from its last step to its first.
    n_inputs, hidden_size, output_size : int
        F, of its inputs, H, of its cells, and P, of its hidden state: H, unless projected.
    column : int
        Where its hidden state begins among the outputs of its layer.
    """

    layer: int
    reverse: bool
    n_inputs: int
    hidden_size: int
    output_size: int
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
    proj_size : int
        P, what hidden states are projected to; 0 for no projection.
    norm : bool
        Whether pre-activations and cells are normalised over the units. Then ``bias`` is
        false: the normalisation has shifts of its own.
    zoneout : tuple of float
        Probability that a unit of the hidden state, and of the cell, stays as it was.
    decays : bool
        Whether cells decay with the time between steps.
    head_size : int
        Units of the head's hidden layer; 0 for none.
    head_activation : {"relu", "tanh"}
        Of these.
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
    proj_size: int = 0
    norm: bool = False
    zoneout: tuple[float, float] = (0.0, 0.0)
    decays: bool = False
    head_size: int = 0
    head_activation: str = "relu"

    @property
    def parts(self) -> frozenset[str]:
        """What of the kernels the network needs: see cpu/linking.py."""
        return _parts(self)

    @property
    def merges(self) -> bool:
        """Whether the two hidden states of a layer have to be put together."""
        return self.direction == "both" and (self.merge != "concat" or self.proj_size > 0)

    @property
    def widths(self) -> tuple[int, ...]:
        """Outputs of each layer."""
        concatenated = 2 if self.direction == "both" and self.merge == "concat" else 1
        return tuple(concatenated * (self.proj_size or H) for H in self.hidden_sizes)

    @property
    def head_inputs(self) -> int:
        """Numbers that the outputs are linear in."""
        return self.head_size or self.widths[-1]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Cells of all layers, in the order in which they lie in theta."""
        return _cells(self)

    @property
    def shapes(self) -> dict[tuple[int, str], tuple[int, ...]]:
        """Shapes of the weights, in the order in which they lie in theta.

        Of each cell k there are (k, "W") of shape (F + 1 + P, 4H): input weights W_x, the
        bias b (without biases F + P rows) and recurrent weights W_h: with rows
        (x_t, 1, h_{t-1}) one matrix product makes the pre-activations, and one their
        gradients. Then, where there are any: (k, "peephole") of shape (3, H), p_i, p_f and
        p_o; (k, "norm") of shape (10, H), gains of i, f, g, o and c, and shifts; (k, "W_r") of
        shape (H, P); (k, "W_d") of shape (H, H) and (k, "b_d") of shape (1, H); (k, "h_0") of
        shape (1, P) and (k, "c_0") of shape (1, H). With attention (-1, "W_a") of shape
        (width, width), (-1, "b_a") and (-1, "v_a") follow, with a hidden layer of M units in
        the head (-1, "W_1") of shape (width, M) and (-1, "b_1"). Last come the weights of the
        linear head, (-1, "W") of shape (K, width or M) and (-1, "b") of shape (K,).
        """
        K = self.n_outputs
        shapes: dict[tuple[int, str], tuple[int, ...]] = {}
        for k, (_, _, F, H, P, _) in enumerate(self.cells):
            shapes[k, "W"] = F + self.bias + P, 4 * H
            if self.peephole:
                shapes[k, "peephole"] = 3, H
            if self.norm:
                shapes[k, "norm"] = 10, H
            if self.proj_size:
                shapes[k, "W_r"] = H, P
            if self.decays:
                shapes |= {(k, "W_d"): (H, H), (k, "b_d"): (1, H)}
            if self.learned_state:
                shapes |= {(k, "h_0"): (1, P), (k, "c_0"): (1, H)}
        width, M = self.widths[-1], self.head_size
        if self.pooling == "attention":
            shapes |= {(-1, "W_a"): (width, width), (-1, "b_a"): (width,), (-1, "v_a"): (width,)}
        if M:
            shapes |= {(-1, "W_1"): (width, M), (-1, "b_1"): (M,)}
        return shapes | {(-1, "W"): (K, self.head_inputs), (-1, "b"): (K,)}

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

        ``weight_ih_l0`` (4H, F), ``weight_hh_l0`` (4H, P), ``bias_l0`` (4H,), with other
        numbers for further layers and "_reverse" behind for the second direction of two;
        ``head_weight`` (K, width or M), ``head_bias`` (K,); gates in the order i, f, g, o.
        ``weight_hr_l0`` (P, H) projects; ``peephole_l0`` (3, H) has p_i, p_f and p_o;
        ``norm_gain_l0`` and ``norm_shift_l0`` (5, H) are of the gates and the cell;
        ``decay_weight_l0`` (H, H) and ``decay_bias_l0`` (H,) of what decays;
        ``initial_hidden_l0`` (P,) and ``initial_cell_l0`` (H,) are h_0 and c_0;
        ``attention_weight`` (width, width), ``attention_bias`` and ``attention_query``
        (width,) are those of the pooling, ``head_hidden_weight`` (M, width) and
        ``head_hidden_bias`` (M,) of the head's hidden layer.
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
            if self.norm:
                named[f"norm_gain_{name}"] = weights[k, "norm"][:5]
                named[f"norm_shift_{name}"] = weights[k, "norm"][5:]
            if self.proj_size:
                named[f"weight_hr_{name}"] = weights[k, "W_r"].T
            if self.decays:
                named[f"decay_weight_{name}"] = weights[k, "W_d"].T
                named[f"decay_bias_{name}"] = weights[k, "b_d"][0]
            if self.learned_state:
                named[f"initial_hidden_{name}"] = weights[k, "h_0"][0]
                named[f"initial_cell_{name}"] = weights[k, "c_0"][0]
        if self.pooling == "attention":
            named["attention_weight"] = weights[-1, "W_a"].T
            named["attention_bias"] = weights[-1, "b_a"]
            named["attention_query"] = weights[-1, "v_a"]
        if self.head_size:
            named["head_hidden_weight"] = weights[-1, "W_1"].T
            named["head_hidden_bias"] = weights[-1, "b_1"]
        return named | {"head_weight": weights[-1, "W"], "head_bias": weights[-1, "b"]}

    def decay_mask(self, dtype: np.dtype) -> np.ndarray:
        """Return 1 where weight decay shrinks theta, 0 for biases, norms and states."""
        mask = np.ones(self.size, dtype)
        for name, view in self.named(mask).items():
            if any(word in name for word in ("bias", "norm", "initial")):
                view[...] = 0
        return mask


@functools.lru_cache(maxsize=64)
def _parts(layout: Layout) -> frozenset[str]:
    gated = layout.peephole or layout.coupled or layout.limit < math.inf
    found = {
        "plain": not gated,
        "gated": gated,
        "norm": layout.norm,
        "projects": layout.proj_size > 0,
        "zoneout": any(layout.zoneout),
        "decays": layout.decays,
        "joins": layout.merges or layout.residual,
        "pools": layout.pooling != "last",
        "attends": layout.pooling == "attention",
        "hides": layout.head_size > 0,
    }
    special = any(found[part] for part in ("gated", "norm", "projects", "zoneout", "decays"))
    names = {name for name, there in found.items() if there}
    return frozenset(names | ({"special"} if special else set()))


@functools.lru_cache(maxsize=64)
def _cells(layout: Layout) -> tuple[Cell, ...]:
    """Asked for at every batch, as is what follows from it."""
    reverse = {"forward": (False,), "reverse": (True,), "both": (False, True)}
    cells, F = [], layout.n_inputs
    for layer, (H, width) in enumerate(zip(layout.hidden_sizes, layout.widths, strict=True)):
        for k, backwards in enumerate(reverse[layout.direction]):
            P = layout.proj_size or H
            cells.append(Cell(layer, backwards, F, H, P, k * (width - P)))
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

    Recurrent matrices of each gate are orthogonal (Saxe et al. 2014), all other matrices
    Glorot uniform (Glorot and Bengio 2010). The forget gate's bias is 1 unless told otherwise
    (Jozefowicz et al. 2015), the normalisation's gains are 1, and all else is 0: other
    biases, peepholes and initial states.

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

    Raises
    ------
    MemoryError
        If there is no room for it.
    """
    try:
        theta = np.zeros(layout.size, dtype)
    except (MemoryError, ValueError) as error:  # ValueError: beyond all addresses
        size = layout.size * np.dtype(dtype).itemsize / 1e9
        raise MemoryError(
            f"The network would have {layout.size:,} weights, {size:,.0f} GB, for which there is "
            "no memory. Take a smaller hidden_size, or fewer layers."
        ) from error
    views = layout.views(theta)
    for k, (_, _, F, H, P, _) in enumerate(layout.cells):
        W = views[k, "W"]
        _glorot(W[:F], rng, F + H)
        if layout.bias:
            W[F, H : 2 * H] = forget_bias
        if layout.norm:
            views[k, "norm"][:5] = 1
            views[k, "norm"][6] = forget_bias
        with one_blas_thread if H > _SMALL else contextlib.nullcontext():
            for gate in range(4):
                q = _orthogonal(rng, H, P)
                W[F + layout.bias :, gate * H : (gate + 1) * H] = q if P == H else q.T
        if layout.proj_size:
            _glorot(views[k, "W_r"], rng)
    for key in ("W_a", "v_a", "W_1", "W"):
        if (-1, key) in views:
            _glorot(views[-1, key], rng)
    if layout.decays:
        # What else is drawn, here and later, is what it would be without times.
        state = rng.bit_generator.state
        for k in range(len(layout.cells)):
            _glorot(views[k, "W_d"], rng)
        rng.bit_generator.state = state
    return theta


def _orthogonal(rng, H, P):
    """Draw a matrix (H, P) of orthonormal columns, uniform over all of these."""
    q, r = np.linalg.qr(rng.standard_normal((H, P)))
    # QR as LAPACK has it prefers some; the signs of r's diagonal undo that.
    return q * np.where(np.diag(r) < 0, -1, 1)


def _glorot(weight, rng, total=None):
    """Fill a matrix, or a query, whose ``total`` is of its inputs and outputs."""
    if total is None:
        total = weight.shape[0] + (weight.shape[1] if weight.ndim > 1 else 1)
    limit = np.sqrt(6.0 / total)
    weight[...] = rng.uniform(-limit, limit, weight.shape)
