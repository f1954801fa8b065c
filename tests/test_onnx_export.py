"""Networks as ONNX models: the same predictions in ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from numba_lstm import LSTMClassifier, LSTMRegressor, from_onnx, to_onnx

N, T, F = 7, 6, 3
rng = np.random.default_rng(0)
X = (rng.standard_normal((N, T, F)) * [1, 3, 0.2] + [0, 5, -1]).astype(np.float32)
LENGTHS = np.array([6, 1, 3, 5, 2, 6, 4], np.int32)
RAGGED = [x[:n] for x, n in zip(X, LENGTHS, strict=True)]
# What lies behind the sequences is noise that would be seen.
PADDED = np.where(np.arange(T)[:, np.newaxis] < LENGTHS[:, np.newaxis, np.newaxis], X, 70)


def run(model, **feeds):
    """Outputs by name."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def targets(kind, n_outputs, per_step, rng):
    """Targets, also of a classification: n_outputs classes, or labels of 0 and 1."""
    shape = (N, T) if per_step else (N,)
    if kind == "regressor":
        columns = () if n_outputs == 1 else (n_outputs,)
        return 40 + 7 * rng.standard_normal(shape + columns)
    if kind == "labels":
        y = rng.integers(0, 2, (*shape, n_outputs + 1))
        y.reshape(-1, n_outputs + 1)[:2] = [[0], [1]]
        return y
    y = rng.integers(0, n_outputs + 1, shape)
    y.reshape(-1)[: n_outputs + 1] = np.arange(n_outputs + 1)
    return np.array(["a", "b", "c", "d"])[y]


def fitted(kind="regressor", n_outputs=1, **options):
    """A fitted estimator, all weights of which differ from what they begin with."""
    rng = np.random.default_rng(1)
    y = targets(kind, n_outputs, options.get("return_sequences", False), rng)
    estimator = LSTMRegressor if kind == "regressor" else LSTMClassifier
    options = {"hidden_size": 4, "max_iter": 1, "random_state": 0} | options
    model = estimator(**options).fit(X, y)
    model.theta_ += rng.normal(0, 0.3, model.theta_.size).astype(model.theta_.dtype)
    return model


