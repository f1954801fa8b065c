"""Make tests/data/onnx_vectors.npz with ONNX Runtime: python tests/make_onnx_vectors.py.

Results of the operator LSTM, in float32, with every option that it has and this library
offers: directions, sequence lengths, peepholes, input_forget, clip, an initial state. All
weights differ, so that no two gates can be taken for one another.
"""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper

CASES = {  # lengths, F, H, attributes and inputs beyond X, W, R and B
    "forward": ([5, 5, 5], 3, 4, {}),
    "lengths": ([6, 2, 9, 1], 3, 5, {}),
    "reverse": ([6, 2, 9], 2, 4, {"direction": "reverse"}),
    "bidirectional": ([6, 2, 9], 2, 3, {"direction": "bidirectional"}),
    "peepholes": ([7, 3, 5], 3, 4, {"peepholes": True}),
    "input_forget": ([7, 3, 5], 3, 4, {"input_forget": 1}),
    "clip": ([7, 3, 5], 3, 4, {"clip": 0.4}),
    "clip_peepholes": ([7, 3, 5], 3, 4, {"clip": 0.4, "peepholes": True}),
    "initial_state": ([7, 7, 7], 3, 4, {"state": True}),
    "all": (
        *([6, 2, 9, 1], 3, 37),
        {"direction": "bidirectional", "peepholes": True, "clip": 0.6, "state": True},
    ),
}
GATES = [0, 2, 3, 1]  # ONNX's order is i, o, f, g; this library's i, f, g, o


def by_gate(weights, n_gates=4, order=GATES):
    """Bring the gates of (n_gates H, ...) into this library's order."""
    return weights.reshape(n_gates, -1, *weights.shape[1:])[order].reshape(weights.shape)


def main():
    rng = np.random.default_rng(2)
    stored = {}
    for case, (lengths, F, H, options) in CASES.items():
        direction = options.get("direction", "forward")
        D, N, T = 1 + (direction == "bidirectional"), len(lengths), max(lengths)

        def draw(*shape, size=H**-0.5):
            return (rng.standard_normal(shape) * size).astype(np.float32)

        feeds = {
            "X": draw(T, N, F, size=1),
            "W": draw(D, 4 * H, F),
            "R": draw(D, 4 * H, H),
            "B": draw(D, 8 * H),
            "sequence_lens": np.array(lengths, np.int32),
        }
        if options.get("state"):
            feeds |= {"initial_h": draw(D, N, H), "initial_c": draw(D, N, H)}
        if options.get("peepholes"):
            feeds |= {"P": draw(D, 3 * H)}
        slots = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"]
        attributes = {k: v for k, v in options.items() if k not in ("peepholes", "state")}
        node = helper.make_node(
            "LSTM", [name if name in feeds else "" for name in slots],
            ["Y", "Y_h", "Y_c"], hidden_size=H, **attributes,
        )  # fmt: skip
        graph = helper.make_graph(
            [node], "lstm",
            [
                helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
                )
                for name, value in feeds.items()
            ],
            [
                helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
                for name, shape in (("Y", (T, D, N, H)), ("Y_h", (D, N, H)), ("Y_c", (D, N, H)))
            ],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
        onnx.checker.check_model(model)
        session = onnxruntime.InferenceSession(model.SerializeToString())
        Y, Y_h, Y_c = session.run(None, feeds)

        architecture = {
            "hidden_sizes": [H],
            "direction": {"bidirectional": "both"}.get(direction, direction),
            "peephole": bool(options.get("peepholes")),
            "coupled": bool(options.get("input_forget")),
        }
        if "clip" in options:
            architecture["limit"] = options["clip"]
        inputs = {
            "x": feeds["X"].transpose(1, 0, 2),
            "lengths": lengths,
            "architecture": json.dumps(architecture),
            "h": np.concatenate([Y[:n, :, i].reshape(n, -1) for i, n in enumerate(lengths)]),
            "h_last": np.hstack(Y_h),
            "c_last": np.hstack(Y_c),
        }
        for d in range(D):
            name = "l0" + "_reverse" * d
            inputs[f"weights/weight_ih_{name}"] = by_gate(feeds["W"][d])
            inputs[f"weights/weight_hh_{name}"] = by_gate(feeds["R"][d])
            B = feeds["B"][d].astype(np.float64)
            inputs[f"weights/bias_{name}"] = by_gate(B[: 4 * H] + B[4 * H :])
            if "P" in feeds:  # in the order i, o, f
                inputs[f"weights/peephole_{name}"] = by_gate(feeds["P"][d], 3, [0, 2, 1]).reshape(
                    3, H
                )
        if options.get("state"):
            inputs |= {name: np.hstack(feeds[name]) for name in ("initial_h", "initial_c")}
        stored |= {f"{case}/{name}": np.asarray(value) for name, value in inputs.items()}
    path = Path(__file__).parent / "data" / "onnx_vectors.npz"
    np.savez_compressed(path, **stored)
    version = onnxruntime.__version__
    print(f"{path}: {len(stored)} arrays, {path.stat().st_size} bytes, onnxruntime {version}")


if __name__ == "__main__":
    main()
