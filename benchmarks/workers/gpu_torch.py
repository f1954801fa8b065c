"""PyTorch's side of the comparisons on a GPU: nn.LSTM, which is cuDNN's."""

import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.workers.common import data, ragged, serve
from benchmarks.workers.gpu_clock import Clock


class TorchClock(Clock):
    def event(self):
        return torch.cuda.Event(enable_timing=True)

    def record(self, event):
        event.record()

    def seconds(self, begin, end):
        return begin.elapsed_time(end) / 1e3

    def is_past(self, event):
        return event.query()

    def synchronize(self):
        torch.cuda.synchronize()

    def occupy(self, seconds):
        torch.cuda._sleep(int(seconds * 2e9))  # clocks


class HostClock(Clock):
    """For a trial without a GPU."""

    def event(self):
        return []

    def record(self, event):
        event.append(time.perf_counter())

    def seconds(self, begin, end):
        return end[0] - begin[0]

    def is_past(self, event):
        return False

    def synchronize(self):
        pass

    def occupy(self, seconds):
        pass


class Model(torch.nn.Module):
    """Time steps come first in x, as cuDNN has them."""

    def __init__(self, F, H):
        super().__init__()
        self.lstm, self.head = torch.nn.LSTM(F, H), torch.nn.Linear(H, 1)

    def forward(self, x):
        _, (h, _) = self.lstm(x)
        return self.head(h[-1])[:, 0]


def _allow(tf32):
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32


def _clock(device):
    return TorchClock() if device == "cuda" else HostClock()


def _problem(B, T, F, H, is_ragged, device):
    """A model, its inputs and targets on the device."""
    X, y = ragged(T, F, B) if is_ragged else data(B, T, F, B)
    order = sorted(range(B), key=lambda q: -len(X[q]))
    parts = [torch.from_numpy(np.ascontiguousarray(X[q])) for q in order]
    x = torch.nn.utils.rnn.pad_sequence(parts)
    if is_ragged:
        lengths = torch.tensor([len(part) for part in parts])  # on the host, as it asks for
        x = torch.nn.utils.rnn.pack_padded_sequence(x, lengths)
    y = torch.from_numpy(y[order].astype(np.float32))
    return Model(F, H).to(device), x.to(device), y.to(device)


def _adam(model, device):
    return torch.optim.Adam(model.parameters(), lr=1e-3, fused=device == "cuda")


def _step(model, optimizer, x, y):
    optimizer.zero_grad(set_to_none=True)
    torch.nn.functional.mse_loss(model(x), y).backward()
    optimizer.step()


def predict(B, T, F, H, goal, tf32=False, is_ragged=False, device="cuda"):
    _allow(tf32)
    model, x, _ = _problem(B, T, F, H, is_ragged, device)
    model.eval()
    with torch.inference_mode():
        return _clock(device).measure(lambda: model(x), goal)


def train(B, T, F, H, goal, tf32=False, is_ragged=False, device="cuda"):
    _allow(tf32)
    model, x, y = _problem(B, T, F, H, is_ragged, device)
    optimizer = _adam(model, device)
    return _clock(device).measure(lambda: _step(model, optimizer, x, y), goal)


def epochs(M, B, T, F, H, batches, goal, tf32=False, device="cuda"):
    """Seconds of a batch of each of M models, trained one after the other."""
    _allow(tf32)
    X, y = (torch.from_numpy(a).to(device) for a in data(B, T, F, B * batches))
    X = X.transpose(0, 1).contiguous()
    models = [Model(F, H).to(device) for _ in range(M)]
    optimizers, seconds = [_adam(model, device) for model in models], []
    clock = _clock(device)
    while sum(seconds[1:]) < goal or len(seconds) < 4:
        clock.synchronize()
        began = time.perf_counter()
        for model, optimizer in zip(models, optimizers, strict=True):
            order = torch.randperm(len(y), device=device)
            for first in range(0, len(y), B):
                index = order[first : first + B]
                _step(model, optimizer, X[:, index], y[index])
        clock.synchronize()
        seconds.append((time.perf_counter() - began) / batches)
    return float(np.median(seconds[1:]))


if __name__ == "__main__":
    serve({"predict": predict, "train": train, "epochs": epochs}, ["torch"])
