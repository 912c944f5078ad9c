"""A test subject planted at each place that could have seen one is found, by place and name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lesionlab.datasets import Folders
from lesionlab.errors import InputError
from lesionlab.imaging.intensity.landmarks import LandmarkSet, landmarks_file
from lesionlab.parameters import AugmentationOptions, RunOptions
from lesionlab.pipelines.augmentation.nodes import synthesize
from lesionlab.pipelines.evaluation.nodes import check_leakage
from lesionlab.pipelines.preprocess.jobs import LANDMARKS, STANDARD, TEMPLATE
from lesionlab.pipelines.training import nodes
from lesionlab.slices.store import SliceStore
from lesionlab.stages.artifact import seal
from lesionlab.stages.stage import run_stage
from lesionlab.stages.subject_store import StudyResult, SubjectStore
from lesionlab.training.runs import VALIDATED_ON, TrainingRun

STUDIES = {"a": "a", "b": "b", "c": "c", "d_1": "d", "d_2": "d"}
SPLITS = {"a": "train", "b": "train", "c": "validation", "d": "test"}
COHORT = pd.DataFrame(
    [{"study": study, "subject": who, "split": SPLITS[who]} for study, who in STUDIES.items() for _ in range(2)]
)
ALL, SET = "cgsamr/2-subjects/seed-0", "2-subjects/seed-0"
RUN = RunOptions()


def learn_landmarks(studies: list[str]) -> StudyResult:
    learnt = LandmarkSet(studies=tuple(studies), exclude_lesions=True, sequences={})
    return StudyResult(files={LANDMARKS: landmarks_file(learnt)})


def build_template(studies: list[str]) -> StudyResult:
    return StudyResult(record={"studies": studies})


@pytest.fixture(scope="module")
def honest(tmp_path_factory, write_slices, new_plan) -> tuple[Path, Any]:
    """A folder in which everything was learnt for real, from training subjects alone, and the plan."""
    root = tmp_path_factory.mktemp("honest")
    run_stage(root / "landmarks", {STANDARD: ["a", "b"]}, learn_landmarks, fingerprints={STANDARD: "1"})
    run_stage(root / "template", {TEMPLATE: ["a", "b"]}, build_template, fingerprints={TEMPLATE: "1"})
    slices, folders, augmentation = write_slices(root), Folders(root, root), AugmentationOptions()
    plan = new_plan(slices, arms=("real", "real+50%"), sizes=(1, "all"))
    synthesizers = nodes.train_synthesizers(plan, slices, folders, augmentation, RUN)
    synthetic = synthesize(plan, slices, synthesizers, folders, augmentation)
    nodes.train_segmenters(plan, slices, synthetic, folders, augmentation, RUN)
    return root, plan


@pytest.fixture
def check(honest, tmp_path) -> Callable[..., pd.DataFrame]:
    """Checks a copy of the honest folder in which ``plant`` may have changed something."""

    def checked(plant: Callable[[Path], object] = bool, cohort: pd.DataFrame = COHORT) -> pd.DataFrame:
        root, plan = Path(shutil.copytree(honest[0], tmp_path / "copy")), honest[1]
        plant(root)
        table, cleared = check_leakage(
            plan,
            cohort,
            SubjectStore(root / "landmarks"),
            SubjectStore(root / "template"),
            SliceStore(root / "slices"),
            {case.key: TrainingRun(synthesizers(root) / case.key) for case in plan.synthesizers},
            {case.key: SliceStore(synthetic(root) / case.key) for case in plan.synthesizers},
            {case.key: TrainingRun(segmenters(root) / case.key) for case in plan.segmenters},
        )
        assert cleared == plan
        return table

    return checked


def synthesizers(root: Path) -> Path:
    return root / "06_models" / "synthesizers"


def segmenters(root: Path) -> Path:
    return root / "06_models" / "segmenters"


def synthetic(root: Path) -> Path:
    return root / "04_feature" / "synthetic"


def test_where_nobody_is_planted_everybody_is_told(check):
    table = check().set_index("place")
    # Landmarks and atlas, synthesizers, their slices, segmenters; and what segmenters are chosen by.
    assert len(table) == 2 + 2 + 2 + 4 + (2 + 4)
    assert set(table["test"]) == {0}
    chosen = table[table["purpose"] == "chooses"]
    # Of one subject and of both: a synthesizer, segmenters on real and on real+50%.
    assert len(chosen) == 2 + 4 and set(chosen["names"]) == {"c"}
    assert all(place.startswith("checkpoint of s") for place in chosen.index)
    learnt = table[table["purpose"] == "learns"]["names"]
    small = learnt.index.str.contains("1-subjects")
    assert set(learnt[~small]) == {"a b"} and set(learnt[small]) in ({"a"}, {"b"})


# --- plants -----------------------------------------------------------------------------------------------------------


def also(names: list[str], *more: str) -> list[str]:
    return [*names, *more]


def in_landmarks(study: str):
    def plant(root: Path) -> None:
        file = root / "landmarks" / STANDARD / LANDMARKS
        known = json.loads(file.read_text())
        file.write_text(json.dumps(known | {"studies": also(known["studies"], study)}))

    return plant


def in_template(study: str):
    def plant(root: Path) -> None:
        file = root / "template" / TEMPLATE / "record.json"
        file.write_text(json.dumps({"studies": also(json.loads(file.read_text())["studies"], study)}))

    return plant


def in_training(place: Callable[[Path], Path], key: str, subject: str):
    def plant(root: Path) -> None:
        file = place(root) / key / "subjects.json"
        file.write_text(json.dumps(also(json.loads(file.read_text()), subject)))

    return plant


def rewrite(store: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Put another table in a slice store's place, as whole as the first."""
    table, fingerprint = pd.read_parquet(store / "table.parquet"), SliceStore(store).fingerprint
    change(table).to_parquet(store / "table.parquet", index=False)
    seal(store, fingerprint)


