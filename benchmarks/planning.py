"""A cohort of ten thousand: what planning and manifests cost where nothing is to be computed, and how much memory.

A chain of three stages, each replaced by a copy of its inputs; subjects are tiny scans. A first run computes them all;
a second finds nothing to do: it hashes the scans, plans the whole chain, plans each stage, and asks for the stores as
the catalog does. A third has one scan changed. Each is a process of its own, so that its peak of memory is its own.

Command: python benchmarks/planning.py --subjects 1000 10000 --workers 2
Result:  benchmarks/planning.json, one entry per number of subjects.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import psutil

from lesionlab.cohort.table import cohort_table
from lesionlab.imaging.formats.nifti import read_volume, write_volume
from lesionlab.imaging.volume import Volume
from lesionlab.stages.engine import Engine
from lesionlab.stages.fingerprints import study_fingerprints
from lesionlab.stages.memory import peak_bytes
from lesionlab.stages.plan import Link, parameters_of, plan_chain
from lesionlab.stages.stage import code_of_stage, run_stage
from lesionlab.stages.subject_store import StudyResult, SubjectStore

STAGES = ("coregister", "brain", "bias")
PHASES = ("start", "first", "again", "one_changed")
CODE = "copy"
SIDE = 4  # voxels
MIB = 2**20


@dataclass(frozen=True)
class Copy:
    """One study to copy: of a scan, or of the stage before."""

    scan: Path | None
    source: SubjectStore | None
    study: str

    def files(self) -> Iterable[Path]:
        """What the study is read from."""
        if self.scan is not None:
            return [self.scan]
        assert self.source is not None
        return [self.source.root / self.study / f"{name}.nii.gz" for name in self.source.names(self.study)]


def copy(job: Copy) -> StudyResult:
    """The stage: hands its inputs on."""
    volumes = {"T1w": read_volume(job.scan)} if job.scan else {}
    if job.source is not None:
        volumes = job.source.volumes(job.study)
    return StudyResult(volumes, {"mean": float(volumes["T1w"].data.mean())})


def make_scans(folder: Path, subjects: int) -> None:
    """Tiny scans, each another one."""
    for index in range(subjects):
        data = np.arange(index, index + SIDE**3, dtype=np.float32).reshape(SIDE, SIDE, SIDE)
        write_volume(Volume(data, np.eye(4)), folder / "scans" / f"subject-{index:05d}" / "T1w.nii.gz")


def cohort(folder: Path) -> pd.DataFrame:
    """The cohort table of the scans."""
    rest = {"visit": "", "lesion_path": "", "lesion_on": "", "brain_path": "", "split": "", "lesion_ml": float("nan")}
    return cohort_table(
        {"subject": path.parent.name, "study": path.parent.name, "sequence": "T1w", "path": str(path), **rest}
        for path in sorted((folder / "scans").glob("*/T1w.nii.gz"))
    )


def run_chain(folder: Path, workers: int) -> dict[str, float]:
    """All stages, and the seconds each step took."""
    clock = Clock()
    table = cohort(folder)
    clock.lap("cohort")
    inputs: Mapping[str, str] = study_fingerprints(table)
    clock.lap("scans_hashed")
    plan_chain(links(folder, inputs))
    clock.lap("whole_plan")
    jobs = {study: Copy(Path(path), None, study) for study, path in zip(table["study"], table["path"], strict=True)}
    for stage in STAGES:
        engine = Engine(workers, memory_gb=2.0)
        store = run_stage(folder / stage, jobs, copy, fingerprints=inputs, code=CODE, engine=engine)
        assert store.complete() and store.complete()  # the catalog asks when it saves and when it loads
        jobs = {study: Copy(None, store, study) for study in store.studies()}
        inputs = store.fingerprints()
        clock.lap(stage)
    return clock.laps


def links(folder: Path, inputs: Mapping[str, str]) -> list[Link]:
    """The chain as its plan knows it."""
    befores = dict(zip(STAGES[1:], STAGES, strict=False))

    def taken(stage: str, keys: Mapping[str, Mapping[str, str]]) -> Mapping[str, str]:
        return keys[befores[stage]] if stage in befores else inputs

    code = code_of_stage(CODE)
    return [Link(s, folder / s, lambda keys, s=s: taken(s, keys), parameters_of(None), code) for s in STAGES]  # type: ignore[misc]


class Clock:
    """Seconds from lap to lap."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Note the time since the lap before."""
        now = time.perf_counter()
        self.laps[name], self.last = round(now - self.last, 2), now


def phase(name: str, folder: Path, workers: int) -> None:
    """One process: prints its figures as JSON."""
    started = time.perf_counter()
    if name == "one_changed":
        make_scans_differ(folder)
    laps = run_chain(folder, workers) if name != "start" else {}
    seconds = round(time.perf_counter() - started, 1)
    cpu = round(time.process_time(), 1)
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "peak_mib": round(peak_bytes() / MIB), "laps": laps}))


def make_scans_differ(folder: Path) -> None:
    """Change the first subject's scan."""
    path = sorted((folder / "scans").glob("*/T1w.nii.gz"))[0]
    volume = read_volume(path)
    write_volume(volume.like(volume.data + 1), path)


def measure(subjects: int, workers: int) -> dict[str, Any]:
    """All phases over one cohort."""
    entry: dict[str, Any] = {"subjects": subjects, "stages": len(STAGES), "workers": workers}
    with TemporaryDirectory(dir=Path.cwd()) as folder:
        make_scans(Path(folder), subjects)
        for name in PHASES:
            words = [sys.executable, __file__, "--phase", name, "--folder", folder, "--workers", str(workers)]
            entry[name] = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        entry["manifest_mib"] = round((Path(folder) / STAGES[-1] / "manifest.json").stat().st_size / MIB, 1)
    return entry | {"machine": platform.machine(), "file_system": file_system(Path.cwd())}


def file_system(folder: Path) -> str:
    """The kind of file system a folder lies on: a first run waits for the disk, the others hardly do."""
    mounts = [one for one in psutil.disk_partitions(all=True) if folder.is_relative_to(one.mountpoint)]
    return str(max(mounts, key=lambda one: len(one.mountpoint)).fstype)


def main() -> None:
    """Measure, and write the JSON beside this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.phase:
        phase(options.phase, options.folder, options.workers)
        return
    entries = [measure(subjects, options.workers) for subjects in options.subjects]
    Path(__file__).with_suffix(".json").write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(entries, indent=2))


if __name__ == "__main__":
    main()
