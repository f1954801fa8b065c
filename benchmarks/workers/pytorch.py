"""PyTorch's side of the comparisons: plain, well-written loops."""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.workers.common import data, median_seconds, ragged, serve


class Model(torch.nn.Module):
    def __init__(self, F, H, num_layers=1, bidirectional=False):
        super().__init__()
        options = {"num_layers": num_layers, "bidirectional": bidirectional}
        self.lstm = torch.nn.LSTM(F, H, batch_first=True, **options)
        self.head = torch.nn.Linear(2 * H if bidirectional else H, 1)
        self.bidirectional = bidirectional

    def forward(self, x):
        out, (h, _) = self.lstm(x)
        last = torch.cat([h[-2], h[-1]], dim=1) if self.bidirectional else out[:, -1]
        return self.head(last)[:, 0]


def _epoch_seconds(batches, forward, model, goal):
    """Median time of an epoch: forward, loss, backward, Adam for each batch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    mse = torch.nn.functional.mse_loss

    def epoch():
        for x, y in batches():
            optimizer.zero_grad(set_to_none=True)
            mse(forward(x), y).backward()
            optimizer.step()

    return median_seconds(epoch, goal)


def train(B, T, F, H, batches, threads, goal, dtype="float32", **architecture):
    torch.set_num_threads(threads)
    X, y = (torch.from_numpy(a).to(getattr(torch, dtype)) for a in data(B, T, F, B * batches))
    model = Model(F, H, **architecture).to(X.dtype)

    def shuffled():
        order = torch.randperm(len(X))
        for first in range(0, len(X), B):
            index = order[first : first + B]
            yield X[index], y[index]

    return _epoch_seconds(shuffled, model, model, goal) / batches


def train_ragged(B, T, F, H, batches, threads, goal):
    """Both ways that PyTorch has: packed, and padded with the last valid step gathered."""
    torch.set_num_threads(threads)
    sequences, y = ragged(T, F, B * batches)
    sequences, y = [torch.from_numpy(x) for x in sequences], torch.from_numpy(y)
    rnn = torch.nn.utils.rnn
    seconds = {}
    for way in ("packed", "padded"):
        model = Model(F, H)

        def packed(parts, model=model):
            _, (h, _) = model.lstm(rnn.pack_sequence(parts, enforce_sorted=False))
            return model.head(h[-1])[:, 0]

        def padded(parts, model=model):
            h, _ = model.lstm(rnn.pad_sequence(parts, batch_first=True))
            last = torch.tensor([len(part) - 1 for part in parts])
            return model.head(h[torch.arange(len(parts)), last])[:, 0]

        def shuffled():
            order = np.random.default_rng(0).permutation(len(sequences))
            for first in range(0, len(sequences), B):
                index = order[first : first + B]
                yield [sequences[i] for i in index], y[index]

        forward = packed if way == "packed" else padded
        seconds[way] = _epoch_seconds(shuffled, forward, model, goal) / batches
    return seconds


def predict(B, T, F, H, threads, goal):
    torch.set_num_threads(threads)
    X, _ = data(B, T, F, B)
    model = Model(F, H).eval()

    def call():
        with torch.inference_mode():
            model(torch.from_numpy(X)).numpy()

    return median_seconds(call, goal)


def step(F, H, goal):
    torch.set_num_threads(1)
    cell, head = torch.nn.LSTMCell(F, H).eval(), torch.nn.Linear(H, 1).eval()
    x, state = np.zeros((1, F), np.float32), (torch.zeros(1, H), torch.zeros(1, H))

    def hundred():
        nonlocal state
        with torch.inference_mode():
            for _ in range(100):
                state = cell(torch.from_numpy(x), state)
                head(state[0]).item()

    return median_seconds(hundred, goal) / 100


def product(size, threads, goal):
    torch.set_num_threads(threads)
    A = torch.ones(size, size)
    return 2e-9 * size**3 / median_seconds(lambda: A @ A, goal)


if __name__ == "__main__":
    serve(
        {
            "train": train,
            "predict": predict,
            "step": step,
            "ragged": train_ragged,
            "product": product,
        },
        ["torch"],
    )
