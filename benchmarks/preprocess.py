"""Preprocessing: seconds, memory and what a change costs, measured side by side on one phantom.

Parts, each adds its entry to benchmarks/preprocess.json:

    workers   one worker against as many as there are cores, on the same cohort
    rerun     the same command again; then with one subject's scan changed, a test subject's and a training subject's
    memory    peak memory of the whole process tree at several cohort sizes, and what a rerun costs at each
    plain     against benchmarks/plain_antspy.py, the same steps as a serial ANTsPy script; with the truth's scores

Command: python benchmarks/preprocess.py workers --subjects 8
         python benchmarks/preprocess.py memory --sizes 8 24 96
Scans and results lie under data/experiments/benchmark-*, which may be deleted afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow
import nibabel as nib
import numpy as np
import pandas as pd
import psutil

PROJECT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_suffix(".json")
EXPERIMENTS = PROJECT / "data" / "experiments"
POLL_SECONDS = 0.5
MIB = 2**20
LAST_WORDS = 2000  # characters of a failed command
LONG_ENOUGH = 1.0  # s, of a stage for a ratio
TEST_SHARE, VALIDATION_SHARE = 0.25, 0.125  # as in conf/base


def main() -> None:
    """Measure one part and write it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=sorted(PARTS))
    parser.add_argument("--subjects", type=int, default=8)
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 24, 96])
    options = parser.parse_args()
    entry = PARTS[options.part](options)
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    known[options.part] = {"machine": machine(), **entry}
    RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(entry, indent=1))


def workers(options: argparse.Namespace) -> dict[str, Any]:
    """The same cohort by one worker and by one per core."""
    scans = phantom(options.subjects)
    many = os.cpu_count() or 1
    runs = {count: fresh(f"benchmark-workers{count}", scans, options.subjects, count) for count in (1, many)}
    ratio = runs[1]["seconds"] / runs[many]["seconds"]
    long = [stage for stage, seconds in runs[many]["stages"].items() if seconds >= LONG_ENOUGH]
    studies = {stage: runs[1]["stages"][stage] / runs[many]["stages"][stage] for stage in long}
    return {"subjects": options.subjects, "runs": runs, "ratio": ratio, "ratio_by_stage": studies}


def rerun(options: argparse.Namespace) -> dict[str, Any]:
    """The first run, the same again, and with one subject's scan changed."""
    return again_and_changed("benchmark-rerun", options.subjects, ("test", "train"))


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """Peak memory at each cohort size, and what a rerun costs there."""
    runs = {}
    for size in options.sizes:
        runs[size] = again_and_changed(f"benchmark-memory{size}", size, ("test",))
        shutil.rmtree(EXPERIMENTS / f"benchmark-memory{size}")
    mib = [run["first"]["peak_mib"] for run in runs.values()]
    return {"runs": runs, "largest_over_smallest": max(mib) / min(mib)}


def again_and_changed(name: str, subjects: int, parts: Sequence[str]) -> dict[str, Any]:
    """A first run, the same again, and with the scan of one subject of each of some splits changed."""
    scans = copied(phantom(subjects), f"{name}-scans")
    first = fresh(name, scans, subjects)
    again = preprocess(name, scans, subjects)
    split = pd.read_csv(EXPERIMENTS / name / "02_intermediate" / "split.csv").set_index("split")["subject"]
    changed = {}
    for part in parts:
        brighten(scans / split.loc[[part]].iloc[0] / "T1w.nii.gz")
        changed[part] = preprocess(name, scans, subjects)
    shares = {part: run["seconds"] / first["seconds"] for part, run in {"unchanged": again, **changed}.items()}
    return {"subjects": subjects, "first": first, "unchanged": again, "changed": changed, "shares": shares}


def plain(options: argparse.Namespace) -> dict[str, Any]:
    """Against the serial script, on the same subjects."""
    scans = phantom(options.subjects)
    ours = fresh("benchmark-plain", scans, options.subjects, source="phantom")
    truth = pd.read_csv(EXPERIMENTS / "benchmark-plain" / "08_reporting" / "qc" / "truth.csv")
    held_out = round(TEST_SHARE * options.subjects) + round(VALIDATION_SHARE * options.subjects)
    out = EXPERIMENTS / "plain.json"
    script = [sys.executable, str(PROJECT / "benchmarks" / "plain_antspy.py"), str(scans), str(out)]
    counts = ["--subjects", str(options.subjects), "--training", str(options.subjects - held_out)]
    theirs = timed([*script, *counts])
    scores = {f"{row.stage}/{row.measure}": row.value for row in truth.itertuples() if row.subject == "all"}
    medians = truth[truth["subject"] != "all"].groupby(["stage", "measure"])["value"].median()
    scores |= {f"{stage}/{name}": value for (stage, name), value in medians.items()}
    by_script = json.loads(out.read_text(encoding="utf-8"))
    return {
        "subjects": options.subjects,
        "ours": {**ours, "medians": scores},
        "plain": {**theirs, "stages": by_script["seconds"], "medians": by_script["scores"]},
        "ratio": by_script["total"] / ours["seconds"],
    }


