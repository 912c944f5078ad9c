"""One study of a stage in its worker: checked, computed, written, and whatever goes wrong told in one line."""

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
from lesionlab.stages.memory import GIB, peak_bytes, reset_peak
from lesionlab.stages.memory_share import memory_claimed
from lesionlab.stages.plan import Sources
from lesionlab.stages.subject_store import LOGS, StudyResult, write_result

#: The lock that guards the moment a study is put in its place, and the file that names the run that may do so.
_GATE, _PRESENT = "gate", "present"
_GATE_MINUTES, _GATE_POLL_S = 5.0, 0.005  # it is held for the length of a rename
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class StudyTask(NamedTuple):
    """What a worker needs to compute and write one study."""

    root: Path
    study: str
    inputs: Any
    sources: Sources
    run: str
    memory_gb: float | None


class Done(NamedTuple):
    """How a study ended: the reason where it failed, and the peak of memory in bytes."""

    reason: str | None
    peak: int


class _TakenOver(RuntimeError):
    """The run this worker computes for is over, and another one is at work."""


def process_study(work: Callable[[Any], StudyResult], task: StudyTask) -> Done:
    """Compute and write one study; whatever it raises becomes the reason."""
    reset_peak()
    try:
        _require_store(task)
        _require_present(task)
        with memory_claimed(task.root, task.inputs, task.memory_gb):
            result = work(task.inputs)
        place = task.root / task.study
        gate = _through_gate(task)
        with writing(place, task.sources.key, about=task.sources.about(), commit=gate, tidy=False) as aside:
            write_result(result, aside)
    except _TakenOver as error:  # the store is another run's now: not even a log is to be left there
        return Done(str(error), peak_bytes())
    except Exception as error:  # whatever a study's data do to the code, the other studies go on
        if not (isinstance(error, OSError) and error.errno in _FULL):  # the last room is for the manifest
            write_log(task.root, task.study, traceback.format_exc())
        return Done(_reason(error, task.root), peak_bytes())
    return Done(None, peak_bytes())


def open_gate(root: Path) -> str:
    """Begin a run: workers of an earlier one, which may have outlived it, can put nothing in its place from now on.

    Returns:
        The run's name, for its tasks.
    """
    name = uuid.uuid4().hex
    with _gate(root):
        (root / RUNS / _PRESENT).write_text(name, encoding="utf-8")
    return name


def write_log(root: Path, study: str, text: str) -> None:
    """Keep the whole story of a failure; where even that cannot be written, the reason in the manifest has to do."""
    with suppress(OSError):
        (root / LOGS).mkdir(parents=True, exist_ok=True)
        (root / LOGS / f"{study}.log").write_text(text, encoding="utf-8")


@contextmanager
def _gate(root: Path) -> Iterator[None]:
    lock = StoreLock(root, _GATE, _GATE_POLL_S, signs=False)
    lock.own(_GATE_MINUTES)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _through_gate(task: StudyTask) -> Iterator[None]:
    with _gate(task.root):
        _require_present(task)
        yield


def _require_present(task: StudyTask) -> None:
    if (task.root / RUNS / _PRESENT).read_text(encoding="utf-8") != task.run:
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


def foreseen(error: Exception, root: Path) -> InputError | None:
    """The words for what the machine does to any program: full disks, missing rights, no memory."""
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
    """An error in one line: what is foreseen in its own words, else its kind, text, and the place it came from."""
    told = foreseen(error, root)
    if told is not None:
        return str(told)
    innermost = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(innermost.filename).name}, line {innermost.lineno})"


def _free(root: Path) -> str:
    with suppress(OSError):
        return f"{shutil.disk_usage(root).free / GIB:.2f} GB"
    return "nothing known to be"
