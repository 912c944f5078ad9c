"""How close synthetic images come to the real ones: pixel accuracy in lesions, SSIM and PSNR of the whole picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from skimage.metrics import structural_similarity

FIRST_LESION = 2  # code of the first lesion class in a label map
WHOLE_LESION, BRAIN, WHOLE_IMAGE = "lesion", "brain", "image"  # regions beside the classes
DATA_RANGE = 2.0  # images lie in [-1, 1]
GREY_LEVELS = 255.0  # the papers' scale
TOLERANCE = 16.0  # grey levels (CG-SAMR, Table I)
MAX_PSNR_DB = 100.0  # stated for images that agree exactly, whose PSNR is infinite
SSIM_SIGMA = 1.5  # Gaussian window of Wang et al. 2004, 11 pixels wide


def pixel_accuracy(synthetic: np.ndarray, real: np.ndarray, mask: np.ndarray) -> float:
    """Fraction of the pixels in a mask whose intensities differ by at most 16 on a scale of 0 to 255.

    Args:
        synthetic: intensities in [-1, 1], any shape.
        real: the same.
        mask: bool, the same shape.

    Raises:
        ValueError: the mask is empty; there is nothing to score.
    """
    if not mask.any():
        raise ValueError("pixel accuracy needs a mask with at least one pixel")
    difference = np.abs(np.asarray(synthetic, np.float64)[mask] - np.asarray(real, np.float64)[mask])
    # Values that fall on grey levels may miss the limit by rounding alone.
    limit = TOLERANCE * DATA_RANGE / GREY_LEVELS + 1e-6
    return float(np.mean(difference <= limit))


def psnr(synthetic: np.ndarray, real: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB, peak 2 (images in [-1, 1]), at most 100 dB; within a mask if one is given."""
    squares = (np.asarray(synthetic, np.float64) - np.asarray(real, np.float64)) ** 2
    error = float(np.mean(squares if mask is None else squares[mask]))
    if error == 0:
        return MAX_PSNR_DB
    return float(min(MAX_PSNR_DB, 10 * np.log10(DATA_RANGE**2 / error)))


def ssim(synthetic: np.ndarray, real: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Mean structural similarity of two pictures ``(H, W)`` in [-1, 1] (Wang et al. 2004, Gaussian window of 11).

    Over the whole picture (but for half a window at its border), or, with a mask, over the mask's pixels. The pictures
    are brought to [0, 1] first: the luminance term takes 0 for black, and would punish means around it without measure.
    """
    mean, values = structural_similarity(
        (np.asarray(synthetic, np.float64) + 1) / DATA_RANGE,
        (np.asarray(real, np.float64) + 1) / DATA_RANGE,
        data_range=1.0,
        gaussian_weights=True,
        sigma=SSIM_SIGMA,
        use_sample_covariance=False,
        full=True,
    )
    return float(mean if mask is None else values[mask].mean())


def patient_scores(
    synthetic: np.ndarray,
    real: np.ndarray,
    labels: np.ndarray,
    sequences: Sequence[str],
    classes: Sequence[str],
    *,
    keys: Mapping[str, object] | None = None,
) -> pd.DataFrame:
    """All synthesis scores of one patient.

    Pixel accuracy pools the pixels of all the patient's slices, for each lesion class, for their union (``lesion``),
    for normal brain and lesions together (``brain``); a class the patient does not have has no row, so the table's n
    says how many do. SSIM is the mean over slices, PSNR pools their squared errors; both for the whole picture
    (``image``, as in the papers) and within the brain (``brain``).

    Args:
        synthetic: ``(N, C, H, W)`` in [-1, 1].
        real: ``(N, C, H, W)`` in [-1, 1].
        labels: ``(N, H, W)`` label maps of the real images.
        sequences: names of the channels.
        classes: lesion classes in the order of their codes 2...
        keys: further columns of every row, for example method, cohort, protocol, subject, seed.

    Returns:
        Long form: the keys, then sequence, class, metric (pixel_accuracy, ssim, psnr), value.

    Raises:
        ValueError: shapes or numbers of channels differ.
    """
    if synthetic.shape != real.shape or synthetic.shape[1] != len(sequences) or labels.shape[1:] != real.shape[2:]:
        raise ValueError(f"images {synthetic.shape}, {real.shape}, labels {labels.shape}, sequences {list(sequences)}")
    regions = _regions(labels, classes)
    rows = []
    for channel, sequence in enumerate(sequences):
        ours, theirs = synthetic[:, channel], real[:, channel]
        scores = {(name, "pixel_accuracy"): pixel_accuracy(ours, theirs, mask) for name, mask in regions.items()}
        scores |= _holistic(ours, theirs, labels > 0)
        for (name, metric), value in scores.items():
            rows.append({**(keys or {}), "sequence": sequence, "class": name, "metric": metric, "value": value})
    return pd.DataFrame(rows)


def _regions(labels: np.ndarray, classes: Sequence[str]) -> dict[str, np.ndarray]:
    masks = {name: labels == code for code, name in enumerate(classes, start=FIRST_LESION)}
    masks.setdefault(WHOLE_LESION, labels >= FIRST_LESION)
    masks[BRAIN] = labels > 0
    return {name: mask for name, mask in masks.items() if mask.any()}


def _holistic(synthetic: np.ndarray, real: np.ndarray, brain: np.ndarray) -> dict[tuple[str, str], float]:
    slices = list(zip(synthetic, real, brain, strict=True))
    scores = {
        (WHOLE_IMAGE, "ssim"): float(np.mean([ssim(a, b) for a, b, _ in slices])),
        (WHOLE_IMAGE, "psnr"): psnr(synthetic, real),
    }
    if brain.any():
        scores[BRAIN, "ssim"] = float(np.mean([ssim(a, b, m) for a, b, m in slices if m.any()]))
        scores[BRAIN, "psnr"] = psnr(synthetic, real, brain)
    return scores
