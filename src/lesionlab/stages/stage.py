"""Running a stage: study by study, in parallel, so that one failure or a kill costs no other study's work."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from lesionlab import __version__
from lesionlab.errors import InputError
from lesionlab.names import listed
from lesionlab.stages.engine import Engine
from lesionlab.stages.fingerprints import code_fingerprint, fingerprint_of
from lesionlab.stages.lock import StoreLock, reading_lock
from lesionlab.stages.plan import Sources, parameters_of
from lesionlab.stages.stage_run import Judge, StageRun, hold_nothing_back
from lesionlab.stages.study_task import explain
from lesionlab.stages.subject_store import LOGS, MANIFEST, StudyResult, SubjectStore

__all__ = ["Judge", "StageError", "code_of_stage", "run_stage"]

Inputs = TypeVar("Inputs")

MANIFEST_VERSION = 2

_log = logging.getLogger(__name__)


class StageError(RuntimeError):
    """Studies that a stage could not process; raised when all the others are done.

    Attributes:
        failures: study to reason.
    """

    def __init__(self, stage: str, failures: Mapping[str, str], expected: int, logs: Path) -> None:
        self.stage, self.failures, self.expected, self.logs = stage, dict(failures), expected, logs
        reasons = "".join(f"\n  {study}: {reason}" for study, reason in failures.items())
        super().__init__(
            f"{stage}: {len(failures)} of {expected} studies failed:{reasons}\nLogs: {logs}. Cure: mend the inputs and "
            "run again (finished studies are kept), leave them out, or go on without them by `allow_failures: true`"
            f"{'' if len(failures) < expected else ' (not where all fail)'}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return StageError, (self.stage, self.failures, self.expected, self.logs)


def code_of_stage(code: str) -> str:
    """The fingerprint of a stage's code, this package's version included."""
    return fingerprint_of({"package": __version__, "code": code})


def run_stage(
    root: Path | str,
    jobs: Mapping[str, Inputs],
    work: Callable[[Inputs], StudyResult],
    *,
    fingerprints: Mapping[str, str],
    options: object = None,
    code: str | None = None,
    stage: str | None = None,
    engine: Engine | None = None,
    wait_minutes: float = 0,
    allow_failures: bool = False,
    seed: int = 0,
    judge: Judge | None = None,
) -> SubjectStore:
    """Bring a stage's store up to date: compute the studies that are missing, changed or damaged, keep the others.

    What will be done, and why, is logged first. Folders of studies that are no longer among the jobs are put into
    ``.away``, and taken back as they are when the study returns unchanged.

    Args:
        root: the stage's folder.
        jobs: study to what ``work`` needs. Jobs travel to worker processes: let them hold paths, stores and options,
            and let ``work`` load the volumes. A :class:`lesionlab.stages.memory.ReadsFiles` is refused where it would
            take more memory than there is.
        work: makes the result of one study. It must be importable by name where a worker process runs it; a
            ``functools.partial`` is. Whatever it raises fails that study alone.
        fingerprints: study to a fingerprint of its inputs (the cohort's, or the previous store's).
        options: the stage's options, anything :func:`fingerprint_of` knows.
        code: version of the code; by default a fingerprint of the module that holds ``work``.
        stage: its name in messages; by default the folder's.
        engine: where the studies are computed; by default in this process.
        wait_minutes: how long to wait for another run that is at work in this store.
        allow_failures: whether failed studies leave the stage complete (unless all fail).
        seed: of the random numbers that ``work`` and ANTs draw.
        judge: called with each study's measures once its result is whole, computed now or before. Where it gives a
            reason the study counts as failed; its files stay.

    Returns:
        The store, complete.

    Raises:
        StageError: studies failed and that is not allowed, or all failed. What succeeded is kept.
        InputError: no jobs, a study's name that cannot be a folder's, or another run is at work in the store.
    """
    root = Path(root)
    name = stage or root.name
    _check_names(jobs, name)
    version = code_of_stage(code or code_fingerprint(work))
    sources = {study: Sources(fingerprints[study], parameters_of(options, seed), version) for study in jobs}
    facts = {"version": MANIFEST_VERSION, "stage": name, "code_version": {"package": __version__, "code": version}}
    facts |= {"options": parameters_of(options, seed), "seed": seed, "allow_failures": allow_failures}
    run = StageRun(root, name, sources, facts, allow_failures, engine or Engine(), seed, judge or hold_nothing_back)
    with _disk_errors_explained(root), reading_lock(root, wait_minutes) as lock:
        run.read_store()
        _log.info("%s", run.plan)
        if not run.up_to_date() and _lock_for_writing(lock, run, wait_minutes):
            run.read_store()  # another run may have worked here while this one waited
            run.compute(jobs, work)
    if not run.complete:
        raise StageError(name, run.left_out, len(jobs), root / LOGS)
    for study, reason in run.left_out.items():
        _log.warning("%s: %s failed and is left out: %s", name, study, reason)
    return SubjectStore(root)


def _lock_for_writing(lock: StoreLock, run: StageRun, wait_minutes: float) -> bool:
    """Take the lock for writing. ``False``: others read here, and all that is left to compute failed before and may."""
    optional = run.up_to_date_but_for_failures()
    try:
        lock.own(0 if optional else wait_minutes)
    except InputError:
        if not optional:
            raise
        lock.share(wait_minutes)
        run.read_store()
        if not run.up_to_date_but_for_failures():
            raise
        _log.warning("%s: others read here: %s not tried again", run.stage, ", ".join(run.left_out))
        return False
    return True


def _check_names(jobs: Mapping[str, object], stage: str) -> None:
    """Raise ``InputError`` where a study's name cannot be a folder's, or there is none."""
    wrong = [study for study in jobs if not study or study[0] in "._" or "/" in study or study == MANIFEST]
    if wrong or not jobs:
        raise InputError(
            f"{stage}: a study's name cannot be a folder's" if wrong else f"{stage}: there is no study to process",
            given=listed(wrong) if wrong else "no study",
            allowed="at least one study; names without / that do not begin with . or _",
            cure="rename the subjects, or change the layout's `study` template",
        )


@contextmanager
def _disk_errors_explained(root: Path) -> Iterator[None]:
    """Raise a full disk or missing rights as ``InputError`` where they stop the whole stage."""
    try:
        yield
    except OSError as error:
        raise explain(error, root) or error from error
