"""One study of a stage in its worker: checked, computed, written; an error becomes a reason of one line."""

from __future__ import annotations

import errno
import os
import shutil
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from lesionlab.errors import InputError
from lesionlab.stages.artifact import writing
from lesionlab.stages.lock import RUNS, StoreLock
from lesionlab.stages.memory import GIB, peak_bytes, require_memory, reset_peak
from lesionlab.stages.plan import Sources
from lesionlab.stages.subject_store import LOGS, StudyResult, write_result

#: The lock held while a result is renamed into its place, and the file that names the run that may do so.
_COMMIT, _CURRENT = "commit", "current"
_COMMIT_MINUTES, _COMMIT_POLL_S = 5.0, 0.005  # it is held for the length of a rename
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class StudyTask(NamedTuple):
    """What a worker needs to compute and write one study.

    Attributes:
        root: the stage's folder.
        study: its name.
        inputs: what the work is called with.
        sources: the fingerprints of what the result is made from.
        run: the run that the worker computes for, as :func:`begin_run` named it.
        memory_gb: what a worker may take, GB; ``None``: what is free.
        free: memory that was free on this machine when the stage began, bytes; ``None``: it is measured when
            the study's turn comes, as in the calling process and on a cluster.
    """

    root: Path
    study: str
    inputs: Any
    sources: Sources
    run: str
    memory_gb: float | None
    free: int | None = None


class Done(NamedTuple):
    """How a study ended: the reason where it failed, and the peak of memory in bytes."""

    reason: str | None
    peak: int


class _TakenOver(RuntimeError):
    """Another run has begun in this store since the worker's."""


def process_study(work: Callable[[Any], StudyResult], task: StudyTask) -> Done:
    """Compute and write one study; whatever it raises becomes the reason."""
    reset_peak()
    try:
        _require_store(task)
        _require_current_run(task)
        require_memory(task.inputs, task.memory_gb, task.free)
        result = work(task.inputs)
        place = task.root / task.study
        commit = _committing(task)
        with writing(place, task.sources.key, about=task.sources.for_receipt(), commit=commit, tidy=False) as aside:
            write_result(result, aside)
    except _TakenOver as error:  # another run owns the store now: no log is left there either
        return Done(str(error), peak_bytes())
    except Exception as error:  # any error fails this study alone
        if not (isinstance(error, OSError) and error.errno in _FULL):  # what room is left is for the manifest
            write_log(task.root, task.study, traceback.format_exc())
        return Done(_reason(error, task.root), peak_bytes())
    return Done(None, peak_bytes())


def begin_run(root: Path) -> str:
    """Begin a run: from now on workers of an earlier one, which may have outlived it, can write no result.

    Returns:
        The run's name, for its tasks.
    """
    name = uuid.uuid4().hex
    with _commit_lock(root):
        (root / RUNS / _CURRENT).write_text(name, encoding="utf-8")
    return name


def write_log(root: Path, study: str, text: str) -> None:
    """Write the traceback of a failure; where that cannot be written either, the manifest has the reason."""
    with suppress(OSError):
        (root / LOGS).mkdir(parents=True, exist_ok=True)
        (root / LOGS / f"{study}.log").write_text(text, encoding="utf-8")


@contextmanager
def _commit_lock(root: Path) -> Iterator[None]:
    lock = StoreLock(root, _COMMIT, _COMMIT_POLL_S, notes=False)
    lock.own(_COMMIT_MINUTES)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _committing(task: StudyTask) -> Iterator[None]:
    with _commit_lock(task.root):
        _require_current_run(task)
        yield


def _require_current_run(task: StudyTask) -> None:
    if (task.root / RUNS / _CURRENT).read_text(encoding="utf-8") != task.run:
        raise _TakenOver("another run has taken over this store meanwhile; the result is dropped")


def _require_store(task: StudyTask) -> None:
    if not task.root.is_dir():
        raise InputError(
            "the worker does not see the stage's folder",
            given=f"no folder {task.root.resolve()} there",
            allowed="workers that share the file system with the process that started the run",
            cure="mount the project at the same path on every machine of the cluster",
            subject=task.study,
            file=task.root,
        )


def explain(error: Exception, root: Path) -> InputError | None:
    """What to do about errors that any program may meet: full disks, missing rights, no memory; ``None`` for others."""
    if isinstance(error, InputError):
        locked = error.file is not None and Path(error.file).exists() and not os.access(error.file, os.R_OK)
        return _forbidden(os.strerror(errno.EACCES), error.file, error.subject) if locked else error
    if isinstance(error, MemoryError):
        return InputError(
            "the memory did not suffice",
            given=str(error) or "an array that could not be had",
            allowed="what is free on the machine",
            cure="let fewer workers share it (run.workers or run.memory_gb), and run again",
        )
    if isinstance(error, OSError) and error.errno in _FULL:
        return InputError(
            "the disk is full",
            given=f"{_free(root)} free",
            allowed="room for the results",
            cure="make room and run again: finished studies are kept",
            file=root,
        )
    if isinstance(error, OSError) and error.errno in _FORBIDDEN:
        return _forbidden(error.strerror, error.filename or root)
    return None


def _forbidden(given: object, file: object, subject: str | None = None) -> InputError:
    return InputError(
        "permission denied",
        given=given,
        allowed="files and folders that this user may read, and stages that he may write",
        cure="correct the rights (chmod, chown, or mount it writable) and run again",
        subject=subject,
        file=file,
    )


def _reason(error: Exception, root: Path) -> str:
    """An error in one line: as :func:`explain` puts it, else its kind, text, and the place it came from."""
    explained = explain(error, root)
    if explained is not None:
        return str(explained)
    innermost = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(innermost.filename).name}, line {innermost.lineno})"


def _free(root: Path) -> str:
    with suppress(OSError):
        return f"{shutil.disk_usage(root).free / GIB:.2f} GB"
    return "nothing known to be"
