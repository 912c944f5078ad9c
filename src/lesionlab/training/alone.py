"""One training in a folder at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lesionlab.stages.lock import StoreLock

_LOCK = "training"
_held: set[tuple[Path, int]] = set()  # by this process, with the thread that holds it


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a run's folder, which is made where it is missing; who holds it already may enter again.

    Raises:
        InputError: another run is at work there; names the process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mine = (folder.resolve(), threading.get_ident())
    if mine in _held:
        yield
        return
    lock = StoreLock(folder, _LOCK)
    lock.own()
    _held.add(mine)
    try:
        yield
    finally:
        _held.discard(mine)
        lock.release()
