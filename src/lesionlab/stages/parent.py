"""Processes that end when the process that waits for their results has ended."""

from __future__ import annotations

import os
import sys
import threading
import time

_LOOK_S = 1.0


def end_with_parent(parent: int) -> None:
    """From now on end this process when ``parent``, which started it, has ended: its results are of no use then."""
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def end_with_stdin() -> None:
    """From now on end this process when its standard input closes, as a pipe does when the process at its
    other end has ended.

    Unlike the parent's number this also notices an end before the first look, and a grandparent's.
    """
    threading.Thread(target=_wait_for_end_of, args=(sys.stdin.fileno(),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)


def _wait_for_end_of(file: int) -> None:
    while os.read(file, 1):  # not sys.stdin, whose lock a thread must not hold when the interpreter ends
        pass
    os._exit(1)
