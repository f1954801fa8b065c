"""Make tests/data/torch_modules.npz with PyTorch: python tests/make_torch_modules.py.

The state_dict of modules as people write them, with an input, and what they make of it from
the last hidden state and at every step. And two such modules as PyTorch exports them to ONNX,
torch_last.onnx and torch_steps.onnx (the exporter that needs no further package).
"""

from pathlib import Path

import numpy as np
import torch

CASES = {  # options of torch.nn.LSTM, and whether there is a head: none, a layer or two
    "one_layer": ({}, 1),
    "two_layers": ({"num_layers": 2}, 1),
    "both_directions": ({"num_layers": 2, "bidirectional": True}, 1),
    "projected": ({"num_layers": 2, "proj_size": 2}, 1),
    "projected_both": ({"proj_size": 3, "bidirectional": True}, 1),
    "no_bias": ({"bias": False}, 1),
    "two_linear": ({}, 2),
    "lstm_alone": ({"bidirectional": True}, 0),
}
EXPORTED = (
    ("exported_last", ({"num_layers": 2, "bidirectional": True}, 1)),
    ("exported_steps", ({}, 2)),
)


class Module(torch.nn.Module):
    """An LSTM and what follows it."""

    def __init__(self, F, H, K, n_linear, **options):
        super().__init__()
        self.encoder = torch.nn.LSTM(F, H, batch_first=True, **options)
        width = (1 + self.encoder.bidirectional) * (options.get("proj_size") or H)
        self.out = torch.nn.Identity()
        if n_linear == 1:
            self.out = torch.nn.Linear(width, K, bias=options.get("bias", True))
        elif n_linear == 2:
            M, nn = 3, torch.nn
            self.out = nn.Sequential(nn.Linear(width, M), nn.ReLU(), nn.Dropout(), nn.Linear(M, K))

    def forward(self, x):
        h, (h_n, _) = self.encoder(x)
        last = torch.cat([h_n[-2], h_n[-1]], 1) if self.encoder.bidirectional else h_n[-1]
        return self.out(last), self.out(h)


class Output(torch.nn.Module):
    """One of the two outputs of a module."""

    def __init__(self, module, index):
        super().__init__()
        self.module, self.index = module, int(index)

    def forward(self, x):
        return self.module(x)[self.index]


def main():
    torch.manual_seed(0)
    F, H, K, stored = 3, 4, 2, {}
    for case, (options, n_linear) in CASES.items():
        module = Module(F, H, K, n_linear, **options).eval()
        if n_linear == 0:
            stored |= {f"{case}/state/{k}": v for k, v in module.encoder.state_dict().items()}
        else:
            stored |= {f"{case}/state/{k}": v for k, v in module.state_dict().items()}
        x = torch.randn(3, 6, F)
        last, steps = module(x)
        stored |= {f"{case}/x": x, f"{case}/last": last, f"{case}/steps": steps}
    data = Path(__file__).parent / "data"
    for part, (case, (options, n_linear)) in {"last": EXPORTED[0], "steps": EXPORTED[1]}.items():
        module = Module(F, H, K, n_linear, **options).eval()
        x = torch.randn(3, 6, F)
        stored |= {f"{case}/x": x, f"{case}/{part}": module(x)[part == "steps"]}
        torch.onnx.export(
            Output(module, part == "steps"), (x,), str(data / f"torch_{part}.onnx"), dynamo=False,
            input_names=["x"], dynamic_axes={"x": {0: "n", 1: "t"}},
        )  # fmt: skip
    path = data / "torch_modules.npz"
    np.savez_compressed(path, **{k: v.detach().numpy() for k, v in stored.items()})
    print(f"{path}: {len(stored)} arrays, {path.stat().st_size} bytes, torch {torch.__version__}")


if __name__ == "__main__":
    main()