PARTS = {"workers": workers, "rerun": rerun, "memory": memory, "plain": plain}


def phantom(subjects: int) -> Path:
    """The scans of a phantom of so many subjects, made once."""
    name = f"benchmark-phantom{subjects}"
    kedro("cohort", parameters(name, subjects))
    return EXPERIMENTS / name / "01_raw" / "phantom"


def copied(scans: Path, name: str) -> Path:
    """A copy of the scans that may be changed."""
    shutil.rmtree(EXPERIMENTS / name, ignore_errors=True)
    return Path(shutil.copytree(scans, EXPERIMENTS / name))


def brighten(path: Path) -> None:
    """Change a scan a little."""
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj, dtype=np.float32) * 1.01, image.affine), path)


def fresh(name: str, scans: Path, subjects: int, count: int = 0, source: str = "files") -> dict[str, Any]:
    """Preprocess into an empty workspace."""
    shutil.rmtree(EXPERIMENTS / name, ignore_errors=True)
    if source == "phantom":  # with its truth: the scans are there already
        (EXPERIMENTS / name / "01_raw").mkdir(parents=True)
        shutil.copytree(scans, EXPERIMENTS / name / "01_raw" / "phantom")
    return preprocess(name, scans, subjects, count, source)


def preprocess(name: str, scans: Path, subjects: int, count: int = 0, source: str = "files") -> dict[str, Any]:
    """Run the pipeline: seconds, peak memory, seconds by stage."""
    given = {} if source == "phantom" else {"cohort.source": "files", "cohort.root": str(scans)}
    run = kedro("preprocess", {**parameters(name, subjects), **given, "run.workers": count})
    mlflow.set_tracking_uri(f"sqlite:///{PROJECT / 'mlflow.db'}")
    last = mlflow.search_runs(search_all_experiments=True, max_results=1, order_by=["attributes.start_time DESC"])
    stages = last.filter(regex=r"^metrics\.seconds/").iloc[0]
    return {**run, "stages": {key.rpartition("/")[2]: round(value, 2) for key, value in stages.items()}}


def parameters(name: str, subjects: int) -> dict[str, Any]:
    """What a run of so many subjects is told."""
    test, validation = round(TEST_SHARE * subjects), round(VALIDATION_SHARE * subjects)
    return {
        "workspace": name,
        "phantom.subjects": subjects,
        "splits.test": test,
        "splits.validation": validation,
    }


def kedro(pipeline: str, values: dict[str, Any]) -> dict[str, Any]:
    """``kedro run``, measured."""
    told = ",".join(f"{key}={value}" for key, value in values.items())
    command = [str(Path(sys.executable).with_name("kedro")), "run", f"--pipelines={pipeline}", f"--params={told}"]
    return timed(command)


def timed(command: list[str]) -> dict[str, Any]:
    """Run a command: seconds and the peak of its process tree's memory (proportional set size, MiB).

    Raises:
        RuntimeError: the command failed.
    """
    start, peak = time.perf_counter(), 0.0
    with tempfile.TemporaryFile("w+") as said:
        process = psutil.Popen(command, cwd=PROJECT, stdout=said, stderr=said)
        while process.poll() is None:
            peak = max(peak, tree_memory(process))
            time.sleep(POLL_SECONDS)
        said.seek(0)
        if process.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{said.read()[-LAST_WORDS:]}")
    return {"seconds": round(time.perf_counter() - start, 2), "peak_mib": round(peak / MIB)}


def tree_memory(process: psutil.Process) -> float:
    """Bytes that a process and its children hold, shared pages counted once."""
    total = 0.0
    for one in [process, *children(process)]:
        try:
            total += one.memory_full_info().pss
        except psutil.Error:  # it has just ended
            continue
    return total


def children(process: psutil.Process) -> list[psutil.Process]:
    """All processes below one; none where it has just ended."""
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def machine() -> dict[str, Any]:
    """What it was measured on."""
    return {"cores": os.cpu_count(), "system": platform.platform(), "memory_gib": psutil.virtual_memory().total >> 30}


if __name__ == "__main__":
    main()
