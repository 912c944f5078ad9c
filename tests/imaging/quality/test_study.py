"""All measures of a study together: which there are, and that each is one that is known."""

from __future__ import annotations

import numpy as np
import pytest

from lesionlab.imaging.quality import measure_study, study_profiles
from lesionlab.imaging.quality.measures import UNKNOWN, known


@pytest.fixture(scope="module")
def stages(brain, scan):
    """A study of two sequences, perfectly preprocessed, with a lesion of 12 mm on the right."""
    at = np.indices(brain.shape).reshape(3, -1).T * 3.0 + brain.affine[:3, 3]
    ball = (np.linalg.norm(at - [20, 0, 6], axis=1) <= 12).reshape(brain.shape)
    depth = np.linalg.norm(at / [45, 54, 42], axis=1).reshape(brain.shape)
    flair = scan.like((scan.data * 1.5 + 400 * ball).astype(np.float32))
    inside = {"T1w": scan.like(scan.data * brain.data), "FLAIR": flair.like(flair.data * brain.data)}
    field = brain.like(np.zeros(brain.shape, np.float32))
    tissues = {"WM": depth < 0.6, "GM": (depth >= 0.6) & (depth < 0.9), "CSF": (depth >= 0.9) & (depth <= 1)}
    masks = {"brain": brain, "lesion": brain.like(ball.astype(np.uint8))}
    return {
        "coregister": {"T1w": scan, "FLAIR": flair, "lesion": masks["lesion"]},
        "brain": {**inside, **masks},
        "bias": {**inside, **masks, "field_T1w": field, "field_FLAIR": field},
        "standardize": {**inside, **masks},
        "grid": {**inside, **masks},
        "atlas": inside,
        "tissues": {name: brain.like(share.astype(np.float32)) for name, share in tissues.items()},
    }


def test_every_measure_is_known_and_has_a_value(stages):
    found = measure_study(stages, "T1w")
    assert list(found) == ["coregister", "brain", "bias", "grid", "atlas", "tissues"]
    for stage, measures in found.items():
        assert measures, stage
        for name, value in measures.items():
            assert known(stage, name) is not UNKNOWN, (stage, name)
            assert np.isfinite(value), (stage, name)
    assert all(known(*name.split("/")) is not UNKNOWN for name in study_profiles(stages, "T1w"))


def test_a_study_without_fault_measures_so(stages):
    found = measure_study(stages, "T1w")
    assert found["coregister"]["FLAIR_edge_offset_mm"] < 0.5
    assert found["coregister"]["FLAIR_mirror_margin"] > 0.3  # blobs are not symmetric
    assert found["coregister"]["lesion_outside"] == 0 and found["coregister"]["lesion_offset_mm"] == 0
    # A ball of 12 mm: 7.2 ml, counted in voxels of 3 mm.
    assert found["coregister"]["lesion_ml"] == pytest.approx(4 / 3 * np.pi * 1.2**3, rel=0.05)
    assert found["grid"] == {"brain_kept": 1.0, "cut_sides": 0.0}
    assert found["bias"]["T1w_unevenness_ratio"] == pytest.approx(1, abs=0.02)  # the field is flat
    assert found["atlas"]["edge_similarity"] > 0.8  # the scan has a head around it


def test_stages_that_are_not_there_are_not_measured(stages):
    early = {name: stages[name] for name in ("coregister", "brain")}
    found = measure_study(early, "T1w")
    assert {stage for stage, measures in found.items() if measures} == {"coregister", "brain"}
    assert list(study_profiles(early, "T1w")) == ["brain/rim_distance"]


def test_wanted_stages_alone(stages):
    assert list(measure_study(stages, "T1w", ["grid"])) == ["grid"]


def test_without_a_brain_there_is_nothing_to_measure(stages, brain):
    assert measure_study({"coregister": stages["coregister"]}, "T1w") == {}
    assert measure_study({**stages, "brain": {"brain": brain.like(brain.data * 0)}}, "T1w") == {}


def test_a_tiny_or_empty_lesion_is_not_compared(stages, brain):
    speck = np.zeros(brain.shape, np.uint8)
    speck[24, 27, 23] = 1
    scans = {**stages["coregister"], "lesion": brain.like(speck)}
    assert "lesion_contrast" not in measure_study({**stages, "coregister": scans}, "T1w", ["coregister"])["coregister"]
    scans["lesion"] = brain.like(speck * 0)
    assert "lesion_ml" not in measure_study({**stages, "coregister": scans}, "T1w", ["coregister"])["coregister"]
