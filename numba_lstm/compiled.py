"""A fitted network as a function for the user's own compiled code."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from numba import config, types
from numba.extending import intrinsic, overload
from sklearn.utils.validation import check_is_fitted

from numba_lstm.cpu import steps
from numba_lstm.cpu.table import HEAD
from numba_lstm.memory import address, at, view
from numba_lstm.one_step import check_forward, scale_and_units

if TYPE_CHECKING:
    from numba_lstm.estimators.fitted import FittedMixin

# Compiled code has the addresses of its weights in it, and nobody can tell how long it is
# used: they are kept for good, and the same weights are compiled once.
_compiled: dict[str, Callable] = {}


def compile_step(estimator: FittedMixin) -> Callable:
    """Return ``step(x, state)`` for compiled code: see ``estimator.compile``."""
    check_is_fitted(estimator)
    layout, theta = estimator._layout, np.array(estimator.theta_)
    check_forward(layout, "compile()")
    for there, what in (
        (estimator._masks, "missing='mask', which remembers what was last seen"),
        (layout.decays, "times, which a step in compiled code has none of"),
    ):
        if there:
            raise ValueError(f"The estimator was fitted with {what}. Use stream() instead.")
    targets = estimator._targets
    kind = targets.classes is not None, targets.multilabel, targets.has_columns
    return _step_of(layout, theta, *scale_and_units(estimator), kind)


def _step_of(layout, theta, scale, units, kind):
    """The function of some weights, which a pickle of it makes anew."""
    found = hashlib.blake2b(repr((layout, theta.dtype, kind)).encode(), digest_size=16)
    for array in (theta, scale, units):
        found.update(array.tobytes())
    step = _compiled.get(found.hexdigest())
    if step is not None:
        return step
    work = steps.make_room(layout, theta, 1)
    inputs = scale, units, np.zeros(1), np.arange(1)
    frame = steps.Frame(theta, *work, *inputs, np.empty(layout.n_outputs))
    step = _make_step(frame, layout, kind)
    # As it is, a pickle would hold this process's addresses.
    step.__reduce_ex__ = lambda protocol: (_step_of, (layout, theta, scale, units, kind))
    return _compiled.setdefault(found.hexdigest(), step)  # another thread's, if it was first


def _make_step(frame, layout, kind):
    is_classifier, is_multilabel, has_columns = kind
    places, first = steps.addresses(frame), frame.table[HEAD.begins]
    start, F, K = np.array(frame.panels[first:]), layout.n_inputs, layout.n_outputs
    size, total, before = start.size, frame.panels.size, first * start.itemsize
    real, n_classes = frame.theta.dtype.type(0), max(K, 2)
    put, size_of, memory_of, here = _put, _size_of, _memory_of, _constant(places)

    @numba.njit(nogil=True, error_model="numpy")
    def outputs(x, state):
        # What raises never lets go of what it holds: nothing is made before.
        if state.size != size:
            raise ValueError("The state is another network's: use step.new_state().")
        if size_of(x) != F:
            raise ValueError("x does not have as many numbers as the network has features.")
        given, y = np.empty(F), np.empty(K)
        put(x, given)
        memory = at(address(memory_of(state, real)) - before, total, real)
        steps.step_in_frame(view(given), memory, view(y), here(), real)
        return y

    @numba.njit(nogil=True, error_model="numpy")
    def one_output(x, state):
        return outputs(x, state)[0]

    @numba.njit(nogil=True, error_model="numpy")
    def probabilities(x, state):
        y = outputs(x, state)
        if K > 1 and not is_multilabel:
            p = np.exp(y - y.max())
            return p / p.sum()
        p = 1.0 / (1.0 + np.exp(-y))
        if is_multilabel:
            return p
        both = np.empty(n_classes)
        both[0], both[1] = 1.0 / (1.0 + math.exp(y[0])), p[0]
        return both

    step: Any = outputs if has_columns else one_output
    if is_classifier:
        step = probabilities
    step.__name__ = step.__qualname__ = "step"
    step.__doc__ = _DOC.format(n_inputs=F)
    step.new_state = start.copy
    step._held = frame, places  # what the address in it stands for
    return step


_DOC = """Take in one time step of a network; return its outputs so far.

Parameters
----------
x : ndarray of shape ({n_inputs},)
    The inputs; a number, if it is one.
state : ndarray
    Made by ``step.new_state()``; moved on.
"""


def _constant(places):
    """A function for compiled code that returns where ``places`` lies."""
    if config.DISABLE_JIT:
        return lambda: places.ctypes.data

    @intrinsic
    def here(typingctx):
        def codegen(context, builder, signature, args):
            # Dynamic to Numba: it then keeps what has it in it out of its cache on disk.
            pointer = context.add_dynamic_addr(builder, places.ctypes.data, info="numba_lstm")
            return builder.ptrtoint(pointer, context.get_value_type(types.intp))

        return types.intp(), codegen

    return here


def _put(x, given):
    """Write the inputs of a step, an array or of one feature a number, into an array."""
    given[:] = x


@overload(_put)
def _put_compiled(x, given):
    # A TypeError comes to whoever calls as it is; of a TypingError Numba makes a page.
    if isinstance(x, types.Number):

        def put(x, given):
            given[0] = x

        return put
    if not (isinstance(x, types.Array) and isinstance(x.dtype, types.Number | types.Boolean)):
        raise TypeError(f"x is {x}; a step takes an array of numbers, of its features.")
    if x.ndim != 1:
        raise TypeError(f"x has {x.ndim} dimensions; a step takes an array of its features.")

    def put(x, given):
        for j in range(x.size):
            given[j] = x[j]

    return put


def _size_of(x):
    """Return how many inputs there are."""
    return np.size(x)


@overload(_size_of)
def _size_of_compiled(x):
    if isinstance(x, types.Array):
        return lambda x: x.size
    return lambda x: 1


def _memory_of(state, real):
    """Return a view of a state."""
    return state


@overload(_memory_of)
def _memory_of_compiled(state, real):
    like = types.Array(real, 1, "C")
    if not isinstance(state, types.Array) or (state.dtype, state.ndim, state.layout) != (
        *(like.dtype, like.ndim, like.layout),
    ):
        raise TypeError(f"state is {state}; this network's is {like}: use step.new_state().")
    if not state.mutable:
        raise TypeError("state is read-only, and a step changes it: pass a copy.")
    return lambda state, real: view(state)
