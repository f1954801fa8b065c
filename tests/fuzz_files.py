"""Bytes that libFuzzer finds, as files of checkpoints and models: read well, or a ValueError.

Not a test of pytest's, as it goes on for as long as it is told to:

    pip install "numba-lstm[fuzz]"
    python tests/fuzz_files.py -max_total_time=60

Checksums are mended, for what is behind them to be reached. A file that raises anything
else ends the run, and is left where libFuzzer says.
"""

import contextlib
import hashlib
import sys
import tempfile
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["numba_lstm.interop", "numba_lstm.training.checkpoints"]):
    import numba_lstm
    from numba_lstm import LSTMClassifier, LSTMRegressor
    from numba_lstm.interop import numpy_predictor, saving
    from numba_lstm.training import checkpoints

ROOM = Path(tempfile.mkdtemp())
RNG = np.random.default_rng(0)
X = RNG.standard_normal((12, 3, 2))
Y = X[:, 0, 0]


class StopError(Exception):
    pass


def progress():
    """The file of a fit that ends in its second epoch."""
    path, write = ROOM / "progress", checkpoints.Checkpoint.write

    def write_and_stop(self, state):
        write(self, state)
        raise StopError

    checkpoints.Checkpoint.write = write_and_stop
    try:
        make(path).fit(X, Y)
    except StopError:
        return path.read_bytes()
    finally:
        checkpoints.Checkpoint.write = write
    raise AssertionError("nothing was written")


def make(path):
    return LSTMRegressor(2, max_iter=2, random_state=0, checkpoint=path)


def seeds():
    whole = progress()
    yield b"0" + whole
    yield b"1" + whole[len(checkpoints._MAGIC) + checkpoints._DIGEST_SIZE :]
    labels = np.where(Y > 0, "up", "down")
    for k, model in enumerate((LSTMRegressor(2, max_iter=1), LSTMClassifier([2, 1], max_iter=1))):
        path = ROOM / f"model-{k}"
        model.fit(X, labels if k else Y).save(path)
        content = path.read_bytes()
        yield b"2" + content
        _, description = numpy_predictor.parse(content, "a seed")
        yield b"3" + content.replace(
            description["checksum"].encode(), saving._NO_CHECKSUM.encode()
        )


def read(data):
    """Read a file; its first byte tells of which kind."""
    kind, content, path = data[:1], data[1:], ROOM / "file"
    if kind in (b"0", b"1"):
        if kind == b"1":
            digest = hashlib.blake2b(content, digest_size=checkpoints._DIGEST_SIZE).digest()
            content = checkpoints._MAGIC + digest + content
        path.write_bytes(content)
        try:
            fitted = make(path).fit(X, Y)
        except ValueError:
            return
        assert np.isfinite(fitted.predict(X)).all()
    else:
        if kind == b"3" and saving._NO_CHECKSUM.encode() in content:
            digits = numpy_predictor.checksum(content, saving._NO_CHECKSUM).encode()
            content = content.replace(saving._NO_CHECKSUM.encode(), digits, 1)
        path.write_bytes(content)
        for reader in (numba_lstm.load, numpy_predictor.load_predictor):
            with contextlib.suppress(ValueError):
                reader(path)


def main():
    corpus = ROOM / "corpus"
    corpus.mkdir()
    for k, seed in enumerate(seeds()):
        (corpus / str(k)).write_bytes(seed)
        read(seed)
    atheris.Setup([*sys.argv, str(corpus), "-max_len=20000", "-rss_limit_mb=4096"], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
