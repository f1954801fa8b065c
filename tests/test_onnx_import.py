"""ONNX models of elsewhere as networks."""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from onnx_chain import TIME_FIRST, Chain, X, axes, draw, final_states, plain

from numba_lstm import LSTMClassifier, LSTMRegressor, from_onnx, to_onnx

DATA = Path(__file__).parent / "data"
STORED = np.load(DATA / "torch_modules.npz")
VECTORS = np.load(DATA / "onnx_vectors.npz")


@pytest.mark.nojit
@pytest.mark.parametrize("part", ["last", "steps"])
def test_what_pytorch_exports(part):
    path = DATA / f"torch_{part}.onnx"
    model = from_onnx(path)
    x, expected = (STORED[f"exported_{part}/{name}"] for name in ("x", part))
    np.testing.assert_allclose(model.predict(x), expected, rtol=0, atol=1e-6)
    assert (model.bidirectional, model.num_layers) == ((True, 2) if part == "last" else (False, 1))
    for given in (str(path), path.read_bytes(), onnx.load(path)):
        np.testing.assert_array_equal(from_onnx(given).theta_, model.theta_)
    # And it can be trained further, or written as this library writes it.
    again = from_onnx(to_onnx(model), learning_rate_init=0.01)
    np.testing.assert_array_equal(again.theta_, model.theta_)
    assert again.partial_fit(x, np.zeros_like(expected)).n_iter_ == 1


def run(model, **feeds):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)[0]


def both_ways(**attributes):
    """Both directions, two layers, and the states side by side."""
    chain = Chain()
    x = chain.add("Transpose", "X", **TIME_FIRST)
    for F in (3, 8):
        y, y_h, _ = chain.lstm(x, F=F, D=2, **attributes)
        x = chain.add("Reshape", chain.add("Transpose", y, perm=[0, 2, 1, 3]), axes(0, 0, -1))
    beside = chain.add("Transpose", y_h, perm=[1, 0, 2])
    return chain, chain.add("Reshape", beside, axes(0, 8))


def test_final_states_and_gemm():
    chain, _, y_h = plain()
    weights = draw(2, 4), draw(2)
    model = chain.model(
        chain.add("Gemm", final_states(chain, y_h), *weights, transB=1, alpha=0.5, beta=2.0)
    )
    np.testing.assert_allclose(from_onnx(model).predict(X), run(model, X=X), atol=1e-6)


