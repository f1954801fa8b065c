"""Copies to the device, of arrays that come again and again."""

import numpy as np
import pytest

from numba_lstm.cuda import staging
from numba_lstm.cuda.device import cuda

pytestmark = pytest.mark.nojit


def check(place, groups):
    """What is copied is what was given, of the same shape and dtype."""
    copies = place.copy(groups)
    for group, copied in zip(groups, copies, strict=True):
        for array, copy in zip(group, copied, strict=True):
            found = copy.copy_to_host()
            assert found.shape == array.shape
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, array)
    place.used()
    return [copy for copied in copies for copy in copied]


@pytest.mark.parametrize("most", [2**13, 3])
def test_copies_are_what_was_given(most, monkeypatch):
    """At one place lie, one after another, arrays of other values, shapes, dtypes and sizes."""
    monkeypatch.setattr(staging, "_MOST_PARTS", most)
    place, rng = staging.Staging(cuda.stream()), np.random.default_rng(0)
    shapes = [(6,), (2, 3), (3, 2), (0,), (0, 2), (100,), (1, 100), (2000,), (6,)]
    for shape in shapes:
        for dtype in "f4", "i8", "f4", "f8":
            for _ in range(2):
                array = rng.integers(-9, 9, shape).astype(dtype)
                check(place, [[array, array[::-1]], [array + 1]])


def test_what_comes_again_has_its_array_already():
    place, rng = staging.Staging(cuda.stream()), np.random.default_rng(0)
    found = [check(place, [[rng.random(5), rng.random((2, 3))]]) for _ in range(4)]
    assert all(one is other for one, other in zip(found[0], found[2], strict=True))
    assert not any(one is other for one, other in zip(found[0], found[1], strict=True))
    check(place, [[rng.random(5000)]])  # for which the place grows
    check(place, [[rng.random(5)]])
    again = check(place, [[rng.random(5), rng.random((2, 3))]])
    assert again[0] is not found[0][0]
