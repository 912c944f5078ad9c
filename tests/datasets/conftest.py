"""Folders as their stages leave them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lesionlab.imaging.volume import Volume
from lesionlab.slices.cutting import StudySlices
from lesionlab.slices.store import SliceStore
from lesionlab.stages.stage import run_stage
from lesionlab.stages.subject_store import StudyResult, SubjectStore


def study(level: int) -> StudyResult:
    """A volume whose planes are ramps, brighter to the patient's right; the middle one brighter to the left."""
    data = np.broadcast_to(np.arange(6.0)[:, None, None], (6, 4, 5)) * np.array([1, 1, -1, 1, 1])
    return StudyResult({"T1w": Volume(data.astype(np.float32) * level, np.eye(4))})


@pytest.fixture
def subject_store(tmp_path) -> SubjectStore:
    """Two whole studies, ``a`` and ``b``."""
    return run_stage(tmp_path / "stage", {"a": 1, "b": 2}, study, fingerprints={"a": "1", "b": "2"})


@pytest.fixture
def slice_folder(tmp_path) -> Path:
    """Thirty slices of a single study."""
    count = 30
    about = {"subject": "a", "study": "a", "split": "train", "domain": "healthy", "fill": 0.5, "clipped": 0}
    about |= {f"spacing_{axis}": 1.0 for axis in "xyz"}
    about |= {"source": "real", "manipulation": "none", "donor": "", "record": "{}", "pixels_edema": 0}
    table = pd.DataFrame({"plane": np.arange(count), **about})
    arrays = [np.zeros((count, channels, 4, 4), np.float32) for channels in (1, 3, 0)]
    slices = StudySlices(arrays[0], np.ones((count, 4, 4), np.uint8), *arrays[1:], table)
    return SliceStore.write(tmp_path / "slices", [slices], ["T1w"], ["edema"], "f00d").root
