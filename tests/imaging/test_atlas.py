from __future__ import annotations

import numpy as np
import pytest

from lesionlab.errors import InputError
from lesionlab.imaging.atlas import AtlasOptions, align_template, build_template
from lesionlab.imaging.similarity import correlation
from lesionlab.imaging.volume import Volume

SHAPE, SPACING = (44, 52, 26), (4.5, 4.5, 7.0)
QUICK = AtlasOptions(iterations=1, affine_iterations=(30, 10), syn_iterations=(10, 5, 0))


def stripped(volume, background=0.0):
    """The brain of the made-up head: bright enough and inside the skull."""
    points = np.moveaxis(np.indices(volume.shape, dtype=float), 0, -1) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    inside = ((points / (60, 72, 56)) ** 2).sum(axis=-1) < 1
    return volume.like(np.where(inside, volume.data / 500, background).astype(np.float32))


@pytest.fixture(scope="module")
def studies(make_head, upright, turn):
    """Three heads in scanners that lie at different places, two sequences each."""
    result = []
    for k, (angle, shift) in enumerate([(0, (0, 0, 0)), (4, (300, 20, -50)), (-4, (-80, 0, 10))]):
        place = np.eye(4)
        place[:3, 3] = shift
        own = turn("z", angle)
        scans = {}
        for name, contrast in (("T1w", 1.0), ("FLAIR", -0.6)):
            here = stripped(make_head(upright(SPACING, SHAPE), SHAPE, own, contrast * (1 + 0.05 * k)))
            scans[name] = Volume(here.data, place @ here.affine)
        result.append(scans)
    return result


@pytest.fixture(scope="module")
def template(studies):
    return build_template(studies, QUICK)


def test_the_template_holds_every_sequence_on_one_upright_grid(template, studies):
    assert set(template.volumes) == {"T1w", "FLAIR"}
    affine = template.volumes["T1w"].affine
    np.testing.assert_allclose(affine[:3, :3], np.diag(SPACING))
    assert template.volumes["FLAIR"].shape == template.volumes["T1w"].shape
    assert template.qc["studies"] == 3
    assert template.qc["round_1_correlation"] > 0.9
    rim = template.volumes["T1w"].data[:, :, [0, -1]]
    assert (rim == 0).all()


def test_it_comes_to_a_study_and_looks_like_it(template, studies):
    for study in studies[:2]:
        done = align_template(template.volumes, study, QUICK)
        assert done.volumes["FLAIR"].shape == SHAPE
        np.testing.assert_array_equal(done.volumes["FLAIR"].affine, study["FLAIR"].affine)
        brain = study["T1w"].data > 0
        assert done.qc["T1w_correlation"] == pytest.approx(
            correlation(done.volumes["T1w"].data, study["T1w"].data, brain)
        )
        assert done.qc["T1w_correlation"] > 0.8
        assert done.qc["FLAIR_correlation"] > 0.8


def test_each_kind_of_alignment_fits_better_than_none(template, studies):
    scores = {
        kind: align_template(template.volumes, studies[1], QUICK.model_copy(update={"align": kind})).qc
        for kind in ("none", "rigid", "syn")
    }
    assert scores["rigid"]["T1w_correlation"] > scores["none"]["T1w_correlation"]
    assert scores["syn"]["T1w_correlation"] > scores["none"]["T1w_correlation"]


def test_a_background_of_minus_one_stays_minus_one(template, studies):
    shifted = [{name: v.like(np.where(v.data > 0, v.data, -1)) for name, v in study.items()} for study in studies[:2]]
    options = QUICK.model_copy(update={"iterations": 0})
    built = build_template(shifted, options).volumes
    assert built["T1w"].data.min() == -1
    aligned = align_template(built, shifted[0], options).volumes["T1w"].data
    assert aligned.min() == pytest.approx(-1, abs=1e-5)


def test_workers_change_nothing(studies):
    options = QUICK.model_copy(update={"iterations": 0})
    one = build_template(studies[:2], options).volumes["T1w"].data
    two = build_template(studies[:2], options, workers=2).volumes["T1w"].data
    np.testing.assert_array_equal(one, two)


def test_unusable_studies_are_told(studies):
    with pytest.raises(InputError, match="no study"):
        build_template([], QUICK)
    with pytest.raises(InputError, match="differ"):
        build_template([studies[0], {"T1w": studies[1]["T1w"]}], QUICK)
    with pytest.raises(InputError, match="share no sequence"):
        align_template({"T1w": studies[0]["T1w"]}, {"FLAIR": studies[0]["FLAIR"]}, QUICK)