def test_scaled_before_and_after():
    chain = Chain()
    x = chain.add("Div", chain.add("Sub", "X", draw(1, 1, 3)), np.abs(draw(3)))
    x = chain.add("Add", chain.add("Mul", x, np.abs(draw(3))), draw(3))
    _, y_h, _ = chain.lstm(chain.add("Transpose", x, **TIME_FIRST))
    out = chain.add("MatMul", final_states(chain, y_h), draw(4, 2))
    out = chain.add("Sub", chain.add("Add", draw(2), out), draw(2))
    out = chain.add("Div", chain.add("Mul", out, draw(1)), draw(2))
    model = chain.model(out)
    found = from_onnx(model)
    assert found.standardize
    np.testing.assert_allclose(found.predict(X), run(model, X=X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", ["Gather", "Slice", "ReduceMean", "ReduceMax"])
def test_one_row_of_all_steps(way):
    chain, y, _ = plain()
    y = chain.add("Squeeze", y, axes(1))
    if way == "Gather":
        row = chain.add("Gather", y, np.array(-1), axis=0)
    elif way == "Slice":
        row = chain.add("Slice", y, axes(-1), axes(2**62), axes(0))
        row = chain.add("Squeeze", row, axes(0))
    else:
        row = chain.add(way, y, axes=[0], keepdims=0)
    model = chain.model(chain.add("MatMul", row, draw(4, 2)))
    np.testing.assert_allclose(from_onnx(model).predict(X), run(model, X=X), atol=1e-6)


def test_time_in_front_and_every_step():
    chain = Chain(x=("T", "N", 3))
    y, *_ = chain.lstm("X")
    hidden = chain.add("Tanh", chain.add("MatMul", chain.add("Squeeze", y, axes(1)), draw(4, 3)))
    model = chain.model(chain.add("Add", chain.add("MatMul", hidden, draw(3, 2)), draw(2)))
    found = from_onnx(model)
    assert found.head_activation == "tanh"
    expected = run(model, X=X.transpose(1, 0, 2)).transpose(1, 0, 2)
    np.testing.assert_allclose(found.predict(X), expected, atol=1e-6)


def test_lengths_and_series():
    chain = Chain(F=1, x=("N", "T"), extra=[("lengths", 6, ["N"])])
    x = chain.add("Transpose", chain.add("Unsqueeze", "X", axes(-1)), **TIME_FIRST)
    _, y_h, _ = chain.lstm(x, lengths="lengths", direction="reverse")
    model = chain.model(chain.add("MatMul", final_states(chain, y_h), draw(4, 1)))
    lengths = np.array([6, 1, 3, 2, 5], np.int32)
    series = X[:, :, 0]
    expected = run(model, X=series, lengths=lengths)[:, 0]
    ragged = [x[:n] for x, n in zip(series, lengths, strict=True)]
    np.testing.assert_allclose(from_onnx(model).predict(ragged), expected, atol=1e-6)


def test_states_side_by_side_and_initial_ones():
    chain, rows = both_ways(states=(draw(2, 1, 4).repeat(5, 1), ""), input_forget=1, clip=0.7)
    model = chain.model(rows)
    found = from_onnx(model)
    assert found.learn_initial_state
    assert found.coupled_gates
    np.testing.assert_allclose(found.predict(X), run(model, X=X), atol=1e-6)


@pytest.mark.parametrize("merge", ["ReduceSum", "ReduceMean"])
def test_directions_added_up(merge):
    chain = Chain()
    x = chain.add("Transpose", "X", **TIME_FIRST)
    _, y_h, _ = chain.lstm(x, D=2, slots=[draw(2, 12)])
    how = [axes(0)] if merge == "ReduceSum" else []
    attributes = {} if how else {"axes": [0]}
    model = chain.model(chain.add(merge, y_h, *how, keepdims=0, **attributes))
    found = from_onnx(model)
    assert found.peephole
    np.testing.assert_allclose(found.predict(X), run(model, X=X), atol=1e-6)


@pytest.mark.parametrize(("end", "K"), [("Softmax", 3), ("Softmax", 2), ("Sigmoid", 1)])
def test_probabilities_at_the_end(end, K):
    chain, _, y_h = plain()
    logits = chain.add("Gemm", final_states(chain, y_h), draw(4, K))
    model = chain.model(chain.add(end, logits))
    expected = run(model, X=X)
    if K == 1:
        expected = np.hstack([1 - expected, expected])
    found = from_onnx(model)
    assert isinstance(found, LSTMClassifier)
    np.testing.assert_allclose(found.predict_proba(X), expected, atol=1e-6)
    named = from_onnx(model, classes=list("xyz")[: max(K, 2)])
    np.testing.assert_allclose(named.predict_proba(X), expected, atol=1e-6)
    assert named.classes_[0] == "x"
    # The logits, as numbers.
    model.graph.output[0].name = logits
    assert isinstance(from_onnx(model), LSTMRegressor)


def test_softmax_is_for_classes_that_exclude_one_another():
    chain, _, y_h = plain()
    model = chain.model(
        chain.add("Softmax", chain.add("Gemm", final_states(chain, y_h), draw(4, 2)))
    )
    with pytest.raises(ValueError, match="Leave multilabel out"):
        from_onnx(model, multilabel=True)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("way", ["last", "mean", "steps"])
def test_pytorch_s_exporter(way, bidirectional, tmp_path):
    torch = pytest.importorskip("torch")

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = torch.nn.LSTM(3, 4, 2, batch_first=True, bidirectional=bidirectional)
            self.head = torch.nn.Linear(4 * (1 + bidirectional), 2)

        def forward(self, x):
            y, (h, _) = self.lstm(x)
            last = torch.cat([h[-2], h[-1]], 1) if bidirectional else y[:, -1]
            return self.head({"last": last, "mean": y.mean(1), "steps": y}[way])

    module, path = Module().eval(), tmp_path / "model.onnx"
    torch.onnx.export(
        module, (torch.zeros(2, 4, 3),), str(path), dynamo=False, input_names=["x"],
        dynamic_axes={"x": {0: "n", 1: "t"}},
    )  # fmt: skip
    expected = module(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(from_onnx(path).predict(X), expected, rtol=0, atol=1e-6)


def test_labels_by_themselves():
    chain, _, y_h = plain()
    logits = chain.add("Gemm", final_states(chain, y_h), draw(4, 3))
    model = chain.model(chain.add("Sigmoid", logits))
    found = from_onnx(model)
    np.testing.assert_allclose(found.predict_proba(X), run(model, X=X), atol=1e-6)
    assert found.predict(X).shape == (5, 3)


def test_a_changed_model_is_read_by_what_it_is_not_by_what_it_was():
    y = X[:, 0, 0]
    fitted = LSTMRegressor(4, max_iter=1, random_state=0, standardize=False).fit(X, y)
    model = to_onnx(fitted)
    bias = next(t for t in model.graph.initializer if t.name == "head_bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(fitted.parameters_["head_bias"] + 1, "head_bias"))
    np.testing.assert_allclose(from_onnx(model).predict(X), fitted.predict(X) + 1, rtol=1e-6)
    next(node for node in model.graph.node if node.op_type == "LSTM").attribute.append(
        helper.make_attribute("clip", 0.1)
    )
    assert from_onnx(model).cell_clip == pytest.approx(0.1)
    attention = LSTMRegressor(4, max_iter=1, pooling="attention").fit(X, y)
    model = to_onnx(attention)
    next(node for node in model.graph.node if node.op_type == "Tanh").op_type = "Sigmoid"
    with pytest.raises(ValueError, match="no counterpart"):
        from_onnx(model)


def test_what_is_no_model(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model at all")
    for given, error, message in (
        (path, ValueError, "model.onnx is no ONNX model"),
        (path.read_bytes(), ValueError, "no ONNX model"),
        (X, TypeError, "got ndarray"),
    ):
        with pytest.raises(error, match=message):
            from_onnx(given)


def test_own_models_with_arrays_of_other_shapes():
    """What is noted beside the graph does not count then, and raises nothing of its own."""
    model = to_onnx(LSTMRegressor(4, max_iter=1, pooling="attention").fit(X, X[:, 0, 0]))
    query = next(t for t in model.graph.initializer if t.name == "attention_query")
    query.CopyFrom(onnx.numpy_helper.from_array(np.ones(4, np.float32), "attention_query"))
    with pytest.raises((ValueError, onnx.checker.ValidationError)):
        from_onnx(model)


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    for function in (to_onnx, from_onnx):
        with pytest.raises(ImportError, match=r'pip install "numba-lstm\[onnx\]"'):
            function(DATA / "torch_last.onnx")


def test_what_onnx_runtime_s_operator_computes():
    """The stored results of the operator itself, with weights in its own order."""
    vectors = {n.split("/", 1)[1]: VECTORS[n] for n in VECTORS if n.startswith("peepholes/")}
    order = [0, 3, 1, 2]  # of the stored gates i, f, g, o as ONNX has them: i, o, f, g

    def gates(name):
        array = vectors[f"weights/{name}_l0"]
        return array.reshape(4, -1, *array.shape[1:])[order].reshape(1, *array.shape)

    H = vectors["weights/weight_hh_l0"].shape[1]
    chain = Chain(x=("N", "T", 3), extra=[("lengths", 6, ["N"])])
    B = np.hstack([gates("bias"), np.zeros((1, 4 * H))]).astype(np.float32)
    P = vectors["weights/peephole_l0"][[0, 2, 1]].reshape(1, -1)
    inputs = [gates("weight_ih"), gates("weight_hh"), B, "lengths", "", "", P]
    x = chain.add("Transpose", "X", **TIME_FIRST)
    _, y_h, _ = chain.add("LSTM", x, *inputs, outputs=3, hidden_size=H)
    model = chain.model(chain.add("Squeeze", y_h, axes(0)))
    ragged = [x[:n] for x, n in zip(vectors["x"], vectors["lengths"], strict=True)]
    np.testing.assert_allclose(from_onnx(model).predict(ragged), vectors["h_last"], atol=1e-6)
