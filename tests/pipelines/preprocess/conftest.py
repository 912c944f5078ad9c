"""Stages of small made-up studies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from lesionlab.datasets import Folders
from lesionlab.imaging.volume import Volume
from lesionlab.stages.stage import run_stage
from lesionlab.stages.subject_store import StudyResult, SubjectStore

Study = Mapping[str, np.ndarray]


def write(arrays: tuple[Study, np.ndarray, dict]) -> StudyResult:
    volumes, affine, record = arrays
    return StudyResult({name: Volume(data, affine) for name, data in volumes.items()}, record=record)


@pytest.fixture
def new_store(tmp_path) -> Callable[..., SubjectStore]:
    """Writes a stage's store from arrays by study and name."""

    def make(name: str, studies: Mapping[str, Study], affine=None, records=None) -> SubjectStore:
        affine = np.diag([2.0, 2.0, 5.0, 1.0]) if affine is None else affine
        jobs = {study: (arrays, affine, (records or {}).get(study, {})) for study, arrays in studies.items()}
        keys = {study: f"{name} {study} {_content(arrays)}" for study, arrays in studies.items()}
        return run_stage(tmp_path / name, jobs, write, fingerprints=keys)

    return make


def _content(arrays: Study) -> str:
    return " ".join(f"{name} {data.tobytes().hex()}" for name, data in sorted(arrays.items()))


@pytest.fixture
def folders(tmp_path) -> Callable[[str], Folders]:
    """Folders of an experiment by name."""
    return lambda name="data": Folders(Path(tmp_path / name), Path(tmp_path / name / "fold0"))
