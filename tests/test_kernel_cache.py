"""Kernels from the cache, without what Numba loads to compile."""

import pytest
from test_processes import FIT, MISSES, run

FROM_CACHE = f"""{MISSES}{FIT}
import sys
print(len(compiled), "numba.typed.typeddict" in sys.modules)
import numba
other = numba.njit(lambda x: x.sum())(np.ones(3))
print(other, model.fit(X, X[:, 0, 0]).loss_ > 0)
"""


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_what_is_compiled_needs_no_registries(tmp_path, n_jobs):
    """And others' functions compile as ever."""
    code = FROM_CACHE.replace("(37,", f"(37, n_jobs={n_jobs},")
    first, second = (run(code, NUMBA_CACHE_DIR=str(tmp_path)).split() for _ in range(2))
    n_compiled, had_registries, *values = first[1:]
    assert int(n_compiled) > 10
    assert had_registries == "True"
    assert values == ["3.0", "True"]
    assert second == [first[0], "0", "False", *values]


HASHED = """
from numba_lstm._jit import kernel

@kernel
def hashed(words):
    return hash(words[0]), hash(words[1])

if __name__ == "__main__":
    print(hashed(("one", "another")) == (hash("one"), hash("another")),
          hashed.stats.cache_hits.total(), hashed.stats.cache_misses.total())
"""


def test_registries_come_where_code_refers_to_them(tmp_path):
    """The seed of Python's hashes is a name that one of them brings, and another every time."""
    file = tmp_path / "hashing.py"
    file.write_text(HASHED)
    found = [
        run(
            f"import runpy; runpy.run_path({str(file)!r}, run_name='__main__')",
            NUMBA_CACHE_DIR=str(tmp_path / "cache"),
            PYTHONHASHSEED=seed,
        )
        for seed in ("1", "2", "3")
    ]
    assert found == ["True 0 1", "True 1 0", "True 1 0"]


def test_names():
    from numba_lstm._kernel_cache import _resolve

    assert _resolve([])
    assert _resolve(["NRT_Free", "NRT_adapt_ndarray_from_python", "memcpy", "PyExc_TypeError"])
    for name in ("no_such_name", "NRT_no_such_name", "Free", "is_NRT_Free"):
        assert not _resolve(["NRT_Free", name])
