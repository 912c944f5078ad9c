"""A small phantom cohort: coarse voxels, the same code."""

from __future__ import annotations

import pytest

from lesionlab.imaging.phantom import PhantomOptions, PhantomSubject, make_subject

COARSE = {"work_mm": 3.0, "in_plane_mm": 3.0, "slice_mm": 6.0}


@pytest.fixture(scope="session")
def options() -> PhantomOptions:
    return PhantomOptions(**COARSE, sequences=("T1w", "T1ce", "T2w"), several_share=0.0)


@pytest.fixture(scope="session")
def subjects(options: PhantomOptions) -> list[PhantomSubject]:
    return [make_subject(index, options, seed=3) for index in range(5)]


@pytest.fixture(scope="session")
def perfect() -> PhantomSubject:
    """A subject scanned by a perfect scanner: no noise, bias or gamma."""
    options = PhantomOptions(
        **COARSE, sequences=("T1w", "T1ce"), noise=0.0, bias=(0.0, 0.0), gamma=(1.0, 1.0), rotation_deg=8, shift_mm=8
    )
    return make_subject(1, options, seed=5)
