"""What a stage says it will do, cause by cause; whole chains planned before anything is computed."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lesionlab.errors import InputError
from lesionlab.imaging.volume import Volume
from lesionlab.stages.fingerprints import fingerprint_of
from lesionlab.stages.plan import Link, Plan, Sources, make_plan, parameters_of, plan_chain
from lesionlab.stages.stage import StageError, code_of_stage, run_stage
from lesionlab.stages.subject_store import StudyResult, SubjectStore


def work(value: float) -> StudyResult:
    if value < 0:
        raise InputError("the scan is bad", given=value, allowed="0 or more", cure="mend it")
    return StudyResult({"T1w": Volume(np.full((2, 2, 2), value, np.float32), np.eye(4))}, {"value": value})


def run(root: Path, jobs: dict[str, float], **options: Any) -> SubjectStore:
    keys = options.pop("fingerprints", None) or {study: str(abs(value)) for study, value in jobs.items()}
    return run_stage(root, jobs, work, fingerprints=keys, **{"code": "1", **options})


def said(caplog: pytest.LogCaptureFixture) -> str:
    """The last plan that was logged."""
    return next(r.getMessage() for r in reversed(caplog.records) if "studies: " in r.getMessage())


JOBS = {"a": 1.0, "b": 2.0, "c": 3.0}


@pytest.fixture
def root(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Path:
    caplog.set_level(logging.INFO)
    run(tmp_path / "brain", JOBS)
    return tmp_path / "brain"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({}, "3 unchanged"),
        ({"options": {"width": 1}}, "3 changed (parameters)"),
        ({"seed": 1}, "3 changed (parameters)"),
        ({"code": "2"}, "3 changed (code)"),
        ({"code": "2", "options": 1}, "3 changed (parameters and code)"),
        ({"fingerprints": {"a": "1.0", "b": "other", "c": "3.0"}}, "2 unchanged, 1 changed (inputs)"),
        ({"fingerprints": {"a": "1.0", "b": "o", "c": "3.0"}, "code": "2"}, "3 changed (2 code, 1 inputs and code)"),
    ],
)
def test_the_causes_are_told_apart(
    root: Path, caplog: pytest.LogCaptureFixture, change: dict[str, Any], line: str
) -> None:
    run(root, JOBS, **change)
    assert said(caplog) == f"brain: 3 studies: {line}"


def test_studies_that_come_go_and_are_damaged(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(root / "b")
    (root / "c" / "T1w.nii.gz").write_bytes(b"")
    run(root, {"b": 2.0, "c": 3.0, "d": 4.0})
    assert said(caplog) == "brain: 3 studies: 1 new, 2 damaged, 1 taken away"


def test_what_failed_and_what_was_never_reached(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(StageError):
        run(root, {**JOBS, "d": -4.0})
    manifest = json.loads((root / "manifest.json").read_text())
    manifest["expected"]["e"] = "key"  # as a run that was killed before it came to e leaves it
    (root / "manifest.json").write_text(json.dumps(manifest))
    run(root, {**JOBS, "d": 4.0, "e": 5.0})
    assert said(caplog) == "brain: 5 studies: 3 unchanged, 1 failed before, 1 unfinished"


def test_a_plan_that_is_all_kinds_at_once() -> None:
    causes = {"a": "unchanged", "b": "new", "c": "new", "d": "inputs", "e": "damaged", "f": "brought back"}
    text = "s: 6 studies: 1 unchanged, 1 brought back, 2 new, 1 changed (inputs), 1 damaged, 2 taken away"
    assert str(Plan("s", {}, causes, {}, ("x", "y"))) == text
    assert str(Plan("s", {}, {"a": "new"})) == "s: 1 study: 1 new"


def test_planning_changes_nothing(root: Path, content: Any) -> None:
    before = content(root), (root / "manifest.json").read_bytes()
    wanted = {"z": Sources("i", "p", "c")}
    assert make_plan(root, wanted, "brain").away == ("a", "b", "c")
    assert make_plan(root.parent / "none", wanted, "none").todo() == ["z"]
    assert (content(root), (root / "manifest.json").read_bytes()) == before
    assert not (root.parent / "none").exists()


# --- studies that are no longer in the cohort -------------------------------------------------------------------------


def test_a_study_taken_away_is_not_found_and_comes_back_without_being_computed(root: Path, content: Any) -> None:
    before, written = content(root), (root / "b/T1w.nii.gz").stat().st_mtime_ns
    store = run(root, {"a": 1.0, "c": 3.0})
    assert store.studies() == ["a", "c"] and store.complete()
    assert not (root / "b").exists()
    with pytest.raises(InputError, match="no such study"):
        store.volume("b", "T1w")
    assert run(root, JOBS).studies() == ["a", "b", "c"]
    assert (root / "b/T1w.nii.gz").stat().st_mtime_ns == written
    assert content(root) == before


def test_one_that_comes_back_changed_is_computed(root: Path) -> None:
    run(root, {"a": 1.0, "c": 3.0})
    store = run(root, {**JOBS, "b": 5.0})
    assert store.volume("b", "T1w").data.max() == 5
    assert not (root / ".away" / "b").exists()  # made from something else: of no use any more


# --- held back --------------------------------------------------------------------------------------------------------


def judge(measures: Mapping[str, float]) -> str | None:
    return f"value {measures['value']:g} is above 2: look at it" if measures["value"] > 2 else None


def test_a_study_is_held_back_by_its_measures(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    written = (root / "c/T1w.nii.gz").stat().st_mtime_ns
    with pytest.raises(StageError, match="1 of 3 studies failed:\n  c: value 3 is above 2"):
        run(root, JOBS, judge=judge)
    assert not SubjectStore(root).complete()
    store = run(root, {**JOBS, "d": 4.0}, judge=judge, allow_failures=True)  # one kept from before, one computed now
    assert store.complete() and store.studies() == ["a", "b"] and store.held_back() == ["c", "d"]
    assert dict(zip(*store.failures().to_dict("list").values(), strict=True)).keys() == {"c", "d"}
    assert list(store.qc()["value"]) == [1, 2]
    assert list(store.qc(held_back=True)["value"]) == [1, 2, 3, 4]
    assert (root / "c/T1w.nii.gz").stat().st_mtime_ns == written
    assert run(root, {**JOBS, "d": 4.0}).studies() == ["a", "b", "c", "d"]  # acquitted, without being computed
    assert (root / "c/T1w.nii.gz").stat().st_mtime_ns == written


def test_all_held_back_is_an_error_in_any_case(root: Path) -> None:
    with pytest.raises(StageError, match="3 of 3"):
        run(root, JOBS, judge=lambda measures: "no", allow_failures=True)


def test_damaged_measures_cost_their_study_alone(root: Path) -> None:
    file = root / "b" / "qc.json"
    file.write_text("[" + file.read_text()[1:])  # of the same size: the receipt holds
    with pytest.raises(StageError, match=r"(?s)1 of 3 studies failed:\n  b: .*is damaged.*delete the folder"):
        run(root, JOBS, judge=lambda measures: None)
    assert SubjectStore(root).studies() == ["a", "c"]
    assert run(root, JOBS, judge=lambda measures: None, allow_failures=True).studies() == ["a", "c"]
    shutil.rmtree(root / "b")  # the cure
    assert run(root, JOBS, judge=lambda measures: None).studies() == ["a", "b", "c"]


# --- several stages ---------------------------------------------------------------------------------------------------


def chain(folder: Path, options: dict[str, Any], inputs: dict[str, str]) -> list[Link]:
    """first -> second -> third; other reads first alone, with what all studies are together."""
    takes = {
        "first": lambda keys: inputs,
        "second": lambda keys: keys["first"],
        "third": lambda keys: keys["second"],
        "other": lambda keys: {s: fingerprint_of(key, keys["first"]) for s, key in keys["first"].items()},
    }
    code = code_of_stage("1")
    return [Link(s, folder / s, take, parameters_of(options.get(s)), code) for s, take in takes.items()]


def run_all(folder: Path, options: dict[str, Any], inputs: dict[str, str]) -> None:
    keys: dict[str, Mapping[str, str]] = {}
    for one in chain(folder, options, inputs):
        found = one.inputs(keys)
        jobs = dict.fromkeys(found, 1.0)
        keys[one.stage] = run(one.root, jobs, fingerprints=found, options=options.get(one.stage)).fingerprints()


@pytest.mark.parametrize(
    ("changed", "recomputed"),
    [
        ("first", {"first", "second", "third", "other"}),
        ("second", {"second", "third"}),
        ("third", {"third"}),
        ("other", {"other"}),
    ],
)
def test_a_parameter_recomputes_the_stages_that_depend_on_it_and_no_others(
    tmp_path: Path, changed: str, recomputed: set[str]
) -> None:
    inputs = {"a": "1", "b": "2"}
    run_all(tmp_path, {}, inputs)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*/*.nii.gz")}
    planned = plan_chain(chain(tmp_path, {changed: 1}, inputs))
    assert {plan.stage for plan in planned if plan.todo()} == recomputed
    run_all(tmp_path, {changed: 1}, inputs)
    assert {path.parents[1].name for path, time in times.items() if path.stat().st_mtime_ns != time} == recomputed
    assert not any(plan.todo() for plan in plan_chain(chain(tmp_path, {changed: 1}, inputs)))


def test_the_chain_is_planned_before_anything_is_there(tmp_path: Path) -> None:
    run_all(tmp_path, {}, {"a": "1", "b": "2"})
    plans = plan_chain(chain(tmp_path, {"second": 1}, {"a": "1", "b": "changed", "c": "3"}))
    assert [str(plan).split(": ", 2)[2] for plan in plans] == [
        "1 unchanged, 1 new, 1 changed (inputs)",
        "1 new, 2 changed (1 parameters, 1 inputs and parameters)",
        "1 new, 2 changed (inputs)",
        "1 new, 2 changed (inputs)",  # the set of studies is among its inputs
    ]


def test_a_study_that_failed_and_would_again_is_not_planned_for_the_stages_after(tmp_path: Path) -> None:
    inputs = {"a": "1", "b": "2"}
    first, second, *_ = chain(tmp_path, {}, inputs)
    run(first.root, {"a": 1.0, "b": -1.0}, fingerprints=inputs, allow_failures=True)
    other = Link("other", tmp_path / "other", lambda keys: {"a": fingerprint_of(keys["first"])}, "p", second.code)
    found = other.inputs({"first": SubjectStore(first.root).fingerprints()})  # what the run itself gives that stage
    planned = plan_chain([first, other])
    assert planned[0].causes == {"a": "unchanged", "b": "failed before"}
    assert planned[1].keys == {"a": Sources(found["a"], "p", second.code).key}
    mended, *_ = chain(tmp_path, {}, {"a": "1", "b": "mended"})
    assert plan_chain([mended, second])[1].keys.keys() == {"a", "b"}
