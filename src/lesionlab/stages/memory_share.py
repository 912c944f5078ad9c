"""Workers of one machine take turns at its memory: each says what it is going to take, and the others count with it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from lesionlab.stages.lock import RUNS, StoreLock
from lesionlab.stages.memory import ReadsFiles, free_bytes, needed_bytes, require_memory

_LOCK, _CLAIMS = "memory", "memory"
_LOCK_MINUTES, _LOCK_POLL_S = 5.0, 0.005
_PAUSE_S = 1.0  # between two looks whether another study has ended


@contextmanager
def memory_claimed(root: Path, job: object, limit_gb: float | None) -> Iterator[None]:
    """Hold a claim on the memory that a study will take; wait for it while other studies are at work here.

    Args:
        root: the stage's folder, whose workers on this machine share the memory.
        job: what the study is made from; only a :class:`ReadsFiles` can be judged.
        limit_gb: what a worker may take; ``None``: what is free and not claimed by others.

    Raises:
        InputError: it exceeds the limit, or what is free when no other study is at work.
    """
    if not isinstance(job, ReadsFiles) or limit_gb is not None:
        require_memory(job, limit_gb)
        yield
        return
    need, claim = needed_bytes(job.files()), _folder(root) / str(os.getpid())
    while not _claim(root, job, need, claim):
        time.sleep(_PAUSE_S)
    try:
        yield
    finally:
        with suppress(OSError):
            claim.unlink()


def _folder(root: Path) -> Path:
    return root / RUNS / _CLAIMS / socket.gethostname()


def _claim(root: Path, job: object, need: int, claim: Path) -> bool:
    """Whether there is room; the claim is made then. Raises ``InputError`` where there never will be."""
    lock = StoreLock(root, _LOCK, _LOCK_POLL_S, signs=False)
    lock.own(_LOCK_MINUTES)
    try:
        others = outstanding(claim.parent)
        if others and need > free_bytes() - sum(others):
            return False
        require_memory(job, None)
        claim.parent.mkdir(parents=True, exist_ok=True)
        claim.write_text(str(need), encoding="utf-8")
        return True
    finally:
        lock.release()


def outstanding(folder: Path) -> list[int]:
    """What each other process at work has claimed and not taken yet, bytes; claims of dead ones are removed."""
    found = []
    for claim in folder.glob("*"):
        with suppress(OSError, ValueError):
            try:
                process = psutil.Process(int(claim.name))
                taken, began = process.memory_info().rss, process.create_time()
            except psutil.Error:
                claim.unlink()
                continue
            if began > claim.stat().st_mtime:  # another process has got the dead one's number
                claim.unlink()
                continue
            if int(claim.name) != os.getpid():
                found.append(max(0, int(claim.read_text(encoding="utf-8")) - taken))
    return found
