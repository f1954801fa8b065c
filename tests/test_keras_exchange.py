"""Weights from Keras and back."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from numba_lstm import LSTMClassifier, LSTMRegressor, from_keras, to_keras_weights

STORED = np.load(Path(__file__).parent / "data" / "keras_models.npz")
CASES = sorted({name.split("/")[0] for name in STORED})
rng = np.random.default_rng(0)
X = rng.standard_normal((20, 7, 3)) * [1, 3, 0.2] + [0, 5, -1]
Y = np.stack([X[:, -1, 0], 100 + 20 * X[:, :, 1].sum(1)], axis=1)


def stored(case):
    """Weights, what from_keras is told with them, and the model: a stand-in for Keras' own."""
    about = json.loads(STORED[f"{case}/about"].tobytes())
    weights, first = [], 0
    for shape in about["shapes"]:
        weights.append(STORED[f"{case}/weights"][first : first + np.prod(shape)].reshape(shape))
        first += weights[-1].size
    return weights, about["told"], model_of(about["layers"], weights)


def model_of(layers, weights):
    return named("Sequential")(
        get_weights=lambda: weights,
        layers=[
            named(kind)(name=config["name"], get_config=lambda config=config: config)
            for kind, config in layers
        ],
    )


def named(kind):
    return type(kind, (SimpleNamespace,), {})


def fitted(kind=LSTMRegressor, y=Y, **options):
    options = {"hidden_size": 4, "max_iter": 2, "random_state": 0} | options
    return kind(**options).fit(X, y)


def outputs(model, x):
    if not hasattr(model, "classes_"):
        return model.predict(x).reshape(len(x), -1)
    return model.predict_proba(x)


@pytest.mark.nojit
@pytest.mark.parametrize("from_model", [False, True], ids=["weights", "model"])
@pytest.mark.parametrize("case", CASES)
def test_predictions_are_keras_s(case, from_model):
    weights, told, stand_in = stored(case)
    if from_model:
        told = {name: told[name] for name in told if name in ("classes", "multilabel")}
    model = from_keras(stand_in if from_model else weights, **told)
    expected = STORED[f"{case}/out"]
    if case == "softmax":  # the labels are 2, 0 and 1; those of the estimator are sorted
        expected = expected[:, [1, 2, 0]]
    elif case == "sigmoid":
        expected = np.hstack([1 - expected, expected])
    x = STORED[f"{case}/x"]
    np.testing.assert_allclose(outputs(model, x), expected.reshape(len(x), -1), rtol=0, atol=1e-6)
    assert model.theta_.dtype == np.float32
    # Back, there is a Dense for one that passes on what it gets, and its bias where it had none.
    found = to_keras_weights(model)
    if case == "softmax":
        found[-2:] = found[-2][:, [2, 0, 1]], found[-1][[2, 0, 1]]
    assert len(found) == len(weights) + 2 * (case == "layer_alone") + (case == "no_bias")
    for ours, given in zip(found, weights, strict=False):
        assert ours.dtype == given.dtype
        assert ours.tobytes() == given.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [
    {}, {"num_layers": 2, "bidirectional": True}, {"hidden_size": [4, 3], "bias": False},
    {"go_backwards": True, "head_hidden_size": 3, "head_activation": "tanh"},
    {"bidirectional": True, "merge_mode": "mean", "pooling": "max"},
])  # fmt: skip
def test_a_fit_s_weights_come_back_to_the_bit(options, dtype):
    model = fitted(dtype=dtype, **options)
    names = "bidirectional", "merge_mode", "go_backwards", "pooling", "head_activation"
    told = {name: options[name] for name in names if name in options}
    standardisation = {
        name: getattr(model, f"{name}_")
        for name in ("input_mean", "input_scale", "target_mean", "target_scale")
    }
    again = from_keras(to_keras_weights(model, fold=False), **told, **standardisation)
    assert again.theta_.tobytes() == model.theta_.tobytes()
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    again = from_keras(to_keras_weights(model), **told)
    tolerance = 1e-10 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(again.predict(X), model.predict(X), rtol=tolerance, atol=tolerance)
    assert again.partial_fit(X, Y).n_iter_ == 1


def test_a_classifier_s_logits():
    y = rng.integers(0, 2, len(X))
    model = fitted(LSTMClassifier, y=y)
    again = from_keras(to_keras_weights(model), classes=model.classes_)
    np.testing.assert_allclose(again.predict_proba(X), model.predict_proba(X), atol=1e-5)


