"""Make tests/data/torch_vectors.npz with PyTorch: python tests/make_torch_vectors.py.

Forward results and gradients of torch.nn.LSTM and torch.nn.Linear for sequences of one
length and of many, in float32 and float64, so that the tests need no PyTorch.
"""

from pathlib import Path

import numpy as np
import torch

CASES = {
    # name: (lengths, F, H, K, per_step, loss)
    "rectangular": ([6] * 5, 3, 4, 2, False, "squared_error"),
    "ragged": ([2, 9, 1, 5, 5], 3, 7, 1, False, "absolute_error"),
    "per_step": ([4, 8, 3], 2, 5, 3, True, "huber"),
    "classes": ([7, 7, 2, 6], 4, 6, 3, False, "log_loss"),
    "binary_per_step": ([3, 5, 8], 1, 3, 1, True, "log_loss"),
    "wide": ([12, 11, 3] * 7, 5, 37, 2, False, "squared_error"),
}


def run(x, lengths, y, weights, per_step, loss):
    """Results of PyTorch for padded inputs x (N, T, F), in the dtype of x."""
    H, K = weights["weight_hh_l0"].shape[1], len(weights["head_bias"])
    lstm = torch.nn.LSTM(x.shape[2], H, batch_first=True).to(x.dtype)
    head = torch.nn.Linear(H, K).to(x.dtype)
    with torch.no_grad():
        lstm.weight_ih_l0[:] = torch.tensor(weights["weight_ih_l0"])
        lstm.weight_hh_l0[:] = torch.tensor(weights["weight_hh_l0"])
        lstm.bias_ih_l0[:] = torch.tensor(weights["bias_l0"])
        lstm.bias_hh_l0[:] = 0
        head.weight[:] = torch.tensor(weights["head_weight"])
        head.bias[:] = torch.tensor(weights["head_bias"])
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        x, torch.tensor(lengths), batch_first=True, enforce_sorted=False
    )
    h, (_, c_last) = lstm(packed)
    h, _ = torch.nn.utils.rnn.pad_packed_sequence(h, batch_first=True)
    rows = [h[i, :n] if per_step else h[i, n - 1 : n] for i, n in enumerate(lengths)]
    out = head(torch.cat(rows))
    functional = torch.nn.functional
    if loss == "log_loss" and K == 1:
        value = functional.binary_cross_entropy_with_logits(out[:, 0], y.to(x.dtype))
    else:
        function = {
            "squared_error": functional.mse_loss,
            "absolute_error": functional.l1_loss,
            "huber": functional.huber_loss,
            "log_loss": functional.cross_entropy,
        }[loss]
        value = function(out, y if loss == "log_loss" else y.to(x.dtype))
    value.backward()
    gradients = {
        "weight_ih_l0": lstm.weight_ih_l0.grad,
        "weight_hh_l0": lstm.weight_hh_l0.grad,
        "bias_l0": lstm.bias_ih_l0.grad,
        "head_weight": head.weight.grad,
        "head_bias": head.bias.grad,
    }
    states = torch.cat([h[i, :n] for i, n in enumerate(lengths)])
    results = {"h": states, "c_last": c_last[0], "out": out, "loss": value}
    return results | {f"grad_{name}": value for name, value in gradients.items()}


def main():
    rng = np.random.default_rng(0)
    stored = {}
    for case, (lengths, F, H, K, per_step, loss) in CASES.items():
        shapes = {
            "weight_ih_l0": (4 * H, F),
            "weight_hh_l0": (4 * H, H),
            "bias_l0": (4 * H,),
            "head_weight": (K, H),
            "head_bias": (K,),
        }

        # Rounded to float32, so that both precisions start from the same numbers.
        def draw(*shape):
            return rng.standard_normal(shape).astype(np.float32)

        # Of the size that PyTorch begins with: with weights much larger the recurrence
        # amplifies rounding, and float32 results of any two programs drift apart.
        size = np.float32(1 / np.sqrt(H))
        weights = {name: draw(*shape) * size for name, shape in shapes.items()}
        x = draw(len(lengths), max(lengths), F)
        Q = sum(lengths) if per_step else len(lengths)
        y = rng.integers(0, max(K, 2), Q) if loss == "log_loss" else draw(Q, K)
        inputs = {"x": x, "y": y, "lengths": lengths, **weights}
        stored |= {f"{case}/{name}": np.asarray(value) for name, value in inputs.items()}
        for dtype in (torch.float32, torch.float64):
            results = run(
                torch.tensor(x, dtype=dtype), lengths, torch.tensor(y), weights, per_step, loss
            )
            precision = str(dtype).removeprefix("torch.")
            for name, value in results.items():
                stored[f"{case}/{precision}/{name}"] = value.detach().numpy()
    path = Path(__file__).parent / "data" / "torch_vectors.npz"
    np.savez_compressed(path, **stored)
    print(f"{path}: {len(stored)} arrays, {path.stat().st_size} bytes, torch {torch.__version__}")


if __name__ == "__main__":
    main()
