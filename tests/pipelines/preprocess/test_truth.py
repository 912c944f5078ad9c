"""Scores against the truth, of stages whose error is known beforehand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lesionlab.imaging.formats.nifti import write_volume
from lesionlab.imaging.volume import Volume
from lesionlab.metrics import truth as measure
from lesionlab.parameters import RunOptions
from lesionlab.pipelines.preprocess.truth import score_truth
from lesionlab.stages.stage import StageError

SHAPE = (6, 6, 4)
AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])
SHIFTED = np.eye(4)
SHIFTED[:3, 3] = (3.0, 4.0, 0.0)  # 5 mm off; of 2 x 2 x 5 mm voxels 1.5 and 2: 2.5 voxels off
WHITE = {"a": 10.0, "b": 30.0}  # white matter's mean before standardization


def anatomy() -> dict[str, np.ndarray]:
    """A brain of 4 x 4 x 4 voxels in three layers of tissue, with a lesion of one voxel."""
    brain = np.zeros(SHAPE, np.uint8)
    brain[1:5, 1:5] = 1
    label = brain.copy()
    label[1, 1, 1] = 3
    tissues = {name: np.zeros(SHAPE, np.float32) for name in ("CSF", "GM", "WM")}
    tissues["CSF"][1, 1:5], tissues["GM"][2, 1:5], tissues["WM"][3:5, 1:5] = 1, 1, 1
    bias = np.exp(np.linspace(0, 1, np.prod(SHAPE))).reshape(SHAPE).astype(np.float32)
    return {"brain": brain, "label": label, **tissues, "bias_T1w": bias, "bias_FLAIR": bias}


@pytest.fixture
def inputs(tmp_path, new_store, folders) -> dict:
    """Stages of two subjects, ``a`` for testing, that do all but the registration of ``a`` perfectly."""
    true, rng = anatomy(), np.random.default_rng(0)
    scans = {name: rng.uniform(1, 2, SHAPE).astype(np.float32) for name in ("T1w", "FLAIR")}
    for name, data in scans.items():
        write_volume(Volume(data, AFFINE), tmp_path / f"{name}.nii.gz")
    known = {f"truth/{name}": data for name, data in true.items()}
    eye, transforms = np.eye(4).tolist(), {"T1w": np.eye(4).tolist(), "FLAIR": SHIFTED.tolist()}
    found = {"T1w": eye, "FLAIR": eye}  # nothing was done about a's FLAIR
    records = {"a": {"transforms": found, "reference": "T1w"}, "b": {"transforms": transforms, "reference": "T1w"}}
    fields = {f"field_{name}": 2 * np.log(true["bias_T1w"]) for name in scans}  # a multiple correlates perfectly
    inside = true["brain"] > 0

    def bright(level: float) -> dict[str, np.ndarray]:
        # White matter at the level, the rest from 0 to 1: the range of the brain's intensities is the level's.
        image = np.where(true["WM"] > 0, level, np.linspace(0, 1, inside.size).reshape(SHAPE)) * inside
        return {name: image.astype(np.float32) for name in scans}

    each = {
        name: {study: {} for study in "ab"} for name in ("brain", "bias", "standardize", "grid", "atlas", "tissues")
    }
    for study in "ab":
        each["brain"][study] = {**scans, "brain": true["brain"]}
        each["bias"][study] = {**bright(WHITE[study]), **fields, "brain": true["brain"]}
        each["standardize"][study] = {**bright(0.7), "brain": true["brain"]}
        each["grid"][study] = {**bright(0.7), "brain": true["brain"]}
        each["atlas"][study] = {"T1w": bright(0.7)["T1w"], "FLAIR": -bright(0.7)["FLAIR"]}
        each["tissues"][study] = {name: true[name] for name in ("CSF", "GM", "WM")}
    new_store("phantom", dict.fromkeys("ab", known), AFFINE, {study: {"transforms": transforms} for study in "ab"})
    rows = [
        (study, name, str(tmp_path / f"{name}.nii.gz"), split)
        for study, split in (("a", "test"), ("b", "train"))
        for name in scans
    ]
    stores = {name: new_store(name, studies, AFFINE) for name, studies in each.items()}
    return {
        "scans": {"source": "phantom", "root": str(tmp_path / "phantom")},
        "cohort": pd.DataFrame(rows, columns=["study", "sequence", "path", "split"]),
        "coregistered": new_store("coregister", dict.fromkeys("ab", scans), AFFINE, records),
        "brains": stores["brain"],
        "unbiased": stores["bias"],
        "standardized": stores["standardize"],
        "gridded": stores["grid"],
        "atlases": stores["atlas"],
        "tissues": stores["tissues"],
        "reference": "T1w",
        "folders": folders(),
        "run_options": RunOptions(workers=1),
    }


@pytest.fixture
def scores(inputs) -> pd.Series:
    table = score_truth(**inputs)
    assert list(table) == ["stage", "subject", "measure", "value"]
    return table.set_index(["stage", "subject", "measure"])["value"]


def test_registration(scores):
    # The reference has no error to make, so it has no row.
    assert scores["coregister"].to_dict() == {
        ("a", "tre_mm_FLAIR"): pytest.approx(5.0),
        ("a", "tre_voxels_FLAIR"): pytest.approx(2.5),
        ("b", "tre_mm_FLAIR"): 0,
        ("b", "tre_voxels_FLAIR"): 0,
    }


def test_brain_and_bias(scores):
    assert scores["brain"].to_dict() == {("a", "dice"): 1, ("b", "dice"): 1}
    fields = {(s, f"log_field_correlation_{name}"): pytest.approx(1) for s in "ab" for name in ("FLAIR", "T1w")}
    assert scores["bias"].to_dict() == fields


def test_the_atlas_is_scored_on_test_subjects(scores):
    expected = {("a", "correlation_T1w"): pytest.approx(1), ("a", "correlation_FLAIR"): pytest.approx(-1)}
    assert scores["atlas"].to_dict() == expected


def test_tissues(scores):
    assert scores["tissues"].to_dict() == {(s, f"dice_{name}"): 1 for s in "ab" for name in ("CSF", "GM", "WM")}


def test_white_matter_that_is_alike_in_all_subjects_spreads_no_more(scores):
    assert scores["standardize"].to_dict() == {
        ("all", "wm_spread_ratio_T1w"): pytest.approx(0),
        ("all", "wm_spread_ratio_FLAIR"): pytest.approx(0),
    }


def test_tissues_that_were_not_segmented_have_no_rows(inputs, new_store):
    inputs["tissues"] = new_store("off", {"a": {}, "b": {}})
    assert "tissues" not in set(score_truth(**inputs)["stage"])


def test_without_a_template_the_atlas_has_no_rows(inputs, new_store):
    inputs["atlases"] = new_store("off", {"a": {}, "b": {}})
    assert "atlas" not in set(score_truth(**inputs)["stage"])


def test_a_subject_that_failed_on_the_way_is_not_scored(inputs, new_store):
    true = anatomy()
    inputs["tissues"] = new_store("one", {"b": {name: true[name] for name in ("CSF", "GM", "WM")}})
    assert set(score_truth(**inputs)["subject"]) == {"b"}  # of a single subject there is no spread


def test_a_subject_with_another_reference_is_not_scored(inputs, new_store):
    """The truth lies on T1w's grid, the subject's volumes do not."""
    store = inputs["coregistered"]
    records = {study: {**store.record(study), "reference": name} for study, name in (("a", "T1w"), ("b", "FLAIR"))}
    arrays = {study: {name: store.volume(study, name).data for name in store.names(study)} for study in "ab"}
    inputs["coregistered"] = new_store("other", arrays, AFFINE, records)
    assert set(score_truth(**inputs)["subject"]) == {"a"}


def test_a_sequence_that_a_subject_lacks_is_scored_on_the_others(inputs, new_store):
    """Without b's FLAIR there is a single FLAIR, of which there is no spread."""
    inputs["cohort"] = inputs["cohort"].query("study != 'b' or sequence != 'FLAIR'")
    for name in ("unbiased", "standardized", "gridded"):
        store = inputs[name]
        arrays = {study: {each: store.volume(study, each).data for each in store.names(study)} for study in "ab"}
        bare = {each: data for each, data in arrays["b"].items() if "FLAIR" not in each}
        inputs[name] = new_store(f"fewer {name}", {**arrays, "b": bare}, AFFINE)
    rows = score_truth(**inputs).set_index(["subject", "measure"])["value"]
    assert ("a", "tre_mm_FLAIR") in rows and ("b", "tre_mm_FLAIR") not in rows
    assert ("all", "wm_spread_ratio_T1w") in rows and ("all", "wm_spread_ratio_FLAIR") not in rows
    assert ("b", "log_field_correlation_T1w") in rows


def test_scans_of_unknown_truth_have_no_rows(inputs):
    inputs["scans"] = {"source": "files", "root": "/nowhere"}
    table = score_truth(**inputs)
    assert table.empty and list(table) == ["stage", "subject", "measure", "value"]


def test_scores_are_kept_until_what_they_score_changes(inputs, new_store, monkeypatch):
    first = score_truth(**inputs)
    monkeypatch.setattr(measure, "tissue_dice", None)  # nothing is scored again, or this would fail
    pd.testing.assert_frame_equal(score_truth(**inputs), first)
    true = anatomy()
    inputs["tissues"] = new_store("mended", {s: {name: 0.9 * true[name] for name in ("CSF", "GM", "WM")} for s in "ab"})
    with pytest.raises(StageError, match="'NoneType' object is not callable"):
        score_truth(**inputs)
