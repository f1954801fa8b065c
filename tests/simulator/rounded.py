"""A naive LSTM cell that rounds what it multiplies, forward and backward."""

import numpy as np
from naive import Cell

# Significant bits, the first one included, of what numbers are rounded to.
BITS = {"bf16": 8, "tf32": 11, None: 53}


def rounded(x, precision):
    """The nearest numbers of few bits; of two the even one, or in tf32 the one away from 0."""
    mantissa, exponent = np.frexp(x)
    scaled = np.ldexp(mantissa, BITS[precision])
    nearest = np.copysign(np.floor(np.abs(scaled) + 0.5), scaled)
    whole = nearest if precision == "tf32" else np.rint(scaled)
    return np.ldexp(whole, exponent - BITS[precision])


class RoundedCell(Cell):
    """A cell in float64 whose products of weights with vectors are those of rounded numbers.

    Parameters
    ----------
    precision : {"bf16", "tf32", None}
        What is rounded to; None is 53 bits, which changes nothing.
    n_exact : int
        The first inputs, which are multiplied as they are.
    *cell
        Arguments of :class:`naive.Cell`.
    """

    def __init__(self, precision, n_exact, *cell):
        super().__init__(*cell)
        self.precision, self.n_exact = precision, n_exact

    def product(self, v, m):
        n = self.n_exact
        W = rounded(self.W[m, n:], self.precision)
        return v[:n] @ self.W[m, :n] + rounded(v[n:], self.precision) @ W

    def backward(self):
        """What the backward kernel has to write, by name: equations (5) to (7)."""
        found, S, H = self.forward(), len(self.x), self.H
        da, dp = np.zeros((S, 4 * H)), np.zeros((len(self.h_0), 3, H))
        dh_0, dc_0 = self.dh.copy(), self.dc.copy()
        q, row, B = 0, 0, len(self.lengths)
        for m in range(self.M):
            W_h = rounded(self.W[m, -H:], self.precision)
            for length in self.lengths:
                rows = list(range(row, row + length))[:: -1 if self.reverse else 1]
                for k in reversed(range(length)):
                    c_before = found["c"][rows[k - 1]] if k else self.c_0[q]
                    dh, r = dh_0[q] + self.dy[rows[k]], rows[k]
                    v = np.concatenate([self.x[r], [1], found["h_before"][r]])
                    dh_kept, dc_kept = self.z_h[r] * dh, self.z_c[r] * dc_0[q]
                    da[r], dc_0[q], dp_now = self._cell_backward(
                        *(self.product(v, m), c_before, dh - dh_kept, dc_0[q] - dc_kept),
                        self.peepholes[q],
                    )
                    dp[q] += dp_now
                    dc_0[q] += dc_kept
                    dh_0[q] = self.mask[q] * (W_h @ rounded(da[r], self.precision) + dh_kept)
                q, row = q + 1, row + length
        assert q == self.M * B
        return {"da": da, "dh_0": dh_0, "dc_0": dc_0, "dp": dp.reshape(len(dp), -1)}

    def _cell_backward(self, a, c_before, dh, dc, peepholes):
        """Gradients of a step's pre-activations, of the cell before, and of the peepholes."""
        H, (p_i, p_f, p_o) = self.H, peepholes
        a = a.reshape(4, H) + np.stack([p_i * c_before, p_f * c_before, 0 * p_o, 0 * p_o])
        i, f = (1 / (1 + np.exp(-self._clip(a[k]))) for k in (0, 1))
        f, g = 1 - i if self.coupled else f, np.tanh(self._clip(a[2]))
        c = f * c_before + i * g
        a[3] += p_o * c
        inside, o = np.abs(a) < self.limit, 1 / (1 + np.exp(-self._clip(a[3])))
        da_o = dh * np.tanh(c) * o * (1 - o) * inside[3]
        dc = dc + dh * o * (1 - np.tanh(c) ** 2) + da_o * p_o
        di = dc * (g - c_before if self.coupled else g)
        da_i = di * i * (1 - i) * inside[0]
        da_f = dc * c_before * f * (1 - f) * inside[1] * (not self.coupled)
        da_g = dc * i * (1 - g**2) * inside[2]
        dc_before = dc * f + da_i * p_i + da_f * p_f
        da = np.concatenate([da_i, da_f, da_g, da_o])
        return da, dc_before, np.stack([da_i * c_before, da_f * c_before, da_o * c])
