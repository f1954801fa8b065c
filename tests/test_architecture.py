"""Layers and directions as the estimators offer them."""

import numpy as np
import pytest
import reference

from numba_lstm import LSTMClassifier, LSTMRegressor
from numba_lstm.parameters import Layout

rng = np.random.default_rng(0)
X = rng.standard_normal((30, 8, 2))
Y = X[:, 0, 0] + X[:, -1, 1]
RAGGED = [x[: 1 + i % 8] for i, x in enumerate(X)]

ARCHITECTURES = {
    "two layers": {"num_layers": 2},
    "a size for each layer": {"hidden_size": [5, 3]},
    "bidirectional": {"bidirectional": True, "num_layers": 2},
    "backwards": {"go_backwards": True},
    "sum": {"bidirectional": True, "merge_mode": "sum"},
    "mean, residual": {
        "bidirectional": True,
        "merge_mode": "mean",
        "num_layers": 3,
        "residual": True,
    },
    "no biases": {"bias": False},
    "peepholes": {"peephole": True, "num_layers": 2},
    "coupled gates": {"coupled_gates": True},
    "clipped": {"cell_clip": 0.5},
    "learned state": {"learn_initial_state": True, "bidirectional": True},
    "mean": {"pooling": "mean"},
    "max": {"pooling": "max", "go_backwards": True},
    "attention": {"pooling": "attention", "bidirectional": True, "num_layers": 2},
    "everything": {
        "peephole": True,
        "coupled_gates": True,
        "cell_clip": 1,
        "learn_initial_state": True,
        "num_layers": 2,
        "residual": True,
    },
}
over_architectures = pytest.mark.parametrize("options", ARCHITECTURES.values(), ids=ARCHITECTURES)


def model(**options):
    options = {"hidden_size": 4, "max_iter": 3, "random_state": 0} | options
    return LSTMRegressor(**options)


def as_reference(options):
    both = options.get("bidirectional", False)
    return {
        "direction": "both" if both else "reverse" if options.get("go_backwards") else "forward",
        "merge": options.get("merge_mode", "concat"),
        "residual": options.get("residual", False),
        "coupled": options.get("coupled_gates", False),
        "limit": options.get("cell_clip", np.inf),
        "pooling": options.get("pooling", "last"),
    }


@over_architectures
@pytest.mark.parametrize("X", [X, RAGGED], ids=["one length", "ragged"])
def test_predictions_are_the_reference_s(options, X):
    fitted = model(dtype="float64", **options).fit(X, Y)
    inputs = [(x - fitted.input_mean_) / fitted.input_scale_ for x in X]
    out = reference.outputs(inputs, fitted.parameters_, False, **as_reference(options))
    expected = out[:, 0] * fitted.target_scale_ + fitted.target_mean_
    np.testing.assert_allclose(fitted.predict(X), expected, rtol=1e-10)


@over_architectures
def test_every_step_and_lists(options):
    options = {name: value for name, value in options.items() if name != "pooling"}
    y = [np.cumsum(x[:, 0]) for x in RAGGED]
    fitted = model(return_sequences=True, **options).fit(RAGGED, y)
    found = fitted.predict(RAGGED)
    assert [part.shape for part in found] == [part.shape for part in y]
    alone = fitted.predict(RAGGED[3:4])[0]
    np.testing.assert_array_equal(found[3], alone)


def test_the_past_is_enough_forwards_and_the_future_backwards():
    """Where the target is the first step, a network that ends there learns it faster."""
    target = X[:, 0, 0]
    settings = {"hidden_size": 8, "max_iter": 60, "learning_rate_init": 0.02}
    forwards = model(**settings).fit(X, target).loss_
    backwards = model(**settings, go_backwards=True).fit(X, target).loss_
    assert backwards < 0.5 * forwards


@pytest.mark.parametrize(
    "options",
    [{}, {"num_layers": 3, "residual": True}, {"num_layers": 2, "pooling": "attention"}],
)
def test_a_sequence_backwards_is_the_reversed_sequence(options):
    one, other = model(**options), model(go_backwards=True, **options)
    one.fit(X[:, ::-1], Y)
    other.fit(X, Y)
    # The rows of the weights' gradient are summed in another order.
    np.testing.assert_allclose(one.predict(X[:, ::-1]), other.predict(X), rtol=1e-4)