def test_shapes_that_leave_it_open_what_they_mean():
    def draw(*shapes):
        return [rng.normal(size=shape).astype(np.float32) for shape in shapes]

    cell = [(4, 16), (4, 16), (16,)]
    weights = draw(*cell, *cell)
    with pytest.raises(ValueError, match="Pass bidirectional=True or False"):
        from_keras(weights)
    assert from_keras(weights, bidirectional=True).bidirectional
    assert from_keras(weights, bidirectional=False).num_layers == 2
    assert from_keras(weights + draw((8, 2), (2,))).bidirectional  # concatenated, 8 numbers
    assert from_keras(weights + draw((4, 2), (2,))).num_layers == 2
    with pytest.raises(ValueError, match="make no stack"):
        from_keras(weights + draw((5, 2), (2,)))
    with pytest.raises(ValueError, match="bidirectional=True and merge_mode='sum'"):
        from_keras(weights + draw((8, 2), (2,)), bidirectional=True, merge_mode="sum")
    with pytest.raises(ValueError, match="both ways"):
        from_keras(weights, bidirectional=True, go_backwards=True)


@pytest.mark.parametrize(("weights", "options", "error", "message"), [
    ([], {}, ValueError, "no weights"),
    ([np.ones((3, 12)), np.ones((4, 12)), np.ones(12)], {}, ValueError, "no weights"),  # a GRU
    ([np.ones((3, 16)), np.ones((4, 16)), np.ones((2, 16))], {}, ValueError, "no stack"),
    ([np.ones((3, 16)), np.ones((4, 16)), np.ones((3, 16)), np.ones((4, 16)), np.ones(16)],
     {}, ValueError, "alike with or without"),
    (np.ones((3, 16)), {}, TypeError, "ndarray"),
    ([np.ones((3, 16)), np.ones((4, 16))], {"merge_mode": "mul"}, ValueError, "'mul'"),
])  # fmt: skip
def test_weights_that_are_refused(weights, options, error, message):
    with pytest.raises(error, match=message):
        from_keras(weights, **options)


def changed(case, layer, /, **changes):
    layers = json.loads(STORED[f"{case}/about"].tobytes())["layers"]
    kind, config = layers[layer]
    layers[layer] = changes.pop("kind", kind), config | changes
    return model_of(layers, [])


@pytest.mark.parametrize(("model", "message"), [
    (changed("lstm_dense", 0, activation="relu"), "'relu', 'sigmoid'"),
    (changed("lstm_dense", 0, recurrent_activation="hard_sigmoid"), "hard_sigmoid"),
    (changed("lstm_dense", 1, activation="softmax"), "with classes"),
    (changed("lstm_dense", 0, kind="GRU"), "GRU layer"),
    (changed("lstm_dense", 1, kind="BatchNormalization"), "BatchNormalization"),
    (changed("two_dense", 1, activation="linear"), "'linear', 'linear'"),
    (changed("stacked", 2, go_backwards=True), "go_backwards=.False, True."),
    (changed("every_step", 0, go_backwards=True), "opposite order"),
    (changed("bidirectional", 0, merge_mode="mul"), "'mul'"),
    (changed("average", 1, merge_mode="sum"), "'ave', 'sum'"),
    (changed("stacked", 0, kind="Dense", activation="relu"), "LSTM layer"),
    (changed("bidirectional", 0, layer={"class_name": "GRU", "config": {}}), "other layers"),
    (model_of([], []), "no LSTM"),
])  # fmt: skip
def test_models_that_are_refused(model, message):
    with pytest.raises(ValueError, match=message):
        from_keras(model)


def test_a_model_s_own_options_are_not_told_again():
    with pytest.raises(ValueError, match="tells pooling"):
        from_keras(stored("mean")[2], pooling="mean")


def test_networks_that_keras_has_not():
    with pytest.raises(ValueError, match="proj_size=2, peephole=True"):
        to_keras_weights(fitted(proj_size=2, peephole=True))
    with pytest.raises(ValueError, match="missing='mask'"):
        to_keras_weights(fitted(missing="mask"))


def test_keras_itself():
    keras = pytest.importorskip("keras")
    L = keras.layers
    options = {"num_layers": 2, "bidirectional": True, "head_hidden_size": 3}
    model = fitted(**options)
    layers = [
        L.Bidirectional(L.LSTM(4, return_sequences=True)), L.Bidirectional(L.LSTM(4)),
        L.Dense(3, "relu"), L.Dense(2),
    ]  # fmt: skip
    inputs = L.Input((None, 3))
    outputs = inputs
    for layer in layers:
        outputs = layer(outputs)
    peer = keras.Model(inputs, outputs)
    peer.set_weights(to_keras_weights(model))
    found = keras.ops.convert_to_numpy(peer(X.astype(np.float32)))
    np.testing.assert_allclose(found, model.predict(X), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(from_keras(peer).predict(X), found, rtol=1e-4, atol=1e-4)
    branched = keras.Model(inputs, L.Dense(2)(L.Dropout(0.1)(L.LSTM(3)(inputs))) + outputs)
    with pytest.raises(ValueError, match=r"alone|layer"):
        from_keras(branched)
