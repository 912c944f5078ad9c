"""What is learnt is learnt from training subjects; each stage does again what changed and no more."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from lesionlab.errors import InputError
from lesionlab.imaging.anatomy.atlas import AtlasOptions
from lesionlab.imaging.anatomy.tissue import TissueOptions
from lesionlab.imaging.formats.nifti import write_volume
from lesionlab.imaging.intensity.standardize import StandardizeOptions
from lesionlab.imaging.quality.limits import QCOptions
from lesionlab.imaging.volume import Volume
from lesionlab.parameters import RunOptions
from lesionlab.pipelines.preprocess import nodes
from lesionlab.stages.stage import StageError

ONE = RunOptions(workers=1)
LENIENT = QCOptions()
COHORT = pd.DataFrame(
    {
        "study": ["a", "a", "b", "c", "d"],  # a row per sequence, which one study has two of
        "split": ["train", "train", "train", "validation", "test"],
        "sequence": ["T1w", "FLAIR", "T1w", "T1w", "T1w"],
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


def brought_to_scale(store, folders, options, cohort=COHORT):
    learnt = nodes.learn_landmarks(store, cohort, folders, options, ONE)
    return nodes.standardize(store, learnt, folders, options, LENIENT, ONE)


def standardized(store, folders, rule="nyul"):
    made = brought_to_scale(store, folders, StandardizeOptions(rule=rule))
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
    made = brought_to_scale(new_store("bias", heads), folders(), StandardizeOptions())
    assert made.names("a") == ["T1w", "brain"]
    assert made.root == folders().results / "03_primary" / "standardize"


def test_another_training_study_is_another_scale_for_all(new_store, folders, heads):
    store, at = new_store("bias", heads), folders()
    brought_to_scale(store, at, StandardizeOptions())
    file = at.stage("standardize") / "d" / "T1w.nii.gz"
    first = file.stat().st_mtime_ns
    brought_to_scale(store, at, StandardizeOptions())
    assert file.stat().st_mtime_ns == first
    brought_to_scale(store, at, StandardizeOptions(), COHORT.replace({"split": {"validation": "train"}}))
    assert file.stat().st_mtime_ns != first


def test_stages_that_are_off_leave_whole_stores_without_volumes(new_store, folders, heads):
    grid, at = new_store("grid", heads), folders()
    template = nodes.build_atlas(grid, COHORT, at, ["T1w"], AtlasOptions(enabled=False), ONE)
    atlases = nodes.align_atlas(template, grid, at, AtlasOptions(enabled=False), LENIENT, ONE)
    tissues = nodes.segment_tissues(grid, at, TissueOptions(enabled=False), LENIENT, ONE)
    assert template.complete() and template.names("template") == []
    for store in (atlases, tissues):
        assert store.complete() and store.studies() == ["a", "b", "c", "d"]
        assert all(store.names(study) == [] for study in store.studies())


def test_no_training_study_is_left(new_store, folders, heads):
    cohort = COHORT.assign(split="test")  # as good as where all training studies failed
    with pytest.raises(InputError, match=r"no training study is left.*none of them in bias"):
        nodes.learn_landmarks(new_store("bias", heads), cohort, folders(), StandardizeOptions(), ONE)


def test_an_earlier_runs_landmarks_are_kept_whoever_trains(new_store, folders, heads):
    store, first = new_store("bias", heads), folders("first")
    plain = brought_to_scale(store, first, StandardizeOptions()).volume("d", "T1w").data
    kept = first.stage("landmarks") / "standard" / "landmarks.json"
    frozen, at = StandardizeOptions(landmarks=str(kept)), folders("second")
    others = new_store("others", heads | {"b": skewed(heads["b"])})
    nobody = COHORT.assign(split="test")
    np.testing.assert_array_equal(brought_to_scale(others, at, frozen, nobody).volume("d", "T1w").data, plain)
    assert (at.stage("landmarks") / "standard" / "landmarks.json").read_bytes() == kept.read_bytes()


def test_the_landmarks_file_names_the_training_studies(new_store, folders, heads):
    at = folders()
    brought_to_scale(new_store("bias", heads), at, StandardizeOptions())
    told = json.loads((at.stage("landmarks") / "standard" / "landmarks.json").read_text())
    assert told["studies"] == ["a", "b"] and told["sequences"]["T1w"]["studies"] == 2


def with_flair(heads: dict[str, dict[str, np.ndarray]], *studies: str) -> dict[str, dict[str, np.ndarray]]:
    return {study: {**each, "FLAIR": each["T1w"]} if study in studies else each for study, each in heads.items()}


def test_a_sequence_that_no_training_study_has_cannot_be_learnt(new_store, folders, heads):
    store = new_store("bias", with_flair(heads, "d"))
    with pytest.raises(InputError, match=r"no training study has a sequence.*Given: FLAIR"):
        nodes.learn_landmarks(store, COHORT, folders(), StandardizeOptions(), ONE)
    nodes.learn_landmarks(store, COHORT, folders(), StandardizeOptions(rule="p99_5"), ONE)  # learns nothing
    one_has = new_store("one", with_flair(heads, "a", "d"))
    assert brought_to_scale(one_has, folders(), StandardizeOptions()).names("d") == ["FLAIR", "T1w", "brain"]


def test_the_template_is_built_of_training_studies_that_have_every_sequence(new_store, folders, heads):
    grid, at = new_store("grid", with_flair(heads, "a")), folders()
    quick = AtlasOptions(iterations=0, affine_iterations=(1,), align="none")
    template = nodes.build_atlas(grid, COHORT, at, ["T1w", "FLAIR"], quick, ONE)
    assert template.record("template")["studies"] == ["a"]
    assert template.names("template") == ["FLAIR", "T1w"]
    aligned = nodes.align_atlas(template, grid, at, quick, LENIENT, ONE)  # also to a study without FLAIR
    assert aligned.names("b") == ["FLAIR", "T1w"]


def test_no_training_study_has_every_sequence(new_store, folders, heads):
    grid = new_store("grid", with_flair(heads, "a"))
    with pytest.raises(InputError, match=r"(?s)no training study has every sequence.*a without T2w, b without FLAIR"):
        nodes.build_atlas(grid, COHORT, folders(), ["T1w", "FLAIR", "T2w"], AtlasOptions(), ONE)


def test_an_earlier_runs_template_is_taken_as_it_is(new_store, folders, heads, tmp_path):
    grid = new_store("grid", heads)
    write_volume(Volume(heads["a"]["T1w"], np.eye(4)), tmp_path / "earlier" / "T1w.nii.gz")
    options = AtlasOptions(template=tmp_path / "earlier")
    made = nodes.build_atlas(grid, COHORT.assign(split="test"), folders(), ["T1w"], options, ONE)
    np.testing.assert_array_equal(made.volume("template", "T1w").data, heads["a"]["T1w"])
    assert made.record("template") == {}  # nobody knows whom it shows


def test_an_earlier_runs_template_still_tells_whom_it_was_built_from(new_store, folders, heads):
    grid = new_store("grid", heads)
    quick = AtlasOptions(iterations=0, affine_iterations=(1,), align="none")
    earlier = nodes.build_atlas(grid, COHORT, folders("earlier"), ["T1w"], quick, ONE)
    options = AtlasOptions(template=earlier.root / "template")
    made = nodes.build_atlas(grid, COHORT.assign(split="test"), folders(), ["T1w"], options, ONE)
    assert made.record("template") == {"studies": earlier.record("template")["studies"]}


def test_a_study_whose_measures_break_a_limit_is_held_back(new_store, folders, heads):
    limits = QCOptions.model_validate(
        {"limits": {"standardize": {"T1w_clipped_fraction": {"max": -1, "action": "quarantine"}}}}
    )
    store, at = new_store("bias", heads), folders()
    learnt = nodes.learn_landmarks(store, COHORT, at, StandardizeOptions(), ONE)
    with pytest.raises(StageError, match="T1w_clipped_fraction is .* allowed is at most -1"):
        nodes.standardize(store, learnt, at, StandardizeOptions(), limits, ONE)
    again = nodes.standardize(store, learnt, at, StandardizeOptions(), LENIENT, ONE)  # nothing is computed anew
    assert again.studies() == ["a", "b", "c", "d"]
