"""Running a stage: study by study, in parallel, so that one failure or a kill costs no other study's work."""

from __future__ import annotations

import functools
import logging
import shutil
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from lesionlab import __version__
from lesionlab.data.artifact import ASIDE, is_current, read_receipt, write_json, writing
from lesionlab.data.fingerprints import code_fingerprint, fingerprint_of
from lesionlab.data.names import listed
from lesionlab.data.subject_store import LOGS, MANIFEST, StudyResult, SubjectStore, write_result
from lesionlab.data.workers import WorkerLost, run_parallel
from lesionlab.errors import InputError

Inputs = TypeVar("Inputs")

MANIFEST_VERSION = 1

_log = logging.getLogger(__name__)


class StageError(RuntimeError):
    """Studies that a stage could not process, told at its end, when all the others are done.

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


class _Task(NamedTuple):
    root: Path
    study: str
    inputs: Any
    fingerprint: str


@dataclass
class _Run:
    """One run of a stage: what its manifest says."""

    stage: str
    root: Path
    expected: dict[str, str]  # study to fingerprint
    facts: dict[str, Any]
    allow_failures: bool
    failed: dict[str, str] = field(default_factory=dict)

    def left(self) -> list[str]:
        """The studies still to do."""
        return [study for study, key in self.expected.items() if not is_current(self.root / study, key)]

    def write_manifest(self, finished: bool) -> bool:
        """Write down what is there; returns whether the stage is complete."""
        entries = {study: read_receipt(self.root / study) for study in self.expected if study not in self.failed}
        whole = {study: entry for study, entry in entries.items() if entry and self._is_due(study, entry)}
        settled = set(whole) | (set(self.failed) if self.allow_failures else set())
        complete = finished and bool(whole) and settled == set(self.expected)
        lists = {"expected": self.expected, "present": whole, "failed": self.failed}
        write_json(self.root / MANIFEST, {**self.facts, "complete": complete, **lists})
        return complete

    def _is_due(self, study: str, entry: Mapping[str, Any]) -> bool:
        return bool(entry["fingerprint"] == self.expected[study])


def run_stage(
    root: Path | str,
    jobs: Mapping[str, Inputs],
    work: Callable[[Inputs], StudyResult],
    *,
    fingerprints: Mapping[str, str],
    options: object = None,
    code: str | None = None,
    stage: str | None = None,
    workers: int = 1,
    allow_failures: bool = False,
    seed: int = 0,
) -> SubjectStore:
    """Bring a stage's store up to date: compute the studies that are missing, changed or damaged, keep the others.

    Args:
        root: the stage's folder.
        jobs: study to what ``work`` needs. Jobs travel to worker processes: let them hold paths, stores and options,
            and let ``work`` load the volumes.
        work: makes the result of one study. It must be importable by name where ``workers`` > 1; a
            ``functools.partial`` is. Whatever it raises fails that study alone.
        fingerprints: study to a fingerprint of its inputs (the cohort's, or the previous store's).
        options: the stage's options, anything :func:`fingerprint_of` knows.
        code: version of the code; by default a fingerprint of the module that holds ``work``.
        stage: its name in messages; by default the folder's.
        workers: processes; 1 runs in this one.
        allow_failures: whether failed studies leave the stage complete (unless all fail).
        seed: of the random numbers that ``work`` and ANTs draw.

    Returns:
        The store, complete.

    Raises:
        StageError: studies failed and that is not allowed, or all failed. What succeeded is kept.
        InputError: no jobs, or a study's name that cannot be a folder's.
    """
    root = Path(root)
    name = stage or root.name
    _check_names(jobs, name)
    version = {"package": __version__, "code": code or code_fingerprint(work)}
    parameters = fingerprint_of(options, seed)
    keys = {study: fingerprint_of(fingerprints[study], parameters, version) for study in jobs}
    facts = {"version": MANIFEST_VERSION, "stage": name, "created": datetime.now(UTC).isoformat(timespec="seconds")}
    facts |= {"code_version": version, "options": parameters, "seed": seed, "allow_failures": allow_failures}
    run = _Run(name, root, keys, facts, allow_failures)
    _prepare(run)
    tasks = {study: _Task(root, study, jobs[study], keys[study]) for study in run.left()}
    _log.info("%s: %d of %d studies are current, %d to do", name, len(jobs) - len(tasks), len(jobs), len(tasks))
    _process(run, functools.partial(_process_study, work), tasks, workers, seed)
    complete = run.write_manifest(finished=True)
    if not complete:
        raise StageError(name, run.failed, len(jobs), root / LOGS)
    for study, reason in run.failed.items():
        _log.warning("%s: %s failed and is left out: %s", name, study, reason)
    return SubjectStore(root)


def _check_names(jobs: Mapping[str, object], stage: str) -> None:
    wrong = [study for study in jobs if not study or study[0] in "._" or "/" in study or study == MANIFEST]
    if wrong or not jobs:
        raise InputError(
            f"{stage}: a study's name cannot be a folder's" if wrong else f"{stage}: there is no study to process",
            given=listed(wrong) if wrong else "no study",
            allowed="at least one study; names without / that do not begin with . or _",
            cure="rename the subjects, or change the layout's `study` template",
        )


def _prepare(run: _Run) -> None:
    """Take away what killed runs left; say that the stage is not complete, before anything in it changes."""
    run.root.mkdir(parents=True, exist_ok=True)
    for leftover in run.root.glob(f".*{ASIDE}*"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    shutil.rmtree(run.root / LOGS, ignore_errors=True)
    if run.left():
        run.write_manifest(finished=False)


def _process(run: _Run, work: Callable[[_Task], str | None], tasks: dict[str, _Task], workers: int, seed: int) -> None:
    """Do all tasks. Where one kills its worker, the unfinished ones go on one by one, so that only that one fails."""
    progress = _Progress(run.stage, len(tasks))
    done: set[str] = set()
    try:
        for study, reason in run_parallel(work, tasks, min(workers, len(tasks)), seed):
            done.add(study)
            progress.step(run, study, reason)
    except WorkerLost:
        _log.warning("%s: a worker process died; the studies it may have had go on one by one", run.stage)
        for study in [study for study in tasks if study not in done]:
            progress.step(run, study, _process_alone(run, work, tasks[study], seed))


def _process_alone(run: _Run, work: Callable[[_Task], str | None], task: _Task, seed: int) -> str | None:
    if is_current(run.root / task.study, task.fingerprint):
        return None
    try:
        return dict(run_parallel(work, {task.study: task}, _ALONE, seed))[task.study]
    except WorkerLost as lost:
        _write_log(task, str(lost))
        return f"{lost}; give it more memory, or look at the scan"


_ALONE = 2  # workers for a single task: as few as run it in a process of its own


def _process_study(work: Callable[[Any], StudyResult], task: _Task) -> str | None:
    """Compute and write one study; returns the reason where that fails."""
    try:
        result = work(task.inputs)
        with writing(task.root / task.study, task.fingerprint) as aside:
            write_result(result, aside)
    except Exception as error:  # whatever a study's data do to the code, the other studies go on
        _write_log(task, traceback.format_exc())
        return str(error) if isinstance(error, InputError) else _short(error)
    return None


def _short(error: Exception) -> str:
    """An unforeseen error in one line: its kind, its text, and the innermost place it came from."""
    innermost = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(innermost.filename).name}, line {innermost.lineno})"


def _write_log(task: _Task, text: str) -> None:
    folder = task.root / LOGS
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{task.study}.log").write_text(text, encoding="utf-8")


class _Progress:
    """Log lines with the time left, judged by the studies done so far."""

    def __init__(self, stage: str, total: int) -> None:
        self.stage, self.total, self.done, self.start = stage, total, 0, time.monotonic()

    def step(self, run: _Run, study: str, reason: str | None) -> None:
        self.done += 1
        if reason is not None:
            run.failed[study] = reason
            _log.error("%s: study %s failed: %s", self.stage, study, reason)
        left = (time.monotonic() - self.start) / self.done * (self.total - self.done)
        _log.info("%s: %d/%d studies, %s left", self.stage, self.done, self.total, duration(left))


def duration(seconds: float) -> str:
    """A duration as people say it: ``"1 min 12 s"``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes) + [f"{rest} s"] * (not hours)
    return " ".join(parts)
