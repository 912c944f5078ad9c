"""Processes that end with the one that started them."""

from __future__ import annotations

import os
import threading
import time

_LOOK_S = 1.0


def end_with_parent(parent: int | None = None) -> None:
    """From now on end this process when ``parent`` has ended: nobody waits for its results any more.

    Args:
        parent: the process that started this one, by default as the system tells.
    """
    threading.Thread(target=_watch, args=(os.getppid() if parent is None else parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)
