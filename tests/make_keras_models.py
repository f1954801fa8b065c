"""Make tests/data/keras_models.npz with Keras: python tests/make_keras_models.py.

The weights of models as people write them, the class and the configuration of each of their
layers, an input, and what the model makes of it.
"""

import json
from pathlib import Path

import keras
import numpy as np
from keras.layers import (
    LSTM,
    Bidirectional,
    Dense,
    Dropout,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    TimeDistributed,
)

# Functions of no argument that make layers, and what from_keras is told with bare weights.
CASES = {
    "lstm_dense": (lambda: [LSTM(4), Dense(2)], {}),
    "stacked": (
        lambda: [LSTM(5, return_sequences=True), Dropout(0.2), LSTM(3), Dense(1)], {}),
    "bidirectional": (lambda: [Bidirectional(LSTM(4)), Dense(2)], {}),
    "average": (
        lambda: [Bidirectional(LSTM(3, return_sequences=True), "ave"),
                 Bidirectional(LSTM(3), "ave"), Dense(2)],
        {"bidirectional": True, "merge_mode": "ave"}),
    "sum": (
        lambda: [Bidirectional(LSTM(4, return_sequences=True), "sum"), Dense(2)],
        {"merge_mode": "sum", "return_sequences": True}),
    "every_step": (
        lambda: [LSTM(4, return_sequences=True), TimeDistributed(Dense(2))],
        {"return_sequences": True}),
    "backwards": (
        lambda: [LSTM(3, return_sequences=True, go_backwards=True), LSTM(4), Dense(1)],
        {"go_backwards": True}),
    "mean": (
        lambda: [LSTM(4, return_sequences=True), GlobalAveragePooling1D(), Dense(2)],
        {"pooling": "mean"}),
    "max": (
        lambda: [LSTM(4, return_sequences=True), GlobalMaxPooling1D(), Dense(2)],
        {"pooling": "max"}),
    "two_dense": (
        lambda: [LSTM(4), Dense(3, "relu"), Dense(2)], {"head_activation": "relu"}),
    "softmax": (lambda: [LSTM(4), Dense(3, "softmax")], {"classes": [2, 0, 1]}),
    "sigmoid": (lambda: [LSTM(4), Dense(1, "sigmoid")], {"classes": ["no", "yes"]}),
    "labels": (lambda: [LSTM(4), Dense(3, "sigmoid")], {"multilabel": True}),
    "no_bias": (lambda: [LSTM(4, use_bias=False), Dense(2, use_bias=False)], {}),
    "layer_alone": (lambda: [Bidirectional(LSTM(3))], {"bidirectional": True}),
}  # fmt: skip


def main():
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    stored = {}
    for case, (make, told) in CASES.items():
        x = rng.standard_normal((3, 6, 3)).astype(np.float32)
        model = keras.Sequential([keras.layers.Input((None, 3)), *make()])
        # Keras begins with zeros and ones as biases, which would hide how they are ordered.
        model.set_weights([rng.normal(0, 0.5, w.shape) for w in model.get_weights()])
        layers = [(type(layer).__name__, layer.get_config()) for layer in model.layers]
        weights = model.get_weights()
        about = {"shapes": [w.shape for w in weights], "layers": layers, "told": told}
        stored |= {
            f"{case}/about": np.frombuffer(json.dumps(about).encode(), np.uint8),
            f"{case}/weights": np.concatenate([w.ravel() for w in weights]),
            f"{case}/x": x,
            f"{case}/out": np.asarray(model(x)),
        }
    path = Path(__file__).parent / "data" / "keras_models.npz"
    np.savez_compressed(path, **stored)
    print(f"{path}: {len(stored)} arrays, {path.stat().st_size} bytes, keras {keras.__version__}")


if __name__ == "__main__":
    main()
