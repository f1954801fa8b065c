"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def path_to_write(path: Any) -> Path:
    """Return the path of a file to write, checked before there is anything to write.

    Raises
    ------
    TypeError
        If it is no path.
    FileNotFoundError
        If there is no directory for it.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path={path!r}: pass the name of a file, as a string or a Path.")
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is no directory: {path} cannot be written.")
    return path


def replace_file(path: Path, pieces: Iterable[bytes], beside: Path | None = None) -> None:
    """Put a new file into the place of an old one, if there is one.

    It is written beside it, forced to the disk, and renamed: at any moment the name stands
    for one whole file, the new one or the one before.

    Parameters
    ----------
    path : Path
        The file.
    pieces : iterable of bytes
        Its content, one piece after the other.
    beside : Path, optional
        Name in the same directory to write it under at first; it is gone after an error. By
        default one of this thread's own.

    Raises
    ------
    OSError
        If it cannot be written; what was there stays.
    """
    if beside is None:
        own = f"{path.name}.{os.getpid()}-{threading.get_ident()}.part"
        beside = path.with_name(own)
    try:
        with beside.open("wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # so that the new name, too, survives a loss of power
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
