"""Locks on stores: one run writes, or several read, never both; a process that ends or dies releases its lock.

The system's advisory lock on a file is taken (``flock``), which Linux hands on to the server of a network file system.
filelock would not do: its file lock cannot be shared by readers, and its lock for readers and writers is
SQLite's, which is not meant for network file systems.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from lesionlab.errors import InputError

#: The folder in a store of locks, notes of who holds them, and the name of the current run.
RUNS = ".runs"

_HOLDERS = "holders"
_HELD_ELSEWHERE = (errno.EAGAIN, errno.EACCES)
_WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EROFS)
_POLL_S = 0.5
_S_PER_MINUTE = 60

_log = logging.getLogger(__name__)


class StoreLock:
    """The lock of one folder, held for reading (with others) or for writing (alone).

    Args:
        root: the folder; it has to exist.
        name: of the lock, where a folder has several.
        poll_s: pause between two tries while it waits, s.
        notes: whether to leave a note of who holds it, for the messages of others.
    """

    def __init__(self, root: Path, name: str = "store", poll_s: float = _POLL_S, notes: bool = True) -> None:
        self.root, self.name, self.poll_s, self.notes = root, name, poll_s, notes
        self._handle: int | None = None

    def share(self, wait_minutes: float = 0) -> None:
        """Hold it for reading; a writer turns into a reader by it. Raises ``InputError`` where another writes."""
        self._take(fcntl.LOCK_SH, wait_minutes)

    def own(self, wait_minutes: float = 0) -> None:
        """Hold it for writing, alone. Raises ``InputError`` where another reads or writes; nothing is held then."""
        self._take(fcntl.LOCK_EX, wait_minutes)

    def release(self) -> None:
        """Release it, if it is held."""
        if self._handle is not None:
            if self.notes:
                with suppress(OSError):
                    self._note().unlink()
            os.close(self._handle)
            self._handle = None

    def _take(self, kind: int, wait_minutes: float) -> None:
        deadline = time.monotonic() + wait_minutes * _S_PER_MINUTE
        logged = False
        while not self._try(kind):
            if time.monotonic() >= deadline:
                holders = self._holders()
                self.release()
                raise _busy(self.root, holders, wait_minutes)
            if self.notes and not logged:
                _log.warning("%s: another run is at work, waiting for it: %s", self.root.name, self._holders())
                logged = True
            time.sleep(self.poll_s)
        if self.notes:
            self._write_note(kind)

    def _try(self, kind: int) -> bool:
        try:
            if self._handle is None:
                self._handle = self._opened()
            fcntl.flock(self._handle, kind | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _WITHOUT_LOCKS or (self._handle is None and isinstance(error, PermissionError)):
                _log.warning("%s: no lock (%s): see to it that no other run writes there", self.root, error.strerror)
                return True
            if error.errno not in _HELD_ELSEWHERE or self._handle is None:
                raise
            return False
        return True

    def _opened(self) -> int:
        """The lock's file; another user's for reading, which is enough to hold it."""
        folder = self.root / RUNS
        path = folder / f"{self.name}.lock"
        try:
            folder.mkdir(exist_ok=True)
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError:
            if not path.exists():
                raise
            return os.open(path, os.O_RDONLY)

    def _note(self) -> Path:
        return self.root / RUNS / _HOLDERS / f"{socket.gethostname()}-{os.getpid()}"

    def _write_note(self, kind: int) -> None:
        """Write who holds the lock, for the messages of those that wait."""
        since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        does = "writes" if kind == fcntl.LOCK_EX else "reads"
        with suppress(OSError):  # the lock holds without it
            self._note().parent.mkdir(exist_ok=True)
            text = f"process {os.getpid()} on {socket.gethostname()}, which {does} since {since}"
            self._note().write_text(text, encoding="utf-8")

    def _holders(self) -> str:
        """Who holds it, by the notes; those of this host's processes that have ended are removed."""
        texts = []
        for note in sorted((self.root / RUNS / _HOLDERS).glob("*")):
            host, _, process = note.name.rpartition("-")
            with suppress(OSError):
                if host == socket.gethostname() and not Path("/proc", process).exists() and Path("/proc/self").exists():
                    note.unlink()
                elif note != self._note():
                    texts.append(note.read_text(encoding="utf-8"))
        return "; ".join(texts) or "a process that left no note"


def _busy(root: Path, holders: str, waited: float) -> InputError:
    return InputError(
        f"another run is at work in {root.name}" + (f", {waited:g} minutes were not enough" if waited else ""),
        given=holders,
        allowed="one run that writes, or several that only read",
        cure="wait until it ends and run again, or let this one wait for it by run.wait_minutes; if that process "
        "hangs, end it",
        file=root,
    )


#: The locks that a run keeps to its end, by folder; ``None`` where stages release theirs.
_kept: dict[Path, StoreLock] | None = None
_wait_minutes = 0.0


@contextmanager
def reading_lock(root: Path, wait_minutes: float = 0) -> Iterator[StoreLock]:
    """A lock held for reading at first; released at the end of the block, or of the run where :func:`keep_locks` is on.

    Raises:
        InputError: another run writes there, and goes on for longer than ``wait_minutes``.
    """
    root.mkdir(parents=True, exist_ok=True)
    root = root.resolve()
    lock = (_kept or {}).get(root) or StoreLock(root)
    lock.share(wait_minutes)
    if _kept is not None:
        _kept[root] = lock
    try:
        yield lock
    finally:
        if _kept is None:
            lock.release()
        else:
            with suppress(InputError):  # a writer that stopped in the middle reads on
                lock.share()


def keep_locks(wait_minutes: float = 0) -> None:
    """From now on each store that is used stays locked for reading, until :func:`release_locks`.

    For a run of several stages: what one stage read or wrote no other run may change before the last has read it.

    Args:
        wait_minutes: how long :func:`hold` waits for another run.
    """
    global _kept, _wait_minutes
    _kept = {} if _kept is None else _kept
    _wait_minutes = wait_minutes


def hold(root: Path, alone: bool = False) -> None:
    """Keep a folder as it is to the end of the run, where :func:`keep_locks` is on.

    Args:
        root: a store that is about to be read, or the folder of a run's results; one to be written is made.
        alone: whether this run writes there; else others may read too.

    Raises:
        InputError: another run writes there, or reads where this one is to write.
    """
    if _kept is None:
        return
    if alone:
        root.mkdir(parents=True, exist_ok=True)
    elif not root.is_dir():
        return
    root = root.resolve()
    lock = _kept.setdefault(root, StoreLock(root))
    (lock.own if alone else lock.share)(_wait_minutes)


def release_locks() -> None:
    """Release all that :func:`keep_locks` kept."""
    global _kept
    for lock in (_kept or {}).values():
        lock.release()
    _kept = None
