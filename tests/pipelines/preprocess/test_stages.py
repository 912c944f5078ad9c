"""What a stage keeps of a study."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lesionlab.cohort.layout import LesionLayout
from lesionlab.errors import InputError
from lesionlab.imaging.anatomy.brain import BrainOptions
from lesionlab.imaging.anatomy.tissue import mni152
from lesionlab.imaging.formats.nifti import write_volume
from lesionlab.imaging.grid import GridOptions
from lesionlab.imaging.intensity.landmarks import LandmarkSet
from lesionlab.imaging.intensity.standardize import StandardizeOptions, fit_landmarks, fit_mapping
from lesionlab.imaging.registration.coregistration import CoregisterOptions
from lesionlab.imaging.registration.template_space import TemplateOptions
from lesionlab.imaging.transforms import matrix_from_itk_bytes
from lesionlab.imaging.volume import Volume
from lesionlab.pipelines.preprocess import jobs, stages
from lesionlab.pipelines.preprocess.jobs import Job
from lesionlab.stages.engine import Engine

AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])
CLASSES = ("edema", "tumor")
OFF = CoregisterOptions(enabled=False)


def volume(data: np.ndarray) -> Volume:
    return Volume(data, AFFINE)


@pytest.fixture
def rows(tmp_path) -> pd.DataFrame:
    """A study's files: two sequences, a lesion of the file's codes 1 and 4, a brain mask."""
    rng = np.random.default_rng(1)
    lesion = np.zeros((8, 8, 4), np.int16)
    lesion[2, 2, 1], lesion[3, 3, 1] = 4, 1
    brain = np.zeros((8, 8, 4), np.uint8)
    brain[1:7, 1:7] = 7
    files = {name: rng.uniform(5, 9, lesion.shape).astype(np.float32) for name in ("T1w", "FLAIR")}
    for name, data in {**files, "lesion": lesion, "brain": brain}.items():
        write_volume(volume(data), tmp_path / f"{name}.nii.gz")
    about = {"subject": "a", "study": "a", "lesion_on": "T1w"}
    masks = {f"{name}_path": str(tmp_path / f"{name}.nii.gz") for name in ("lesion", "brain")}
    return pd.DataFrame(
        [{**about, "sequence": name, "path": str(tmp_path / f"{name}.nii.gz"), **masks} for name in ("T1w", "FLAIR")]
    )


LESION = LesionLayout.model_validate({"file": "{subject}", "drawn_on": "T1w", "codes": {4: "edema", 1: "tumor"}})


def test_coregistered_studies_have_the_projects_lesion_codes_and_the_given_brain(rows):
    done = stages.coregister_study(jobs.Scans(rows, "T1w", LESION, CLASSES, OFF))
    assert sorted(done.volumes) == ["FLAIR", "T1w", "brain", "lesion"]
    lesion = done.volumes["lesion"].data
    assert (lesion[2, 2, 1], lesion[3, 3, 1], np.count_nonzero(lesion)) == (2, 3, 2) and lesion.dtype == np.uint8
    assert set(np.unique(done.volumes["brain"].data > 0)) == {False, True}
    assert np.array_equal(done.record["transforms"]["FLAIR"], np.eye(4))


def test_without_the_reference_another_sequence_takes_its_place(rows):
    flair = rows[rows["sequence"] == "FLAIR"].assign(lesion_on="FLAIR")
    options = CoregisterOptions(enabled=False, reference_fallback=("T2w", "FLAIR"))
    done = stages.coregister_study(jobs.Scans(flair, "T1w", LESION, CLASSES, options))
    assert done.record["reference"] == "FLAIR" and sorted(done.volumes) == ["FLAIR", "brain", "lesion"]
    whole = stages.coregister_study(jobs.Scans(rows, "T1w", LESION, CLASSES, options))
    assert whole.record["reference"] == "T1w"
    with pytest.raises(InputError, match=r"lacks the reference sequence.*T1w.*reference_fallback"):
        stages.coregister_study(jobs.Scans(flair, "T1w", LESION, CLASSES, OFF))


def test_a_study_without_masks_has_none(rows):
    bare = rows.assign(lesion_path="", lesion_on="", brain_path="")
    done = stages.coregister_study(jobs.Scans(bare, "T1w", LESION, CLASSES, OFF))
    assert sorted(done.volumes) == ["FLAIR", "T1w"]


def test_the_brain_is_cut_out(new_store):
    brain = np.zeros((8, 8, 4), np.uint8)
    brain[2:6, 2:6] = 1
    image = np.full(brain.shape, 9, np.float32)
    lesion = np.zeros_like(brain)
    lesion[3, 3] = 2
    store = new_store("coregister", {"a": {"T1w": image, "brain": brain, "lesion": lesion}})
    done = stages.brain_study(Job(store, "a", BrainOptions(backend="given", plausible_ml=(0.0, 10.0))))
    np.testing.assert_array_equal(done.volumes["T1w"].data, 9 * brain)
    np.testing.assert_array_equal(done.volumes["lesion"].data, lesion)
    assert done.qc["brain_ml"] == pytest.approx(4 * 4 * 4 * 0.02)  # voxels of 20 mm³


@pytest.mark.parametrize(("rule", "background"), [("nyul", 0), ("p99_5", 0), ("zscore_third", -1)])
def test_from_raw_scan_to_grid(rows, new_store, tmp_path, rule, background):
    """What the stages found out is applied to the raw scan at the end; the background is what the rule says."""
    scans = jobs.Scans(rows, "T1w", LESION, CLASSES, OFF)
    done = stages.coregister_study(scans)
    coregistered = store_of(new_store, "coregister", done)
    found = stages.brain_study(Job(coregistered, "a", BrainOptions(backend="given", plausible_ml=(0.0, 99.0))))
    field = {f"field_{name}": np.full((8, 8, 4), np.log(2), np.float32) for name in scans.paths}
    kept = {name: one.data for name, one in found.volumes.items()} | field
    halved = {name: data / 2 if name in scans.paths else data for name, data in kept.items()}  # as bias leaves them
    unbiased = new_store("bias", {"a": halved})
    learnt = stages.landmarks_study(jobs.LandmarksJob(unbiased, ["a"], StandardizeOptions(rule=rule), Engine(1)))
    landmarks = store_of(new_store, "landmarks", learnt, "standard")
    options = StandardizeOptions(rule=rule)
    scaled = stages.standardize_study(Job(unbiased, "a", options, {"landmarks": landmarks}))
    standard = store_of(new_store, "standardize", scaled)
    grid = GridOptions(in_plane_mm=2.0, size=(8, 8))
    on_grid = stages.grid_study(
        jobs.GridJob(scans, "a", coregistered, unbiased, standard, TemplateOptions(), grid)
    ).volumes
    outside = on_grid["brain"].data == 0
    assert outside.any() and (on_grid["T1w"].data[outside] == background).all()
    assert (on_grid["T1w"].data[~outside] != background).mean() > 0.95
    # The grid's voxels are the scan's, so nothing is lost to interpolation.
    np.testing.assert_allclose(
        np.sort(on_grid["T1w"].data[~outside]), np.sort(scaled.volumes["T1w"].data[kept["brain"] > 0]), atol=1e-4
    )
    assert on_grid["lesion"].data.max() == 3


def test_a_study_without_the_reference_comes_to_the_common_space_by_its_own(new_store, tmp_path):
    """The template is the study's only scan, 6 mm further to the front."""
    scan = mni152(4.0)["T1w"]
    brain = (scan.data > 0.15).astype(np.uint8)
    shift = np.eye(4)
    shift[1, 3] = 6.0
    write_volume(scan, tmp_path / "FLAIR.nii.gz")
    write_volume(Volume(scan.data, shift @ scan.affine), tmp_path / "template.nii.gz")
    files = {"path": str(tmp_path / "FLAIR.nii.gz"), "lesion_path": "", "lesion_on": "", "brain_path": ""}
    rows = pd.DataFrame([{"subject": "a", "study": "a", "sequence": "FLAIR", **files}])
    options = CoregisterOptions(enabled=False, reference_fallback=("FLAIR",))
    scans = jobs.Scans(rows, "T1w", None, CLASSES, options)
    record = dict(stages.coregister_study(scans).record)
    mapping = fit_mapping(scan, scan.like(brain), StandardizeOptions(rule="p99_5")).model_dump(mode="json")
    coregistered = new_store("coregister", {"a": {"FLAIR": scan.data}}, scan.affine, {"a": record})
    unbiased = new_store("bias", {"a": {"field_FLAIR": np.zeros_like(scan.data)}}, scan.affine)
    standard = new_store("standardize", {"a": {"brain": brain}}, scan.affine, {"a": {"maps": {"FLAIR": mapping}}})
    space, grid = TemplateOptions(space=str(tmp_path / "template.nii.gz"), kind="rigid"), GridOptions(in_plane_mm=4.0)
    made = stages.grid_study(jobs.GridJob(scans, "a", coregistered, unbiased, standard, space, grid))
    np.testing.assert_allclose(made.record["to_reference"], np.linalg.inv(shift), atol=0.5)
    assert sorted(made.volumes) == ["FLAIR", "brain"]


