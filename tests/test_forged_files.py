"""Files whose checksum is right and whose content is not: refused before there is a model."""

import copy
import json
import tracemalloc

import numpy as np
import pytest
from forged_files import READERS, ZEROS, X, accepted, forged, parts, refuse, sealed, whole
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from numba_lstm import LSTMClassifier, load

pytest.importorskip("safetensors")


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """A whole file."""
    return whole(tmp_path_factory.mktemp("files") / "model.lstm")


def test_what_is_forged_well_is_read(content, tmp_path):
    """Else the tests below would show nothing."""
    model, predictor = accepted(forged(*parts(content)), tmp_path)
    np.testing.assert_allclose(model.predict(X), predictor.predict(X), rtol=1e-5)


CHANGES = [
    (lambda d: d.update(format=2), "format 2.*newer"),
    (lambda d: d.update(format=True), "format True"),
    (lambda d: d.pop("format"), "format None"),
    (lambda d: d.pop("layout"), "'layout' is missing"),
    (lambda d: d["layout"].pop("norm"), "layout has other fields"),
    (lambda d: d["layout"].update(more=1), "layout has other fields"),
    (lambda d: d["layout"].update(hidden_sizes=[2, 2]), "weight_ih_l1"),
    (lambda d: d["layout"].update(hidden_sizes=[3]), "is of shape"),
    (lambda d: d["layout"].update(hidden_sizes=[2] * 100_000), "more layers"),
    (lambda d: d["layout"].update(n_outputs=2), "number of outputs"),
    (lambda d: d["layout"].update(peephole=True), "peephole_l0"),
    (lambda d: d["layout"].update(pooling="sum"), "pooling='sum'"),
    (lambda d: d["layout"].update(zoneout=[0.0, 1.0]), "zoneout"),
    (lambda d: d["layout"].update(decays=True), "times"),
    (lambda d: d.update(estimator="LSTMClassifier"), "estimator contradicts"),
    (lambda d: d.update(estimator="os.system"), "estimator contradicts"),
    (lambda d: d["targets"].update(classes={"dtype": "<i8", "values": [0, 1]}), "contradicts"),
    (lambda d: d["inputs"].update(masks=True), "masks contradicts"),
    (lambda d: d["inputs"].update(n_features=2), "number of features"),
    (lambda d: d["inputs"].update(feature_names=["a", "b"]), "names of the features"),
]
CHANGES_OF_PARAMETERS = [
    ({"hidden_size": 3}, r"hidden_sizes=\[3\]"),
    ({"hidden_size": 2**40}, "hidden_sizes"),
    ({"hidden_size": [[2], 2]}, "not describe an estimator"),
    ({"num_layers": 2**31}, "num_layers"),
    ({"hidden_size": [2] * 1000}, "hidden_sizes"),
    ({"dtype": "float64"}, "dtype='float64'"),
    ({"dtype": {"type": "object"}}, "stands for no value"),
    ({"peephole": True}, "peephole=True"),
    ({"peephole": 1}, "peephole"),
    ({"solver": "evil"}, "solver"),
    ({"device": "tpu"}, "device"),
    ({"matmul_precision": "half"}, "matmul_precision"),
    ({"unknown": 1}, "unknown"),
    ({"alpha": -1.0}, "alpha"),
    ({"random_state": -1}, "random_state"),
    ({"random_state": {"call": ["os.system", "true"]}}, "stands for no value"),
    ({"checkpoint": {"path": ["a"]}}, "where to write"),
    ({"checkpoint": ".bashrc"}, "where to write"),
    ({"class_weight": None}, "class_weight"),
    ({"hidden_size": {"numpy": ["<i8", 2.5]}}, "stands for no value"),
    ({"hidden_size": {"array": ["|O", [2]]}}, "stands for no value"),
    ({"hidden_size": {"array": ["<U999999999", ["2"]]}}, "stands for no value"),
    ({"hidden_size": {"numpy": ["<i8", 2], "more": 1}}, "stands for no value"),
    ({"max_iter": 10**400}, "64 bits"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES, ids=[m for _, m in CHANGES])
def test_descriptions_that_contradict_themselves_are_refused(content, tmp_path, change, message):
    header, description, data = parts(content)
    change(description)
    refuse(forged(header, description, data), tmp_path, message)


@pytest.mark.parametrize(("given", "message"), CHANGES_OF_PARAMETERS, ids=str)
def test_parameters_of_another_network_are_refused(content, tmp_path, given, message):
    header, description, data = parts(content)
    description["parameters"].update(given)
    tracemalloc.start()
    refuse(forged(header, description, data), tmp_path, message, [load])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6


@pytest.mark.parametrize("curve", [None, [1], {}, ["a"]])
def test_a_history_of_no_numbers_is_refused(content, tmp_path, curve):
    header, description, data = parts(content)
    description["history"].update(loss_curve=curve)
    refuse(forged(header, description, data), tmp_path, "history", [load])


ENTRIES = [
    ("head_bias", {"shape": [2]}, "makes no sense"),
    ("head_bias", {"shape": [2**62, 2**62]}, "makes no sense"),
    ("head_bias", {"shape": [-1]}, "makes no sense"),
    ("head_bias", {"shape": [1, 1]}, "is of shape"),
    ("head_bias", {"shape": 1}, "makes no sense"),
    ("head_bias", {"dtype": "F16"}, "makes no sense"),
    ("head_bias", {"dtype": ["F32"]}, "makes no sense"),
    ("head_bias", {"data_offsets": [0, 4]}, "overlap"),
    ("head_bias", {"data_offsets": [2**40, 2**40 + 4]}, "gaps"),
    ("head_bias", {"data_offsets": [4]}, "makes no sense"),
    ("head_bias", {"more": 0}, "makes no sense"),
    ("other", {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}, "other"),
]


@pytest.mark.parametrize("part", ["parameters", "layout", "targets", "history"])
@pytest.mark.parametrize("depth", [50, 450, 900, 960, 20_000])
def test_nesting_of_any_depth_is_refused(content, tmp_path, part, depth):
    header, description, data = parts(content)
    description["checksum"] = ZEROS
    name = sorted(description[part])[0]
    description[part][name] = "deep"
    text = json.dumps(description).replace('"deep"', "[" * depth + "]" * depth)
    header["__metadata__"]["numba_lstm"] = text
    readers = READERS if part in ("layout", "targets") else [load]
    refuse(sealed(json.dumps(header), data), tmp_path, None, readers)


@pytest.mark.parametrize(("name", "entry", "message"), ENTRIES, ids=str)
def test_arrays_that_lie_elsewhere_are_refused(content, tmp_path, name, entry, message):
    header, description, data = parts(content)
    header[name] = header.get(name, {}) | entry
    refuse(forged(header, description, data), tmp_path, message)


def test_what_only_safetensors_refuses_is_a_value_error_too(content, tmp_path):
    header, description, data = parts(content)
    text = json.dumps(description | {"checksum": ZEROS})
    header["__metadata__"] = {"numba_lstm": text, "other": 1}
    refuse(sealed(json.dumps(header), data), tmp_path, "not describe an estimator", [load])


@pytest.mark.parametrize("name", ["weight_hh_l0", "input_mean", "target_scale"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(content, tmp_path, name, value):
    header, description, data = parts(content)
    data, (first, _) = bytearray(data), header[name]["data_offsets"]
    dtype = {"F32": "<f4", "F64": "<f8"}[header[name]["dtype"]]
    number = np.array(value, dtype).tobytes()
    data[first : first + len(number)] = number
    refuse(forged(header, description, bytes(data)), tmp_path, name)


@pytest.mark.parametrize(
    "text", ['"loss_curve": [NaN', '"loss_curve": [1e999', '"a": 1, "a": 1, "loss_curve": [0.5']
)
def test_what_json_does_not_know_is_refused(content, tmp_path, text):
    header, description, data = parts(content)
    description["checksum"], description["history"]["loss_curve"] = ZEROS, [0.5]
    before = json.dumps(description)
    changed = before.replace('"loss_curve": [0.5', text)
    assert before != changed
    header["__metadata__"]["numba_lstm"] = changed
    refuse(sealed(json.dumps(header), data), tmp_path, None, [load])


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("<i8", [1, 0]), ("<i8", [0, 0]), ("<i8", [0.0, 1.0]), ("|i1", [0, 300]), ("<i8", []),
        ("<U1", ["a", "bc"]), ("<U999999", ["a", "b"]), ("|O", [0, 1]), ("|V8", [0, 1]),
        ("<M8[s]", [0, 1]), ("i8,i8", [0, 1]), ("|b1", [0, 1]), ("<U1", "ab"), (3, [0, 1]),
    ],
)  # fmt: skip
def test_classes_that_are_none_are_refused(tmp_path, dtype, values):
    path = tmp_path / "model.lstm"
    LSTMClassifier(2, max_iter=1).fit(X, [0, 1] * 3).save(path)
    header, description, data = parts(path.read_bytes())
    description["targets"]["classes"] = {"dtype": dtype, "values": values}
    refuse(forged(header, description, data), tmp_path, "class|outputs")


def leaves(node, path=()):
    """Paths to all that a description says."""
    keys = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield (*path, key)
        yield from leaves(node[key], (*path, key))


NONSENSE = st.sampled_from(
    [None, True, -1, 0, 3, 2**70, 0.5, -1.5, "x", "", [], {}, [[1]], {"a": {}}]
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_nonsense_anywhere_is_refused_or_harmless(content, tmp_path, data):
    """A ValueError, or a model that works; never another error."""
    header, description, arrays = parts(content)
    changed = copy.deepcopy(description)
    for _ in range(data.draw(st.integers(1, 2))):
        *above, key = data.draw(st.sampled_from(sorted(leaves(changed), key=str)))
        node = changed
        for step in above:
            node = node[step]
        node[key] = copy.deepcopy(data.draw(NONSENSE))
    for found in accepted(forged(header, changed, arrays), tmp_path):
        if found is not None:
            assert np.isfinite(found.predict(X)).all()
