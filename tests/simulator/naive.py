"""A naive LSTM cell whose gradient is found by differences."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def hashed(x):
    """Of a number of 32 bits "lowbias32" of Wellons' Hash Function Prospector."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
        x = (x ^ x >> shift) * factor & 0xFFFFFFFF
    return x


def drawn(H, probability, *keys):
    """Which of H units stay as they were, drawn from a hash of some numbers."""
    key = 0
    for number in keys:
        key = hashed(key ^ number)
    numbers = (j * 0x9E3779B9 & 0xFFFFFFFF for j in range(H))
    return np.array([hashed(number ^ key) < probability * 2**32 for number in numbers], float)


class Cell:
    """M cells with random weights and sequences, in float64."""

    def __init__(self, rng, lengths, M, F, H, kind, reverse, limit, coupled):
        B, S = len(lengths), M * sum(lengths)
        self.lengths, self.M, self.H, self.reverse = lengths, M, H, reverse
        self.limit, self.coupled, self.every_step = limit, coupled, kind.every_step

        def random(*shape):
            return rng.standard_normal(shape) * 0.7

        self.W, self.x = random(M, F + 1 + H, 4 * H), random(S, F)
        self.peephole = random(M, 3, H) * kind.peephole
        self.h_0, self.c_0 = random(M * B, H), random(M * B, H)
        if kind.learned:  # all sequences of a model begin alike
            self.h_0[:], self.c_0[:] = (np.repeat(s[::B], B, axis=0) for s in (self.h_0, self.c_0))
        elif not kind.begins:
            self.h_0[:], self.c_0[:] = 0, 0
        self.mask = (rng.random((M * B, H)) < 0.6) / 0.6 if kind.masked else np.ones((M * B, H))
        self.dy, self.dh = random(S, H) * kind.every_step, random(M * B, H)
        self.dc = random(M * B, H) * kind.passes
        self.extra = np.zeros((S, 4 * H))  # added to pre-activations
        self.z_h, self.z_c = np.zeros((S, H)), np.zeros((S, H))  # what stays as it was
        # Each sequence has peepholes of its own here, so that their gradients can be told apart.
        self.peepholes = np.repeat(self.peephole, B, axis=0)

    def zone(self, seeds, number, first_step, chances):
        """Draw which units stay as they were; with a seed of 0 they do so in part."""
        steps = [(i, t) for i, length in enumerate(self.lengths) for t in range(length)]
        for which, (z, p) in enumerate(zip((self.z_h, self.z_c), chances, strict=True)):
            keys = ((seed, i, t) for seed in seeds for i, t in steps)
            for row, (seed, i, t) in enumerate(keys):
                own = seed & 0xFFFFFFFF, seed >> 32, 2 * number + which, i, t + first_step
                z[row] = drawn(self.H, p, *own) if seed else p

    def forward(self):
        """What the kernel has to write, by name."""
        S, H, q, row = len(self.x), self.H, 0, 0
        c, y, before = np.zeros((S, H)), np.zeros((S, H)), np.zeros((S, H))
        h_end, c_end = self.h_0.copy(), self.c_0.copy()
        for m in range(self.M):
            for length in self.lengths:
                rows = range(row, row + length)
                for r in reversed(rows) if self.reverse else rows:
                    before[r] = self.mask[q] * h_end[q]
                    v = np.concatenate([self.x[r], [1], before[r]])
                    a_i, a_f, a_g, a_o = (self.product(v, m) + self.extra[r]).reshape(4, H)
                    p_i, p_f, p_o = self.peepholes[q]
                    i = sigmoid(self._clip(a_i + p_i * c_end[q]))
                    f = sigmoid(self._clip(a_f + p_f * c_end[q]))
                    f = 1 - i if self.coupled else f
                    c_new = f * c_end[q] + i * np.tanh(self._clip(a_g))
                    o = sigmoid(self._clip(a_o + p_o * c_new))
                    c_end[q] = self.z_c[r] * c_end[q] + (1 - self.z_c[r]) * c_new
                    h_end[q] = self.z_h[r] * before[r] + (1 - self.z_h[r]) * o * np.tanh(c_new)
                    c[r], y[r] = c_end[q], h_end[q]
                q, row = q + 1, row + length
        return {"y": y, "h_end": h_end, "c_end": c_end, "c": c, "h_before": before}

    def product(self, v, m):
        """Pre-activations of a step of model m but for the peepholes'."""
        return v @ self.W[m]

    def _clip(self, a):
        return np.clip(a, -self.limit, self.limit)

    def loss(self):
        """A number with the gradients that the backward kernel is given."""
        found = self.forward()
        total = (self.dh * found["h_end"]).sum() + (self.dc * found["c_end"]).sum()
        return total + (self.dy * found["y"]).sum()

    def difference(self, name, step=1e-6):
        """Central differences of the loss."""
        kinds = {"da": self.extra, "dh_0": self.h_0, "dc_0": self.c_0, "dp": self.peepholes}
        array = kinds[name]
        gradient = np.zeros(array.shape)
        for index in np.ndindex(array.shape):
            value = array[index]
            array[index] = value + step
            above = self.loss()
            array[index] = value - step
            gradient[index] = (above - self.loss()) / (2 * step)
            array[index] = value
        return gradient.reshape(len(gradient), -1)
