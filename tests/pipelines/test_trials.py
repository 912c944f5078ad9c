"""A comparison and an ablation beside the main job: what they train, what they share, and what another seed adds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from lesionlab.datasets import TrialPlanDataset
from lesionlab.metrics.statistics import TABLE_COLUMNS
from lesionlab.training.runs import TrainingRun
from lesionlab.trials.plan import TrialPlan

CLASSES, MEASURES = ["edema", "cavity", "tumor"], 7
COMPARED, BUILT = ["samr", "cgsamr"], ["real+50%", "synthetic", "real+50% longer"]  # arms with synthetic slices
ABLATED = [
    "stretch_out",
    "label_wise",
    "atlas",
    "shape_consistency",
    "confidence",
    "confidence_loss",
    "feature_matching",
]
NODES = ("--from-nodes=comparison.make_plan", "--to-nodes=comparison.check_leakage")


def times(data: Path) -> dict[str, int]:
    """When each file of each training and of the synthetic slices was written."""
    folders = (data / "06_models", data / "04_feature" / "synthetic")
    return {
        str(path.relative_to(data)): path.stat().st_mtime_ns
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def alone(project) -> dict[str, int]:
    """What the main job left, before the trials came."""
    return times(project.data)


@pytest.fixture(scope="module")
def data(project, alone, tmp_path_factory) -> Path:
    """A copy of the project in which both trials were run after the main job."""
    return run_in_a_copy(project, tmp_path_factory.mktemp("trials"), "--pipelines=comparison_eval", "ablation_eval")


def run_in_a_copy(project, root: Path, first: str, *others: str) -> Path:
    copied = type(project)(shutil.copytree(project.root, root / "copy"), project.env)
    for pipelines in (first, *(f"--pipelines={name}" for name in others)):
        copied.run(pipelines)
    return copied.data


def plan_of(data: Path, trial: str) -> TrialPlan:
    return TrialPlanDataset(filepath=str(data / "05_model_input" / trial / "plan.json")).load()


def table(data: Path, trial: str, name: str) -> pd.DataFrame:
    return pd.read_csv(data / "08_reporting" / trial / "tables" / f"{name}.csv")


def segmenter(data: Path, key: str) -> TrainingRun:
    return TrainingRun(data / "06_models" / "segmenters" / key)


# --- trainings --------------------------------------------------------------------------------------------------------


def test_every_planned_training_is_there_with_its_own_subjects(data):
    for trial, synthesizers, segmenters in (("comparison", 2 * 4, (2 + 2 * 3) * 4), ("ablation", 8, 1 + 8)):
        plan = plan_of(data, trial)
        assert (len(plan.synthesizers), len(plan.segmenters)) == (synthesizers, segmenters)
        for case in plan.synthesizers:
            assert TrainingRun(data / "06_models" / "synthesizers" / case.key).subjects() == list(case.subjects)
        for case in plan.segmenters:
            assert segmenter(data, case.key).subjects() == list(case.subjects)
        listed = json.loads((data / "05_model_input" / trial / "segmenters.json").read_text())
        assert list(listed) == [case.key for case in plan.segmenters]


def test_the_sizes_are_one_and_both_training_subjects(data):
    sets = {(case.seed, len(case.subjects)): set(case.subjects) for case in plan_of(data, "comparison").segmenters}
    assert set(sets) == {(0, 1), (0, 2), (1, 1), (1, 2)}
    assert sets[0, 1] < sets[0, 2] == sets[1, 2] > sets[1, 1]


def test_arms_take_equal_steps_unless_they_ask_for_equal_epochs(data):
    for case in plan_of(data, "comparison").segmenters:
        steps = segmenter(data, case.key).history()["step"].max()
        assert steps == (8 if case.arm_name == "real+50% longer" else 4), case.key  # twice the slices


def test_the_variants_differ(data):
    plan = plan_of(data, "ablation")
    assert [case.name for case in plan.synthesizers] == ["cgsamr", *(f"without_{part}" for part in ABLATED)]
    losses = {
        case.name: set(TrainingRun(data / "06_models" / "synthesizers" / case.key).history()["name"])
        for case in plan.synthesizers
    }
    assert "G/confidence" in losses["cgsamr"] and "G/confidence" not in losses["without_confidence"]


# --- sharing ----------------------------------------------------------------------------------------------------------


def test_what_the_main_job_has_trained_is_found_by_the_others(data, alone):
    after = times(data)
    assert {name: after[name] for name in alone} == alone
    shared = {
        f"06_models/segmenters/unet/real/none/2-subjects/seed-0/{name}" for name in ("method.pt", "subjects.json")
    }
    assert shared <= set(alone)
    for trial in ("cgsamr", "comparison", "ablation"):
        listed = json.loads((data / "05_model_input" / trial / "segmenters.json").read_text())
        folder = listed["unet/real/none/2-subjects/seed-0"]["folder"]
        assert folder == "../../06_models/segmenters/unet/real/none/2-subjects/seed-0"


def test_a_rerun_trains_nothing_and_another_seed_adds_its_own_trainings_alone(project, data, tmp_path):
    made = type(project)(shutil.copytree(data.parents[2], tmp_path / "again"), project.env)
    before = times(made.data)
    made.run("--pipelines=comparison_eval", *NODES)
    assert times(made.data) == before
    file = made.root / "conf" / made.env / "parameters.yml"
    file.write_text(
        file.read_text().replace("    seeds:\n    - 0\n    - 1\n", "    seeds:\n    - 0\n    - 1\n    - 5\n")
    )
    made.run("--pipelines=comparison_eval", *NODES)
    after = times(made.data)
    assert {name: after[name] for name in before} == before
    added = {name.split("/seed-")[0] for name in set(after) - set(before)}
    assert all("/seed-5/" in name for name in set(after) - set(before))
    sizes = ("1-subjects", "2-subjects")
    arms = ["real/none", "conventional/none", *(f"{arm}/{one}" for arm in BUILT for one in COMPARED)]
    assert added == {f"06_models/segmenters/unet/{arm}/{size}" for arm in arms for size in sizes} | {
        f"{where}/{one}/{size}"
        for where in ("06_models/synthesizers", "04_feature/synthetic")
        for one in COMPARED
        for size in sizes
    }


# --- tables -----------------------------------------------------------------------------------------------------------


def lines(rows: pd.DataFrame) -> set[tuple]:
    return set(rows[["protocol", "synthesizer", "training_subjects"]].itertuples(index=False, name=None))


def test_the_comparisons_tables_have_a_line_for_each(data):
    augmentation, synthesis = table(data, "comparison", "augmentation"), table(data, "comparison", "synthesis")
    assert list(augmentation) == list(synthesis) == TABLE_COLUMNS
    arms = {("real", "none"), ("conventional", "none"), *((arm, one) for arm in BUILT for one in COMPARED)}
    assert lines(augmentation) == {(*arm, size) for arm in arms for size in (1, 2)}
    assert len(augmentation) == 8 * 2 * 4 * MEASURES and set(augmentation["seed"]) == {"0,1"}
    assert set(augmentation["n"]) == {1}  # one test subject, however many seeds
    learnt = augmentation[augmentation["metric"] == "dice"]
    assert learnt["seed_std"].notna().all()
    drawn = synthesis[["method", "training_subjects"]].drop_duplicates()
    assert set(drawn.itertuples(index=False, name=None)) == {
        (name, size) for name in (*COMPARED, "mean image", "atlas") for size in (1, 2)
    }
    published = augmentation[augmentation["metric"] == "dice"].set_index(["protocol", "synthesizer", "class"])
    # SAMR's from its own paper (CG-SAMR's says 0.813).
    assert set(published.loc[("real+50%", "samr", "tumor"), "published"]) == {0.821}
    assert set(published.loc[("real+50%", "cgsamr", "tumor"), "published"]) == {0.835}


def test_the_ablations_tables_have_a_line_for_each(data):
    names = ["cgsamr", *(f"without_{part}" for part in ABLATED)]
    augmentation = table(data, "ablation", "augmentation")
    assert lines(augmentation) == {("real", "none", 2), *(("real+50%", name, 2) for name in names)}
    assert len(augmentation) == 9 * 4 * MEASURES
    assert set(table(data, "ablation", "synthesis")["method"]) == {*names, "mean image", "atlas"}
    dice = augmentation[(augmentation["metric"] == "dice") & (augmentation["class"] == "tumor")]
    assert dice.set_index("synthesizer")["published"]["without_atlas"] == 0.705


@pytest.mark.parametrize(("trial", "trained"), [("comparison", 2 * 4 + 32), ("ablation", 8 + 9)])
def test_nothing_has_seen_a_test_subject(data, trial, trained):
    leakage = pd.read_csv(data / "08_reporting" / trial / "leakage.csv")
    drawn = len(plan_of(data, trial).synthesizers)
    # Landmarks and atlas, trainings, sets of synthetic slices, and by whom each training's checkpoint is judged.
    assert len(leakage) == 2 + trained + drawn + trained and set(leakage["test"]) == {0}


def test_reports_name_what_was_compared(data):
    comparison = (data / "08_reporting" / "comparison" / "report.html").read_text(encoding="utf-8")
    for said in (
        "real+50% longer, SAMR",
        "synthetic, CG-SAMR",
        "Dice by training subjects",
        "1 and 2 subjects",
        "All synthesizers on",
    ):
        assert said in comparison, said
    ablation = (data / "08_reporting" / "ablation" / "report.html").read_text(encoding="utf-8")
    for said in ("8 synthesizers on tiny", "w/o shape consistency", "w/o atlas"):
        assert said in ablation, said


# --- without an atlas -------------------------------------------------------------------------------------------------


def test_a_synthesizer_that_does_without_an_atlas_is_run_to_its_end(project, tiny, tmp_path):
    made = type(project)(shutil.copytree(project.root, tmp_path / "copy"), project.env)
    trials = {"ablation": {"synthesizers": ["without_atlas"], "seeds": [0]}}
    values = {**tiny, "atlas": {"enabled": False}, "trials": trials}
    (made.root / "conf" / made.env / "parameters.yml").write_text(yaml.safe_dump(values), encoding="utf-8")
    refused = made.run("--pipelines=cgsamr_augment_eval", code=1)
    assert "CG-SAMR requires the atlas beside each slice" in refused.stderr
    made.run("--pipelines=ablation_eval")
    assert set(table(made.data, "ablation", "synthesis")["method"]) == {"without_atlas", "mean image"}
    leakage = pd.read_csv(made.data / "08_reporting" / "ablation" / "leakage.csv").set_index("place")
    learnt = leakage.loc[leakage["purpose"] == "learns", "subjects"]
    assert learnt["atlas"] == 0 and learnt.drop("atlas").eq(2).all()
    report = (made.data / "08_reporting" / "ablation" / "report.html").read_text(encoding="utf-8")
    assert "w/o atlas" in report and "SyN, aligned" not in report


# --- planted leaks ----------------------------------------------------------------------------------------------------


def test_a_test_subject_planted_in_a_training_stops_the_run(project, tmp_path):
    made = type(project)(shutil.copytree(project.root, tmp_path / "copy"), project.env)
    split = pd.read_csv(made.data / "02_intermediate" / "split.csv").set_index("split")["subject"]
    place = "unet/real+50%/cgsamr/2-subjects/seed-0"
    file = made.data / "06_models" / "segmenters" / place / "subjects.json"
    # A name of the same length: the file's size, and so the training's receipt, stays as it was.
    file.write_text(file.read_text().replace(split["train"].iloc[0], split["test"]))
    stopped = made.run("--nodes=cgsamr.check_leakage", code=1)
    assert f"leakage: segmenter {place} has seen subjects" in stopped.stderr
    assert f"{split['test']} (test)" in stopped.stderr
