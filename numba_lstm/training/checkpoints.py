"""The progress of a fit in a file, from which a new process goes on.

A file is a line that says what it is, a digest of what follows, and an .npz archive with
arrays and, as JSON, all else: nothing in it is ever executed, and what is not whole is not
read. It is written beside itself, forced to the disk, and renamed into its place: at any
moment the name stands for one whole file, the last or the one before.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from numba_lstm._files import replace_file

_MAGIC = b"numba_lstm checkpoint 1\n"
_DIGEST_SIZE = 32


_BIT_GENERATORS = "MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"


class Checkpoint:
    """Writes, reads and removes the file of one fit.

    Parameters
    ----------
    path : str or path-like
        The file.
    every : int or datetime.timedelta
        After how many epochs it is written, or after what time at the next epoch's end.

    Raises
    ------
    ValueError
        If there is a file that is no checkpoint, or a damaged one, or no directory to put
        it into.
    """

    def __init__(self, path: str | os.PathLike, every: int | dt.timedelta) -> None:
        self._path = Path(path)
        self._every = every
        self._last = time.monotonic()
        if self._path.is_dir() or not self._path.parent.is_dir():
            raise ValueError(
                f"checkpoint={str(path)!r}: pass the name of a file in a directory that exists."
            )
        self.found: dict[str, Any] | None = self._read() if self._path.exists() else None
        self.identity: dict[str, Any] = {}

    def _read(self):
        """Return what the file holds."""
        content = self._path.read_bytes()
        if not content.startswith(_MAGIC):
            raise ValueError(
                f"{self._path} is not a checkpoint of this version of numba_lstm. Pass another "
                "name, or remove the file to begin anew."
            )
        start = len(_MAGIC) + _DIGEST_SIZE
        digest, payload = content[len(_MAGIC) : start], content[start:]
        if hashlib.blake2b(payload, digest_size=_DIGEST_SIZE).digest() != digest:
            raise ValueError(
                f"{self._path} is damaged: its content does not match its checksum. Remove it "
                "to begin anew."
            )
        try:
            with np.load(io.BytesIO(payload), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            found = arrays | json.loads(arrays.pop("state").tobytes())
            found["random_state"] = load_random_state(found["identity"]["random_state"])
        except Exception as error:  # what readers of archives raise of nonsense is anything
            raise self._unusable(f"it cannot be read: {error!r}") from error
        return found

    def _unusable(self, reason):
        return ValueError(
            f"{self._path} has a valid checksum and cannot be used: {reason}. Remove it to begin "
            "anew."
        )

    def claim(self, identity: dict[str, Any]) -> None:
        """Say what the fit is: parameters, data and so on, by name.

        Raises
        ------
        ValueError
            If the file that was found is of another fit.
        """
        identity = json.loads(json.dumps(identity))
        self.identity |= identity
        found = None if self.found is None else self.found["identity"]
        for name, value in identity.items():
            if found is not None and found.get(name) != value:
                before = found.get(name)
                what = f"it is not of the same {name}"
                if isinstance(value, dict) and isinstance(before, dict):
                    key = next(k for k in {**value, **before} if value.get(k) != before.get(k))
                    what = f"it has {key}={before.get(key)}, this one {key}={value.get(key)}"
                    if key == "max_iter":  # asked of fits whose learning rate goes by it
                        what += ", which every epoch's learning rate depends on"
                raise ValueError(
                    f"{self._path} is the checkpoint of another fit: {what}. Pass another name, "
                    "or remove the file to begin anew."
                )

    def check(self, expected: dict[str, Any]) -> None:
        """Check that there is, in the file that was found, all that a fit goes on from.

        Parameters
        ----------
        expected : dict
            What :meth:`write` will be given, with other numbers.

        Raises
        ------
        ValueError
            If something is missing or of another kind, or an array of another shape.
        """
        found = self.found or {}
        for name, value in expected.items():
            if not _is_like(found.get(name), value):
                raise self._unusable(f"its {name!r} does not belong to this fit")

    def check_length(self, max_iter: int) -> None:
        """Check that the fit in the file that was found has not gone beyond ``max_iter``.

        Raises
        ------
        ValueError
            If it has.
        """
        done = 0 if self.found is None else len(self.found["loss_curve"])
        if done > max_iter:
            raise ValueError(
                f"{self._path} is the checkpoint of a fit that has done {done} epochs, and "
                f"max_iter={max_iter}. Pass a max_iter of {done} or more, or another name, or "
                "remove the file to begin anew."
            )

    def is_due(self, epoch: int) -> bool:
        """Whether to write it now that so many epochs are done."""
        if isinstance(self._every, dt.timedelta):
            return time.monotonic() - self._last >= self._every.total_seconds()
        return epoch % self._every == 0

    def write(self, state: dict[str, Any]) -> None:
        """Put a new file into the place of the last.

        Parameters
        ----------
        state : dict
            Arrays, and what JSON can hold.
        """
        arrays = {name: x for name, x in state.items() if isinstance(x, np.ndarray)}
        others = {name: x for name, x in state.items() if name not in arrays}
        text = json.dumps(others | {"identity": self.identity}).encode()
        buffer = io.BytesIO()
        arrays["state"] = np.frombuffer(text, np.uint8)
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        payload = buffer.getvalue()
        digest = hashlib.blake2b(payload, digest_size=_DIGEST_SIZE).digest()
        beside = self._path.with_name(self._path.name + ".part")
        try:
            replace_file(self._path, (_MAGIC, digest, payload), beside)
        except FileNotFoundError as error:
            if not self._path.parent.exists():
                raise
            raise RuntimeError(
                f"Another fit writes its checkpoint to {self._path}, too, at this very time. Give "
                "each fit a file of its own; a search over parameters needs none."
            ) from error
        self._last = time.monotonic()

    def remove(self) -> None:
        """Remove the file: the fit has ended."""
        self._path.unlink(missing_ok=True)


def save_generator(generator: np.random.Generator | np.random.RandomState) -> dict[str, Any]:
    """Return the state of a random generator as JSON can hold it."""
    if isinstance(generator, np.random.RandomState):
        return _plain(generator.get_state(legacy=False))
    return _plain(generator.bit_generator.state)


def _plain(state):
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray | np.generic) else state


def _is_like(found, expected):
    """Whether what was read is of the kind of what would be written."""
    if isinstance(expected, np.ndarray):
        kind = expected.dtype, expected.shape
        alike = isinstance(found, np.ndarray) and (found.dtype, found.shape) == kind
        return alike and bool(np.isfinite(found).all())
    if isinstance(expected, dict):  # of a random generator
        return _is_state(found, expected["bit_generator"])
    if isinstance(expected, tuple):
        same = isinstance(found, list) and len(found) == len(expected)
        return same and all(map(_is_like, found, expected))
    if isinstance(expected, list):  # of any length, unlike a tuple
        return isinstance(found, list) and all(_is_like(one, 0.0) for one in found)
    if isinstance(expected, float) and isinstance(found, float):
        return True
    return type(found) is int and 0 <= found < 2**63


def _is_state(found, bit_generator):
    try:
        getattr(np.random, bit_generator)().state = found
    except (ValueError, TypeError, OverflowError, KeyError):
        return False
    return True


def load_random_state(state: dict[str, Any]) -> np.random.RandomState:
    """Return a RandomState as :func:`save_generator` found it.

    Raises
    ------
    ValueError
        If it is of another generator than RandomState's own.
    """
    if state["bit_generator"] not in _BIT_GENERATORS:
        raise ValueError(f"unknown bit generator {state['bit_generator']!r}")
    result = np.random.RandomState(getattr(np.random, state["bit_generator"])())
    result.set_state(state)
    return result
