"""The progress of a fit in a file: a fit that is killed ends as if it had not been."""

import datetime as dt
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from numba_lstm import LSTMClassifier, LSTMRegressor
from numba_lstm.training.checkpoints import _DIGEST_SIZE, _MAGIC, Checkpoint

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 8, 2))
Y = X[:, :, 0].mean(axis=1) + 0.1 * RNG.standard_normal(60)


class KilledError(Exception):
    pass


def killed_after(monkeypatch, epochs):
    """Let processes die after so many checkpoints have been written."""
    write, left = Checkpoint.write, [epochs]

    def write_and_die(self, state):
        write(self, state)
        left[0] -= 1
        if left[0] == 0:
            raise KilledError

    monkeypatch.setattr(Checkpoint, "write", write_and_die)


def make(kind=LSTMRegressor, **parameters):
    return kind(**{"hidden_size": 4, "max_iter": 7, "random_state": 3, **parameters})


GIVEN = object()  # a RandomState, another one in each process
CASES = {
    "plain": {},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.3, "max_iter": 12},
    "dropout": {"recurrent_dropout": 0.3, "zoneout_cell": 0.2},
    "plateau": {"learning_rate": "plateau", "n_iter_no_change": 2, "learning_rate_init": 0.3},
    "cosine, sgd": {"solver": "sgd", "learning_rate": "cosine"},
    "rmsprop, windows": {"solver": "rmsprop", "tbptt_steps": 3},
    "stateful": {"stateful": True, "batch_size": 20},
    "generator": {"random_state": GIVEN},
    "no seed": {"random_state": None},
}


def fresh(case, seed):
    """The case in a process whose generators are elsewhere."""
    np.random.seed(seed)  # noqa: NPY002 - what random_state=None draws from
    if case.get("random_state", 0) is GIVEN:
        return case | {"random_state": np.random.RandomState(seed)}
    return case


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_killed_fit_goes_on(tmp_path, monkeypatch, case):
    path = tmp_path / "progress"
    whole = make(**fresh(case, 11)).fit(X, Y)
    for epochs, seed in ((1, 11), (2, 99)):
        with monkeypatch.context() as patched:
            killed_after(patched, epochs)
            with pytest.raises(KilledError):
                make(**fresh(case, seed), checkpoint=path).fit(X, Y)
        assert path.exists()
    model = make(**fresh(case, 101), checkpoint=path).fit(X, Y)
    assert not path.exists()
    np.testing.assert_array_equal(model.theta_, whole.theta_)
    assert model.loss_curve_ == whole.loss_curve_
    assert model.validation_scores_ == whole.validation_scores_
    if "early_stopping" not in case:  # which draws a validation part anew
        for one in (model, whole):
            one.set_params(warm_start=True).fit(X, Y)
        np.testing.assert_array_equal(model.theta_, whole.theta_)


def test_a_classifier_of_sequences_with_times_goes_on(tmp_path, monkeypatch):
    lengths = RNG.integers(2, 9, 60)
    ragged = [x[:n] for x, n in zip(X, lengths, strict=True)]
    times = [np.cumsum(RNG.exponential(size=n)) for n in lengths]
    weight, y = RNG.uniform(size=60), Y > 0
    given = {"sample_weight": weight, "times": times}
    whole = make(LSTMClassifier).fit(ragged, y, **given)
    with monkeypatch.context() as patched:
        killed_after(patched, 3)
        with pytest.raises(KilledError):
            make(LSTMClassifier, checkpoint=tmp_path / "a").fit(ragged, y, **given)
    model = make(LSTMClassifier, checkpoint=str(tmp_path / "a"), n_jobs=1).fit(ragged, y, **given)
    np.testing.assert_array_equal(model.theta_, whole.theta_)


@pytest.fixture
def left(tmp_path, monkeypatch):
    """A file that a killed fit has left."""
    path = tmp_path / "progress"
    with monkeypatch.context() as patched:
        killed_after(patched, 2)
        with pytest.raises(KilledError):
            make(checkpoint=path).fit(X, Y)
    return path


def refused(path, match, X=X, y=Y, **parameters):
    before = path.read_bytes()
    model = make(**parameters).fit(X, Y).set_params(checkpoint=path)
    theta = model.theta_
    with pytest.raises(ValueError, match=match):
        model.fit(X, y)
    assert model.theta_ is theta
    assert path.read_bytes() == before


