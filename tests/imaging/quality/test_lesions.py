from __future__ import annotations

import numpy as np
import pytest

from lesionlab.imaging.quality.lesions import lesion_fit


@pytest.fixture
def scene(lattice):
    """A brain of 100 +- 10 with a bright ball of 10 mm on the right."""
    points = lattice.points()
    ball = (np.linalg.norm(points - np.array([21.0, 6, 3])[:, None, None, None], axis=0) <= 10).astype(np.float32)
    noise = np.random.default_rng(1).normal(100, 10, ball.shape)
    return {"FLAIR": (noise + 60 * ball).astype(np.float32)}, ball


def test_a_mask_on_its_lesion(scene, lattice):
    images, ball = scene
    fit = lesion_fit(images, ball, ball[::-1], lattice)
    deviation = images["FLAIR"][lattice.brain].std()
    assert fit.offset_mm == 0
    assert fit.contrast == pytest.approx(60 / deviation, rel=0.05)
    assert fit.mirror_contrast < 0.3 * fit.contrast


def test_a_mask_beside_its_lesion_is_sent_back(scene, lattice):
    images, ball = scene
    off = np.roll(ball, (3, -2), (0, 1))  # 9 and 6 mm
    fit = lesion_fit(images, off, off[::-1], lattice)
    assert fit.offset_mm == pytest.approx(np.hypot(9, 6), abs=1e-6)


def test_a_mask_on_the_wrong_side_has_less_contrast_than_its_mirror_image(scene, lattice):
    images, ball = scene
    fit = lesion_fit(images, ball[::-1], ball, lattice)
    assert fit.contrast < fit.mirror_contrast


def test_a_mask_outside_the_brain_has_no_contrast(scene, lattice):
    images, _ = scene
    outside = np.zeros(lattice.brain.shape, np.float32)
    outside[:3, :3, :3] = 1
    assert lesion_fit(images, outside, outside, lattice).contrast == 0