def test_sizes_by_layer_and_their_names():
    fitted = model(hidden_size=(5, 3), bidirectional=True).fit(X, Y)
    shapes = {name: part.shape for name, part in fitted.parameters_.items()}
    assert shapes == {
        "weight_ih_l0": (20, 2), "weight_hh_l0": (20, 5), "bias_l0": (20,),
        "weight_ih_l0_reverse": (20, 2), "weight_hh_l0_reverse": (20, 5), "bias_l0_reverse": (20,),
        "weight_ih_l1": (12, 10), "weight_hh_l1": (12, 3), "bias_l1": (12,),
        "weight_ih_l1_reverse": (12, 10), "weight_hh_l1_reverse": (12, 3),
        "bias_l1_reverse": (12,), "head_weight": (1, 6), "head_bias": (1,),
    }  # fmt: skip
    assert sum(np.prod(shape) for shape in shapes.values()) == fitted.theta_.size
    h, c = fitted.hidden_states(X, layer=0)
    assert h.shape == c.shape == (30, 8, 10)
    h, c = fitted.hidden_states(X)
    assert h.shape == c.shape == (30, 8, 6)
    out = h[:, -1, :3] @ fitted.parameters_["head_weight"][0, :3]
    out += h[:, 0, 3:] @ fitted.parameters_["head_weight"][0, 3:]
    out = out + fitted.parameters_["head_bias"]
    expected = out * fitted.target_scale_ + fitted.target_mean_
    np.testing.assert_allclose(fitted.predict(X), expected, atol=1e-5)
    gates = fitted.gate_activations(RAGGED, layer=-2)
    assert [part.shape for part in gates.forget] == [(len(x), 10) for x in RAGGED]
    assert all((part > 0).all() and (part < 1).all() for part in gates.output)


def test_classifier_of_steps():
    labels = np.where(X[:, :, 0] > 0, "up", "down")
    fitted = LSTMClassifier(
        8, num_layers=2, bidirectional=True, return_sequences=True, max_iter=60, random_state=0
    ).fit(X, labels)
    assert fitted.score(X, labels) > 0.95


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bidirectional": True, "go_backwards": True}, "go_backwards=True is for one direction"),
        ({"pooling": "max", "return_sequences": True}, "return_sequences=True asks"),
        ({"hidden_size": [4, 3], "residual": True}, "the layers have 4, 3 outputs"),
        ({"hidden_size": [4, 3], "num_layers": 3}, "has 2 sizes and num_layers=3"),
        ({"hidden_size": []}, "a positive integer, or one for each layer"),
        ({"hidden_size": [4, 0]}, "a positive integer, or one for each layer"),
        ({"hidden_size": [4, 2.5]}, "a positive integer, or one for each layer"),
        ({"hidden_size": [4, True]}, "a positive integer, or one for each layer"),
        ({"hidden_size": True}, "a positive integer, or one for each layer"),
        ({"hidden_size": [[4], [3]]}, "a positive integer, or one for each layer"),
    ],
)
def test_what_contradicts_itself_is_refused(options, message):
    estimator = model(**options)
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, Y)
    assert not hasattr(estimator, "theta_")


def test_another_architecture_cannot_go_on():
    fitted = model(warm_start=True).fit(X, Y)
    before = fitted.theta_.copy()
    defaults = LSTMRegressor().get_params()
    for options in [*ARCHITECTURES.values(), {"hidden_size": 5}, {"dtype": "float64"}]:
        fitted.set_params(**options)
        with pytest.raises(ValueError, match="was fitted with hidden_size=4"):
            fitted.fit(X, Y)
        fitted.set_params(**{name: defaults[name] for name in options} | {"hidden_size": 4})
    np.testing.assert_array_equal(fitted.theta_, before)
    fitted.fit(X, Y)


def test_forget_bias():
    weights = [model(forget_bias=bias).fit(X, Y).parameters_["bias_l0"] for bias in (-2, 3.0)]
    for part, bias in zip(weights, (-2, 3), strict=True):
        np.testing.assert_allclose(part[4:8], bias, atol=0.2)
        np.testing.assert_allclose(np.delete(part, range(4, 8)), 0, atol=0.2)