def test_damaged_files_are_refused(left):
    content = left.read_bytes()
    for damaged in (content[:-1], content[: len(content) // 2], content[: len(_MAGIC) + 3]):
        left.write_bytes(damaged)
        refused(left, "damaged")
    for place in RNG.integers(len(_MAGIC), len(content), 10):
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(RNG.integers(8))
        left.write_bytes(bytes(flipped))
        refused(left, "damaged")
    for foreign in (b"", b"PK\x03\x04", content[1:]):
        left.write_bytes(foreign)
        refused(left, "not a checkpoint")
    left.write_bytes(signed(b"valid, but no archive"))
    refused(left, "cannot be read")


def signed(payload):
    return _MAGIC + hashlib.blake2b(payload, digest_size=_DIGEST_SIZE).digest() + payload


SOMETHING = st.sampled_from(
    [None, True, -1, 0, 3, 2**70, 0.5, float("nan"), "text", [], [1.0, "a"], [0.1, 2], {}]
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_files_with_other_content_are_refused(left, data):
    """With a valid checksum: none is half loaded."""
    content = left.read_bytes()
    with np.load(io.BytesIO(content[len(_MAGIC) + _DIGEST_SIZE :])) as archive:
        arrays = dict(archive)
    state = json.loads(arrays.pop("state").tobytes())
    kind = data.draw(st.sampled_from(["array", "number", "generator", "identity"]))
    if kind == "array":
        name = data.draw(st.sampled_from(sorted(arrays)))
        array = arrays.pop(name)
        others = array[1:], array.astype("f8"), array * np.nan, array[np.newaxis], None
        other = data.draw(st.sampled_from(others))
        arrays |= {} if other is None else {name: other}
    elif kind == "number":
        name = data.draw(st.sampled_from(sorted(set(state) - {"generator", "identity"})))
        state[name] = data.draw(SOMETHING)
    elif kind == "generator":
        places = [
            state["generator"],
            state["generator"]["state"],
            state["identity"]["random_state"],
        ]
        place = data.draw(st.sampled_from(places))
        place[data.draw(st.sampled_from(sorted(place)))] = data.draw(SOMETHING)
    else:
        place = data.draw(st.sampled_from([state, state["identity"]]))
        place["identity" if place is state else "random_state"] = data.draw(SOMETHING)
    buffer = io.BytesIO()
    np.savez(buffer, state=np.frombuffer(json.dumps(state).encode(), np.uint8), **arrays)
    left.write_bytes(signed(buffer.getvalue()))
    model = make().fit(X, Y).set_params(checkpoint=left)
    theta = model.theta_
    try:
        model.fit(X, Y)
    except ValueError:
        assert model.theta_ is theta
    else:  # what was put there is as good as what was
        assert np.isfinite(model.theta_).all()
        assert kind in ("number", "generator")
    left.write_bytes(content)


def test_checkpoints_of_other_fits_are_refused(left):
    refused(left, "hidden_size=4, this one hidden_size=5", hidden_size=5)
    refused(left, "random_state=3, this one random_state=4", random_state=4)
    refused(left, "not of the same data", y=Y + 1)
    other = X.copy()
    other[3, 4, 1] += 1e-6
    refused(left, "not of the same data", X=other)


@pytest.mark.parametrize("case", ["plain", "early stopping", "plateau", "stateful"])
def test_a_killed_fit_goes_on_for_longer(tmp_path, monkeypatch, case):
    whole = make(**CASES[case] | {"max_iter": 14}).fit(X, Y)
    path = tmp_path / "progress"
    with monkeypatch.context() as patched:
        killed_after(patched, 3)
        with pytest.raises(KilledError):
            make(**CASES[case] | {"max_iter": 5}, checkpoint=path).fit(X, Y)
    model = make(**CASES[case] | {"max_iter": 14}, checkpoint=path).fit(X, Y)
    np.testing.assert_array_equal(model.theta_, whole.theta_)
    assert model.loss_curve_ == whole.loss_curve_
    assert model.n_iter_ > 5
    assert not path.exists()


def test_an_end_that_does_not_fit_the_progress_is_refused(monkeypatch, left):
    refused(left, "has done 2 epochs, and max_iter=1", max_iter=1)
    ended = make(max_iter=2, checkpoint=left).fit(X, Y)
    np.testing.assert_array_equal(ended.theta_, make(max_iter=2).fit(X, Y).theta_)
    with monkeypatch.context() as patched:
        killed_after(patched, 2)
        with pytest.raises(KilledError):
            make(learning_rate="cosine", checkpoint=left).fit(X, Y)
    match = "max_iter=7, this one max_iter=12, which every epoch's learning rate depends on"
    refused(left, match, learning_rate="cosine", max_iter=12)


def test_another_fit_that_writes_the_same_file(tmp_path, monkeypatch):
    """It has moved away what this one has just written."""

    def is_gone(*_):
        raise FileNotFoundError("fit.ck.part -> fit.ck")

    monkeypatch.setattr("numba_lstm.training.checkpoints.replace_file", is_gone)
    model = LSTMRegressor(2, max_iter=3, checkpoint=tmp_path / "fit.ck", checkpoint_every=1)
    with pytest.raises(RuntimeError, match=r"Another fit writes its checkpoint to .*fit.ck"):
        model.fit(X, Y)
    assert not hasattr(model, "theta_")


def test_where_no_file_can_be(tmp_path):
    for path in (tmp_path, tmp_path / "missing" / "file"):
        with pytest.raises(ValueError, match="a directory that exists"):
            make(checkpoint=path).fit(X, Y)
    with pytest.raises(ValueError, match="checkpoint_every"):
        make(checkpoint=tmp_path / "a", checkpoint_every=0).fit(X, Y)


def test_how_often_it_is_written(tmp_path, monkeypatch):
    written, write = [], Checkpoint.write
    monkeypatch.setattr(Checkpoint, "write", lambda *args: (written.append(1), write(*args)))
    make(checkpoint=tmp_path / "a", checkpoint_every=3).fit(X, Y)
    assert len(written) == 2  # of seven epochs
    make(checkpoint=tmp_path / "a", checkpoint_every=dt.timedelta(hours=1)).fit(X, Y)
    assert len(written) == 2
    make(checkpoint=tmp_path / "a", checkpoint_every=dt.timedelta(0)).fit(X, Y)
    assert len(written) == 2 + 7
    make(checkpoint=tmp_path / "a").partial_fit(X, Y)  # has an end of its own
    assert len(written) == 2 + 7


SCRIPT = """
import hashlib, sys
import numpy as np
from numba_lstm import LSTMRegressor

rng = np.random.default_rng(0)
X = rng.standard_normal((60, 10, 2)).astype("float32")
y = X[:, :, 0].mean(axis=1)
path = None if sys.argv[1] == "-" else sys.argv[1]
model = LSTMRegressor(8, max_iter=400, tol=0, n_iter_no_change=400, recurrent_dropout=0.1,
                      early_stopping=True, random_state=0, checkpoint=path)
model.set_params(max_iter=1, checkpoint=None).fit(X, y)
print("begins", flush=True)
model.set_params(max_iter=400, checkpoint=path).fit(X, y)
print(model.n_iter_, hashlib.sha256(model.theta_.tobytes()).hexdigest(), flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="processes are killed as POSIX has it")
def test_processes_that_are_killed(tmp_path):
    """Kill -9, and now and then SIGTERM, at random moments; KILLS sets how many."""
    signals = signal.SIGKILL, signal.SIGTERM
    kills, draw = int(os.environ.get("KILLS", "4")), random.Random(0)

    def start(path):
        child = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout.readline() == "begins\n"
        return child

    began = time.monotonic()
    expected, _ = (child := start("-")).communicate()
    whole = time.monotonic() - began
    assert child.returncode == 0
    survived = 0
    while survived < kills:
        path = tmp_path / f"progress-{survived}"
        while True:
            child = start(path)
            if survived < kills:
                time.sleep(draw.uniform(0, whole / 8))
                child.send_signal(signals[survived % 4 == 3])
            found, _ = child.communicate()
            if child.returncode == 0:
                assert found == expected
                break
            assert -child.returncode in signals
            survived += 1
    assert survived >= kills
