"""One run of a stage: what it computes, what it moves, and what it writes into the manifest."""

from __future__ import annotations

import functools
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lesionlab.errors import InputError
from lesionlab.stages.artifact import ASIDE, is_current, read_receipt, write_json
from lesionlab.stages.calls import WorkerLost
from lesionlab.stages.engine import Engine
from lesionlab.stages.memory import GIB, free_for_workers, largest_need
from lesionlab.stages.plan import Plan, Sources, make_plan
from lesionlab.stages.study_task import Done, StudyTask, begin_run, process_study, write_log
from lesionlab.stages.subject_store import AWAY, LOGS, MANIFEST, StudyResult, SubjectStore
from lesionlab.stages.workers import run_parallel

#: Gives the reason why a study is held back, from its quality measures, or ``None``.
Judge = Callable[[Mapping[str, float]], str | None]

_PEAK, _CREATED = "peak_memory_gb", "created"
_VOLATILE = (_PEAK, _CREATED)  # what differs between runs that make the same

_log = logging.getLogger(__name__)


def hold_nothing_back(measures: Mapping[str, float]) -> None:
    """The judge by default."""


@dataclass
class StageRun:
    """One run of a stage: what it does to the store, and what it writes into the manifest."""

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

    def read_store(self) -> None:
        """Make the plan from what the store holds now."""
        self.plan = make_plan(self.root, self.sources, self.stage)
        back = set(self.plan.returning())  # not in their place yet
        self.finished = {s: receipt for s, receipt in self.plan.receipts.items() if s not in back}
        self.failed = {}
        self._apply_judge()

    def up_to_date(self) -> bool:
        """Whether the store is as it should be, and its manifest up to date."""
        return not self.plan.todo() and self._manifest_holds()

    def _manifest_holds(self) -> bool:
        written = {key: value for key, value in self.plan.manifest.items() if key not in _VOLATILE}
        return not self.plan.away and self._manifest() == written

    def up_to_date_but_for_failures(self) -> bool:
        """The same, save for studies that failed and would be tried again; ``False`` where none may fail."""
        if not self.allow_failures or self.plan.returning():
            return False
        todo, before = self.plan.todo(), self.plan.failed_before()
        self.failed |= {study: before[study] for study in todo if study in before}
        return self.failed.keys() >= set(todo) and self._manifest_holds()

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
        """Carry out the plan."""
        self._write(self._manifest() | {"complete": False})
        self._move_studies()
        name, limit, todo = begin_run(self.root), self.engine.memory_gb, self.plan.todo()
        free = free_for_workers() if self.engine.has_processes else None
        need = largest_need((jobs[study] for study in todo), free) if free is not None and limit is None else 0
        tasks = {s: StudyTask(self.root, s, jobs[s], self.sources[s], name, limit, free) for s in todo}
        self._compute_all(functools.partial(process_study, work), tasks, need)
        _remove_leftovers(self.root)  # of workers that died
        self._apply_judge()
        self._write(self._manifest())

    def _move_studies(self) -> None:
        """Move studies out of the store and back by the plan; remove what killed runs left."""
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

    def _compute_all(self, work: Callable[[StudyTask], Done], tasks: dict[str, StudyTask], need: int) -> None:
        """Compute all. Where one kills its worker, those at work go on one by one, then the rest side by side."""
        progress, left = _Progress(self.stage, len(tasks)), dict(tasks)
        while left:
            try:
                for study, result in run_parallel(work, dict(left), self.engine, self.seed, need):
                    del left[study]
                    self._record(study, result, progress)
            except WorkerLost as lost:
                begun = [study for study in left if study in lost.tasks] or list(left)
                _log.warning("%s: a worker process died; of %s each goes on alone", self.stage, ", ".join(begun))
                for study in begun:
                    self._record(study, self._compute_alone(work, left.pop(study)), progress)
        if self.peak:
            limit = f" of {self.engine.memory_gb:g} GB allowed" if self.engine.memory_gb else ""
            _log.info("%s: peak memory %.2f GB a worker%s", self.stage, self.peak / GIB, limit)

    def _record(self, study: str, result: Done, progress: _Progress) -> None:
        self.peak = max(self.peak, result.peak)
        receipt = read_receipt(self.root / study) if result.reason is None else None
        reason = result.reason
        if receipt is not None:
            self.finished[study] = receipt
        else:
            reason = self.failed[study] = reason or "its files are gone again: another program removes them"
        progress.step(study, reason)

    def _compute_alone(self, work: Callable[[StudyTask], Done], task: StudyTask) -> Done:
        if is_current(self.root / task.study, task.sources.key):
            return Done(None, 0)
        try:
            return dict(run_parallel(work, {task.study: task}, self.engine.alone(), self.seed))[task.study]
        except WorkerLost as lost:
            write_log(self.root, task.study, str(lost))
            return Done(f"{lost}; give it more memory, or look at the scan", 0)

    def _apply_judge(self) -> None:
        self.held_back = {}
        store = SubjectStore(self.root)
        for study in [] if self.judge is hold_nothing_back else list(self.finished):
            try:
                reason = self.judge(store.measures(study))
            except InputError as error:  # its measures are damaged: no other study's fault
                del self.finished[study]
                self.failed[study] = str(error)
                continue
            if reason is not None:
                self.held_back[study] = reason

    def _manifest(self) -> dict[str, Any]:
        """The manifest, save for what differs between runs that make the same."""
        used = {s: self.finished[s] for s in self.plan.keys if s in self.finished and s not in self.held_back}
        lists = {"expected": dict(self.plan.keys), "present": used, "failed": self.left_out}
        return {**self.facts, "complete": self.complete, **lists, "held_back": list(self.held_back)}

    def _write(self, manifest: dict[str, Any]) -> None:
        peak = round(self.peak / GIB, 3) if self.peak else self.plan.manifest.get(_PEAK)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(self.root / MANIFEST, {**manifest, _CREATED: now, _PEAK: peak}, durable=True)


def _remove_leftovers(root: Path) -> None:
    """Remove what killed runs and workers left half-written."""
    for leftover in root.glob(f".*{ASIDE}*"):
        shutil.rmtree(leftover, ignore_errors=True) if leftover.is_dir() else leftover.unlink(missing_ok=True)


def _move(folder: Path, place: Path) -> None:
    if place.exists():
        shutil.rmtree(place)
    place.parent.mkdir(exist_ok=True)
    folder.replace(place)


class _Progress:
    """Logs after each study how far a stage is, and the time left, estimated from the studies done so far."""

    def __init__(self, stage: str, total: int) -> None:
        self.stage, self.total, self.done, self.start = stage, total, 0, time.monotonic()

    def step(self, study: str, reason: str | None) -> None:
        """Count one more study that is done or, where there is a reason, has failed."""
        self.done += 1
        if reason is not None:
            _log.error("%s: study %s failed: %s", self.stage, study, reason)
        left = (time.monotonic() - self.start) / self.done * (self.total - self.done)
        _log.info("%s: %d/%d studies, %s left", self.stage, self.done, self.total, duration(left))


def duration(seconds: float) -> str:
    """``72`` -> ``"1 min 12 s"``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes) + [f"{rest} s"] * (not hours)
    return " ".join(parts)
