"""The optimisers, each one pass over theta, with clipping and decoupled decay."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from numba_lstm._jit import helper, kernel
from numba_lstm.subnormals import flush_subnormals, restore_subnormals

# Smoothing of RMSprop's mean square, as in PyTorch.
RHO = 0.99


@kernel(fastmath={"reassoc"})
def gradient_norm(grad):
    """Euclidean norm of a gradient, summed in float64."""
    total = 0.0
    for j in range(grad.size):
        total += np.float64(grad[j]) * np.float64(grad[j])
    return math.sqrt(total)


@helper
def _scale(grad, most):
    """What a gradient is multiplied by, so that its norm is ``most`` at most.

    NaN if the norm is not finite.
    """
    norm = gradient_norm(grad)
    if not math.isfinite(norm):
        return math.nan
    return most / norm if norm > most else 1.0


# Each of these looks at the gradient itself, and returns whether it is finite: between two
# batches, with cold caches, a call of one more kernel would take some microseconds.


@helper
def adam_rates(lr, step, beta_1, beta_2):
    """Learning rate of a step, and factor of the mean square, as both began with zeros."""
    return lr / (1.0 - beta_1**step), 1.0 / (1.0 - beta_2**step)


@helper(inline=True)
def adam_weight(theta, g, m, v, shrink, rate, correction, b1, b2, eps):
    """One weight's step by Adam; returns the weight and its moments."""
    one = type(theta)(1.0)
    m = b1 * m + (one - b1) * g
    v = b2 * v + (one - b2) * (g * g)
    theta -= shrink * theta + rate * m / (math.sqrt(v * correction) + eps)
    return theta, m, v


@helper(inline=True)
def sgd_weight(theta, g, velocity, shrink, rate, mu, nesterov):
    """One weight's step by SGD; returns the weight and its velocity."""
    velocity = mu * velocity - rate * g
    move = mu * velocity - rate * g if nesterov else velocity
    theta += move - shrink * theta
    return theta, velocity


@helper(inline=True)
def rmsprop_weight(theta, g, v, shrink, rate, rho, eps):
    """One weight's step by RMSprop; returns the weight and its mean square."""
    one = type(theta)(1.0)
    v = rho * v + (one - rho) * (g * g)
    theta -= shrink * theta + rate * g / (math.sqrt(v) + eps)
    return theta, v


@kernel
def _adam(theta, grad, m, v, mask, lr, decay, most, step, beta_1, beta_2, epsilon):
    before, scale = flush_subnormals(), _scale(grad, most)
    if math.isnan(scale):
        restore_subnormals(before)
        return False
    T = type(theta[0])
    b1, b2, eps = T(beta_1), T(beta_2), T(epsilon)
    rate, correction = adam_rates(lr, step, beta_1, beta_2)
    rate, correction = T(rate), T(correction)
    shrink, scale = T(lr * decay), T(scale)
    for j in range(theta.size):
        theta[j], m[j], v[j] = adam_weight(
            *(theta[j], scale * grad[j], m[j], v[j], shrink * mask[j]),
            *(rate, correction, b1, b2, eps),
        )
    restore_subnormals(before)
    return True


@kernel
def _sgd(theta, grad, velocity, mask, lr, decay, most, momentum, nesterov):
    before, scale = flush_subnormals(), _scale(grad, most)
    if math.isnan(scale):
        restore_subnormals(before)
        return False
    T = type(theta[0])
    mu, rate, shrink, scale = T(momentum), T(lr), T(lr * decay), T(scale)
    for j in range(theta.size):
        theta[j], velocity[j] = sgd_weight(
            theta[j], scale * grad[j], velocity[j], shrink * mask[j], rate, mu, nesterov
        )
    restore_subnormals(before)
    return True


@kernel
def _rmsprop(theta, grad, v, mask, lr, decay, most, epsilon):
    before, scale = flush_subnormals(), _scale(grad, most)
    if math.isnan(scale):
        restore_subnormals(before)
        return False
    T = type(theta[0])
    rho, eps = T(RHO), T(epsilon)
    rate, shrink, scale = T(lr), T(lr * decay), T(scale)
    for j in range(theta.size):
        theta[j], v[j] = rmsprop_weight(
            theta[j], scale * grad[j], v[j], shrink * mask[j], rate, rho, eps
        )
    restore_subnormals(before)
    return True


class SolverSettings(NamedTuple):
    """What the optimisers can be told, under the estimators' names."""

    solver: str = "adam"
    alpha: float = 1e-4
    clip_norm: float | None = 1.0
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8


class Optimizer:
    """Adam, SGD with momentum, or RMSprop, and what it remembers between steps.

    Adam after Kingma and Ba (2015), weight decay decoupled from the gradient after
    Loshchilov and Hutter (2019), clipping of the gradient's norm after Pascanu et
    al. (2013).

    Parameters
    ----------
    decay_mask : ndarray of shape (theta.size,)
        1 for the elements of theta that decay, in theta's dtype.
    settings : SolverSettings
        Which optimiser, and its constants.
    """

    def __init__(self, decay_mask: np.ndarray, settings: SolverSettings) -> None:
        self.decay_mask = decay_mask
        self.settings = self._representable(settings)
        self.reset()

    def reset(self) -> None:
        """Forget all steps."""
        self.n_steps = 0
        self.first_moment = np.zeros_like(self.decay_mask)
        self.second_moment = np.zeros_like(self.decay_mask)

    def change_settings(self, settings: SolverSettings) -> None:
        """Go on with other settings; another solver forgets the moments of the last."""
        if settings.solver != self.settings.solver:
            self.reset()
        self.settings = self._representable(settings)

    def _representable(self, settings):
        """Settings whose epsilon goes with theta's dtype.

        It is the root of what a mean square is at least, if it is not 0: were it less, a gradient
        whose square counts as 0 would move its weight by far more than the learning rate.
        """
        kind = np.finfo(self.decay_mask.dtype)
        share = 1 - (RHO if settings.solver == "rmsprop" else settings.beta_2)
        least = math.sqrt(float(kind.tiny) / max(share, float(kind.eps)))
        return settings._replace(epsilon=max(settings.epsilon, least))

    def step(self, theta: np.ndarray, grad: np.ndarray, learning_rate: float) -> bool:
        """Move theta one step downhill, in place.

        Parameters
        ----------
        theta, grad : ndarray of shape (theta.size,)
            Weights and the loss's gradient.
        learning_rate : float
            Size of the step.

        Returns
        -------
        bool
            False, with nothing changed, if the gradient is not finite.
        """
        settings = self.settings
        most = math.inf if settings.clip_norm is None else float(settings.clip_norm)
        shared = (self.decay_mask, float(learning_rate), float(settings.alpha), most)
        if settings.solver == "adam":
            constants = (float(settings.beta_1), float(settings.beta_2), float(settings.epsilon))
            moments = (self.first_moment, self.second_moment)
            self.n_steps += 1  # before anything moves: an interrupt comes right after that
            moved = _adam(theta, grad, *moments, *shared, self.n_steps, *constants)
        elif settings.solver == "sgd":
            momentum, nesterov = float(settings.momentum), bool(settings.nesterovs_momentum)
            self.n_steps += 1
            moved = _sgd(theta, grad, self.first_moment, *shared, momentum, nesterov)
        else:
            epsilon = float(settings.epsilon)
            self.n_steps += 1
            moved = _rmsprop(theta, grad, self.second_moment, *shared, epsilon)
        if not moved:
            self.n_steps -= 1
        return bool(moved)
