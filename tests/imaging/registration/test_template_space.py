from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from lesionlab.errors import InputError
from lesionlab.imaging.anatomy.tissue import mni152
from lesionlab.imaging.formats.nifti import write_volume
from lesionlab.imaging.registration.template_space import TemplateOptions, load_template, to_template
from lesionlab.imaging.resample import resample, resample_like
from lesionlab.imaging.volume import Volume

SHAPE, SPACING = (60, 66, 28), (3.5, 3.5, 6.0)


@pytest.fixture(scope="module")
def template():
    return mni152(3.0)["T1w"]


@pytest.fixture(scope="module")
def scene(template, upright, turn):
    """A smaller, turned copy of the template in another contrast, on thick planes; and where its points lie there."""
    true = turn("x", 8, (5, -20, 12)) @ turn("z", -6) @ np.diag([1.12, 1.09, 1.05, 1.0])
    scan = resample(template, SHAPE, upright(SPACING, SHAPE), matrix=true)
    brain = scan.like((scan.data > 0.15).astype(np.uint8))
    dark = np.where(brain.data > 0, 1.3 - scan.data, 0) + np.random.default_rng(1).normal(0, 0.02, SHAPE)
    return scan.like(dark.astype(np.float32)), brain, true


def errors_mm(found, true, brain):
    points = np.c_[np.argwhere(brain.data > 0)[::50], np.ones(len(np.argwhere(brain.data > 0)[::50]))] @ brain.affine.T
    return np.linalg.norm((points @ (found - true).T)[:, :3], axis=1)


def test_a_known_place_and_size_is_found(scene, template):
    scan, brain, true = scene
    found = to_template(scan, brain, template, TemplateOptions(space="mni152"))
    assert errors_mm(np.eye(4), true, brain).mean() > 15
    assert errors_mm(found.matrix, true, brain).mean() < 1.5
    assert found.qc["template_scale"] == pytest.approx(1.12 * 1.09 * 1.05, rel=0.03)
    assert found.qc["template_brain_dice"] > 0.95
    np.testing.assert_allclose(found.back @ found.matrix, np.eye(4), atol=1e-9)


def test_rigid_keeps_the_size(scene, template):
    scan, brain, _ = scene
    found = to_template(scan, brain, template, TemplateOptions(space="mni152", kind="rigid"))
    assert found.qc["template_scale"] == pytest.approx(1, abs=1e-6)


def test_the_phantoms_tissues_meet_the_templates(patient):
    # The phantom's heads are made from MNI152: its white matter has to lie on theirs, but for its own folds.
    found = to_template(patient.scans["T1w"], patient.truth["brain"], mni152(2.0)["T1w"], TemplateOptions())
    white = patient.truth["WM"]
    there = resample_like(mni152(2.0)["WM"], white, matrix=found.matrix).data > 0.5
    here = white.data > 0.5
    assert 2 * (there & here).sum() / (there.sum() + here.sum()) > 0.55
    assert found.qc["template_brain_dice"] > 0.9


def test_nonsense_is_refused(scene, template):
    scan, brain, _ = scene
    noise = scan.like(np.random.default_rng(0).random(SHAPE, dtype=np.float32))
    ball = np.linalg.norm(np.indices(SHAPE) * np.array(SPACING)[:, None, None, None] - 60, axis=0) < 25
    alone = TemplateOptions(search=None)
    with pytest.raises(InputError, match="could not be brought to the template"):
        to_template(noise, scan.like(ball.astype(np.uint8)), template, alone)
    with pytest.raises(InputError, match="brain mask does not fit"):
        to_template(scan, brain.like(np.zeros(SHAPE, np.uint8)), template, alone)
    with pytest.raises(InputError, match="brain mask does not fit"):
        to_template(scan, Volume(brain.data[1:], brain.affine), template, alone)


def test_templates_by_name_and_by_file(tmp_path, blob):
    assert load_template("native") is None
    assert load_template("mni152").spacing == pytest.approx((1, 1, 1))
    write_volume(blob, tmp_path / "own.nii.gz")
    np.testing.assert_allclose(load_template(str(tmp_path / "own.nii.gz")).data, blob.data)
    assert nib.load(tmp_path / "own.nii.gz").shape == blob.shape
    with pytest.raises(InputError, match="no such template.*sri24.nii"):
        load_template(str(tmp_path / "sri24.nii"))
