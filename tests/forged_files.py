"""Files of models with anything in them, and what reads such files."""

import json

import numpy as np
import pytest

from numba_lstm import LSTMRegressor, load
from numba_lstm.interop.numpy_predictor import checksum, load_predictor

READERS = [load, load_predictor]
X = np.random.default_rng(0).standard_normal((6, 4, 1))
ZEROS = "0" * 64


def whole(path):
    """Content of a file of a small model."""
    model = LSTMRegressor(2, max_iter=1, random_state=0)
    model.fit(X, X[:, -1, 0], X_val=X, y_val=X[:, 0, 0]).save(path)
    return path.read_bytes()


def parts(content):
    """Header, description and arrays' bytes of a file."""
    n = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + n])
    return header, json.loads(header["__metadata__"]["numba_lstm"]), content[8 + n :]


def forged(header, description, data):
    """A file of these parts, with a checksum that is right."""
    description = {**description, "checksum": ZEROS}
    header = header | {"__metadata__": {"numba_lstm": json.dumps(description)}}
    return sealed(json.dumps(header), data)


def sealed(header, data):
    """A file with this text as its header, and a checksum in the place of the zeros."""
    text = header.encode()
    content = len(text).to_bytes(8, "little") + text + data
    return content.replace(ZEROS.encode(), checksum(content, ZEROS).encode(), 1)


def refuse(content, tmp_path, message=None, readers=READERS):
    path = tmp_path / "file.lstm"
    path.write_bytes(content)
    for read in readers:
        with pytest.raises(ValueError, match=message):
            read(path)


def accepted(content, tmp_path):
    path = tmp_path / "file.lstm"
    path.write_bytes(content)
    found = []
    for read in READERS:
        try:
            found.append(read(path))
        except ValueError:
            found.append(None)
    return found
