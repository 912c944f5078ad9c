"""Bias fields of real scans: flat where they were corrected before, smooth and useful where they were not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from lesionlab.imaging.formats.nifti import read_volume
from lesionlab.imaging.intensity.bias import BiasOptions, StudyCorrected, correct_study

REPOSITORY = Path(__file__).parents[2]
SCANS = Path(os.environ.get("LESIONLAB_REAL_SCANS", REPOSITORY.parent / "shared" / "data"))


def corrected(folder: Path, names: list[str]) -> StudyCorrected:
    if not folder.is_dir():
        pytest.skip(f"no real scans at {folder}")
    volumes = {name: read_volume(next(folder.glob(f"*{name}.nii.gz"))) for name in names}
    positive = np.logical_and.reduce([volume.data > 0 for volume in volumes.values()])
    brain = ndimage.binary_fill_holes(ndimage.binary_opening(positive))
    some = next(iter(volumes.values()))
    return correct_study(volumes, some.like(brain.astype(np.uint8)), BiasOptions())


@pytest.mark.real
def test_scans_that_n4_corrected_before_keep_flat_fields():
    done = corrected(SCANS / "ms_mni" / "patient07", ["T1W", "T2W", "FLAIR"])
    for name in done.volumes:
        assert done.qc[f"{name}_bias_range"] < 0.1


@pytest.mark.real
def test_a_scan_with_a_visible_field_gets_uniform_tissue():
    done = corrected(SCANS / "tcga_lgg" / "TCGA-FG-6692", ["t1", "t2", "flair"])
    assert done.qc["t1_bias_range"] > 0.25  # the back of this head is visibly brighter than its front
    assert done.qc["t1_cv_after"] < 0.5 * done.qc["t1_cv_before"]
