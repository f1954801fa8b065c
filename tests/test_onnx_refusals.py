"""ONNX models with something that this library's networks have not."""

import numpy as np
import pytest
from onnx_chain import TIME_FIRST, Chain, axes, draw, final_states, plain

from numba_lstm import from_onnx


def refused(name):
    """A model, and what has to be said of it."""
    chain, y, y_h = plain()
    last = final_states(chain, y_h)
    if name == "an operator":
        return chain.model(chain.add("Erf", last)), "'my_Erf_3', Erf"
    if name == "the cell":
        chain.nodes[-2].output[2] = "c"
        return chain.model("c"), "Y_c of node 'my_LSTM_1'"
    if name == "activations":
        _, y_h, _ = chain.lstm("X", activations=["Sigmoid", "Relu", "Tanh"])
        return chain.model(y_h), "activations"
    if name == "an activation in front":
        return chain.model(chain.add("Relu", last)), "'my_Relu_3'.*hidden layer"
    if name == "no activation":
        out = chain.add("MatMul", chain.add("MatMul", last, draw(4, 3)), draw(3, 2))
        return chain.model(out), "no activation between"
    if name == "two side by side":
        _, other, _ = chain.lstm("X")
        return chain.model(chain.add("Add", last, final_states(chain, other))), "layer before"
    if name == "residual":
        y = chain.add("Squeeze", y, axes(1))
        return chain.model(chain.add("Add", chain.add("Tanh", y), y)), "Tanh.*hidden layer"
    if name == "two outputs":
        return chain.model(chain.add("Add", last, last)), "two parts"
    if name == "a state that is given":
        chain = Chain(extra=[("h", 1, [1, "N", 4])])
        _, y_h, _ = chain.lstm("X", states=("h", ""))
        return chain.model(y_h), "the input 'h'"
    if name == "a state for each":
        _, y_h, _ = (chain := Chain()).lstm("X", states=(draw(1, 5, 4), ""))
        return chain.model(y_h), "differs between sequences"
    if name == "weights that are not constant":
        chain = Chain(extra=[("W", 1, [1, 16, 3])])
        node = chain.add("LSTM", "X", "W", draw(1, 16, 4), outputs=3, hidden_size=4)
        return chain.model(node[1]), "the input 'W'|not constant"
    if name == "the last step of both":
        chain = Chain()
        y, *_ = chain.lstm(chain.add("Transpose", "X", **TIME_FIRST), D=2)
        y = chain.add("Reshape", chain.add("Transpose", y, perm=[0, 2, 1, 3]), axes(0, 0, -1))
        return chain.model(chain.add("Gather", y, np.array(-1), axis=0)), "the other way"
    if name == "the mean of what is padded":
        chain = Chain(extra=[("lengths", 6, ["N"])])
        y, *_ = chain.lstm("X", lengths="lengths")
        y = chain.add("Squeeze", y, axes(1))
        return chain.model(chain.add("ReduceMean", y, axes=[0], keepdims=0)), "behind a sequence"
    if name == "one direction of two":
        chain = Chain()
        _, y_h, _ = chain.lstm("X", D=2)
        return chain.model(chain.add("Gather", y_h, np.array(1), axis=0)), "all directions"
    if name == "a negative scale":
        chain = Chain()
        _, y_h, _ = chain.lstm(chain.add("Mul", "X", np.array([1, -1, 1], np.float32)))
        return chain.model(final_states(chain, y_h)), "positive"
    if name == "no LSTM":
        chain = Chain()
        return chain.model(chain.add("Identity", "X")), "not computed by LSTM"
    chain = Chain(x=("N", "T", 3, 2))
    return chain.model(chain.add("Identity", "X")), "no input of sequences"


@pytest.mark.parametrize("name", [
    "an operator", "the cell", "activations", "an activation in front", "no activation",
    "two side by side", "residual", "two outputs", "a state that is given", "a state for each",
    "weights that are not constant", "the last step of both", "the mean of what is padded",
    "one direction of two", "a negative scale", "no LSTM", "no sequences",
])  # fmt: skip
def test_models_that_are_refused(name):
    model, message = refused(name)
    with pytest.raises(ValueError, match=message):
        from_onnx(model)
