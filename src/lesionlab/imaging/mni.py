"""MNI152 as a template of anatomy and tissues."""

from __future__ import annotations

from functools import cache

import numpy as np

from lesionlab.imaging.resample import resample
from lesionlab.imaging.volume import Volume


@cache
def mni152(spacing_mm: float) -> dict[str, Volume]:
    """nilearn's MNI152 (2009a): skull-stripped ``T1w`` and the tissue maps ``GM``, ``WM``, in [0, 1]."""
    from nilearn import datasets

    loaders = {
        "T1w": datasets.load_mni152_template,
        "GM": datasets.load_mni152_gm_template,
        "WM": datasets.load_mni152_wm_template,
    }
    images = {name: load(resolution=1) for name, load in loaders.items()}
    return {name: _thinned(image, spacing_mm) for name, image in images.items()}


def _thinned(image: object, spacing_mm: float) -> Volume:
    volume = Volume(np.asarray(image.dataobj, dtype=np.float32), np.asarray(image.affine))  # type: ignore[attr-defined]
    volume = volume.like(volume.data / volume.data.max())
    shape = tuple(
        int(np.ceil(count * size / spacing_mm)) for count, size in zip(volume.shape, volume.spacing, strict=True)
    )
    scale = np.diag([*(spacing_mm / np.array(volume.spacing)), 1.0])
    return resample(volume, shape, volume.affine @ scale)  # type: ignore[arg-type]
