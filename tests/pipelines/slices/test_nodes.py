"""Which studies become slices, and when they are cut anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lesionlab.datasets import Folders
from lesionlab.errors import InputError
from lesionlab.imaging.volume import Volume
from lesionlab.parameters import RunOptions
from lesionlab.pipelines.slices.nodes import make_slices
from lesionlab.slices.rules import SliceRules
from lesionlab.stages.stage import run_stage
from lesionlab.stages.subject_store import StudyResult, SubjectStore

AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])
RULES = SliceRules(planes="all")


def volume(data: np.ndarray) -> Volume:
    return Volume(data, AFFINE)


def gridded_study(level: float) -> StudyResult:
    """4 x 6 x 3 voxels, brain everywhere but in the first column; an edema in the middle plane unless level is 0.9."""
    brain = np.ones((4, 6, 3), np.uint8)
    brain[0] = 0
    image = np.where(brain, np.float32(level), np.float32(0))
    lesion = np.zeros_like(brain)
    lesion[2, 2:4, 1] = 2
    masks = {"brain": volume(brain)} | ({"lesion": volume(lesion)} if level != 0.9 else {})
    return StudyResult({"T1w": volume(image), **masks})


def atlas_study(level: float) -> StudyResult:
    return StudyResult({"T1w": volume(np.full((4, 6, 3), level, np.float32))})


def no_tissues(level: float) -> StudyResult:
    return StudyResult()


LEVELS = {"a": 0.2, "b_1": 0.4, "b_2": 0.5, "c": 0.9}


@pytest.fixture
def store(tmp_path):
    """Makes a stage's store of some of the studies."""

    def make(name: str, work, studies: str = "a b_1 b_2 c") -> SubjectStore:
        jobs = {study: LEVELS[study] for study in studies.split()}
        keys = {study: f"{name} {study}" for study in jobs}
        return run_stage(tmp_path / name, jobs, work, fingerprints=keys)

    return make


@pytest.fixture
def cohort() -> pd.DataFrame:
    splits = {"a": "train", "b": "validation", "c": "test"}
    rows = [(study, study[0], splits[study[0]], name, "mask") for study in LEVELS for name in ("T1w", "FLAIR")]
    table = pd.DataFrame(rows, columns=["study", "subject", "split", "sequence", "lesion_path"])
    return table.assign(lesion_ml=np.where(table["study"] == "c", 0.0, 0.04))  # two voxels of 20 cubic millimetres


@pytest.fixture
def stages(store) -> dict[str, SubjectStore]:
    return {
        "gridded": store("grid", gridded_study),
        "atlases": store("atlas", atlas_study),
        "tissues": store("tissues", no_tissues),
    }


def cut(
    tmp_path: Path,
    cohort: pd.DataFrame,
    stages: dict[str, SubjectStore],
    rules: SliceRules = RULES,
    allow=False,
    flags: Sequence[tuple[str, str]] = (),
):
    return make_slices(
        cohort,
        **stages,
        qc_flags=pd.DataFrame(flags, columns=["study", "action"]),
        folders=Folders(tmp_path / "shared", tmp_path / "fold"),
        rules=rules,
        sequences=["T1w"],
        lesion_classes=["edema"],
        run_options=RunOptions(allow_failures=allow),
    )


def test_studies_that_quality_control_holds_back_give_no_slices(tmp_path, cohort, stages):
    slices = cut(tmp_path, cohort, stages, flags=[("a", "warn"), ("b_1", "quarantine")])
    assert sorted(slices.table["study"].unique()) == ["a", "b_2", "c"]


def test_slices_know_their_subject_study_and_split(tmp_path, cohort, stages):
    slices = cut(tmp_path, cohort, stages)
    assert slices.root == tmp_path / "fold" / "04_feature" / "slices"
    rows = slices.table[["study", "subject", "split"]].drop_duplicates()
    expected = [("a", "a", "train"), ("b_1", "b", "validation"), ("b_2", "b", "validation"), ("c", "c", "test")]
    assert list(rows.itertuples(index=False, name=None)) == expected
    assert slices.table["plane"].tolist() == [0, 1, 2] * 4
    assert slices.sequences == ["T1w"] and slices.classes == ["edema"]