def test_landmarks_of_a_sequence_are_learnt_from_the_studies_that_have_it(new_store):
    rng, brain = np.random.default_rng(3), np.ones((6, 6, 4), np.uint8)
    one, other = (rng.uniform(low, 10, brain.shape).astype(np.float32) for low in (1, 5))
    store = new_store("bias", {"a": {"T1w": one, "brain": brain}, "b": {"T1w": other, "FLAIR": one, "brain": brain}})
    options = StandardizeOptions()
    learnt = stages.landmarks_study(jobs.LandmarksJob(store, ["a", "b"], options, Engine(1)))
    told = LandmarkSet.model_validate_json(learnt.files["landmarks.json"])
    assert told.studies == ("a", "b")  # for the check of leakage: whoever had a part, test subject or not
    assert {name: marks.studies for name, marks in told.sequences.items()} == {"T1w": 2, "FLAIR": 1}
    assert told.sequences["FLAIR"] == fit_landmarks([(volume(one), volume(brain))], options)


def store_of(new_store, name, result, study="a"):
    made = new_store(
        name,
        {study: {each: volume.data for each, volume in result.volumes.items()}},
        records={study: dict(result.record)},
    )
    for file, content in result.files.items():
        (made.root / study / file).write_bytes(content)
    return made


def test_transforms_lie_beside_the_volumes_for_ants(rows):
    done = stages.coregister_study(jobs.Scans(rows, "T1w", LESION, CLASSES, OFF))
    np.testing.assert_allclose(matrix_from_itk_bytes(done.files["FLAIR_to_reference.mat"]), np.eye(4), atol=1e-12)


def test_masks_and_fields_are_no_sequences(new_store):
    arrays = {name: np.ones((2, 2, 2), np.float32) for name in ("T1w", "FLAIR", "brain", "lesion", "field_T1w")}
    store = new_store("bias", {"a": arrays})
    assert sorted(jobs.sequences(store, "a")) == ["FLAIR", "T1w"]
    job = Job(store, "a", None)
    assert sorted(job.images()) == ["FLAIR", "T1w"] and sorted(job.masks()) == ["brain", "lesion"]
    bare = new_store("bare", {"a": {"T1w": arrays["T1w"]}})
    assert Job(bare, "a", None).masks() == {}
