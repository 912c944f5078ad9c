"""What is learnt is learnt from training subjects; each stage does again what changed and no more."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lesionlab.errors import InputError
from lesionlab.imaging.atlas import AtlasOptions
from lesionlab.imaging.standardize import StandardizeOptions
from lesionlab.imaging.tissue import TissueOptions
from lesionlab.parameters import RunOptions
from lesionlab.pipelines.preprocess import nodes

ONE = RunOptions(workers=1)
COHORT = pd.DataFrame(
    {
        "study": ["a", "a", "b", "c", "d"],  # a row per sequence, which one study has two of
        "split": ["train", "train", "train", "validation", "test"],
    }
)


def head(seed: int) -> dict[str, np.ndarray]:
    """6 x 6 x 4 voxels, brain in the middle."""
    brain = np.zeros((6, 6, 4), np.uint8)
    brain[1:5, 1:5] = 1
    image = np.random.default_rng(seed).uniform(10, 100, brain.shape).astype(np.float32) * brain
    return {"T1w": image, "brain": brain, "field_T1w": np.zeros_like(image)}


@pytest.fixture
def heads() -> dict[str, dict[str, np.ndarray]]:
    return {study: head(number) for number, study in enumerate("abcd")}


def skewed(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Another distribution of intensities: most of the brain dark."""
    return {**arrays, "T1w": arrays["T1w"] ** 4}


def standardized(store, folders, rule="nyul"):
    made = nodes.standardize(store, COHORT, folders, StandardizeOptions(rule=rule), ONE)
    return {study: made.volume(study, "T1w").data for study in made.studies()}


def test_training_studies(new_store, heads):
    store = new_store("bias", heads)
    assert nodes.training_studies(store, COHORT) == ["a", "b"]
    fewer = new_store("fewer", {"b": heads["b"], "d": heads["d"]})  # a failed in the stage before
    assert nodes.training_studies(fewer, COHORT) == ["b"]


def test_the_intensity_scale_is_learnt_from_training_subjects_alone(new_store, folders, heads):
    plain = standardized(new_store("plain", heads), folders("plain"))
    others = heads | {study: skewed(heads[study]) for study in "cd"}
    changed = standardized(new_store("others", others), folders("others"))
    for study in "ab":
        np.testing.assert_array_equal(changed[study], plain[study])
    own = standardized(new_store("own", heads | {"b": skewed(heads["b"])}), folders("own"))
    assert not np.array_equal(own["d"], plain["d"])


def test_standardized_landmarks(new_store, folders, heads):
    # A single training study's 1st and 99th percentile go to 0.05 and 0.8.
    cohort_of_one = dict.fromkeys("abcd", heads["a"])
    data = standardized(new_store("one", cohort_of_one), folders("one"))["d"]
    inside = data[heads["a"]["brain"] > 0]
    assert np.percentile(inside, [1, 99]) == pytest.approx([0.05, 0.8], abs=1e-3)
    assert not data[heads["a"]["brain"] == 0].any()


def test_a_rule_that_learns_nothing_needs_no_training_subjects_values(new_store, folders, heads):
    plain = standardized(new_store("plain", heads), folders("plain"), "p99_5")
    own = standardized(new_store("own", heads | {"b": skewed(heads["b"])}), folders("own"), "p99_5")
    np.testing.assert_array_equal(own["d"], plain["d"])


def test_bias_fields_are_not_handed_on(new_store, folders, heads):
    made = nodes.standardize(new_store("bias", heads), COHORT, folders(), StandardizeOptions(), ONE)
    assert made.names("a") == ["T1w", "brain"]
    assert made.root == folders().results / "03_primary" / "standardize"


def test_another_training_study_is_another_scale_for_all(new_store, folders, heads):
    store, at = new_store("bias", heads), folders()
    nodes.standardize(store, COHORT, at, StandardizeOptions(), ONE)
    file = at.stage("standardize") / "d" / "T1w.nii.gz"
    first = file.stat().st_mtime_ns
    nodes.standardize(store, COHORT, at, StandardizeOptions(), ONE)
    assert file.stat().st_mtime_ns == first
    nodes.standardize(store, COHORT.replace({"split": {"validation": "train"}}), at, StandardizeOptions(), ONE)
    assert file.stat().st_mtime_ns != first


def test_stages_that_are_off_leave_whole_stores_without_volumes(new_store, folders, heads):
    grid, at = new_store("grid", heads), folders()
    template = nodes.build_atlas(grid, COHORT, at, AtlasOptions(enabled=False), ONE)
    atlases = nodes.align_atlas(template, grid, at, AtlasOptions(enabled=False), ONE)
    tissues = nodes.segment_tissues(grid, at, TissueOptions(enabled=False), ONE)
    assert template.complete() and template.names("template") == []
    for store in (atlases, tissues):
        assert store.complete() and store.studies() == ["a", "b", "c", "d"]
        assert all(store.names(study) == [] for study in store.studies())


def test_no_training_study_is_left(new_store, folders, heads):
    cohort = COHORT.assign(split="test")  # as good as where all training studies failed
    with pytest.raises(InputError, match=r"no training study is left.*none of them in bias"):
        nodes.standardize(new_store("bias", heads), cohort, folders(), StandardizeOptions(), ONE)
