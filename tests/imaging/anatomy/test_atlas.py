from __future__ import annotations

import numpy as np
import pytest

from lesionlab.errors import InputError
from lesionlab.imaging.anatomy.atlas import AtlasOptions, align_template, load_template
from lesionlab.imaging.formats.nifti import write_volume
from lesionlab.imaging.similarity import correlation
from lesionlab.imaging.volume import Volume

SHAPE, SPACING = (44, 52, 26), (4.5, 4.5, 7.0)
QUICK = AtlasOptions(iterations=1, affine_iterations=(30, 10), syn_iterations=(10, 5, 0))


@pytest.fixture(scope="module")
def pair(heads):
    """A head that serves as template, and one that lies elsewhere, turned by 8 degrees."""
    return heads[2].volumes, heads[1].volumes


def test_it_comes_to_a_study_and_looks_like_it(pair):
    template, study = pair
    done = align_template(template, study, QUICK)
    assert done.volumes["FLAIR"].shape == SHAPE
    np.testing.assert_array_equal(done.volumes["FLAIR"].affine, study["FLAIR"].affine)
    brain = study["T1w"].data > 0
    assert done.qc["T1w_correlation"] == pytest.approx(correlation(done.volumes["T1w"].data, study["T1w"].data, brain))
    assert done.qc["T1w_correlation"] > 0.8
    assert done.qc["FLAIR_correlation"] > 0.8
    assert 0.95 < done.qc["brain_overlap"] <= 1


def test_each_kind_of_alignment_fits_better_than_none(pair):
    template, study = pair
    scores = {
        kind: align_template(template, study, QUICK.model_copy(update={"align": kind, "fill": False})).qc
        for kind in ("none", "rigid", "syn")
    }
    assert scores["rigid"]["T1w_correlation"] > scores["none"]["T1w_correlation"]
    assert scores["syn"]["T1w_correlation"] > scores["none"]["T1w_correlation"]
    # The two heads have one shape: the warp that SyN finds changes volumes little, and does not fold.
    assert 0.5 < scores["syn"]["jacobian_low"] <= 1 <= scores["syn"]["jacobian_high"] < 2


def test_it_is_carried_on_to_the_border_of_the_brain(pair):
    template, study = pair
    small = {name: v.like(np.where(_ellipsoid(v) < 0.8, v.data, 0)) for name, v in template.items()}
    options = QUICK.model_copy(update={"align": "none"})
    brain = study["T1w"].data > 0
    filled = align_template(small, study, options)
    bare = align_template(small, study, options.model_copy(update={"fill": False}))
    assert (bare.volumes["T1w"].data[brain] == 0).any()
    assert (filled.volumes["T1w"].data[brain] > 0).all()
    # 0.8 of the radius squared is 0.8^1.5 = 0.716 of the volume: Dice 2 * 0.716 / 1.716 = 0.834.
    assert filled.qc["brain_overlap"] == bare.qc["brain_overlap"] == pytest.approx(0.834, abs=0.03)


def _ellipsoid(volume: Volume) -> np.ndarray:
    """The squared distance from the middle, in units of the brain's half axes."""
    points = np.moveaxis(np.indices(volume.shape) - (np.array(SHAPE).reshape(3, 1, 1, 1) - 1) / 2, 0, -1) * SPACING
    return ((points / (60, 72, 56)) ** 2).sum(axis=-1)


def test_a_lesion_neither_steers_the_alignment_nor_counts(pair):
    template, study = pair
    lesion = np.zeros(SHAPE, dtype=np.uint8)
    lesion[10:20, 20:32, 10:18] = 1
    ill = {name: v.like(np.where(lesion & (v.data > 0), 5, v.data).astype(np.float32)) for name, v in study.items()}
    options = QUICK.model_copy(update={"align": "rigid"})
    known = align_template(template, ill, options, study["T1w"].like(lesion)).qc["T1w_correlation"]
    unknown = align_template(template, ill, options).qc["T1w_correlation"]
    healthy = align_template(template, study, options).qc["T1w_correlation"]
    assert known == pytest.approx(healthy, abs=0.03)
    assert unknown < known - 0.2


def test_a_background_of_minus_one_stays_minus_one(pair):
    template, study = ({n: v.like(np.where(v.data > 0, v.data, -1)) for n, v in one.items()} for one in pair)
    for fill in (True, False):
        options = QUICK.model_copy(update={"fill": fill})
        aligned = align_template(template, study, options).volumes["T1w"].data
        assert aligned.min() == pytest.approx(-1, abs=1e-5)


def test_an_earlier_template_is_read_back(pair, tmp_path):
    template, _ = pair
    for name, volume in template.items():
        write_volume(volume, tmp_path / f"{name}.nii.gz")
    read = load_template(tmp_path, ["FLAIR", "T1w"])
    assert list(read) == ["FLAIR", "T1w"]
    np.testing.assert_array_equal(read["T1w"].data, template["T1w"].data)
    np.testing.assert_allclose(read["T1w"].affine, template["T1w"].affine)


def test_an_unusable_earlier_template_is_told(pair, tmp_path):
    template, _ = pair
    write_volume(template["T1w"], tmp_path / "T1w.nii.gz")
    with pytest.raises(InputError, match=r"lacks a sequence.*T1w.*T2w\.nii\.gz"):
        load_template(tmp_path, ["T1w", "T2w"])
    with pytest.raises(InputError, match="does not exist"):
        load_template(tmp_path / "nowhere", ["T1w"])
    elsewhere = template["T1w"].affine.copy()
    elsewhere[:3, 3] += 5
    write_volume(Volume(template["T1w"].data, elsewhere), tmp_path / "T2w.nii.gz")
    with pytest.raises(InputError, match="several grids"):
        load_template(tmp_path, ["T1w", "T2w"])


def test_nothing_in_common_is_told(pair):
    template, study = pair
    with pytest.raises(InputError, match="share no sequence"):
        align_template({"T1w": template["T1w"]}, {"FLAIR": study["FLAIR"]}, QUICK)