def in_validation(place: str, who: str):
    def plant(root: Path) -> None:
        file = segmenters(root) / place / VALIDATED_ON
        file.write_text(json.dumps(also(json.loads(file.read_text()), who)))

    return plant


def test_nothing_is_chosen_by_a_training_subject(check):
    with pytest.raises(InputError, match=r"leakage: checkpoint of segmenter unet/real/.*Given: a \(train\)\."):
        check(in_validation(f"unet/real/none/{SET}", "a"))


def in_synthetic(column: str, value: Any):
    """``value``: of the last slice, or a function of what is there."""

    def plant(root: Path) -> None:
        def change(table: pd.DataFrame) -> pd.DataFrame:
            last = table.index[-1]
            table.loc[last, column] = value(table.loc[last, column]) if callable(value) else value
            return table

        rewrite(synthetic(root) / ALL, change)

    return plant


def role(name: str, who: str):
    """A change of a slice's record: another target or donor."""
    return lambda text: json.dumps(json.loads(text) | {name: {"subject": who, "study": f"{who}_1", "plane": 0}})


@pytest.mark.parametrize(
    ("plant", "place"),
    [
        (in_landmarks("d_2"), "intensity landmarks"),
        (in_template("d_1"), "atlas"),
        (in_training(synthesizers, ALL, "d"), f"synthesizer {ALL}"),
        (in_synthetic("subject", "d"), f"synthetic slices {ALL}"),
        (in_synthetic("record", role("target", "d")), f"synthetic slices {ALL}"),
        (in_synthetic("record", role("donor", "d")), f"synthetic slices {ALL}"),
        (in_synthetic("donor", "d_2"), f"synthetic slices {ALL}"),
        (in_training(segmenters, f"unet/real/none/{SET}", "d"), f"segmenter unet/real/none/{SET}"),
        (in_training(segmenters, f"unet/real+50%/{ALL}", "d"), rf"segmenter unet/real\+50%/{ALL}"),
        (in_validation(f"unet/real/none/{SET}", "d"), f"checkpoint of segmenter unet/real/none/{SET}"),
    ],
)
def test_a_test_subject_is_found_at_each_place(check, plant, place):
    with pytest.raises(InputError, match=rf"leakage: {place} has seen subjects.*Given: d \(test\)\."):
        check(plant)


@pytest.mark.parametrize(
    ("plant", "place"),
    [
        (in_landmarks("c"), "intensity landmarks"),
        (in_template("c"), "atlas"),
        (in_training(synthesizers, ALL, "c"), f"synthesizer {ALL}"),
        (in_synthetic("record", role("donor", "c")), f"synthetic slices {ALL}"),
        (in_training(segmenters, f"unet/real/none/{SET}", "c"), f"segmenter unet/real/none/{SET}"),
    ],
)
def test_nothing_learns_from_a_validation_subject_either(check, plant, place):
    with pytest.raises(InputError, match=rf"leakage: {place} has seen subjects.*Given: c \(validation\)\."):
        check(plant)


