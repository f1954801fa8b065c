"""A naive LSTM in NumPy, float64, one sequence at a time; imports nothing of ours."""

import numpy as np


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def normalised(a, gain, shift):
    """Numbers with mean 0 and variance 1, times a gain, and shifted."""
    return gain * (a - a.mean()) / np.sqrt(a.var() + 1e-5) + shift


def lstm(x, weights, name="l0", coupled=False, limit=np.inf, h_mask=1, zoneout=(0, 0), decay=None):
    """States of one sequence x (T, F): h (T, P), c and the four gates, each (T, H).

    ``weights`` has PyTorch's names and shapes, gates in the order i, f, g, o; h_{t-1} is
    multiplied by ``h_mask``; ``decay`` (T,) is g - 1, of each step.
    """

    def weight(kind, shape):
        return np.asarray(weights.get(f"{kind}_{name}", np.zeros(shape)), np.float64)

    def clip(a):
        return np.clip(a, -limit, limit)

    W_ih, W_hh = weight("weight_ih", ()), weight("weight_hh", ())
    H, P = len(W_hh) // 4, W_hh.shape[1]
    b, peephole = weight("bias", 4 * H), weight("peephole", (3, H))
    gain, shift = weight("norm_gain", ()), weight("norm_shift", ())
    W_hr, W_d, b_d = (
        weight("weight_hr", ()),
        weight("decay_weight", (H, H)),
        weight("decay_bias", H),
    )
    h, c = weight("initial_hidden", P), weight("initial_cell", H)
    steps = []
    for t, x_t in enumerate(np.asarray(x, np.float64)):
        h_prev = h_mask * h
        if decay is not None:
            c = c + decay[t] * np.tanh(W_d @ c + b_d)
        c_prev = c
        a = (W_ih @ x_t + W_hh @ h_prev + b).reshape(4, H)
        if gain.ndim:
            a = [normalised(*parts) for parts in zip(a, gain[:4], shift[:4], strict=True)]
        a_i, a_f, a_g, a_o = a
        i = sigmoid(clip(a_i + peephole[0] * c))
        f = 1 - i if coupled else sigmoid(clip(a_f + peephole[1] * c))
        g = np.tanh(clip(a_g))
        c = f * c + i * g
        o = sigmoid(clip(a_o + peephole[2] * c))
        h = o * np.tanh(normalised(c, gain[4], shift[4]) if gain.ndim else c)
        h = W_hr @ h if W_hr.ndim else h
        h = zoneout[0] * h_prev + (1 - zoneout[0]) * h
        c = zoneout[1] * c_prev + (1 - zoneout[1]) * c
        steps.append((h, c, i, f, g, o))
    return [np.array(part) for part in zip(*steps, strict=True)]


def layers(x, weights, direction="forward", merge="concat", residual=False, decay=None, **variant):
    """Outputs of every layer of a stack for one sequence x (T, F), and its final state.

    Of each layer a pair: outputs (T, width), and what the layer ends with (width,): h after
    the last step that each direction takes.
    """
    pairs, layer = [], 0
    while f"weight_ih_l{layer}" in weights:
        hs, finals = [], []
        names = [f"l{layer}"] + [f"l{layer}_reverse"] * (direction == "both")
        ways = [direction == "reverse", True][: len(names)]
        for name, backwards in zip(names, ways, strict=True):
            passed = decay
            if decay is not None and backwards:  # since the step before, which is the later one
                passed = np.append(0, decay[:0:-1])
            h = lstm(x[::-1] if backwards else x, weights, name, decay=passed, **variant)[0]
            finals.append(h[-1])
            hs.append(h[::-1] if backwards else h)
        if merge == "concat":
            out, final = np.concatenate(hs, axis=1), np.concatenate(finals)
        else:
            parts = len(hs) if merge == "mean" else 1
            out, final = sum(hs) / parts, sum(finals) / parts
        if residual and layer > 0:
            ends = [x[0 if backwards else -1] for backwards in ways]
            if merge == "concat":
                H = hs[0].shape[1]
                end = np.concatenate([e[k * H : (k + 1) * H] for k, e in enumerate(ends)])
            else:
                end = sum(ends) / len(ends)
            out, final = out + x, final + end
        pairs.append((out, final))
        x, layer = out, layer + 1
    return pairs


def attention(out, weights):
    """Attention weights (T,) of the last layer's outputs (T, width)."""
    W, b, v = (np.asarray(weights[f"attention_{name}"]) for name in ("weight", "bias", "query"))
    score = np.tanh(out @ W.T + b) @ v
    share = np.exp(score - score.max())
    return share / share.sum()


def outputs(
    sequences,
    weights,
    per_step,
    pooling="last",
    decays=None,
    head_activation="relu",
    **architecture,
):
    """Outputs (Q, K) of the head for a list of sequences, with a decay for each of them."""
    rows = []
    decays = [None] * len(sequences) if decays is None else decays
    for x, decay in zip(sequences, decays, strict=True):
        out, pooled = layers(x, weights, decay=decay, **architecture)[-1]
        if pooling == "mean":
            pooled = out.mean(axis=0)
        elif pooling == "max":
            pooled = out.max(axis=0)
        elif pooling == "attention":
            pooled = attention(out, weights) @ out
        rows.append(out if per_step else pooled[np.newaxis])
    rows = np.concatenate(rows)
    for part in ("hidden_", ""):
        if f"head_{part}weight" in weights:
            W, b = (np.asarray(weights[f"head_{part}{name}"]) for name in ("weight", "bias"))
            rows = rows @ W.T.astype(np.float64) + b
            if part:
                rows = np.tanh(rows) if head_activation == "tanh" else np.maximum(rows, 0)
    return rows


def loss(out, y, weight, kind, parameter=0.5):
    """Weighted sum over rows of the loss; y (Q, K), or (Q,) indices of classes."""
    total = 0.0
    for o, t, w in zip(out, y, weight, strict=True):
        if kind == "log_loss":
            logits = np.array([0.0, o[0]]) if len(o) == 1 else o
            shifted = logits - logits.max()
            total += w * (np.log(np.exp(shifted).sum()) - shifted[int(t)])
            continue
        e = o - t
        if kind == "labels":
            p = sigmoid(o)
            values = -(t * np.log(p) + (1 - t) * np.log(1 - p))
        elif kind == "squared_error":
            values = e**2
        elif kind == "absolute_error":
            values = np.abs(e)
        elif kind == "huber":
            far = parameter * (np.abs(e) - 0.5 * parameter)
            values = np.where(np.abs(e) <= parameter, 0.5 * e**2, far)
        else:
            values = np.where(e < 0, -parameter * e, (1 - parameter) * e)
        total += w * values.mean()
    return total
