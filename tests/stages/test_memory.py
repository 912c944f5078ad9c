"""Memory: judged beforehand by headers, refused with the reason, measured afterwards."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from cloudpickle import register_pickle_by_value, unregister_pickle_by_value

from lesionlab.errors import InputError
from lesionlab.stages import engine as engines
from lesionlab.stages import memory
from lesionlab.stages.engine import Engine
from lesionlab.stages.stage import StageError, run_stage
from lesionlab.stages.subject_store import StudyResult, SubjectStore

GIB = 2**30


@dataclass
class Job:
    paths: list[Path]
    takes: int = 0

    def files(self) -> Iterable[Path]:
        return self.paths


def work(job: Job) -> StudyResult:
    held = np.ones(job.takes, np.uint8)
    return StudyResult(qc={"n": float(held[:1].sum())})


def huge(path: Path, side: int) -> Path:
    """A file whose header promises a cube of that side; the voxels are not there."""
    header = nib.Nifti1Header()
    header.set_data_shape((side, side, side))
    header.set_data_dtype(np.int16)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    path.write_bytes(header.binaryblock + bytes(4))
    return path


def test_the_estimate_is_the_libraries_and_a_multiple_of_the_voxels(tmp_path: Path) -> None:
    assert memory.needed_bytes([]) == memory.BASE_BYTES
    cube = huge(tmp_path / "a.nii", 1024)  # 2^30 voxels
    assert memory.needed_bytes([cube]) == memory.BASE_BYTES + memory.FACTOR * 4 * GIB
    assert memory.needed_bytes([Path(f"{cube}#channel=0")]) == memory.needed_bytes([cube])
    series = tmp_path / "series"
    series.mkdir()
    for index in range(3):
        (series / f"{index}.dcm").write_bytes(bytes(1000))
    # 3000 bytes are 1500 numbers of 16 bits, each of which will be 4 bytes
    assert memory.needed_bytes([series]) == memory.BASE_BYTES + memory.FACTOR * 4 * 1500
    (tmp_path / "damaged.nii").write_bytes(b"no header")
    assert memory.needed_bytes([tmp_path / "damaged.nii", tmp_path / "absent.nii"]) == memory.BASE_BYTES


def test_a_part_of_a_file_counts_alone_and_a_header_is_not_taken_for_the_voxels(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6, 3), np.int16), np.eye(4)), tmp_path / "four.nii.gz")
    (tmp_path / "scan.mhd").write_text(
        "ObjectType = Image\nNDims = 3\nDimSize = 4 5 7\nElementType = MET_SHORT\nElementDataFile = scan.raw\n"
    )
    (tmp_path / "scan.raw").write_bytes(bytes(4 * 5 * 7 * 2))
    per_voxel = memory.FACTOR * 4
    channels = [Path(f"{tmp_path}/four.nii.gz#channel={number}") for number in (0, 2)]
    assert memory.needed_bytes(channels) == memory.BASE_BYTES + per_voxel * 2 * 4 * 5 * 6
    assert memory.needed_bytes([tmp_path / "four.nii.gz"]) == memory.BASE_BYTES + per_voxel * 4 * 5 * 6 * 3
    assert memory.needed_bytes([tmp_path / "scan.mhd"]) == memory.BASE_BYTES + per_voxel * 4 * 5 * 7


def test_a_study_too_large_for_a_worker_fails_alone_before_it_is_read(tmp_path: Path) -> None:
    jobs = {"a": Job([]), "cube": Job([huge(tmp_path / "cube.nii", 1024)])}
    with pytest.raises(StageError, match=r"(?s)1 of 2 .*cube: the study needs more memory than .*: 2\. Cure"):
        run_stage(tmp_path / "s", jobs, work, fingerprints=dict.fromkeys(jobs, ""), engine=Engine(memory_gb=2.0))
    assert SubjectStore(tmp_path / "s").studies() == ["a"]


def test_a_study_too_large_for_what_is_free_now_is_refused(tmp_path: Path) -> None:
    cube = huge(tmp_path / "cube.nii", 16384)  # 200 TB
    with pytest.raises(InputError, match=r"more memory than is free.*Cure: end other programs"):
        memory.require_memory(Job([cube]), None)
    memory.require_memory(Job([]), None)
    with pytest.raises(InputError, match=r"1\.6 GB, judged .* Allowed: 1\.0 GB, what is free"):
        memory.require_memory(Job([]), None, free=GIB)
    memory.require_memory("a job that names no files", 0.001)


def test_what_is_there_holds_what_is_free() -> None:
    assert 0 < memory.free_bytes() <= memory.machine_bytes()


def test_a_group_with_a_limit_counts(tmp_path: Path) -> None:
    # 900 bytes are used, 300 of them only cache that is given back for the asking.
    for name, text in {"max": "1000", "current": "900", "stat": "anon 600\ninactive_file 300\n"}.items():
        (tmp_path / f"memory.{name}").write_text(text)
    files = ("memory.max", "memory.current", "inactive_file")
    assert memory._group(tmp_path, files) == (1000, 600)
    (tmp_path / "memory.max").write_text("max")
    assert memory._group(tmp_path, files) is None


def test_the_peak_is_that_of_the_stage_and_kept_in_the_manifest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def peak(name: str, takes: int) -> float:
        jobs = {"a": Job([], takes), "b": Job([])}
        run_stage(tmp_path / name, jobs, work, fingerprints=dict.fromkeys(jobs, ""), code="1")
        return float(json.loads((tmp_path / name / "manifest.json").read_text())["peak_memory_gb"])

    caplog.set_level(logging.INFO)
    large, small = peak("large", GIB // 2), peak("small", 0)
    assert large - small > 0.45  # the larger one was measured first: peaks do not stick to the process
    assert f"large: peak memory {large:.2f} GB a worker" in caplog.text
    assert peak("large", GIB // 2) == large  # nothing was computed: what was measured then still holds


@pytest.mark.parametrize(
    ("workers", "memory_gb", "tasks", "processes"),
    [
        (4, None, 9, 4),  # 16 GB / 3.5 GB, the largest study's need
        (8, None, 9, 4),
        (4, None, 3, 3),
        (8, 3.0, 9, 5),
        (8, 100.0, 9, 1),
        (4, 4.0, 9, 4),
        (4, 4.0, 0, 1),
    ],
)
def test_no_more_workers_than_the_machine_has_memory_for(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    workers: int,
    memory_gb: float | None,
    tasks: int,
    processes: int,
) -> None:
    monkeypatch.setattr(engines, "machine_bytes", lambda: 16 * GIB)
    monkeypatch.setattr(engines, "free_for_workers", lambda: 16 * GIB)
    assert Engine(workers, None, memory_gb).processes(tasks, int(3.5 * GIB)) == processes
    assert (f"{processes} workers instead of" in caplog.text) == (processes < min(workers, max(tasks, 1)))
    assert Engine(workers).processes(tasks) == max(1, min(workers, tasks))  # nothing is known of the studies


class Unreadable(Job):
    def files(self) -> Iterable[Path]:
        raise InputError("the stage has no such study", given="x", allowed="y", cure="z")


def test_the_largest_study_is_the_largest_that_will_be_computed(tmp_path: Path) -> None:
    small, cube = Job([huge(tmp_path / "small.nii", 64)]), Job([huge(tmp_path / "cube.nii", 16384)])
    need = memory.BASE_BYTES + memory.FACTOR * 4 * 64**3
    assert memory.largest_need([Job([]), small, cube, "no files", Unreadable([])], 2 * GIB) == need
    assert memory.largest_need(["no files", cube], 2 * GIB) == 0  # cube is refused


@dataclass
class Meeting(Job):
    """Notes for as long as it is at work, so that others see it."""

    notes: Path = Path()


def meet(job: Meeting) -> StudyResult:
    own = job.notes / f"{os.getpid()}"
    own.touch()
    seen, deadline = 0, time.monotonic() + 3
    while time.monotonic() < deadline:
        seen = max(seen, len(list(job.notes.iterdir())))
        time.sleep(0.02)
    own.unlink()
    return StudyResult(qc={"at_work": float(seen)})


@pytest.mark.parametrize(("part", "at_once"), [(0.6, 1), (0.3, 2)])
def test_studies_are_computed_at_once_only_where_their_memory_suffices(
    tmp_path: Path, part: float, at_once: int
) -> None:
    side = round((part * memory.free_bytes() / (4 * memory.FACTOR)) ** (1 / 3))
    (tmp_path / "notes").mkdir()
    scans = {study: huge(tmp_path / f"{study}.nii", side) for study in "ab"} | {"c": huge(tmp_path / "c.nii", 16384)}
    jobs = {study: Meeting([scan], notes=tmp_path / "notes") for study, scan in scans.items()}
    keys = dict.fromkeys(jobs, "")
    module = sys.modules[__name__]
    register_pickle_by_value(module)  # workers cannot import tests
    try:
        with pytest.raises(StageError, match=r"(?s)1 of 3 .*c: the study needs more memory than is free\."):
            run_stage(tmp_path / "s", jobs, meet, fingerprints=keys, engine=Engine(2), code="1")
    finally:
        unregister_pickle_by_value(module)
    assert SubjectStore(tmp_path / "s").qc()["value"].max() == at_once
