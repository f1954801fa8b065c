"""Make tests/data/stack_vectors.npz with PyTorch: python tests/make_stack_vectors.py.

Forward results and gradients of torch.nn.LSTM with several layers or both directions,
for packed sequences of different lengths, in float32 and float64.
"""

import json
from pathlib import Path

import numpy as np
import torch

CASES = {  # lengths, F, H, K, options of torch.nn.LSTM
    "two_layers": ([6, 2, 9], 3, 5, 2, {"num_layers": 2}),
    "both_directions": ([6, 2, 9, 1], 3, 4, 2, {"bidirectional": True}),
    "three_layers_both": ([5, 7, 3, 7], 2, 6, 1, {"num_layers": 3, "bidirectional": True}),
    "no_bias": ([4, 8, 3], 2, 5, 1, {"num_layers": 2, "bias": False}),
    "wide": ([12, 11, 3] * 6, 4, 19, 2, {"num_layers": 2, "bidirectional": True}),
    "projected": ([6, 2, 9], 3, 5, 2, {"proj_size": 3}),
    "projected_two_layers": ([6, 2, 9, 4], 3, 5, 1, {"num_layers": 2, "proj_size": 2}),
    "projected_both": ([5, 7, 3], 2, 6, 2, {"bidirectional": True, "proj_size": 4}),
}


def make_modules(F, H, K, options, draw):
    """An LSTM and its head, with weights that are float32 numbers; the second bias is 0."""
    lstm = torch.nn.LSTM(F, H, batch_first=True, **options)
    width = options.get("proj_size") or H
    head = torch.nn.Linear(width * (2 if options.get("bidirectional") else 1), K)
    with torch.no_grad():
        for module in (lstm, head):
            for name, weight in module.named_parameters():
                weight[:] = 0 if "bias_hh" in name else torch.tensor(draw(*weight.shape))
    return lstm, head


def run(lstm, head, x, lengths, y):
    """Results and gradients under the names of this library."""
    rnn = torch.nn.utils.rnn
    packed = rnn.pack_padded_sequence(
        x, torch.tensor(lengths), batch_first=True, enforce_sorted=False
    )
    h, (h_last, _) = lstm(packed)
    h, _ = rnn.pad_packed_sequence(h, batch_first=True)
    last = torch.cat([h_last[-2], h_last[-1]], dim=1) if lstm.bidirectional else h_last[-1]
    loss = torch.nn.functional.mse_loss(head(last), y)
    loss.backward()
    results = {"h": torch.cat([h[i, :n] for i, n in enumerate(lengths)]), "loss": loss}
    for name, weight in [*lstm.named_parameters(), ("weight", head.weight), ("bias", head.bias)]:
        if "bias_hh" not in name:
            results["grad_" + ours(name)] = weight.grad
    return results


def ours(name):
    return name.replace("bias_ih", "bias") if "_l" in name else f"head_{name}"


def main():
    rng = np.random.default_rng(1)
    stored = {}
    for case, (lengths, F, H, K, options) in CASES.items():
        # Of the size that PyTorch begins with; rounded to float32, so that both precisions
        # start from the same numbers.
        def draw(*shape, size=H**-0.5):
            return (rng.standard_normal(shape) * size).astype(np.float32)

        lstm, head = make_modules(F, H, K, options, draw)
        x, y = draw(len(lengths), max(lengths), F, size=1), draw(len(lengths), K, size=1)
        architecture = {
            "hidden_sizes": [H] * options.get("num_layers", 1),
            "direction": "both" if options.get("bidirectional") else "forward",
            "bias": options.get("bias", True),
            "proj_size": options.get("proj_size", 0),
        }
        inputs = {"x": x, "y": y, "lengths": lengths, "architecture": json.dumps(architecture)}
        for name, weight in [*lstm.named_parameters(), *head.named_parameters()]:
            if "bias_hh" not in name:
                inputs["weights/" + ours(name)] = weight.detach().numpy().copy()
        stored |= {f"{case}/{name}": np.asarray(value) for name, value in inputs.items()}
        for dtype in (torch.float32, torch.float64):
            modules = lstm.to(dtype), head.to(dtype)
            for module in modules:
                module.zero_grad()
            results = run(
                *modules, torch.tensor(x, dtype=dtype), lengths, torch.tensor(y).to(dtype)
            )
            precision = str(dtype).removeprefix("torch.")
            for name, value in results.items():
                stored[f"{case}/{precision}/{name}"] = value.detach().numpy().copy()
    path = Path(__file__).parent / "data" / "stack_vectors.npz"
    np.savez_compressed(path, **stored)
    print(f"{path}: {len(stored)} arrays, {path.stat().st_size} bytes, torch {torch.__version__}")


if __name__ == "__main__":
    main()
