"""Data sets made of symbols: grammar, temporal order, music and text."""

import re

import numpy as np
import pytest

from numba_lstm.datasets import (
    load_jsb_chorales,
    load_tiny_shakespeare,
    make_embedded_reber,
    make_temporal_order,
)

pytestmark = pytest.mark.nojit

# Reber's grammar as a regular expression, and not as a table of states.
TAIL = r"(XT*VP)*(S|XT*VV)"
REBER = f"B(TS*X{TAIL}|PT*V(V|P{TAIL}))E"


@pytest.mark.parametrize(("n_relevant", "n_classes"), [(2, 4), (3, 8)])
def test_temporal_order(n_relevant, n_classes):
    X, y = make_temporal_order(400, n_relevant, random_state=0)
    strings = ["".join("EBXYabcd"[code] for code in x.argmax(axis=1)) for x in X]
    assert all((x.sum(axis=1) == 1).all() for x in X)
    lengths = [len(s) for s in strings]
    assert (min(lengths), max(lengths)) == (100, 110)
    assert all(re.fullmatch("E[abcdXY]+B", s) for s in strings)
    assert [re.sub("[^XY]", "", s) for s in strings] == y.tolist()
    assert len(np.unique(y)) == n_classes
    found = np.array([[m.start() for m in re.finditer("[XY]", s)] for s in strings])
    places = {2: [(10, 20), (50, 60)], 3: [(10, 20), (33, 43), (66, 76)]}[n_relevant]
    assert list(zip(found.min(axis=0), found.max(axis=0), strict=True)) == places
    counts = np.unique(y, return_counts=True)[1]
    assert counts.min() > 0.6 * 400 / n_classes
    again = make_temporal_order(400, n_relevant, random_state=0)
    np.testing.assert_array_equal(np.concatenate(again[0]), np.concatenate(X))
    assert X[0].dtype == np.float32


def test_embedded_reber():
    X, y = make_embedded_reber(500, random_state=0)
    strings = ["".join("BTPSXVE"[code] for code in x.argmax(axis=1)) for x in X]
    followers: dict[str, set] = {}
    for string, x, possible in zip(strings, X, y, strict=True):
        assert re.fullmatch(f"B(T{REBER}T|P{REBER}P)", string), string
        assert x.shape == possible.shape == (len(string), 7)
        for t, row in enumerate(possible):
            may = {s for s, yes in zip("BTPSXVE", row, strict=True) if yes}
            assert (string + "E")[t + 1] in may
            # What may follow depends on what has been read, and on nothing else.
            prefix = string[: t + 1]
            assert followers.setdefault(prefix, may) == may
    for prefix, may in followers.items():  # and all of it is seen, where there was occasion
        count = sum(string.startswith(prefix) for string in strings)
        seen = {(s + "E")[len(prefix)] for s in strings if s.startswith(prefix)}
        assert seen == may or count < 12
    assert min(map(len, strings)) == 8
    assert 10 < np.mean([len(s) for s in strings]) < 14


def test_what_cannot_be_made():
    with pytest.raises(ValueError, match="n_relevant=4"):
        make_temporal_order(5, 4)
    with pytest.raises(ValueError, match="n_samples=0"):
        make_temporal_order(0)
    with pytest.raises(ValueError, match="n_samples=0"):
        make_embedded_reber(0)


def test_chorales():
    parts = load_jsb_chorales()
    assert [len(part) for part in parts] == [229, 76, 77]
    lengths = [len(roll) for part in parts for roll in part]
    assert (min(lengths), max(lengths), sum(lengths)) == (25, 160, 23134)
    everything = np.concatenate([roll for part in parts for roll in part])
    assert everything.shape == (23134, 88)
    assert set(np.unique(everything)) == {0, 1}
    assert everything.sum(axis=1).mean() == pytest.approx(3.89, abs=0.01)  # four voices
    # What Bai et al. report as a frame's loss is far below that of each key's frequency.
    p = np.concatenate(parts[0]).mean(axis=0).clip(1e-6)
    test = np.concatenate(parts[2])
    assert 10 < -(np.log(p) * test + np.log(1 - p) * (1 - test)).sum(axis=1).mean() < 13


def test_shakespeare():
    import hashlib

    text = load_tiny_shakespeare()
    assert len(text) == 1_115_394
    assert len(set(text)) == 65
    found = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    assert found == "6fb458f1232090904fb40fe944165e91"
