"""Make tests/data/saved_*.lstm and saved_models.npz: python tests/make_saved_models.py.

Files of models as a version of the library wrote them, and what it predicted. Once a version
has been released they stay as they are; a new format gets files of its own beside them.
"""

from pathlib import Path

import numpy as np

from numba_lstm import LSTMClassifier, LSTMRegressor

DATA = Path(__file__).parent / "data"


def main():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((12, 7, 2))
    gaps = X.copy()
    gaps[rng.random(X.shape) < 0.2] = np.nan
    times = np.cumsum(rng.exponential(2.0, (12, 7)), axis=1)
    names = np.array(["falls", "rises", "stays"])[rng.integers(0, 3, 12)]
    cases = {
        "saved_plain": (LSTMRegressor(5), X, 10 + 3 * X[:, -1, 0], None),
        "saved_stack": (
            LSTMClassifier(
                4,
                num_layers=2,
                bidirectional=True,
                merge_mode="sum",
                residual=True,
                layer_norm=True,
                pooling="attention",
                head_hidden_size=3,
                class_weight={"falls": 2, "rises": 1, "stays": 0.5},
                missing="mask",
            ),
            gaps,
            names,
            None,
        ),
        "saved_cell": (
            LSTMRegressor(
                [4, 3],
                proj_size=2,
                peephole=True,
                coupled_gates=True,
                cell_clip=1.5,
                learn_initial_state=True,
                zoneout_cell=0.1,
                return_sequences=True,
                dtype="float64",
            ),
            X,
            np.cumsum(X, axis=1),
            times,
        ),
    }
    stored = {}
    for name, (model, data, y, when) in cases.items():
        model.set_params(max_iter=5, random_state=0, learning_rate_init=0.1)
        model.fit(data, y, times=when).save(DATA / f"{name}.lstm")
        stored[f"{name}/X"] = data
        if when is not None:
            stored[f"{name}/times"] = when
        for method in ("predict", "predict_proba"):
            if hasattr(model, method):
                stored[f"{name}/{method}"] = getattr(model, method)(data, times=when)
        print(name, (DATA / f"{name}.lstm").stat().st_size, "bytes")
    np.savez_compressed(DATA / "saved_models.npz", **stored)
    print("saved_models.npz", (DATA / "saved_models.npz").stat().st_size, "bytes")


if __name__ == "__main__":
    main()
