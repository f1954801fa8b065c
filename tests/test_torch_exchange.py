"""Weights from PyTorch and back."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

import numba_lstm
from numba_lstm import LSTMClassifier, LSTMRegressor, from_torch, to_torch_state_dict

STORED = np.load(Path(__file__).parent / "data" / "torch_modules.npz")
CASES = sorted({name.split("/")[0] for name in STORED if "/state/" in name})
rng = np.random.default_rng(0)
X = rng.standard_normal((20, 7, 3)) * [1, 3, 0.2] + [0, 5, -1]
Y = np.stack([X[:, -1, 0], 100 + 20 * X[:, :, 1].sum(1)], axis=1)


def stored(case):
    prefix = f"{case}/state/"
    return {k.removeprefix(prefix): STORED[k] for k in STORED if k.startswith(prefix)}


def options_of(case):
    return {"head_activation": "relu"} if case == "two_linear" else {}


def fitted(kind=LSTMRegressor, y=Y, **options):
    options = {"hidden_size": 4, "max_iter": 2, "random_state": 0} | options
    return kind(**options).fit(X, y)


def bits(state):
    return {name: (value.dtype, value.shape, value.tobytes()) for name, value in state.items()}


@pytest.mark.nojit
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [None, "float64"])
def test_predictions_are_pytorch_s(case, dtype):
    state, options = stored(case), options_of(case) | {"dtype": dtype}
    model = from_torch(state, **options)
    assert model.theta_.dtype == (dtype or "float32")
    x, last, steps = (STORED[f"{case}/{name}"] for name in ("x", "last", "steps"))
    np.testing.assert_allclose(model.predict(x), last, rtol=0, atol=1e-6)
    model = from_torch(state, return_sequences=True, **options)
    np.testing.assert_allclose(model.predict(x), steps, rtol=0, atol=1e-6)


@pytest.mark.nojit
@pytest.mark.parametrize("case", [case for case in CASES if case != "lstm_alone"])
def test_there_and_back_nothing_changes(case):
    model = from_torch(stored(case), **options_of(case))
    state = to_torch_state_dict(model)
    again = from_torch(state, **options_of(case))
    assert again.theta_.tobytes() == model.theta_.tobytes()
    assert bits(to_torch_state_dict(again)) == bits(state)
    # PyTorch's two biases have become one; all else is what it was.
    given = {
        k.replace("encoder", "lstm").replace("out", "head"): v for k, v in stored(case).items()
    }
    given = {k.replace("head.3", "head.2"): v for k, v in given.items()}
    assert given.keys() <= state.keys()
    for name in given.keys() - {n for n in given if "bias_" in n}:
        assert given[name].tobytes() == state[name].tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [
    {}, {"num_layers": 2, "bidirectional": True}, {"proj_size": 2, "bias": False},
    {"head_hidden_size": 3, "head_activation": "tanh"}, {"pooling": "mean"},
])  # fmt: skip
def test_a_fit_s_weights_come_back_to_the_bit(options, dtype):
    model = fitted(dtype=dtype, **options)
    asked = {name: options[name] for name in ("head_activation", "pooling") if name in options}
    standardisation = {
        name: getattr(model, f"{name}_")
        for name in ("input_mean", "input_scale", "target_mean", "target_scale")
    }
    again = from_torch(to_torch_state_dict(model, fold=False), **asked, **standardisation)
    assert again.theta_.tobytes() == model.theta_.tobytes()
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    # Folded, the network takes X and predicts y as they are.
    again = from_torch(to_torch_state_dict(model), **asked)
    tolerance = 1e-10 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(again.predict(X), model.predict(X), rtol=tolerance, atol=tolerance)


def test_names_are_there_without_what_they_need():
    """Nothing heavy is imported before a network is at hand."""
    code = (
        "import sys, numba_lstm;"
        "from numba_lstm import from_torch, from_keras, to_onnx, from_onnx;"
        "assert 'to_keras_weights' in dir(numba_lstm);"
        "print({'numba', 'torch', 'keras', 'onnx'} & set(sys.modules))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "set()"
    with pytest.raises(AttributeError, match="no attribute 'from_nowhere'"):
        _ = numba_lstm.from_nowhere


def test_negative_zeros_stay_negative():
    model = fitted(standardize=False)
    model.theta_[:] = -0.0
    again = from_torch(to_torch_state_dict(model))
    assert again.theta_.tobytes() == model.theta_.tobytes()


def test_biases_add_up_exactly_in_float64():
    state = stored("one_layer")
    b, c = (state[f"encoder.bias_{name}_l0"] for name in ("ih", "hh"))
    expected = b.astype(np.float64) + c
    assert (from_torch(state, dtype="float64").parameters_["bias_l0"] == expected).all()
    assert (from_torch(state).parameters_["bias_l0"] == expected.astype(np.float32)).all()


def test_classes_in_the_order_of_the_outputs():
    state, x = stored("one_layer"), STORED["one_layer/x"]
    logits = STORED["one_layer/last"].astype(np.float64)
    share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    model = from_torch(state, classes=["up", "down"])
    assert model.classes_.tolist() == ["down", "up"]
    np.testing.assert_allclose(model.predict_proba(x), share[:, ::-1], atol=1e-6)
    one = {k: v[:1] if k.startswith("out") else v for k, v in state.items()}
    second = 1 / (1 + np.exp(-logits[:, 0]))  # the output is that of the second label
    np.testing.assert_allclose(
        from_torch(one, classes=["up", "down"]).predict_proba(x)[:, 0], second, atol=1e-6
    )
    model = from_torch(state, multilabel=True)
    np.testing.assert_array_equal(model.predict(x), logits > 0)
    three = {k: v[[0, 1, 0]] if k.startswith("out") else v for k, v in state.items()}
    found = from_torch(three, classes=[7, 3, 5]).predict_proba(x)
    logits = logits[:, [1, 0, 0]]
    share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(found, share, atol=1e-6)


def test_a_classifier_s_logits():
    model = fitted(LSTMClassifier, y=rng.integers(0, 3, len(X)))
    again = from_torch(to_torch_state_dict(model), classes=model.classes_)
    np.testing.assert_allclose(again.predict_proba(X), model.predict_proba(X), atol=1e-5)
    again = from_torch(to_torch_state_dict(model)).predict(X)
    again = np.exp(again - again.max(1, keepdims=True))
    again /= again.sum(1, keepdims=True)
    np.testing.assert_allclose(again, model.predict_proba(X), atol=1e-5)


def test_the_estimator_is_like_any_other():
    model = from_torch(stored("two_layers"), learning_rate_init=0.01, warm_start=True)
    x, before = STORED["two_layers/x"], model.score(X, Y)
    stream = model.stream()
    for row in x[0]:
        found = stream.step(row)
    np.testing.assert_allclose(found, STORED["two_layers/last"][0], atol=1e-6)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
    again.fit(X, Y)
    assert again.score(X, Y) > before
    assert again.partial_fit(X, Y).n_iter_ == again.max_iter + 1
    assert model.n_iter_ == 0


REFUSED = {
    "a GRU": (lambda s: {k: v[:12] if "_l0" in k else v for k, v in s.items()}, "GRU"),
    "two LSTMs": (lambda s: s | {f"other.{k}": v for k, v in s.items()}, "those of 2"),
    "no LSTM": (lambda s: {"out.weight": s["out.weight"]}, "those of 0"),
    "a missing layer": (
        lambda s: s | {"encoder.weight_ih_l2": s["encoder.weight_ih_l0"]}, "incomplete"),
    "no second bias": (
        lambda s: {k: v for k, v in s.items() if "bias_hh" not in k}, "incomplete"),
    "a norm": (lambda s: s | {"norm.weight": np.ones(4)}, "'norm.weight'"),
    "a buffer": (lambda s: s | {"running_mean": np.ones(4)}, "'running_mean'"),
    "a head of another width": (lambda s: s | {"out.weight": np.ones((2, 5))}, r"\(2, 5\)"),
    "two heads": (lambda s: s | {"b.weight": np.ones((2, 2))}, "head_activation"),
    "three heads": (
        lambda s: s | {"b.weight": np.ones((2, 2)), "c.weight": np.ones((2, 2))}, "3 linear"),
    "NaN": (lambda s: s | {"out.bias": np.full(2, np.nan)}, "NaN"),
    "huge": (lambda s: s | {"out.bias": np.full(2, 3e38, np.float32)}, "too large to compute"),
    "an embedding": (lambda s: {"emb.weight": np.ones((7, 3))} | s, "'emb.weight' comes before"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_state_dicts_that_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        from_torch(change(stored("one_layer")))


@pytest.mark.parametrize(("options", "message"), [
    ({"classes": [1, 2, 3]}, "2 labels"),
    ({"classes": [1, 1]}, "twice"),
    ({"classes": ["a", "b"], "target_scale": [1, 1]}, "regression"),
    ({"multilabel": True, "classes": [1, 2]}, "numbers of the"),
    ({"input_scale": [1, 0, 1]}, "positive"),
    ({"pooling": "attention"}, "weights of its own"),
    ({"pooling": "mean", "return_sequences": True}, "Use one or the other"),
    ({"dtype": "float16"}, "float64"),
    ({"max_iter": -1}, "max_iter"),
    ({"missing": "mask"}, "other origin"),
])  # fmt: skip
def test_options_that_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        from_torch(stored("one_layer"), **options)


def test_what_is_no_module():
    with pytest.raises(TypeError, match="state_dict"):
        from_torch([np.ones(3)])
    with pytest.raises(TypeError, match="multiple values"):
        from_torch(stored("one_layer"), bidirectional=True)


def test_networks_that_pytorch_has_not():
    with pytest.raises(NotFittedError):
        to_torch_state_dict(LSTMRegressor())
    with pytest.raises(TypeError, match="int"):
        to_torch_state_dict(1)
    model = fitted(
        peephole=True, coupled_gates=True, pooling="attention", num_layers=2, residual=True,
        cell_clip=1, learn_initial_state=True, zoneout_cell=0.1,
    )  # fmt: skip
    with pytest.raises(ValueError, match="peephole=True") as error:
        to_torch_state_dict(model)
    for name in ("coupled_gates", "attention", "residual", "cell_clip=1.0", "learn_initial_state",
                 "zoneout_cell=0.1"):  # fmt: skip
        assert name in str(error.value)
    with pytest.raises(ValueError, match="go_backwards"):
        to_torch_state_dict(fitted(go_backwards=True))
    with pytest.raises(ValueError, match="merge_mode='sum'"):
        to_torch_state_dict(fitted(bidirectional=True, merge_mode="sum"))
    with pytest.raises(ValueError, match=r"hidden_size=\[4, 3\], layer_norm"):
        to_torch_state_dict(fitted(hidden_size=[4, 3], layer_norm=True))


def test_tensors_without_pytorch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="as_tensors=True needs PyTorch"):
        to_torch_state_dict(fitted(), as_tensors=True)


def test_weights_too_large_to_fold():
    model = fitted()
    model.input_mean_ = np.array([0, 1e5, 0.0]) * model.input_scale_
    with pytest.raises(ValueError, match=r"input_mean_ is up to 1e\+05 times"):
        to_torch_state_dict(model)
    model = fitted()
    model.target_scale_ = np.array([1e300, 1])
    with pytest.raises(ValueError, match="fold=False"):
        to_torch_state_dict(model)


@pytest.mark.parametrize("options", [
    {}, {"bidirectional": True, "num_layers": 2}, {"proj_size": 2},
    {"bias": False}, {"head_hidden_size": 3},
], ids=str)  # fmt: skip
def test_pytorch_itself(options):
    torch = pytest.importorskip("torch")
    model = fitted(dtype="float64", **options)
    layout = model._layout
    head = torch.nn.Linear(layout.head_inputs, 2)
    if layout.head_size:
        head = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), head)
    lstm = torch.nn.LSTM(
        3, 4, len(layout.hidden_sizes), batch_first=True,
        bidirectional=layout.direction == "both", proj_size=layout.proj_size,
    )  # fmt: skip
    module = torch.nn.ModuleDict({"lstm": lstm, "head": head}).double()
    module.load_state_dict(to_torch_state_dict(model, as_tensors=True))
    with torch.no_grad():
        _, (h, _) = lstm(torch.from_numpy(X))
        found = head(torch.cat(list(h[-2:] if lstm.bidirectional else h[-1:]), 1)).numpy()
    np.testing.assert_allclose(found, model.predict(X), rtol=1e-8)
    again = from_torch(module)
    np.testing.assert_allclose(again.predict(X), model.predict(X), rtol=1e-8)
    assert again.dtype == "float64"


def test_modules_that_are_refused():
    torch = pytest.importorskip("torch")
    nn = torch.nn
    for part in (nn.BatchNorm1d(4), nn.Softmax(1), nn.Conv1d(3, 3, 1)):
        with pytest.raises(ValueError, match=type(part).__name__):
            from_torch(nn.Sequential(nn.LSTM(3, 4), part, nn.Linear(4, 2)))
    with pytest.raises(ValueError, match="LSTM, ReLU, Linear"):
        from_torch(nn.Sequential(nn.LSTM(3, 4), nn.ReLU(), nn.Linear(4, 2)))
    halves = nn.Sequential(nn.LSTM(3, 4), nn.Linear(4, 2), nn.Softmax(1)).bfloat16()
    assert from_torch(halves, classes=[0, 1]).theta_.dtype == np.float32
