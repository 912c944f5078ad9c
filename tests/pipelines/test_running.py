"""Workers, failures, and which code a result depends on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lesionlab
from lesionlab.imaging import grid
from lesionlab.imaging.volume import Volume
from lesionlab.parameters import RunOptions
from lesionlab.pipelines import running
from lesionlab.pipelines.preprocess import stages
from lesionlab.stages import code
from lesionlab.stages.plan import plan_chain
from lesionlab.stages.stage import StageError
from lesionlab.stages.subject_store import StudyResult

SOURCES = Path(lesionlab.__file__).parent


def work(level: float) -> StudyResult:
    """What a stage does to a study."""
    if level < 0:
        raise ValueError("negative")
    return StudyResult({"T1w": Volume(np.full((2, 2, 2), level, np.float32), np.eye(4))})


def run(root: Path, jobs: dict[str, float], options: object = None, **run_options) -> list[str]:
    keys = {study: str(level) for study, level in jobs.items()}
    given = RunOptions(**{"workers": 1, **run_options})
    return running.run(root, jobs, work, [grid.make_grid], keys, options, given).studies()


def test_studies_are_processed_into_a_store(tmp_path):
    assert run(tmp_path / "stage", {"a": 1.0, "b": 2.0}) == ["a", "b"]


def test_failures_are_allowed_as_the_run_says(tmp_path):
    with pytest.raises(StageError, match="1 of 2 studies failed"):
        run(tmp_path / "stage", {"a": 1.0, "b": -2.0})
    assert run(tmp_path / "stage", {"a": 1.0, "b": -2.0}, allow_failures=True) == ["a"]


def written(root: Path) -> int:
    return (root / "a" / "T1w.nii.gz").stat().st_mtime_ns


def test_options_decide_whether_a_study_is_computed_again(tmp_path):
    root = tmp_path / "stage"
    run(root, {"a": 1.0}, {"width": 1})
    first = written(root)
    run(root, {"a": 1.0}, {"width": 1})
    assert written(root) == first
    run(root, {"a": 1.0}, {"width": 2})
    assert written(root) != first


def test_a_link_plans_what_the_stage_then_does(tmp_path):
    def plan(width: int) -> list[str]:
        first = running.link(tmp_path / "stage", work, [grid.make_grid], lambda keys: {"a": "1.0"}, {"width": width})
        after = running.link(tmp_path / "next", work, [], lambda keys: keys["stage"], None)
        return [str(plan) for plan in plan_chain([first, after])]

    assert plan(1) == ["stage: 1 study: 1 new", "next: 1 study: 1 new"]
    run(tmp_path / "stage", {"a": 1.0}, {"width": 1})
    assert plan(1) == ["stage: 1 study: 1 unchanged", "next: 1 study: 1 new"]
    assert plan(2)[0] == "stage: 1 study: 1 changed (parameters)"


def test_studies_are_held_back_by_the_judge_of_the_run(tmp_path):
    with pytest.raises(StageError, match="a: no"):
        running.run(tmp_path / "s", {"a": 1.0}, work, [], {"a": ""}, None, RunOptions(workers=1), judge=lambda qc: "no")


# --- code -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def edit(monkeypatch):
    """Makes as if a module had been edited."""
    real = code._source

    def change(name: str) -> None:
        monkeypatch.setattr(code, "_source", lambda module: real(module) + "\nedited = True" * (module == name))

    return change


def test_a_stage_whose_code_changed_is_computed_again(tmp_path, edit):
    root = tmp_path / "stage"
    run(root, {"a": 1.0})
    first = written(root)
    edit("lesionlab.imaging.anatomy.atlas")  # the grid does without
    run(root, {"a": 1.0})
    assert written(root) == first
    edit("lesionlab.imaging.grid")
    run(root, {"a": 1.0})
    assert written(root) != first


def test_the_key_of_a_stage_knows_its_helpers_and_its_job():
    """What a stage's function calls in our pipelines, and the job it takes, decide about its result as it does."""
    found = {name.rpartition(".")[2] for name in running._sources_beside(stages.grid_study)}
    assert {"grid_study", "_placed", "GridJob", "Scans"} <= found
    assert "_landmarks_of" not in found and "brain_study" not in found
