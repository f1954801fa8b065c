"""ONNX models with something that this library's networks have not."""

import numpy as np
import pytest
from onnx_chain import TIME_FIRST, Chain, X, axes, draw, final_states, plain

from numba_lstm import from_onnx

CASES = []


def refused(message):
    """A function makes the output of a chain of its own, or of that which it is given."""

    def register(make):
        CASES.append(pytest.param(make, message, id=make.__name__))
        return make

    return register


@refused("'my_Erf_2', Erf")
def an_operator(chain, y, y_h):
    return chain.add("Erf", y_h)


@refused("Y_c of node 'my_LSTM_1'")
def the_cell(chain, y, y_h):
    chain.nodes[-1].output[2] = "c"
    return "c"


@refused("activations other")
def other_activations(chain, y, y_h):
    return chain.lstm("X", activations=["Sigmoid", "Relu", "Tanh"])[1]


@refused("'my_Relu_2'.*hidden layer")
def an_activation_in_front(chain, y, y_h):
    return chain.add("Relu", y_h)


@refused("ends in relu")
def an_activation_at_the_end(chain, y, y_h):
    return chain.add("Relu", chain.add("MatMul", final_states(chain, y_h), draw(4, 3)))


@refused("no activation between")
def no_activation(chain, y, y_h):
    out = chain.add("MatMul", final_states(chain, y_h), draw(4, 3))
    return chain.add("MatMul", out, draw(3, 2))


@refused("layer before")
def two_layers_side_by_side(chain, y, y_h):
    _, other, _ = chain.lstm("X")
    return chain.add("Add", y_h, other)


@refused("two parts")
def two_outputs(chain, y, y_h):
    return chain.add("Add", y_h, y_h)


@refused("all directions of the layer before")
def a_layer_on_one_direction(chain, y, y_h):
    both = Chain()
    y, *_ = both.lstm("X", D=2)
    return both, both.lstm(both.add("Gather", y, np.array(0), axis=1), F=4)[1]


@refused("differ in direction")
def layers_that_read_each_their_way(chain, y, y_h):
    return chain.lstm(chain.add("Squeeze", y, axes(1)), F=4, direction="reverse")[1]


@refused("the input 'h'")
def a_state_that_is_given(chain, y, y_h):
    given = Chain(extra=[("h", 1, [1, "N", 4])])
    return given, given.lstm("X", states=("h", ""))[1]


@refused("differs between sequences")
def a_state_for_each_sequence(chain, y, y_h):
    given = Chain()
    return given, given.lstm("X", states=(draw(1, 5, 4), ""))[1]


@refused("the input 'W'")
def weights_that_are_given(chain, y, y_h):
    given = Chain(extra=[("W", 1, [1, 16, 3])])
    return given, given.add("LSTM", "X", "W", draw(1, 16, 4), outputs=3, hidden_size=4)[1]


@refused("the other way")
def the_last_step_of_both_directions(chain, y, y_h):
    both = Chain()
    y, *_ = both.lstm(both.add("Transpose", "X", **TIME_FIRST), D=2)
    y = both.add("Reshape", both.add("Transpose", y, perm=[0, 2, 1, 3]), axes(0, 0, -1))
    return both, both.add("Gather", y, np.array(-1), axis=0)


@refused("behind a sequence")
def the_mean_of_what_is_padded(chain, y, y_h):
    padded = Chain(extra=[("lengths", 6, ["N"])])
    y, *_ = padded.lstm("X", lengths="lengths")
    y = padded.add("Squeeze", y, axes(1))
    return padded, padded.add("ReduceMean", y, axes=[0], keepdims=0)


@refused("all directions of the last")
def one_direction_of_two(chain, y, y_h):
    both = Chain()
    return both, both.add("Gather", both.lstm("X", D=2)[1], np.array(1), axis=0)


@refused("scales are positive")
def a_negative_scale(chain, y, y_h):
    other = Chain()
    _, y_h, _ = other.lstm(other.add("Mul", "X", np.array([1, -1, 1], np.float32)))
    return other, final_states(other, y_h)


@refused("not computed by LSTM")
def no_lstm(chain, y, y_h):
    return chain.add("Identity", "X")


@refused("no input of sequences")
def images(chain, y, y_h):
    other = Chain(x=("N", "T", 3, 2))
    return other, other.add("Identity", "X")


@pytest.mark.parametrize(("make", "message"), CASES)
def test_models_that_are_refused(make, message):
    chain, y, y_h = plain()
    made = make(chain, y, y_h)
    if isinstance(made, tuple):
        chain, made = made
    with pytest.raises(ValueError, match=message):
        from_onnx(chain.model(made))


def test_the_chain_itself_is_not_refused():
    chain, _, y_h = plain()
    assert from_onnx(chain.model(final_states(chain, y_h))).predict(X).shape == (5, 4)