def check(model, lengths, dtype="float32"):
    """Compare with what ONNX Runtime makes of the same, to 1e-5, and with what comes back."""
    written = to_onnx(model, lengths=lengths, dtype=dtype)
    onnx.checker.check_model(written, full_check=True)
    given = RAGGED if lengths else X
    feeds = {"lengths": LENGTHS} if lengths else {}
    found = run(written, X=(PADDED if lengths else X).astype(dtype), **feeds)
    read = from_onnx(written)
    assert type(read) is type(model)
    per_step = model.return_sequences and lengths

    def rows(values):  # those of the steps that there are
        parts = [v[:n] if per_step else v for v, n in zip(values, LENGTHS, strict=True)]
        return np.concatenate(parts) if model.return_sequences else np.array(parts)

    if isinstance(model, LSTMRegressor):
        expected, size = rows(model.predict(given)), model.target_scale_.max()
        assert list(found) == ["variable"]
        assert found["variable"].dtype == dtype
        assert found["variable"].ndim == np.ndim(model.predict(X))
        np.testing.assert_allclose(rows(found["variable"]), expected, rtol=0, atol=1e-5 * size)
        np.testing.assert_allclose(rows(read.predict(given)), expected, rtol=0, atol=1e-6 * size)
    else:
        assert list(found) == ["label", "probabilities"]
        expected = rows(model.predict_proba(given))
        np.testing.assert_allclose(rows(found["probabilities"]), expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(rows(read.predict_proba(given)), expected, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(rows(found["label"]), rows(model.predict(given)))
        assert read.classes_.tolist() == model.classes_.tolist()
    # Opened up again, it writes the same graph: nothing was lost.
    again = to_onnx(read, lengths=lengths, dtype=dtype)
    assert again.graph.SerializeToString() == written.graph.SerializeToString()


@st.composite
def architectures(draw):
    """Options of any network that ONNX has."""
    flag = st.booleans()
    options = {name: draw(flag) for name in ("peephole", "coupled_gates", "learn_initial_state")}
    options |= {"bias": draw(flag), "hidden_size": draw(st.sampled_from([1, 4, 9]))}
    options |= {"num_layers": draw(st.integers(1, 3)), "residual": draw(flag)}
    options |= {"cell_clip": draw(st.sampled_from([None, 0.5, 3.0]))}
    direction = draw(st.sampled_from(["forward", "backwards", "both"]))
    options |= {"bidirectional": direction == "both", "go_backwards": direction == "backwards"}
    options |= {"merge_mode": draw(st.sampled_from(["concat", "sum", "mean"]))}
    if not options["residual"] and draw(flag):
        options |= {"hidden_size": [3, 5], "num_layers": 1}
    if draw(flag):
        options |= {
            "head_hidden_size": 3,
            "head_activation": draw(st.sampled_from(["relu", "tanh"])),
        }
    if draw(flag):
        options |= {"return_sequences": True}
    else:
        options |= {"pooling": draw(st.sampled_from(["last", "mean", "max", "attention"]))}
    options |= {"dtype": draw(st.sampled_from(["float32", "float64"])), "standardize": draw(flag)}
    options |= {"kind": draw(st.sampled_from(["regressor", "classes", "labels"]))}
    return options | {"n_outputs": draw(st.integers(1, 3))}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    options=architectures(), lengths=st.booleans(), dtype=st.sampled_from(["float32", "float64"])
)
def test_any_network_predicts_the_same(options, lengths, dtype):
    check(fitted(**options), lengths, dtype)


# Each by itself, so that none is left to chance.
OPTIONS = {
    "plain": {},
    "two layers, both directions": {"num_layers": 2, "bidirectional": True},
    "residual": {"num_layers": 3, "bidirectional": True, "residual": True},
    "residual, sum": {
        "num_layers": 2,
        "bidirectional": True,
        "merge_mode": "sum",
        "residual": True,
    },
    "residual, backwards": {"num_layers": 2, "go_backwards": True, "residual": True},
    "mean of directions": {"bidirectional": True, "merge_mode": "mean"},
    "peepholes, coupled, clipped": {"peephole": True, "coupled_gates": True, "cell_clip": 0.4},
    "initial state": {"learn_initial_state": True, "bidirectional": True},
    "mean": {"pooling": "mean"},
    "max": {"pooling": "max"},
    "attention": {"pooling": "attention", "bidirectional": True},
    "hidden head": {"head_hidden_size": 3, "head_activation": "tanh"},
    "every step": {"return_sequences": True, "n_outputs": 2},
    "two classes": {"kind": "classes"},
    "three classes": {"kind": "classes", "n_outputs": 2},
    "labels": {"kind": "labels", "n_outputs": 2},
    "classes of every step": {"kind": "classes", "n_outputs": 2, "return_sequences": True},
}


@pytest.mark.parametrize("lengths", [False, True], ids=["one length", "lengths"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_each_option(options, lengths):
    check(fitted(**options), lengths)


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (33, 2)])
def test_other_numbers_of_sequences_and_steps(shape):
    model = fitted(bidirectional=True, pooling="attention", learn_initial_state=True)
    x = rng.standard_normal((*shape, F)).astype(np.float32)
    found = run(to_onnx(model), X=x)["variable"]
    np.testing.assert_allclose(found, model.predict(x), rtol=1e-5)


@pytest.mark.parametrize("labels", [
    [3, -1, 7], [2**40, 0, 5], ["low", "middle", "high"], [4.0, 1.0, 2.0],
], ids=str)  # fmt: skip
def test_labels_are_the_classes(labels):
    y = np.array(labels)[np.arange(N) % 3]
    model = LSTMClassifier(4, max_iter=30, random_state=0).fit(X, y)
    found = run(to_onnx(model), X=X)["label"]
    assert found.tolist() == model.predict(X).tolist()
    assert len(set(found.tolist())) > 1
    again = from_onnx(to_onnx(model))
    assert again.predict(X).tolist() == found.tolist()


def test_truth_values_as_labels():
    y = np.arange(N) % 2 == 0
    model = LSTMClassifier(4, max_iter=1, random_state=0).fit(X, y)
    found = run(to_onnx(model), X=X)["label"]
    assert found.dtype == bool
    np.testing.assert_array_equal(found, model.predict(X))


def test_digits_of_data_far_from_zero():
    """float32 holds numbers near a million to 0.06, float64 all that the network sees."""
    x = X + 1e6 * np.float64([1, 0, 0])
    y = 1e7 + X[:, 0, 0].astype(np.float64)
    model = LSTMRegressor(4, max_iter=3, random_state=0).fit(x, y)
    found = run(to_onnx(model, dtype="float64"), X=x)["variable"]
    np.testing.assert_allclose(found - 1e7, model.predict(x) - 1e7, rtol=0, atol=1e-5)


def test_series_of_numbers():
    series = X[:, :, 0]
    model = LSTMRegressor(4, max_iter=1, random_state=0).fit(series, series[:, 0])
    found = run(to_onnx(model), X=series[:, :, np.newaxis])["variable"]
    np.testing.assert_allclose(found, model.predict(series), atol=1e-5)


def test_networks_that_onnx_has_not():
    with pytest.raises(ValueError, match=r"proj_size=2, zoneout_hidden=0\.2") as error:
        to_onnx(fitted(proj_size=2, zoneout_hidden=0.2, bidirectional=True))
    assert "bidirectional" not in str(error.value)
    with pytest.raises(ValueError, match="layer_norm=True, missing='mask'"):
        to_onnx(fitted(layer_norm=True, missing="mask"))
    timed = LSTMRegressor(2, max_iter=1).fit(X, X[:, 0, 0], times=np.arange(T))
    with pytest.raises(ValueError, match="times in fit"):
        to_onnx(timed)
    with pytest.raises(ValueError, match="'float16'"):
        to_onnx(fitted(), dtype="float16")
    model = fitted(dtype="float64")
    model.theta_[0] = 1e300
    with pytest.raises(ValueError, match=r"float32.*W_0"):
        to_onnx(model)
    model = fitted()
    model.input_scale_[:] = 1e-60
    with pytest.raises(ValueError, match="input_scale"):
        to_onnx(model)
    assert to_onnx(model, dtype="float64").graph.node
