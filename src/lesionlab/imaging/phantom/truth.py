"""What is known of a subject: label map, tissues and bias fields on the reference scan's grid."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lesionlab.imaging.phantom.anatomy import Head
from lesionlab.imaging.phantom.options import LESION_CODES, NORMAL_CODE, SequenceName
from lesionlab.imaging.phantom.scanner import Scanner, acquire, bias_field, grid_points
from lesionlab.imaging.volume import Volume

# A thin rim is lost among thick slices; the tumor takes precedence, as it does where an expert draws.
PRECEDENCE = {"edema": 1.0, "cavity": 1.15, "tumor": 1.4}
BRAIN_EDGE_MM = 0.5  # of the water over the cortex that counts as brain, as brain extraction has it
LESION_FRACTION = 0.5  # a voxel is lesion from here on


def truth_maps(head: Head, reference: Scanner) -> dict[str, Volume]:
    """Brain, label map and tissue fractions of a head, averaged over the reference scan's slices.

    A voxel is brain where half of it lies within the brain's outer surface (sulci and ventricles included), and lesion
    where the classes together take half of it; its class is the one with most weight. Tissue fractions are 0 in a
    lesion's voxels and outside the brain: a lesion counts to no tissue.
    """
    frame = head.frame
    inside = np.clip(0.5 - (head.outside - BRAIN_EDGE_MM) / frame.step, 0, 1)
    brain = acquire(inside, frame, reference) > 0.5
    label = np.where(brain, NORMAL_CODE, 0).astype(np.uint8)
    shares = {name: acquire(head.tissues[name], frame, reference) for name in LESION_CODES}
    ill = (sum(shares.values()) >= LESION_FRACTION) & brain  # type: ignore[operator]
    weights = np.stack([PRECEDENCE[name] * share for name, share in shares.items()])
    codes = np.array(list(LESION_CODES.values()), np.uint8)
    label[ill] = codes[weights.argmax(axis=0)][ill]
    maps = {"brain": brain.astype(np.uint8), "label": label}
    for name in ("csf", "gm", "wm"):
        share = acquire(head.tissues[name] * inside, frame, reference)
        maps[name.upper()] = np.where(label == NORMAL_CODE, share, 0).astype(np.float32)
    return {name: Volume(data, reference.affine) for name, data in maps.items()}


def bias_truth(
    plans: Mapping[SequenceName, Scanner], transforms: Mapping[str, np.ndarray], reference: Scanner
) -> dict[str, Volume]:
    """Each scan's multiplicative bias field, as ``bias_<sequence>`` on the reference scan's grid, float32."""
    out = {}
    for sequence, plan in plans.items():
        points = grid_points(transforms[sequence] @ reference.affine, reference.shape)
        out[f"bias_{sequence}"] = Volume(bias_field(plan, points), reference.affine)
    return out
