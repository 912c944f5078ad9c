"""Running a stage: resume, failures, kills and concurrency, each with real processes."""

from __future__ import annotations

import logging
import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from cloudpickle import register_pickle_by_value, unregister_pickle_by_value

from lesionlab.errors import InputError
from lesionlab.imaging.volume import Volume
from lesionlab.stages.engine import Engine
from lesionlab.stages.stage import StageError, run_stage
from lesionlab.stages.stage_run import duration
from lesionlab.stages.subject_store import StudyResult, SubjectStore


class Job(NamedTuple):
    study: str
    fault: str
    calls: Path


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError("nobody came")
        time.sleep(0.02)


def work(job: Job) -> StudyResult:
    with (job.calls / job.study).open("a") as file:  # counted in files: workers share no memory
        file.write("x")
    if job.fault == "input":
        raise InputError(
            "the scan is bad", given="bad", allowed="good", cure="mend it", subject=job.study, file="x.nii"
        )
    if job.fault == "error":
        raise ZeroDivisionError("by nought")
    if job.fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if job.fault == "wait":  # for one who comes after the study whose worker dies
        _until(lambda: (job.calls / "b").exists())
    if job.fault == "meet":  # only where another study is at work at the same time
        (job.calls / f"met-{job.study}").touch()
        _until(lambda: len(list(job.calls.glob("met-*"))) == 2)
    variables = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "ANTS_RANDOM_SEED")}
    drawn = [random.random(), float(np.random.rand())]
    volume = Volume(np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.eye(4))
    return StudyResult({"T1w": volume}, {"n": 1.0}, {"environment": variables, "drawn": drawn, "pid": os.getpid()})


@pytest.fixture(autouse=True)
def _workers_know_this_module() -> Iterator[None]:
    """Tests lie in no package that a worker process could import: their functions travel by value."""
    module = sys.modules[__name__]
    register_pickle_by_value(module)
    yield
    unregister_pickle_by_value(module)


class Stage:
    """A stage over studies a, b and c, and how often each was computed."""

    def __init__(self, folder: Path) -> None:
        self.root, self.calls = folder / "coregister", folder / "calls"
        self.calls.mkdir()

    def run(self, studies: str = "abc", faults: dict[str, str] | None = None, **options: Any) -> SubjectStore:
        jobs = {study: Job(study, (faults or {}).get(study, ""), self.calls) for study in studies}
        keys = options.pop("fingerprints", {}) or {study: f"files of {study}" for study in studies}
        return run_stage(self.root, jobs, work, fingerprints=keys, **options)

    def counts(self) -> dict[str, int]:
        return {path.name: len(path.read_text()) for path in sorted(self.calls.iterdir())}


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_an_unchanged_study_is_not_computed_again(stage: Stage) -> None:
    assert stage.run().complete()
    assert stage.run().complete()
    assert stage.counts() == {"a": 1, "b": 1, "c": 1}


@pytest.mark.parametrize("change", [{"options": {"kind": "affine"}}, {"code": "v2"}, {"seed": 1}])
def test_changed_options_code_or_seed_compute_all_again(stage: Stage, change: dict[str, Any]) -> None:
    stage.run(code="v1")
    stage.run(**{"code": "v1", **change})
    assert stage.counts() == {"a": 2, "b": 2, "c": 2}


def test_changed_inputs_compute_that_study_again(stage: Stage) -> None:
    stage.run()
    stage.run(fingerprints={"a": "files of a", "b": "other files", "c": "files of c"})
    assert stage.counts() == {"a": 1, "b": 2, "c": 1}


def test_studies_come_and_go(stage: Stage) -> None:
    stage.run("abc")
    store = stage.run("bcd")
    assert store.studies() == ["b", "c", "d"]
    assert set(store.qc()["study"]) == {"b", "c", "d"}
    assert stage.counts() == {"a": 1, "b": 1, "c": 1, "d": 1}


@pytest.mark.parametrize("damage", ["truncate", "delete"])
def test_a_damaged_study_is_computed_again(stage: Stage, damage: str) -> None:
    path = stage.run().root / "b" / "T1w.nii.gz"
    if damage == "truncate":
        path.write_bytes(path.read_bytes()[:-3])
    else:
        path.unlink()
    assert stage.run().volume("b", "T1w").shape == (2, 3, 4)
    assert stage.counts() == {"a": 1, "b": 2, "c": 1}


@pytest.mark.parametrize("workers", [1, 2])
def test_one_failure_costs_no_other_study(stage: Stage, workers: int) -> None:
    with pytest.raises(StageError) as caught:
        stage.run(faults={"b": "input"}, engine=Engine(workers))
    for part in ("1 of 3 studies failed", "b: subject b, file x.nii", "Cure: mend it", "_logs", "allow_failures"):
        assert part in str(caught.value)
    store = SubjectStore(stage.root)
    assert not store.complete()
    assert store.studies() == ["a", "c"]
    assert list(store.failures()["study"]) == ["b"]
    assert "InputError" in (stage.root / "_logs" / "b.log").read_text()
    assert stage.run(engine=Engine(workers)).complete()
    assert stage.counts() == {"a": 1, "b": 2, "c": 1}


def test_an_unforeseen_error_is_told_in_one_line_with_its_traceback_in_the_log(stage: Stage) -> None:
    with pytest.raises(StageError, match=r"b: ZeroDivisionError: by nought \(test_stage.py, line \d+\)"):
        stage.run(faults={"b": "error"})
    assert "Traceback" in (stage.root / "_logs" / "b.log").read_text()


