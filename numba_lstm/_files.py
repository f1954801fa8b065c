"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path


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