def test_what_the_slices_hold(tmp_path, cohort, stages):
    slices = cut(tmp_path, cohort, stages)
    made = slices.batch(slices.select(subject="a"))
    # Intensities 0 to 1 become -1 to 1: 0.2 is -0.6. The first column, the patient's left, is the picture's right.
    assert made.images.shape == (3, 1, 6, 4)
    assert made.images[:, :, :, :3] == pytest.approx(-0.6) and (made.images[..., 3] == -1).all()
    assert made.atlas.shape == (3, 3, 6, 4) and made.atlas == pytest.approx(-0.6)
    assert made.tissues.shape == (3, 0, 6, 4)
    assert [np.count_nonzero(labels == 2) for labels in made.labels] == [0, 2, 0]
    assert slices.table.set_index(["study", "plane"]).loc[("a", 1), "pixels_edema"] == 2


def test_planes_that_leave_out_most_of_the_lesions_are_warned_of(tmp_path, cohort, stages, caplog):
    cut(tmp_path, cohort, stages)
    cut(tmp_path, cohort, stages, SliceRules(planes="range", first=1, last=1))
    assert "lesions' volume" not in caplog.text
    cut(tmp_path, cohort, stages, SliceRules(planes="range", first=0, last=0))
    assert "0 % of the lesions' volume" in caplog.text and "planes: range, first: 0, last: 0, step: 1" in caplog.text


def test_every_second_plane_is_expected_to_hold_half_of_them(tmp_path, cohort, stages, caplog):
    # Of twice as much as there is, a half: what is to be expected of every second plane, and too little of all.
    larger = cohort.assign(lesion_ml=2 * cohort["lesion_ml"])
    cut(tmp_path, larger, stages, SliceRules(planes="range", first=1, last=2, step=2))
    assert "lesions' volume" not in caplog.text
    cut(tmp_path, larger, stages)
    assert "50 % of the lesions' volume" in caplog.text


def test_a_study_without_lesion_mask_among_labelled_ones_gives_no_slices(tmp_path, cohort, stages, caplog):
    unlabelled = cohort.assign(lesion_path=cohort["lesion_path"].where(cohort["study"] != "c", ""))
    slices = cut(tmp_path, unlabelled, stages)
    assert list(slices.table["study"].unique()) == ["a", "b_1", "b_2"]
    assert "c has no lesion mask" in caplog.text


def test_a_study_that_lacks_a_sequence_gives_no_slices(tmp_path, cohort, stages, caplog):
    bare = cohort.query("study != 'b_2' or sequence != 'T1w'")
    slices = cut(tmp_path, bare, stages)
    assert list(slices.table["study"].unique()) == ["a", "b_1", "c"]
    assert "b_2 has no T1w and gives none" in caplog.text and caplog.text.count("gives none") == 1


def test_where_no_study_has_a_lesion_mask_all_are_cut(tmp_path, cohort, stages):
    assert len(cut(tmp_path, cohort.assign(lesion_path=""), stages)) == 12


def test_a_study_that_cannot_be_cut_is_named_and_costs_no_other(tmp_path, cohort, stages, store):
    def other_grid(level: float) -> StudyResult:
        made = gridded_study(level)
        thin = {name: Volume(each.data[..., :1], AFFINE) for name, each in made.volumes.items()}
        return StudyResult(thin) if level == LEVELS["b_1"] else made

    broken = stages | {"gridded": store("broken", other_grid)}
    with pytest.raises(InputError, match=r"(?s)1 of 4:.*b_1: .*another grid.*allow_failures"):
        cut(tmp_path, cohort, broken)
    assert not (tmp_path / "fold/04_feature/slices").exists()
    slices = cut(tmp_path, cohort, broken, allow=True)
    assert list(slices.table["study"].unique()) == ["a", "b_2", "c"]


def test_only_studies_that_passed_every_stage_are_cut(tmp_path, cohort, stages, store):
    fewer = stages | {"tissues": store("fewer", no_tissues, "a b_2"), "atlases": store("less", atlas_study, "a b_2 c")}
    slices = cut(tmp_path, cohort, fewer)
    assert list(slices.table["study"].unique()) == ["a", "b_2"]


def test_unchanged_slices_are_not_cut_again(tmp_path, cohort, stages):
    written = (cut(tmp_path, cohort, stages).root / "images.npy").stat().st_mtime_ns
    assert (cut(tmp_path, cohort, stages).root / "images.npy").stat().st_mtime_ns == written


def test_other_rules_cut_them_anew(tmp_path, cohort, stages):
    assert len(cut(tmp_path, cohort, stages)) == 12
    assert len(cut(tmp_path, cohort, stages, SliceRules(planes="middle", count=1))) == 4


def test_another_split_cuts_them_anew(tmp_path, cohort, stages):
    cut(tmp_path, cohort, stages)
    again = cut(tmp_path, cohort.assign(split=cohort["split"].replace({"test": "train"})), stages)
    assert sorted(again.table["split"].unique()) == ["train", "validation"]
