"""One step of many models' optimisers on the GPU, which nobody waits for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numba import types

from numba_lstm.cuda.blocks import THREADS, block_sum, matrix_type, vector_type
from numba_lstm.cuda.device import cuda, device_array, jit, to_device
from numba_lstm.training.optimizers import (
    RHO,
    Optimizer,
    adam_rates,
    adam_weight,
    rmsprop_weight,
    sgd_weight,
)

_NAMES = "adam", "sgd", "rmsprop"
_ADAM, _SGD, _RMSPROP = range(3)

# Columns of a model's settings, and of what a step is made with.
_ALPHA, _CLIP, _BETA_1, _BETA_2, _EPSILON, _MOMENTUM, _NESTEROV = range(7)
_MOVES, _SCALE, _RATE, _CORRECTION, _SHRINK = range(5)

# Elements of a gradient that a thread squares and adds.
_PER_THREAD = 8


class Optimizers:
    """What M optimisers remember between steps, on the device.

    A model whose loss or gradient is not finite has diverged: neither its weights nor its
    moments change, then or later. Nor do those of a frozen one.

    Parameters
    ----------
    optimizers : sequence of Optimizer
        Of the models: settings, which may differ from model to model, and what they remember
        so far. All weights decay by the first one's mask.

    Attributes
    ----------
    n_steps : device array of int64 of shape (M,)
        Steps that each model has gone.
    first_moment, second_moment : device array of shape (M, size)
        As the CPU's.
    frozen, diverged : device array of int8 of shape (M,)
        1 for models that are to stay as they are, and for those that have diverged.
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self.optimizers = list(optimizers)
        mask, M = self.optimizers[0].decay_mask, len(self.optimizers)
        given = [optimizer.settings for optimizer in self.optimizers]
        settings = np.array(
            [
                (
                    *(s.alpha, np.inf if s.clip_norm is None else s.clip_norm),
                    *(s.beta_1, s.beta_2, s.epsilon, s.momentum, s.nesterovs_momentum),
                )
                for s in given
            ],
            np.float64,
        )
        solvers = np.array([_NAMES.index(s.solver) for s in given], np.int64)
        self._solvers = to_device(solvers)
        self._settings = to_device(settings)
        self._constants = to_device(settings.astype(mask.dtype))
        self._mask = to_device(mask)
        n_partial = -(-mask.size // (THREADS * _PER_THREAD))
        self._partial = device_array((M, n_partial), np.float64)
        self._now = device_array((M, 5), mask.dtype)
        moments = [(o.first_moment, o.second_moment) for o in self.optimizers]
        self.first_moment, self.second_moment = (
            to_device(np.stack(moment)) for moment in zip(*moments, strict=True)
        )
        self.n_steps = to_device(np.array([o.n_steps for o in self.optimizers], np.int64))
        self.frozen = to_device(np.zeros(M, np.int8))
        self.diverged = to_device(np.zeros(M, np.int8))

    def step(self, theta: Any, grad: Any, loss: Any, rates: Any, stream: Any = 0) -> None:
        """Move every model's weights one step downhill, in place.

        Parameters
        ----------
        theta, grad : device array of shape (M, size)
            Weights and the loss's gradient.
        loss : device array of float64 of shape (M,)
            The loss itself.
        rates : device array of float64 of shape (M,)
            Learning rates.
        stream : stream
            Where to launch.
        """
        M, size = theta.shape
        n_partial = self._partial.shape[1]
        _norms[(n_partial, M), THREADS, stream](grad, self._partial)
        _decide[M, THREADS, stream](
            *(self._partial, loss, rates, self._settings, self._solvers, self.n_steps),
            *(self.frozen, self.diverged, self._now),
        )
        _move[(-(-size // THREADS), M), THREADS, stream](
            *(theta, grad, self.first_moment, self.second_moment, self._mask),
            *(self._now, self._constants, self._solvers),
        )

    def write_back(self) -> None:
        """Let the CPU's optimisers remember what has happened here."""
        first, second = self.first_moment.copy_to_host(), self.second_moment.copy_to_host()
        for m, n_steps in enumerate(self.n_steps.copy_to_host()):
            optimizer = self.optimizers[m]
            optimizer.n_steps = int(n_steps)
            optimizer.first_moment[...], optimizer.second_moment[...] = first[m], second[m]


@jit
def _norms(grad, partial):
    """Sums of squares of parts of each model's gradient."""
    part, m = cuda.blockIdx.x, cuda.blockIdx.y
    scratch = cuda.shared.array(THREADS, types.float64)
    found = 0.0
    for k in range(_PER_THREAD):
        j = (part * _PER_THREAD + k) * THREADS + cuda.threadIdx.x
        if j < grad.shape[1]:
            found += np.float64(grad[m, j]) * np.float64(grad[m, j])
    found = block_sum(found, scratch)
    if cuda.threadIdx.x == 0:
        partial[m, part] = found


@jit
def _decide(partial, loss, rates, settings, solvers, n_steps, frozen, diverged, now):
    """Whether each model moves, and by what, as in the CPU's Optimizer.step."""
    m, found = cuda.blockIdx.x, 0.0
    scratch = cuda.shared.array(THREADS, types.float64)
    for k in range(cuda.threadIdx.x, partial.shape[1], THREADS):
        found += partial[m, k]
    norm = math.sqrt(block_sum(found, scratch))
    if cuda.threadIdx.x > 0:
        return
    now[m, _MOVES] = 0
    if frozen[m] != 0 or diverged[m] != 0:
        return
    if not (math.isfinite(norm) and math.isfinite(loss[m])):
        diverged[m] = 1
        return
    n_steps[m] += 1
    clip, rate = settings[m, _CLIP], rates[m]
    now[m, _MOVES] = 1
    now[m, _SCALE] = clip / norm if norm > clip else 1.0
    now[m, _SHRINK] = rate * settings[m, _ALPHA]
    correction = 1.0
    if solvers[m] == _ADAM:
        rate, correction = adam_rates(rate, n_steps[m], settings[m, _BETA_1], settings[m, _BETA_2])
    now[m, _RATE] = rate
    now[m, _CORRECTION] = correction


@jit
def _move(theta, grad, first_moment, second_moment, mask, now, constants, solvers):
    m, j = cuda.blockIdx.y, cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    if j >= theta.shape[1] or now[m, _MOVES] == 0:
        return
    g, rate = now[m, _SCALE] * grad[m, j], now[m, _RATE]
    weight, shrink = theta[m, j], now[m, _SHRINK] * mask[j]
    if solvers[m] == _ADAM:
        theta[m, j], first_moment[m, j], second_moment[m, j] = adam_weight(
            *(weight, g, first_moment[m, j], second_moment[m, j], shrink),
            *(rate, now[m, _CORRECTION]),
            *(constants[m, _BETA_1], constants[m, _BETA_2], constants[m, _EPSILON]),
        )
    elif solvers[m] == _SGD:
        theta[m, j], first_moment[m, j] = sgd_weight(
            *(weight, g, first_moment[m, j], shrink),
            *(rate, constants[m, _MOMENTUM], constants[m, _NESTEROV] != 0),
        )
    else:
        theta[m, j], second_moment[m, j] = rmsprop_weight(
            *(weight, g, second_moment[m, j], shrink),
            *(rate, type(weight)(RHO), constants[m, _EPSILON]),
        )


def compile_cases() -> list[tuple[str, Callable, tuple, int]]:
    """Name, function, signature and threads of a block of every kernel, for every dtype."""
    cases: list[tuple] = []
    f64, numbers = types.float64, vector_type(types.int64)
    flags, sums, reals = vector_type(types.int8), matrix_type(f64), vector_type(f64)
    for T in (types.float32, types.float64):
        A, v = matrix_type(T), vector_type(T)
        decides = sums, reals, reals, sums, numbers, numbers, flags, flags, A
        cases += [
            (f"norms {T}", _norms, (A, sums)),
            (f"decide {T}", _decide, decides),
            (f"move {T}", _move, (A, A, A, A, v, A, A, numbers)),
        ]
    return [(name, kernel.py_func, signature, THREADS) for name, kernel, signature in cases]
