"""The folds of a leave-one-out experiment make one table."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from lesionlab.datasets import Folders
from lesionlab.errors import InputError
from lesionlab.evaluation.claims import held
from lesionlab.evaluation.tables import tabulate
from lesionlab.metrics.statistics import StatisticsOptions
from lesionlab.pipelines.pool_folds.folds import outputs_of
from lesionlab.pipelines.pool_folds.nodes import gather, gather_leakage, gather_plan
from lesionlab.stages.lock import StoreLock, keep_locks, release_locks
from lesionlab.training.options import TrainingOptions
from lesionlab.trials.claims import OPEN
from lesionlab.trials.options import TrialOptions
from lesionlab.trials.plan import Recipe, SynthesizerCase, TrialPlan


def scores(subject: str, value: float, method: str, metric: str, protocol: str) -> dict:
    cell = {"method": method, "cohort": "c", "protocol": protocol, "sequence": "all", "class": "edema"}
    cell |= {"synthesizer": "none", "training_subjects": 2}
    return {**cell, "metric": metric, "subject": subject, "value": value, "seed": 0}


TRIAL = TrialOptions(synthesizers=("cgsamr",), arms=("real", "real+50%"))
RECIPE = Recipe(method="cgsamr", title="CG-SAMR", options={}, training=TrainingOptions())
STUDIES = pd.DataFrame({"subject": list("abc")})
NOW = {"parameters": "p", "code": "c"}
SETTINGS = json.dumps(NOW)


def write_fold(
    workspace: Path, fold: int, subject: str, value: float, settings: str = SETTINGS, trial: str = "mine"
) -> None:
    folder = workspace / f"fold{fold}" / "07_model_output" / trial
    folder.mkdir(parents=True)
    drawn = pd.DataFrame([scores(subject, value, "cgsamr", "ssim", "paired")])
    found = pd.DataFrame([scores(subject, value / 2, "unet", "dice", "real")])
    drawn.to_parquet(folder / "synthesis_scores.parquet")
    found.to_parquet(folder / "segmentation_scores.parquet")
    (folder / "settings.json").write_text(settings)
    write_beside(workspace / f"fold{fold}", fold, subject, trial)


def write_beside(root: Path, fold: int, subject: str, trial: str) -> None:
    """A fold's plan, and what has learnt in it: the subjects that are not tested."""
    others = tuple(sorted(set("abc") - {subject}))
    plan = root / "05_model_input" / trial / "plan.json"
    plan.parent.mkdir(parents=True, exist_ok=True)
    case = SynthesizerCase(name="cgsamr", recipe=RECIPE, subjects=others, seed=0)
    made = TrialPlan(name=trial, options=TRIAL, synthesizers=(case,), segmenters=())
    plan.write_text(made.model_dump_json(), encoding="utf-8")
    leakage = root / "08_reporting" / trial / "leakage.csv"
    leakage.parent.mkdir(parents=True, exist_ok=True)
    row = {"place": "atlas", "purpose": "learns", "subjects": 2, "test": 0, "names": " ".join(others)}
    pd.DataFrame([row]).to_csv(leakage, index=False)


@pytest.fixture
def folders(tmp_path) -> Folders:
    return Folders(tmp_path, tmp_path / "fold1")


def test_every_subject_is_tested_once(folders):
    for fold, (subject, value) in enumerate([("a", 0.2), ("b", 0.4), ("c", 0.9)]):
        write_fold(folders.workspace, fold, subject, value)
    drawn, found = gather(folders, STUDIES, NOW, "mine")
    assert dict(zip(drawn["subject"], drawn["value"], strict=True)) == {"a": 0.2, "b": 0.4, "c": 0.9}
    assert dict(zip(found["subject"], found["value"], strict=True)) == {"a": 0.1, "b": 0.2, "c": 0.45}
    plan = gather_plan(folders, "mine")
    synthesis, segmentation, augmentation = tabulate(drawn, found, plan, [], StatisticsOptions(resamples=100), 0)
    for table, mean in ((synthesis, 0.5), (segmentation, 0.25), (augmentation, 0.25)):
        assert table["mean"].tolist() == [pytest.approx(mean)] and table["n"].tolist() == [3]


def test_a_fold_that_lacks_a_training_subject_belongs_to_the_same_line(folders):
    """A study was held back in fold 1 alone: it trained on one subject, the others on two."""
    for fold, subject in enumerate("abc"):
        write_fold(folders.workspace, fold, subject, 0.2)
    for name in ("synthesis", "segmentation"):
        path = folders.workspace / f"fold1/07_model_output/mine/{name}_scores.parquet"
        pd.read_parquet(path).assign(training_subjects=1).to_parquet(path)
    for table in gather(folders, STUDIES, NOW, "mine"):
        assert table["training_subjects"].tolist() == [2, 2, 2]


def test_folds_of_which_one_has_more_training_sets_are_refused(folders):
    for fold, subject in enumerate("abc"):
        write_fold(folders.workspace, fold, subject, 0.2)
    path = folders.workspace / "fold1/07_model_output/mine/segmentation_scores.parquet"
    found = pd.read_parquet(path)
    pd.concat([found, found.assign(training_subjects=1)]).to_parquet(path)
    with pytest.raises(InputError, match="fold1: trained on 1, 2 subjects"):
        gather(folders, STUDIES, NOW, "mine")


