"""Raw scans of patients: the check lets them pass, and says where two are of different people."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lesionlab.errors import InputError
from lesionlab.imaging.formats.nifti import read_volume
from lesionlab.imaging.registration.coregistration import CoregisterOptions, coregister

REPOSITORY = Path(__file__).parents[2]
SCANS = Path(os.environ.get("LESIONLAB_REAL_SCANS", REPOSITORY.parent / "shared" / "data")) / "ms_raw"

pytestmark = pytest.mark.skipif(not SCANS.is_dir(), reason=f"no real scans in {SCANS}")


def scan(name: str):
    return read_volume(SCANS / name)


def test_scans_of_one_patient_pass():
    scans = {"T1w": scan("patient20/study2_T1W.nii.gz"), "FLAIR": scan("patient20/study2_FLAIR.nii.gz")}
    done = coregister(scans, "T1w", None, None, CoregisterOptions())
    # The patient lay still: both headers tell the scanner's coordinates.
    assert done.qc["FLAIR_translation_mm"] < 2 and done.qc["FLAIR_rotation_deg"] < 1
    assert done.qc["FLAIR_searched"] == 0


def test_scans_of_two_patients_do_not():
    scans = {"T1w": scan("patient04/study1_T1W.nii.gz"), "FLAIR": scan("patient20/study2_FLAIR.nii.gz")}
    with pytest.raises(InputError, match="FLAIR could not be registered to T1w"):
        coregister(scans, "T1w", None, None, CoregisterOptions(search=None))
