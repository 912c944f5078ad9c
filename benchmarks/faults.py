"""Kills at random moments: each run is resumed, and its results compared with an unbroken run's, byte by byte.

Two real stages over small scans, brain masks that are given and N4, in two worker processes. Killed with SIGKILL is one
worker, the run (its workers live on for a while), or the run and its workers at once. Half of the runs begin in an
empty folder, the others where an older run with other parameters has left its results, which are replaced.

Command: python benchmarks/faults.py --kills 24
Result:  benchmarks/faults.json: what was killed when, what was there then, and whether the bytes are the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
from scipy import ndimage

from lesionlab.imaging.anatomy.brain import apply_mask
from lesionlab.imaging.intensity.bias import BiasOptions, correct_study
from lesionlab.imaging.intensity.n4 import N4Options
from lesionlab.imaging.volume import Volume
from lesionlab.stages.engine import Engine
from lesionlab.stages.lock import RUNS
from lesionlab.stages.stage import run_stage
from lesionlab.stages.subject_store import MANIFEST, StudyResult, SubjectStore

KINDS = ("worker", "run", "run and workers")
STAGES = ("brain", "bias")
STUDIES, SIDE = 12, 56
OLD, NEW = 5, 10  # iterations of N4, before and now
WORKERS = 2
ABOUT_A_STUDY_S = 0.15
POLL_S = 0.02


@dataclass
class Outcome:
    """One kill."""

    kind: str
    began: str  # in an empty folder, or one with older results
    whole_when_killed: int  # results of both stages together, older ones not counted
    half_written: int  # once what was killed is gone: a run whose worker was killed goes on to its end first
    resumed_well: bool
    same_bytes: bool
    differing: list[str]  # files that are not as an unbroken run leaves them, or are too many or too few


def scan(index: int) -> tuple[Volume, Volume]:
    """A head of three tissues with a bias field, and its brain mask."""
    rng = np.random.default_rng(index)
    grid = np.indices((SIDE, SIDE, SIDE)) / SIDE - 0.5
    radius = np.sqrt((grid**2).sum(0)) + 0.02 * ndimage.gaussian_filter(rng.normal(size=(SIDE,) * 3), 4)
    tissue = np.select([radius < 0.2, radius < 0.3, radius < 0.4], [300.0, 200.0, 100.0], 20.0)
    image = tissue * np.exp(grid[0] * rng.uniform(0.3, 0.8)) + rng.normal(size=radius.shape)
    mask = (radius < 0.4).astype(np.uint8)
    return Volume(image.astype(np.float32), np.eye(4) * 2), Volume(mask, np.eye(4) * 2)


def brain_study(index: int) -> StudyResult:
    """The first stage: the scan within its mask."""
    image, mask = scan(index)
    return StudyResult({"T1w": apply_mask(image, mask), "brain": mask})


def bias_study(job: tuple[SubjectStore, str, int]) -> StudyResult:
    """The second stage: N4."""
    store, study, iterations = job
    done = correct_study(
        {"T1w": store.volume(study, "T1w")},
        store.volume(study, "brain"),
        BiasOptions(method="n4", n4=N4Options(iterations=(iterations,))),
    )
    return StudyResult(done.volumes, done.qc)


def run_chain(folder: Path, iterations: int, workers: int) -> None:
    """Both stages over all studies."""
    engine = Engine(workers)
    indices = {f"subject-{index:02d}": index for index in range(STUDIES)}
    keys = {study: f"{index} {iterations}" for study, index in indices.items()}
    brains = run_stage(folder / STAGES[0], indices, brain_study, fingerprints=keys, code="1", engine=engine)
    jobs = {study: (brains, study, iterations) for study in indices}
    run_stage(folder / STAGES[1], jobs, bias_study, fingerprints=brains.fingerprints(), code="1", engine=engine)


def start(folder: Path, iterations: int = NEW, workers: int = WORKERS) -> subprocess.Popen[bytes]:
    """A run in a process of its own, and a session of its own."""
    words = [sys.executable, __file__, "--run", str(folder), "--iterations", str(iterations), "--workers", str(workers)]
    return subprocess.Popen(words, stderr=subprocess.PIPE, start_new_session=True)


def content(folder: Path) -> dict[str, str]:
    """A digest of every file the stages left; manifests tell the time, and runs leave each other notes."""
    # os.walk passes over a folder that a worker, which outlived its run, renames at this moment.
    found = (Path(root) / name for root, _, names in os.walk(folder) for name in names)
    files = [path for path in found if path.name != MANIFEST and RUNS not in path.parts]
    return {str(path.relative_to(folder)): digest(path) for path in files}


def digest(path: Path) -> str:
    """Of a file's bytes; of one that a worker renames at this moment, nothing."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""


