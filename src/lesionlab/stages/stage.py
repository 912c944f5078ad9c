"""Running a stage: study by study, in parallel, so that one failure or a kill costs no other study's work."""

from __future__ import annotations

import functools
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from lesionlab import __version__
from lesionlab.errors import InputError
from lesionlab.stages.artifact import ASIDE, is_current, read_receipt, write_json
from lesionlab.stages.engine import Engine
from lesionlab.stages.fingerprints import code_fingerprint, fingerprint_of
from lesionlab.stages.lock import StoreLock, reading_lock
from lesionlab.stages.memory import GIB
from lesionlab.stages.plan import Plan, Sources, make_plan, parameters_of
from lesionlab.stages.progress import Progress
from lesionlab.stages.stage_errors import StageError, check_names, told_plainly
from lesionlab.stages.study_task import Done, StudyTask, open_gate, process_study, write_log
from lesionlab.stages.subject_store import AWAY, LOGS, MANIFEST, StudyResult, SubjectStore
from lesionlab.stages.workers import WorkerLost, run_parallel

__all__ = ["Judge", "StageError", "code_of_stage", "run_stage"]

Inputs = TypeVar("Inputs")

#: Says of a study's quality measures why it is to be held back, or ``None``.
Judge = Callable[[Mapping[str, float]], str | None]

MANIFEST_VERSION = 2
_PEAK, _CREATED = "peak_memory_gb", "created"
_VOLATILE = (_PEAK, _CREATED)  # what differs between runs that make the same

_log = logging.getLogger(__name__)


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
    check_names(jobs, name)
    version = code_of_stage(code or code_fingerprint(work))
    sources = {study: Sources(fingerprints[study], parameters_of(options, seed), version) for study in jobs}
    facts = {"version": MANIFEST_VERSION, "stage": name, "code_version": {"package": __version__, "code": version}}
    facts |= {"options": parameters_of(options, seed), "seed": seed, "allow_failures": allow_failures}
    run = _Run(root, name, sources, facts, allow_failures, engine or Engine(), seed, judge or _lenient)
    with told_plainly(root), reading_lock(root, wait_minutes) as lock:
        run.look()
        _log.info("%s", run.plan)
        if not run.settled() and _owned(lock, run, wait_minutes):
            run.look()  # another run may have worked here while this one waited
            run.compute(jobs, work)
    if not run.complete:
        raise StageError(name, run.left_out, len(jobs), root / LOGS)
    for study, reason in run.left_out.items():
        _log.warning("%s: %s failed and is left out: %s", name, study, reason)
    return SubjectStore(root)


def _owned(lock: StoreLock, run: _Run, wait_minutes: float) -> bool:
    """Take the lock for writing. Where others read, what failed before and may fail is left at that: ``False``."""
    spared = run.settled_but_for_failures()
    try:
        lock.own(0 if spared else wait_minutes)
    except InputError:
        if not spared:
            raise
        lock.share(wait_minutes)
        run.look()
        if not run.settled_but_for_failures():
            raise
        _log.warning("%s: others read here: %s not tried again", run.stage, ", ".join(run.left_out))
        return False
    return True


def _lenient(measures: Mapping[str, float]) -> None:
    """The judge who holds nothing back."""