def test_claims_are_held_against_the_subjects_of_all_folds(folders):
    for fold, subject in enumerate("abc"):
        write_fold(folders.workspace, fold, subject, 0.2)
    drawn, found = gather(folders, STUDIES, NOW, "mine")
    better = found.assign(protocol="real+50%", synthesizer="cgsamr", value=found["value"] + 0.1)
    both, options = pd.concat([found, better]), StatisticsOptions(resamples=100)
    (row,) = held(gather_plan(folders, "mine"), drawn, both, [], options, 0).to_dict("records")
    assert row["claim"] == "CG-SAMR's slices raise Dice (real+50% over real)"
    # Three subjects of whom all gain: 2 of 2^3 sign patterns are as extreme, which tells nothing.
    assert (row["n"], row["p_value"], row["verdict"]) == (3, 0.25, OPEN)
    assert row["difference"] == pytest.approx(0.1)


def test_who_was_seen_in_each_fold_stands_in_one_table(folders):
    write_fold(folders.workspace, 0, "a", 0.2)
    write_fold(folders.workspace, 1, "b", 0.4)
    table = gather_leakage(folders, "mine")
    assert list(table) == ["fold", "place", "purpose", "subjects", "test", "names"]
    assert dict(zip(table["fold"], table["names"], strict=True)) == {"fold0": "b c", "fold1": "a c"}


def test_a_fold_without_its_leakage_table_is_told(folders):
    write_fold(folders.workspace, 0, "a", 0.2)
    (folders.workspace / "fold0" / "08_reporting" / "mine" / "leakage.csv").unlink()
    with pytest.raises(InputError, match=r"lacks what was written.*fold0.*leakage\.csv"):
        gather_leakage(folders, "mine")


def test_without_folds_the_cure_is_told(folders):
    with pytest.raises(InputError, match=r"no folds to pool.*of the trial mine below.*splits\.fold=0"):
        gather(folders, STUDIES, NOW, "mine")


def test_a_fold_that_is_being_run_is_not_pooled(folders):
    write_fold(folders.workspace, 0, "a", 0.2)
    runs = StoreLock(folders.workspace / "fold0")
    runs.own()
    keep_locks()
    try:
        with pytest.raises(InputError, match="another run is at work in fold0"):
            gather(folders, STUDIES, NOW, "mine")
        runs.release()
        gather(folders, STUDIES, NOW, "mine")
    finally:
        release_locks()


def test_a_subject_tested_in_two_folds_is_a_leftover_of_another_split(folders):
    write_fold(folders.workspace, 0, "a", 0.2)
    write_fold(folders.workspace, 1, "a", 0.4)
    with pytest.raises(InputError, match="tested in two folds") as error:
        gather(folders, STUDIES, NOW, "mine")
    assert "fold0" in error.value.given and "fold1" in error.value.given and "'a'" in error.value.given


def test_folds_of_other_settings_are_not_pooled(folders):
    write_fold(folders.workspace, 0, "a", 0.2)
    write_fold(folders.workspace, 1, "b", 0.4, settings='{"parameters": "others"}')
    with pytest.raises(InputError, match="different parameters or code.*fold0 against fold1"):
        gather(folders, STUDIES, NOW, "mine")


def test_folds_are_not_pooled_with_other_parameters_than_their_own(folders):
    write_fold(folders.workspace, 0, "a", 0.2)
    with pytest.raises(InputError, match=r"other parameters than they are to be pooled with.*fold0 against this run"):
        gather(folders, STUDIES, NOW | {"parameters": "changed since"}, "mine")


def test_folds_come_by_their_numbers(folders):
    for fold, subject in [(10, "c"), (2, "b"), (0, "a")]:
        write_fold(folders.workspace, fold, subject, 0.2)
    (folders.workspace / "fold0").rename(folders.workspace / "fold0_of_old")
    assert list(outputs_of(folders, "mine")) == ["fold2", "fold10"]


def test_the_plan_is_that_of_a_fold_in_which_nobody_was_held_back(folders):
    for fold, subject in enumerate("abc"):
        write_fold(folders.workspace, fold, subject, 0.2)
    path = folders.workspace / "fold0/05_model_input/mine/plan.json"
    lacking = TrialPlan.model_validate_json(path.read_text(encoding="utf-8"))
    (case,) = lacking.synthesizers
    lacking = lacking.model_copy(update={"synthesizers": (case.model_copy(update={"subjects": ("b",)}),)})
    path.write_text(lacking.model_dump_json(), encoding="utf-8")
    assert gather_plan(folders, "mine").synthesizers[0].subjects == ("a", "c")  # fold 1 leaves out b


def test_a_subject_that_left_the_cohort_is_told_and_one_not_tested_too(folders, caplog):
    write_fold(folders.workspace, 0, "a", 0.2)
    gather(folders, STUDIES, NOW, "mine")
    assert "2 of 3 subjects were tested in no fold: b, c" in caplog.text
    write_fold(folders.workspace, 3, "z", 0.2)
    with pytest.raises(InputError, match="not in the cohort.*'z'"):
        gather(folders, STUDIES, NOW, "mine")


def test_another_trials_folds_are_no_folds_of_this_one(folders):
    write_fold(folders.workspace, 0, "a", 0.2)
    write_fold(folders.workspace, 0, "a", 0.9, trial="other")
    write_fold(folders.workspace, 1, "b", 0.9, settings='{"parameters": "others"}', trial="other")
    drawn, found = gather(folders, STUDIES, NOW, "mine")
    assert drawn["value"].tolist() == [0.2] and found["value"].tolist() == [0.1]
    with pytest.raises(InputError, match="no folds to pool"):
        gather(folders, STUDIES, NOW, "third")
