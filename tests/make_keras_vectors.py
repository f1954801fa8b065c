"""Make tests/data/keras_vectors.npz with Keras: python tests/make_keras_vectors.py.

Results of keras.layers.LSTM and Bidirectional, with the outputs of all steps and with the last
alone, in float32 and float64; and the biases of a new layer. KERAS_BACKEND must be tensorflow:
with the others Keras 3 rounds the results of float64 to float32.
"""

import json
from pathlib import Path

import keras
import numpy as np

CASES = {  # lengths, F, H of each layer, merge_mode, whether a state is given, options of LSTM
    "forward": ([5, 5, 5], 3, [4], None, False, {}),
    "masked": ([6, 2, 9, 1], 3, [5], None, False, {}),
    "no_bias": ([7, 3, 5], 3, [4], None, False, {"use_bias": False}),
    "initial_state": ([4, 4, 4], 3, [4], None, True, {}),
    "two_layers": ([6, 2, 9], 3, [5, 4], None, False, {}),
    "backwards": ([5, 5, 5], 3, [4], None, False, {"go_backwards": True}),
    "backwards_masked": ([6, 2, 9, 1], 2, [5], None, True, {"go_backwards": True}),
    "backwards_two_layers": ([6, 6], 2, [3, 4], None, False, {"go_backwards": True}),
    "concat": ([6, 2, 9, 1], 2, [3], "concat", False, {}),
    "sum": ([6, 2, 9, 1], 2, [3], "sum", False, {}),
    "ave": ([6, 2, 9, 1], 2, [3], "ave", False, {}),
    "two_layers_concat": ([6, 2, 9], 2, [4, 3], "concat", True, {}),
    "two_layers_ave": ([7, 3], 2, [3, 5], "ave", True, {}),
}


def run(x, weights, states, merge, options, return_sequences):
    """Outputs of the last layer, and h and c that the cells of all layers end with."""
    # By hand: a layer that is given its state does not use the mask that Masking leaves with x.
    mask = keras.layers.Masking().compute_mask(x) if not x.all() else None
    ends = []
    for k, (arrays, state) in enumerate(zip(weights, states, strict=True)):
        every, H = return_sequences or k < len(weights) - 1, len(arrays[1])
        layer = keras.layers.LSTM(H, return_sequences=every, return_state=True, **options)
        if merge:
            layer = keras.layers.Bidirectional(layer, merge)
        layer.build(x.shape)
        layer.set_weights(arrays)
        x, *end = layer(x, mask=mask, initial_state=state or None)
        ends += [keras.ops.convert_to_numpy(part) for part in end]
        # Outputs of a layer that goes backwards begin with the last step: so does the next layer.
        options = {**options, "go_backwards": False}
    return {
        "sequences" if return_sequences else "last": keras.ops.convert_to_numpy(x),
        "h_last": np.hstack(ends[::2]),
        "c_last": np.hstack(ends[1::2]),
    }


def main():
    rng = np.random.default_rng(3)
    layer = keras.layers.LSTM(4)
    layer.build((None, None, 3))
    stored = {"new_bias": layer.get_weights()[2]}
    for case, (lengths, F, sizes, merge, has_state, options) in CASES.items():

        def draw(*shape, size=sizes[0] ** -0.5):
            # Rounded to float32, so that both precisions start from the same numbers.
            return (rng.standard_normal(shape) * size).astype(np.float32)

        N, T, bias = len(lengths), max(lengths), options.get("use_bias", True)
        x = draw(N, T, F, size=1)
        x[np.arange(T) >= np.array(lengths)[:, np.newaxis]] = 0
        backwards = "reverse" if "go_backwards" in options else "forward"
        architecture = {
            "hidden_sizes": sizes,
            "direction": "both" if merge else backwards,
            "merge": {None: "concat", "ave": "mean"}.get(merge, merge),
            "bias": bias,
        }
        inputs = {"x": x, "lengths": lengths, "architecture": json.dumps(architecture)}
        weights, states, width = [], [], F
        for k, H in enumerate(sizes):
            names = [f"l{k}", f"l{k}_reverse"] if merge else [f"l{k}"]
            weights.append([])
            for name in names:
                cell = {"weight_ih": draw(width, 4 * H), "weight_hh": draw(H, 4 * H)}
                cell |= {"bias": draw(4 * H)} if bias else {}
                inputs |= {f"weights/{kind}_{name}": array.T for kind, array in cell.items()}
                weights[k] += cell.values()
            states.append([draw(N, H) for _ in 2 * names] if has_state else [])
            width = 2 * H if merge == "concat" else H
        # A head that passes the outputs of the last layer on as they are.
        inputs["weights/head_weight"] = np.eye(width, dtype=np.float32)
        if has_state:
            parts = [part for state in states for part in state]
            inputs |= {"initial_h": np.hstack(parts[::2]), "initial_c": np.hstack(parts[1::2])}
        for dtype in ("float32", "float64"):
            keras.config.set_dtype_policy(dtype)
            given = [[part.astype(dtype) for part in state] for state in states]
            for return_sequences in (True, False):
                results = run(x.astype(dtype), weights, given, merge, options, return_sequences)
                inputs |= {f"{dtype}/{name}": value for name, value in results.items()}
        stored |= {f"{case}/{name}": np.asarray(value) for name, value in inputs.items()}
    path = Path(__file__).parent / "data" / "keras_vectors.npz"
    np.savez_compressed(path, **stored)
    print(f"{path}: {len(stored)} arrays, {path.stat().st_size} bytes, keras {keras.__version__}")


if __name__ == "__main__":
    main()