@pytest.mark.parametrize(
    ("plant", "place"),
    [
        (in_training(synthesizers, ALL, "x"), f"synthesizer {ALL}"),
        (in_synthetic("donor", "x_1"), f"synthetic slices {ALL}"),
    ],
)
def test_somebody_whom_the_cohort_does_not_know_is_found_too(check, plant, place):
    with pytest.raises(InputError, match=rf"leakage: {place} has seen subjects.*Given: x(_1)? \(of no split\)\."):
        check(plant)


def test_studies_of_other_people_may_have_given_landmarks_and_atlas(check):
    def others(root: Path) -> None:
        in_landmarks("somebody else")(root)
        in_template("somebody else")(root)

    table = check(others).set_index("place")
    assert table.loc[["intensity landmarks", "atlas"], "names"].tolist() == ["a b", "a b"]


def test_landmarks_and_an_atlas_of_nobody_known_are_seen_as_that(check):
    def bare(root: Path) -> None:
        (root / "landmarks" / STANDARD / LANDMARKS).unlink()
        (root / "template" / TEMPLATE / "record.json").write_text("{}")

    table = check(bare).set_index("place")
    assert table.loc[["intensity landmarks", "atlas"], "subjects"].tolist() == [0, 0]


def test_a_given_atlas_of_whom_nobody_knows_is_not_passed_off_as_clean(check):
    def bare(root: Path) -> None:
        (root / "template" / TEMPLATE / "record.json").write_text("{}")
        (root / "template" / TEMPLATE / "T1w.nii.gz").write_bytes(b"an atlas")

    table = check(bare).set_index("place")
    assert table.loc["atlas, given, without a record of its people", "subjects"] == 0
    assert "atlas" not in table.index


# --- slices that lie about the split ----------------------------------------------------------------------------------


def relabelled(how_many: int | None, split: str = "train"):
    """The test subject's slices, all or the first, with another split."""

    def plant(root: Path) -> None:
        def change(table: pd.DataFrame) -> pd.DataFrame:
            rows = table.index[table["subject"] == "d"][:how_many]
            table.loc[rows, "split"] = split
            return table

        rewrite(root / "slices", change)

    return plant


def test_a_slice_table_with_a_subject_in_two_splits_is_refused(check):
    with pytest.raises(InputError, match=r"subjects of the slices are in more than one split\. Given: d\."):
        check(relabelled(1))


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_slice_table_with_another_split_than_the_cohorts_is_refused(check, split):
    with pytest.raises(
        InputError, match=rf"the slices have subjects in another split.*d \({split}, in the cohort test"
    ):
        check(relabelled(None, split))


def test_a_cohort_with_a_subject_in_two_splits_is_refused(check):
    torn = COHORT.assign(split=COHORT["split"].where(COHORT["study"] != "d_2", "train"))
    with pytest.raises(InputError, match=r"subjects of the cohort are in more than one split\. Given: d\."):
        check(cohort=torn)


def test_a_cohort_split_anew_finds_everything_that_was_made_before(check):
    # What learnt from a and b is no longer made from training subjects alone.
    other = {"a": "train", "b": "test", "c": "train", "d": "validation"}
    anew = COHORT.assign(split=COHORT["subject"].map(other))
    with pytest.raises(InputError, match="leakage: the slices have subjects in another split") as error:
        check(cohort=anew)
    assert error.value.given.startswith("b (train, in the cohort test), c (validation, ")


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "key", "named"),
    [(synthesizers, "cgsamr", "synthesizer"), (segmenters, "unet/real/none", "segmenter")],
)
def test_a_training_on_few_subjects_that_saw_the_others_is_found(check, place, key, named):
    def plant(root: Path) -> None:
        (place(root) / key / "1-subjects" / "seed-0" / "subjects.json").write_text('["a", "b"]')

    with pytest.raises(InputError, match=f"{named} {key}/1-subjects/seed-0 has seen subjects that are not in its"):
        check(plant)


def test_slices_drawn_from_more_subjects_than_planned_are_found(check):
    def plant(root: Path) -> None:
        small = synthetic(root) / "cgsamr" / "1-subjects" / "seed-0"
        shutil.rmtree(small)
        shutil.copytree(synthetic(root) / ALL, small)

    with pytest.raises(InputError, match="synthetic slices cgsamr/1-subjects/seed-0 has seen subjects that are not in"):
        check(plant)
