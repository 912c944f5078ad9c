"""Synthesis scores by hand."""

import numpy as np
import pytest

from lesionlab.metrics.synthesis import patient_scores, pixel_accuracy, psnr, ssim

STEP = 2 / 255  # one grey level on [-1, 1]


def test_pixel_accuracy_counts_differences_of_at_most_16_grey_levels():
    real = np.zeros(6, np.float32)
    synthetic = np.array([0, 15, 16, 17, -16, -40], np.float32) * np.float32(STEP)
    assert pixel_accuracy(synthetic, real, np.ones(6, bool)) == pytest.approx(4 / 6)
    assert pixel_accuracy(synthetic, real, np.array([0, 0, 0, 1, 1, 0], bool)) == 0.5
    with pytest.raises(ValueError, match="at least one pixel"):
        pixel_accuracy(synthetic, real, np.zeros(6, bool))


def test_psnr_by_hand():
    real = np.zeros((2, 4, 4))
    # Mean squared error 0.01 against a squared peak of 4: 10 log10(400).
    assert psnr(real + 0.1, real) == pytest.approx(10 * np.log10(400))
    assert psnr(real, real) == 100.0
    wrong = real.copy()
    wrong[0, 0, 0] = 1.0
    mask = np.zeros((2, 4, 4), bool)
    mask[0, 0] = True  # 4 pixels, mean squared error 1/4
    assert psnr(wrong, real, mask) == pytest.approx(10 * np.log10(16))


def test_ssim_of_flat_images_is_the_luminance_term():
    # Both variances are 0, so SSIM = (2 a b + C1) / (a^2 + b^2 + C1) with C1 = 0.01^2, a and b on the scale of [0, 1].
    one, other = np.full((16, 16), 0.0), np.full((16, 16), -0.5)
    expected = (2 * 0.5 * 0.25 + 1e-4) / (0.25 + 0.0625 + 1e-4)
    assert ssim(one, other) == pytest.approx(expected)
    assert ssim(one, one) == pytest.approx(1.0)


def test_ssim_within_a_mask_sees_the_mask_only():
    rng = np.random.default_rng(0)
    real = rng.uniform(-1, 1, (40, 40))
    synthetic = real.copy()
    synthetic[:, :12] = 0  # wrong on the left
    right = np.zeros((40, 40), bool)
    right[:, 20:] = True  # farther than half a window from the wrong part
    assert ssim(synthetic, real, right) == pytest.approx(1.0)
    assert ssim(synthetic, real) < 0.9


def test_patient_scores_rows():
    labels = np.zeros((2, 16, 16), np.uint8)
    labels[:, 2:14, 2:14] = 1
    labels[0, 4, 4:8] = 3  # four tumor pixels, no edema at all
    real = np.where(labels[:, None] > 0, 0.0, -1.0).repeat(2, axis=1)
    synthetic = real.copy()
    synthetic[0, 1, 4, 4] += 0.5  # one of them wrong, in FLAIR
    table = patient_scores(synthetic, real, labels, ["T1w", "FLAIR"], ["edema", "tumor"], keys={"subject": "a"})
    values = table.set_index(["sequence", "class", "metric"])["value"]
    assert values["T1w", "tumor", "pixel_accuracy"] == 1.0
    assert values["FLAIR", "tumor", "pixel_accuracy"] == 0.75
    assert values["FLAIR", "lesion", "pixel_accuracy"] == 0.75
    assert values["FLAIR", "brain", "pixel_accuracy"] == pytest.approx(1 - 1 / 288)
    # A class the patient lacks has no row instead of a NaN.
    assert "edema" not in set(table["class"])
    assert values["T1w", "image", "psnr"] == 100.0
    # One error of 0.5 in 512 pixels: mean square 0.25 / 512; in the brain's 288 pixels 0.25 / 288.
    assert values["FLAIR", "image", "psnr"] == pytest.approx(10 * np.log10(4 * 512 / 0.25))
    assert values["FLAIR", "brain", "psnr"] == pytest.approx(10 * np.log10(4 * 288 / 0.25))
    assert values["T1w", "image", "ssim"] == pytest.approx(1.0)
    assert values["FLAIR", "image", "ssim"] < 1.0
    assert table["value"].notna().all()


def test_slices_without_brain_are_scored_as_images_only():
    images = np.full((1, 1, 16, 16), -1.0)
    table = patient_scores(images, images, np.zeros((1, 16, 16), np.uint8), ["T1w"], ["tumor"])
    assert set(table["class"]) == {"image"}


def test_shapes_must_agree():
    images = np.zeros((1, 2, 16, 16))
    with pytest.raises(ValueError, match="sequences"):
        patient_scores(images, images, np.zeros((1, 16, 16)), ["T1w"], ["tumor"])