def test_an_initial_state_is_learned_where_nothing_else_tells():
    """Sequences of zeros: all that a network can say is what it begins with."""
    settings = {"bias": False, "standardize": False, "max_iter": 300, "alpha": 0, "tol": 0}
    X, y = np.zeros((20, 3, 1)), np.tile([1.0, 2.0, 4.0], (20, 1))
    plain = model(return_sequences=True, **settings).fit(X, y)
    learned = model(return_sequences=True, learn_initial_state=True, **settings).fit(X, y)
    assert np.ptp(plain.predict(X)) < 1e-6
    np.testing.assert_allclose(learned.predict(X), y, atol=0.2)


def test_attention_finds_the_step_that_counts():
    """One step of 20 is marked; its value is the target."""
    X = rng.standard_normal((600, 20, 2))
    where = rng.integers(0, 20, 600)
    X[:, :, 1] = np.arange(20) == where[:, np.newaxis]
    y = X[np.arange(600), where, 0]
    options = {"hidden_size": 8, "max_iter": 60, "learning_rate_init": 0.02}
    fitted = model(pooling="attention", **options).fit(X[:500], y[:500])
    assert fitted.score(X[500:], y[500:]) > 0.95
    weights = fitted.attention_weights(X[500:])
    assert weights.shape == (100, 20)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    assert np.mean(np.abs(weights.argmax(axis=1) - where[500:]) <= 1) > 0.9
    ragged = fitted.attention_weights([x[: 3 + i % 5] for i, x in enumerate(X[:9])])
    assert [part.shape for part in ragged] == [(3 + i % 5,) for i in range(9)]


def test_attention_weights_need_attention():
    with pytest.raises(ValueError, match="pooling='last', which has no attention weights"):
        model().fit(X, Y).attention_weights(X)


@pytest.mark.parametrize("layer", [2, -3, "last", 0.5])
def test_a_layer_that_is_not_there(layer):
    with pytest.raises(ValueError, match="the network has 2 layers"):
        model(num_layers=2).fit(X, Y).hidden_states(X, layer=layer)


@pytest.mark.parametrize(
    "options",
    [
        {"num_layers": 3},
        {"num_layers": 2, "residual": True},
        {"bias": False, "num_layers": 2},
        ARCHITECTURES["everything"],
    ],
)
@pytest.mark.parametrize("n_streams", [None, 30])
def test_streams_of_a_stack(options, n_streams):
    fitted = model(**options).fit(X, Y)
    stream = fitted.stream(n_streams)
    for t in range(8):
        found = stream.step(X[0, t] if n_streams is None else X[:, t])
    expected = fitted.predict(X[:1])[0] if n_streams is None else fitted.predict(X)
    np.testing.assert_array_equal(found, expected)
    state = stream.state
    expected = stream.step(X[1, 0] if n_streams is None else X[:, 0])
    stream.state = state
    again = stream.step(X[1, 0] if n_streams is None else X[:, 0])
    np.testing.assert_array_equal(again, expected)
    with pytest.raises(ValueError, match="one for each layer"):
        stream.state = tuple(parts[:1] for parts in state)


@pytest.mark.parametrize("options", [{"bidirectional": True}, {"go_backwards": True}])
def test_no_stream_of_what_reads_backwards(options):
    with pytest.raises(ValueError, match="reads sequences from their end"):
        model(**options).fit(X, Y).stream()


def test_no_stream_of_what_pools():
    with pytest.raises(ValueError, match="pools whole sequences"):
        model(pooling="mean").fit(X, Y).stream()


def test_layouts_are_compared_by_what_they_are():
    assert Layout(2, (3,), 1) == Layout(2, (3,), 1, "forward", "concat", False)
    assert Layout(2, (3, 3), 1).size > Layout(2, (3,), 1).size


@pytest.mark.parametrize(
    ("options", "idle"),
    [({}, {"merge_mode": "sum"}), ({}, {"residual": True}), ({}, {"hidden_size": np.int64(4)})],
)
def test_what_makes_no_difference_does_not_stop_a_fit_that_goes_on(options, idle):
    fitted = model(warm_start=True, **options).fit(X, Y)
    fitted.set_params(**idle).fit(X, Y)
    assert fitted.n_iter_ == 6
