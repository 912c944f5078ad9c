"""Files of a run: whole or absent, on the disk before they are put in place, and a clear word when it is full."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from lesionlab.errors import InputError

PARTIAL = ".partial"

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MEGABYTE = 1e6


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file aside, then rename it: ``path`` holds the old one or the new one, never a part.

    Args:
        path: the file; its folder is made where it is missing.
        write: writes the content to the open file it is given.

    Raises:
        InputError: the disk is full. The old file stays, the part is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + PARTIAL)
    try:
        with aside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())  # else a power cut may leave the new name with nothing behind it
        aside.replace(path)
    except BaseException as error:
        written = aside.stat().st_size if aside.exists() else 0
        aside.unlink(missing_ok=True)
        if _is_for_want_of_room(error):
            raise _full(path, written) from error
        raise


def _is_for_want_of_room(error: BaseException | None) -> bool:
    """Whether the system refused to take more; torch hides its word behind one of its own."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return True
        error = error.__cause__ or error.__context__
    return False


def _full(path: Path, written: int) -> InputError:
    free = shutil.disk_usage(path.parent).free
    return InputError(
        "the disk is full: this file could not be written",
        given=f"{free / _MEGABYTE:.1f} MB free, after {written / _MEGABYTE:.1f} MB of it were written",
        allowed="room for the new file beside the old one, which is untouched",
        cure="make room; the same command then goes on from the last checkpoint",
        file=path,
    )