@dataclass
class _Run:
    """One run of a stage: what it does to the store, and what the manifest says of it."""

    root: Path
    stage: str
    sources: Mapping[str, Sources]
    facts: dict[str, Any]
    allow_failures: bool
    engine: Engine
    seed: int
    judge: Judge
    plan: Plan = field(default_factory=lambda: Plan("", {}, {}))
    finished: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # study to receipt
    failed: dict[str, str] = field(default_factory=dict)
    held_back: dict[str, str] = field(default_factory=dict)
    peak: int = 0

    def look(self) -> None:
        """Plan, from what is in the store."""
        self.plan = make_plan(self.root, self.sources, self.stage)
        back = set(self.plan.returning())  # not in their place yet
        self.finished = {s: receipt for s, receipt in self.plan.receipts.items() if s not in back}
        self.failed = {}
        self._judge()

    def settled(self) -> bool:
        """Whether the store is as it should be, and its manifest says so."""
        return not self.plan.todo() and self._settled_manifest()

    def _settled_manifest(self) -> bool:
        said = {key: value for key, value in self.plan.manifest.items() if key not in _VOLATILE}
        return not self.plan.away and self._says() == said

    def settled_but_for_failures(self) -> bool:
        """Whether it is but for studies that failed and would be tried again, where failures are allowed."""
        if not self.allow_failures or self.plan.returning():
            return False
        todo, before = self.plan.todo(), self.plan.failed_before()
        self.failed |= {study: before[study] for study in todo if study in before}
        return self.failed.keys() >= set(todo) and self._settled_manifest()

    @property
    def complete(self) -> bool:
        """Whether every study is there, or failed where that is allowed; never where all failed."""
        used = self.finished.keys() - self.held_back.keys()
        settled = used | self.left_out.keys() if self.allow_failures else used
        return bool(used) and settled == self.plan.keys.keys()

    @property
    def left_out(self) -> dict[str, str]:
        """The studies that failed or are held back, and why, in the stage's order."""
        reasons = {**self.failed, **self.held_back}
        return {study: reasons[study] for study in self.plan.keys if study in reasons}

    def compute(self, jobs: Mapping[str, Any], work: Callable[[Any], StudyResult]) -> None:
        """Do what the plan says."""
        self._write(self._says() | {"complete": False})
        self._tidy()
        name, memory = open_gate(self.root), self.engine.memory_gb
        todo = self.plan.todo()
        tasks = {s: StudyTask(self.root, s, jobs[s], self.sources[s], name, memory) for s in todo}
        self._process(functools.partial(process_study, work), tasks)
        _remove_leftovers(self.root)  # of workers that died
        self._judge()
        self._write(self._says())

    def _tidy(self) -> None:
        """Put studies that come and go in their place; take away what killed runs left."""
        _remove_leftovers(self.root)
        shutil.rmtree(self.root / LOGS, ignore_errors=True)
        away = self.root / AWAY
        for study in self.plan.away:
            _move(self.root / study, away / study)
        for study in self.plan.returning():
            _move(away / study, self.root / study)
            self.finished[study] = self.plan.receipts[study]
        for study in self.plan.keys:
            shutil.rmtree(away / study, ignore_errors=True)  # made from something else

    def _process(self, work: Callable[[StudyTask], Done], tasks: dict[str, StudyTask]) -> None:
        """Do all tasks. Where one kills its worker, those at work go on one by one, then the rest side by side."""
        progress, left = Progress(self.stage, len(tasks)), dict(tasks)
        while left:
            try:
                for study, result in run_parallel(work, dict(left), self.engine, self.seed):
                    del left[study]
                    self._take(study, result, progress)
            except WorkerLost as lost:
                begun = [study for study in left if study in lost.tasks] or list(left)
                _log.warning("%s: a worker process died; of %s each goes on alone", self.stage, ", ".join(begun))
                for study in begun:
                    self._take(study, self._alone(work, left.pop(study)), progress)
        if self.peak:
            limit = f" of {self.engine.memory_gb:g} GB allowed" if self.engine.memory_gb else ""
            _log.info("%s: peak memory %.2f GB a worker%s", self.stage, self.peak / GIB, limit)

    def _take(self, study: str, result: Done, progress: Progress) -> None:
        self.peak = max(self.peak, result.peak)
        receipt = read_receipt(self.root / study) if result.reason is None else None
        reason = result.reason
        if receipt is not None:
            self.finished[study] = receipt
        else:
            reason = self.failed[study] = reason or "its files are gone again: another program removes them"
        progress.step(study, reason)

    def _alone(self, work: Callable[[StudyTask], Done], task: StudyTask) -> Done:
        if is_current(self.root / task.study, task.sources.key):
            return Done(None, 0)
        try:
            return dict(run_parallel(work, {task.study: task}, self.engine.alone(), self.seed))[task.study]
        except WorkerLost as lost:
            write_log(self.root, task.study, str(lost))
            return Done(f"{lost}; give it more memory, or look at the scan", 0)

    def _judge(self) -> None:
        self.held_back = {}
        store = SubjectStore(self.root)
        for study in [] if self.judge is _lenient else list(self.finished):
            try:
                reason = self.judge(store.measures(study))
            except InputError as error:  # its measures are damaged: no other study's fault
                del self.finished[study]
                self.failed[study] = str(error)
                continue
            if reason is not None:
                self.held_back[study] = reason

    def _says(self) -> dict[str, Any]:
        """What the manifest says, save for what differs from run to run."""
        used = {s: self.finished[s] for s in self.plan.keys if s in self.finished and s not in self.held_back}
        lists = {"expected": dict(self.plan.keys), "present": used, "failed": self.left_out}
        return {**self.facts, "complete": self.complete, **lists, "held_back": list(self.held_back)}

    def _write(self, said: dict[str, Any]) -> None:
        peak = round(self.peak / GIB, 3) if self.peak else self.plan.manifest.get(_PEAK)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(self.root / MANIFEST, {**said, _CREATED: now, _PEAK: peak}, durable=True)


def _remove_leftovers(root: Path) -> None:
    """Take away what killed runs and workers left half-written."""
    for leftover in root.glob(f".*{ASIDE}*"):
        shutil.rmtree(leftover, ignore_errors=True) if leftover.is_dir() else leftover.unlink(missing_ok=True)


def _move(folder: Path, place: Path) -> None:
    if place.exists():
        shutil.rmtree(place)
    place.parent.mkdir(exist_ok=True)
    folder.replace(place)
