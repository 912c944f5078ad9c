"""Quality control has every study: those that went through, those held back, those that failed or never came in."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from lesionlab.datasets import Folders
from lesionlab.imaging.formats.nifti import write_volume
from lesionlab.imaging.quality.limits import FLAG_COLUMNS, HELD_BACK, MEASURE_COLUMNS, QCOptions
from lesionlab.imaging.volume import Volume
from lesionlab.parameters import CohortOptions, RunOptions
from lesionlab.pipelines.preprocess.quality import qc_page
from lesionlab.pipelines.preprocess.quality_stages import STAGES, draw_strips, measure_quality
from lesionlab.stages.artifact import write_json
from lesionlab.stages.stage import run_stage
from lesionlab.stages.subject_store import MANIFEST, StudyResult, SubjectStore

SHAPE = (40, 44, 16)
AFFINE = np.diag([4.0, 4.0, 8.0, 1.0])
BAD = "<img src=x onerror=alert(1)>"
REFERENCES = {BAD: "T1w", "b": "T1w", "c": "T1w", "d": "FLAIR"}
STORES = ("coregistered", "brains", "unbiased", "standardized", "gridded", "atlases", "tissues")


def head() -> tuple[np.ndarray, np.ndarray]:
    """A brain of blobs, with its mask."""
    middle = (np.array(SHAPE) - 1) / 2
    away = (np.indices(SHAPE).reshape(3, -1).T - middle) * [4, 4, 8] / np.array([64.0, 76.0, 52.0])
    mask = ((away**2).sum(axis=1) <= 1).reshape(SHAPE)
    blobs = ndimage.gaussian_filter(np.random.default_rng(2).standard_normal(SHAPE), (2, 2, 1))
    return np.where(mask, 0.5 + 0.1 * blobs / blobs.std(), 0.05).astype(np.float32), mask.astype(np.uint8)


def study(job: tuple[str, str]) -> StudyResult:
    """``b`` fails at the stage brain; FLAIR of ``c`` lies 12 mm off."""
    name, stage = job
    if (name, stage) == ("b", "brain"):
        raise ValueError("this is no brain")
    if stage == "tissues":
        return StudyResult()
    image, mask = head()
    off = np.roll(image, 3, axis=0) if name == "c" else image
    masks = {"brain": mask} if stage not in ("coregister", "atlas") else {}
    arrays = {"T1w": image, "FLAIR": 1 - off, **masks}
    qc = {"FLAIR_mi_before": 0.5, "FLAIR_mi_after": 0.6} if stage == "coregister" else {"measure": 3.0}
    record = {"reference": REFERENCES[name]} if stage == "coregister" else {}
    return StudyResult({key: Volume(data.astype(np.float32), AFFINE) for key, data in arrays.items()}, qc, record)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("quality")
    folders = Folders(root, root)
    stores: dict[str, SubjectStore] = {}
    left = [BAD, "b", "c"]
    for stage, name in zip(STAGES, STORES, strict=True):
        jobs = {one: (one, stage) for one in left}
        keys = dict.fromkeys(left, "")
        stores[name] = run_stage(folders.stage(stage), jobs, study, fingerprints=keys, allow_failures=True)
        left = stores[name].studies()
    image, _ = head()
    write_volume(Volume(image, AFFINE), root / "raw.nii.gz")
    rows = [("a", BAD, "train"), ("b", "b", "validation"), ("c", "c", "test")]
    cohort = pd.DataFrame(
        [(*row, "T1w", str(root / "raw.nii.gz"), "", "", "", "") for row in rows],
        columns=["subject", "study", "split", "sequence", "path", "visit", "lesion_path", "lesion_on", "brain_path"],
    )
    return SimpleNamespace(folders=folders, stores=stores, cohort=cohort)


def stages(made) -> tuple[SubjectStore, SubjectStore]:
    one = RunOptions(workers=1)
    quality = measure_quality(made.cohort, **made.stores, folders=made.folders, run_options=one)
    drawn = {"sequences": ["T1w", "FLAIR"], "lesion_classes": ["edema"]}
    return quality, draw_strips(made.cohort, **made.stores, folders=made.folders, **drawn, run_options=one)


QUARANTINE = pd.DataFrame(
    [("z_1", "z", "f", "the file is truncated"), ("z_1", "z", "f", "a sequence is missing")],
    columns=["study", "subject", "file", "reason"],
)


@pytest.fixture(scope="module")
def page(made):
    quality, strips = stages(made)
    names = ("measures", "flags", "page", "summary", "pictures")
    results = qc_page(
        made.cohort,
        QUARANTINE,
        **made.stores,
        quality=quality,
        strips=strips,
        cohort_options=CohortOptions(name="trial", layout="trial"),
        lesion_classes=["edema"],
        options=QCOptions(),
    )
    return SimpleNamespace(**dict(zip(names, results, strict=True)))


def test_measures_of_every_stage_by_study(page):
    assert list(page.measures) == MEASURE_COLUMNS
    reported = page.measures[page.measures["measure"] == "measure"]
    assert reported.groupby("stage")["study"].nunique().to_dict() == dict.fromkeys(
        ("brain", "bias", "standardize", "grid", "atlas"), 2
    )
    assert set(page.measures.loc[page.measures["study"] == BAD, "subject"]) == {"a"}
    gains = page.measures[page.measures["measure"] == "FLAIR_mi_gain"]
    assert gains["value"].tolist() == pytest.approx([1.2] * 3)  # 0.6 over 0.5, of b too, that failed later on
    distances = page.measures[page.measures["measure"] == "T1w_scale_distance"]
    assert distances["value"].tolist() == [0, 0]  # both studies are alike


def test_a_misaligned_sequence_is_flagged_and_no_other_study(page):
    assert list(page.flags) == FLAG_COLUMNS
    assert set(page.flags["study"]) == {"c"}
    offset = page.flags[page.flags["measure"] == "FLAIR_edge_offset_mm"]
    assert offset["value"].iloc[0] == pytest.approx(12, abs=1.5) and offset["kind"].iloc[0] == "limit"


def test_the_page_tells_of_all_studies_and_why_some_are_missing(page):
    for said in ("z_1", "this is no brain", "the file is truncated", "a sequence is missing", "trial"):
        assert said in page.page, said
    assert BAD not in page.page and "&lt;img src=x onerror=alert(1)&gt;" in page.page


def test_there_is_a_picture_of_all_that_came_as_far_as_one_stage(page):
    assert page.page.count("<img") == len(page.pictures) == 3
    for name, path in page.pictures.items():
        assert f'src="strips/{name}"' in page.page
        assert path.read_bytes().startswith(b"RIFF")


def test_the_summary_counts_them(page):
    assert page.summary["studies"] == 4 and sorted(page.summary["failed"]) == ["b", "z_1"]
    assert page.summary["failed"]["z_1"] == ("the file is truncated", "a sequence is missing")
    assert page.summary["outliers"] == ("c",) and page.summary["first"] == ("c", BAD)


def test_an_unchanged_rerun_measures_and_draws_nothing(made, page, monkeypatch):
    before = [store.fingerprints() for store in stages(made)]

    def refuse(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(SubjectStore, "volume", refuse)
    again = stages(made)
    assert [store.fingerprints() for store in again] == before
    assert all(store.failures().empty for store in again)


def test_a_study_with_a_reference_of_its_own_is_measured_and_drawn_by_it(made, tmp_path):
    folders = Folders(tmp_path, tmp_path)
    stores = {
        name: run_stage(folders.stage(stage), {"d": ("d", stage)}, study, fingerprints={"d": ""})
        for stage, name in zip(STAGES, STORES, strict=True)
    }
    row = made.cohort.iloc[:1].assign(study="d", sequence="FLAIR")
    quality, strips = stages(SimpleNamespace(folders=folders, stores=stores, cohort=row))
    measured = quality.measures("d")
    assert "coregister/T1w_edge_offset_mm" in measured and "coregister/FLAIR_edge_offset_mm" not in measured
    assert strips.studies() == ["d"]


def test_a_study_held_back_by_a_limit_keeps_its_measures_and_its_picture(made, page, tmp_path):
    # As a stage leaves it whose judge held ``c`` back: the files are there, the manifest calls it failed.
    held = made.stores["brains"].manifest()
    reason = f"{HELD_BACK}brain_ml is 90, allowed is 500 to 2500"
    changed = {**held, "present": {key: held["present"][key] for key in [BAD]}, "failed": {"c": reason}}
    store = SubjectStore(made.stores["brains"].root)
    write_json(store.root / MANIFEST, changed)
    try:
        quality, strips = stages(made)
        measures, _, html, summary, pictures = qc_page(
            made.cohort, QUARANTINE.iloc[:0], **made.stores, quality=quality, strips=strips,
            cohort_options=CohortOptions(name="trial", layout="trial"), lesion_classes=[], options=QCOptions(),
        )  # fmt: skip
    finally:
        write_json(store.root / MANIFEST, held)
    assert summary["failed"] == {"c": (f"brain: {reason}",)}
    assert 'data-verdict="held back"' in html and "c.webp" in pictures
    assert "c" in set(measures.loc[measures["stage"] == "brain", "study"])