def test_failures_may_be_allowed(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    store = stage.run(faults={"b": "input"}, allow_failures=True)
    assert store.complete()
    assert store.studies() == ["a", "c"]
    assert "b failed and is left out" in caplog.text


def test_all_failing_is_an_error_in_any_case(stage: Stage) -> None:
    with pytest.raises(StageError, match="3 of 3"):
        stage.run(faults=dict.fromkeys("abc", "input"), allow_failures=True)
    assert not SubjectStore(stage.root).complete()


def test_a_study_that_fails_now_does_not_pass_by_its_older_result(stage: Stage) -> None:
    stage.run()
    with pytest.raises(StageError):
        stage.run(faults={"b": "error"}, seed=1)
    assert SubjectStore(stage.root).studies() == ["a", "c"]


def test_the_number_of_workers_does_not_change_the_result(stage: Stage, tmp_path: Path) -> None:
    one = stage.run(seed=4)
    (tmp_path / "two").mkdir()
    two = Stage(tmp_path / "two").run(seed=4, engine=Engine(2))
    assert two.complete()
    for study in "abc":
        first, second = one.record(study), two.record(study)
        assert first["drawn"] == second["drawn"]
        assert first["environment"] == second["environment"] == {"OMP_NUM_THREADS": "1", "ANTS_RANDOM_SEED": "5"}
        assert second["pid"] != os.getpid()
    assert one.record("a")["drawn"] != one.record("b")["drawn"]


def test_another_seed_reaches_workers_that_are_running_already(stage: Stage) -> None:
    stage.run(engine=Engine(2), seed=1)
    assert stage.run(engine=Engine(2), seed=2).record("a")["environment"]["ANTS_RANDOM_SEED"] == "3"


def test_the_environment_is_put_back(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("ANTS_RANDOM_SEED", raising=False)
    random.seed(0)
    expected = random.Random(0).random()
    stage.run()
    stage.run(engine=Engine(2), seed=9)
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert "ANTS_RANDOM_SEED" not in os.environ
    assert random.random() == expected


def test_a_worker_that_dies_fails_its_study_alone(stage: Stage) -> None:
    with pytest.raises(StageError, match="1 of 4 studies failed:\n  b: a worker process died"):
        stage.run("abcd", faults={"b": "kill"}, engine=Engine(2))
    assert SubjectStore(stage.root).studies() == ["a", "c", "d"]
    assert (stage.root / "_logs" / "b.log").is_file()


def test_studies_that_had_not_begun_when_a_worker_died_go_on_side_by_side(stage: Stage) -> None:
    faults = {"a": "wait", "b": "kill", "e": "meet", "f": "meet"}
    with pytest.raises(StageError, match="1 of 6 studies failed:\n  b: a worker process died"):
        stage.run("abcdef", faults=faults, engine=Engine(2))
    assert SubjectStore(stage.root).studies() == [*"acdef"]


SCRIPT = """
    import os, signal, sys
    from pathlib import Path
    import numpy as np
    from lesionlab.stages import stage, subject_store
    from lesionlab.imaging.volume import Volume

    def work(study):
        if study == "b":
            real = subject_store.write_json
            def die(path, content):  # when the volumes of b are written and its record is not
                os.kill(os.getpid(), signal.SIGKILL)
            subject_store.write_json = die
        volume = Volume(np.zeros((2, 3, 4), np.float32), np.eye(4))
        return subject_store.StudyResult({"T1w": volume}, {"n": 0.0}, {})

    studies = {study: study for study in "abc"}
    keys = {study: f"files of {study}" for study in studies}
    stage.run_stage(Path(sys.argv[1]), studies, work, fingerprints=keys, code="v1")
"""


def test_a_killed_run_goes_on_where_it_stopped(stage: Stage, tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(SCRIPT))
    ended = subprocess.run([sys.executable, str(script), str(stage.root)], capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    store = SubjectStore(stage.root)
    assert not store.complete()
    assert not (stage.root / "b").exists()
    assert [path for path in stage.root.iterdir() if path.name.startswith(".b.")]  # what it had written aside
    assert stage.run(code="v1").complete()
    assert stage.counts() == {"b": 1, "c": 1}  # a was whole
    assert not [path for path in stage.root.iterdir() if ".aside-" in path.name]


def test_a_run_that_is_interrupted_is_not_complete_by_its_older_manifest(stage: Stage) -> None:
    assert stage.run().complete()

    def interrupted(job: Job) -> StudyResult:
        if job.study == "b":
            raise KeyboardInterrupt
        return work(job)

    jobs = {study: Job(study, "", stage.calls) for study in "abc"}
    with pytest.raises(KeyboardInterrupt):
        run_stage(stage.root, jobs, interrupted, fingerprints=dict.fromkeys("abc", "new"))
    assert not SubjectStore(stage.root).complete()


def test_progress_is_logged(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        stage.run()
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "coregister: 3 studies: 3 new"
    assert lines[-2] == "coregister: 3/3 studies, 0 s left"
    assert re.fullmatch(r"coregister: peak memory \d\.\d\d GB a worker", lines[-1])


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (72, "1 min 12 s"), (59.7, "1 min 0 s"), (3720, "1 h 2 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("name", ["", ".hidden", "_logs", "a/b", "manifest.json"])
def test_names_that_cannot_be_folders(stage: Stage, name: str) -> None:
    with pytest.raises(InputError, match="name cannot be a folder's"):
        run_stage(stage.root, {name: 1}, work, fingerprints={name: ""})  # type: ignore[arg-type]


def test_no_study_is_an_error(stage: Stage) -> None:
    with pytest.raises(InputError, match="no study to process"):
        stage.run("")