def kill(kind: str, run: subprocess.Popen[bytes], rng: random.Random) -> list[psutil.Process]:
    """Kill what is to be killed, as far as it still lives; returns the workers there were."""
    children = psutil.Process(run.pid).children() if run.poll() is None else []
    workers = [child for child in children if "loky" in " ".join(child.cmdline())]
    if kind == "worker" and workers:
        rng.choice(workers).kill()
    elif kind == "run":
        run.kill()
    elif kind == "run and workers":
        os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    return workers


def attempt(index: int, folder: Path, old: Path, wanted: dict[str, str]) -> Outcome:
    """One kill at a random moment, and the run after it."""
    rng = random.Random(index)
    kind, began = KINDS[index % len(KINDS)], ("empty", "older results")[index // len(KINDS) % 2]
    shutil.rmtree(folder, ignore_errors=True)
    if began == "empty":
        folder.mkdir()
    else:
        shutil.copytree(old, folder)
    run, due = start(folder), rng.randrange(STUDIES * len(STAGES))
    while run.poll() is None and whole_results(folder, wanted) < due:
        time.sleep(POLL_S)
    time.sleep(rng.uniform(0, ABOUT_A_STUDY_S))
    whole = whole_results(folder, wanted)
    workers = kill(kind, run, rng)
    half = len({name.split("/")[1] for name in content(folder) if ".aside-" in name})
    again = start(folder)
    again.communicate()
    while any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers):
        time.sleep(POLL_S)  # a worker that outlives its run must not change anything either
    left = content(folder)
    differing = sorted(name for name in left.keys() | wanted if left.get(name) != wanted.get(name))
    return Outcome(kind, began, whole, half, again.returncode == 0, not differing, differing)


def whole_results(folder: Path, wanted: dict[str, str]) -> int:
    """How many studies are there as they should be in the end, by their receipts."""
    receipts = [name for name in wanted if name.endswith("receipt.json") and (folder / name).exists()]
    return sum(digest(folder / name) == wanted[name] for name in receipts)


def unbroken(folder: Path, iterations: int, workers: int) -> None:
    """A run to its end."""
    run = start(folder, iterations, workers)
    _, said = run.communicate()
    assert run.returncode == 0, said.decode()


def main() -> None:
    """Kill, resume, compare, and write the JSON beside this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--iterations", type=int, default=NEW, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=WORKERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run_chain(options.run, options.iterations, options.workers)
        return
    with TemporaryDirectory(dir=Path.cwd()) as name:
        one, old, folder = (Path(name) / part for part in ("one", "old", "killed"))
        unbroken(one, NEW, 1)
        wanted = content(one)
        unbroken(old, OLD, WORKERS)
        outcomes = [attempt(index, folder, old, wanted) for index in range(options.kills)]
    record(outcomes)


def record(outcomes: list[Outcome]) -> None:
    """Write the JSON and print what counts."""
    summary = {
        "kills": len(outcomes),
        "by_kind": dict(Counter(outcome.kind for outcome in outcomes)),
        "resumed_well": sum(outcome.resumed_well for outcome in outcomes),
        "same_bytes": sum(outcome.same_bytes for outcome in outcomes),
        "killed_in_mid_work": sum(outcome.whole_when_killed < STUDIES * len(STAGES) for outcome in outcomes),
        "left_half_written": sum(outcome.half_written > 0 for outcome in outcomes),
    }
    text = json.dumps({**summary, "outcomes": [asdict(outcome) for outcome in outcomes]}, indent=2)
    Path(__file__).with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
