"""Files that are damaged or foreign are refused, by load and by the NumPy reader."""

import io
import os
import pickle
import tracemalloc

import numpy as np
import pytest
from forged_files import READERS, refuse, sealed, whole

safetensors = pytest.importorskip("safetensors.numpy")


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """A whole file."""
    return whole(tmp_path_factory.mktemp("files") / "model.lstm")


def test_any_bit_that_is_flipped_is_noticed(content, tmp_path):
    rng = np.random.default_rng(0)
    for place in range(0, len(content), 3):
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(8)
        refuse(bytes(damaged), tmp_path)


def test_what_is_cut_off_or_too_long_is_noticed(content, tmp_path):
    for n in range(0, len(content), 7):
        refuse(content[:n], tmp_path)
    refuse(content[:-1], tmp_path, "cut off")
    refuse(content + b"\0", tmp_path, "longer")


class Dangerous:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def foreign():
    npz = io.BytesIO()
    np.savez(npz, x=np.array([Dangerous()], object))
    return {
        "empty": b"",
        "text": b"weights of a model\n" * 100,
        "zeros": bytes(1000),
        "pickle": pickle.dumps(Dangerous()),
        "npz": npz.getvalue(),
        "another safetensors file": safetensors.save({"weight_ih_l0": np.zeros((4, 1))}),
        "another's metadata": safetensors.save({"x": np.zeros(1)}, {"format": "pt"}),
        "a length without end": b"\xff" * 8 + b"{}",
        "nesting without end": sealed("[" * 100_000, b""),
        "no object": sealed("[1, 2]", b""),
        "bytes that are no text": b"\x04" + bytes(7) + b"\xff\xfe{}",
        "a name twice": sealed('{"a": 1, "a": 2}', b""),
    }


@pytest.mark.parametrize("name", foreign())
def test_foreign_files_are_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refuse(foreign()[name], tmp_path, "no file of numba_lstm|none of numba_lstm")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("read", READERS)
def test_no_file(read, tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.lstm")
    with pytest.raises(OSError, match=r"directory|denied"):
        read(tmp_path)


def test_files_that_are_not_ours_are_not_read_to_their_end(tmp_path):
    path = tmp_path / "large.safetensors"
    path.write_bytes(safetensors.save({"x": np.zeros(2_000_000)}))
    for read in READERS:
        tracemalloc.start()
        with pytest.raises(ValueError, match="none of numba_lstm"):
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1e6
