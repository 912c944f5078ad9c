"""Faults of processes, disks and files: each is told plainly, costs no other study, and a second run mends it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

from lesionlab.cohort.table import cohort_table
from lesionlab.errors import InputError
from lesionlab.imaging.formats.nifti import read_volume, write_volume
from lesionlab.imaging.volume import Volume
from lesionlab.stages.engine import Engine
from lesionlab.stages.fingerprints import study_fingerprints
from lesionlab.stages.lock import StoreLock
from lesionlab.stages.stage import StageError, run_stage
from lesionlab.stages.subject_store import StudyResult, SubjectStore

STUDIES = "abcdef"


def copy(path: str) -> StudyResult:
    volume = read_volume(path)
    return StudyResult({"T1w": volume}, {"mean": float(volume.data.mean())})


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Scans of noise, which no compression makes much smaller than their 16 KiB."""
    for index, study in enumerate(STUDIES):
        data = np.random.default_rng(index).random((16, 16, 16), dtype=np.float32)
        write_volume(Volume(data, np.eye(4)), tmp_path / "scans" / f"{study}.nii.gz")
    return tmp_path / "scans"


def cohort(scans: Path, studies: str = STUDIES) -> pd.DataFrame:
    rest = {"visit": "", "lesion_path": "", "lesion_on": "", "brain_path": "", "split": "", "lesion_ml": float("nan")}
    return cohort_table(
        {"subject": study, "study": study, "sequence": "T1w", "path": str(scans / f"{study}.nii.gz"), **rest}
        for study in studies
    )


def run(root: Path, scans: Path, studies: str = STUDIES, **options: Any) -> SubjectStore:
    table = cohort(scans, studies)
    jobs = dict(zip(table["study"], table["path"], strict=True))
    return run_stage(root, jobs, copy, fingerprints=study_fingerprints(table), code="1", **options)


def written(root: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in root.glob("*/T1w.nii.gz")}


# --- processes --------------------------------------------------------------------------------------------------------

RUN = """
    import sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from test_store_faults import Engine, StageError, run

    try:
        run(Path(sys.argv[2]), Path(sys.argv[3]), engine=Engine(int(sys.argv[4])))
    except StageError as error:
        sys.exit(str(error))
"""


def start(folder: Path, root: Path, scans: Path, workers: int, *before: str) -> subprocess.Popen[str]:
    """A run in a process of its own."""
    script = folder / "run.py"
    script.write_text(textwrap.dedent(RUN))
    words = [*before, sys.executable, str(script), str(Path(__file__).parent), str(root), str(scans), str(workers)]
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("whom", ["worker", "run"])
def test_a_kill_and_a_second_run_leave_what_an_unbroken_run_leaves(
    tmp_path: Path, scans: Path, content: Any, whom: str
) -> None:
    wanted = content(run(tmp_path / "unbroken", scans).root)
    root = tmp_path / "killed"
    first = start(tmp_path, root, scans, 2)
    while not written(root) and first.poll() is None:
        time.sleep(0.005)
    workers = [child for child in psutil.Process(first.pid).children() if "loky" in " ".join(child.cmdline())]
    (workers[0] if whom == "worker" else first).send_signal(signal.SIGKILL)
    first.communicate()
    assert written(root)
    assert run(root, scans).complete()
    assert content(root) == wanted


# --- disks ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 37 pages of 4 KiB: three for the run's own files, seven for each study, so that four fit."""
    place = tmp_path / "small"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=148k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_told_and_finished_studies_are_kept(small_disk: Path, scans: Path, content: Any) -> None:
    root = small_disk / "stage"
    with pytest.raises(StageError) as caught:
        run(root, scans)
    kept = SubjectStore(root).studies()
    assert kept == [*"abcd"]
    assert set(caught.value.failures) == set(STUDIES) - set(kept)
    assert all("the disk is full" in reason and "make room" in reason for reason in caught.value.failures.values())
    before = written(root)
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    assert run(root, scans).complete()
    assert {study: written(root)[study] for study in kept} == before
    assert content(root) == content(run(scans.parent / "unbroken", scans).root)


def test_a_disk_too_full_for_the_manifest_is_told(small_disk: Path, scans: Path) -> None:
    with (small_disk / "filler").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))
    with pytest.raises(InputError, match=r"the disk is full. Given: 0.00 GB free"):
        run(small_disk / "stage", scans)
    (small_disk / "filler").unlink()


#: Root reads and writes whatever the rights say, unless it gives that up.
_AS_A_USER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
needs_rights = pytest.mark.skipif(
    bool(_AS_A_USER) and shutil.which("setpriv") is None, reason="rights do not bind root, and there is no setpriv"
)


@needs_rights
def test_a_scan_that_may_not_be_read_costs_its_study_alone(tmp_path: Path, scans: Path) -> None:
    (scans / "c.nii.gz").chmod(0)
    ended = start(tmp_path, tmp_path / "stage", scans, 1, *_AS_A_USER)
    _, said = ended.communicate()
    assert ended.returncode == 1 and "1 of 6 studies failed:\n  c: " in said, said
    assert "c.nii.gz: permission denied" in said, said
    assert SubjectStore(tmp_path / "stage").studies() == [*"abdef"]
    (scans / "c.nii.gz").chmod(0o600)
    assert run(tmp_path / "stage", scans).complete()


@needs_rights
def test_a_store_that_may_not_be_written_is_told(tmp_path: Path, scans: Path) -> None:
    (tmp_path / "stage").mkdir(mode=0o500)
    ended = start(tmp_path, tmp_path / "stage", scans, 1, *_AS_A_USER)
    _, said = ended.communicate()
    assert ended.returncode == 1
    assert "InputError: file" in said and "permission denied" in said and "Cure: correct the rights" in said


READS = """
    import sys
    from pathlib import Path
    from lesionlab.stages.lock import hold, keep_locks
    from lesionlab.stages.subject_store import SubjectStore

    keep_locks()
    hold(Path(sys.argv[1]))
    print(*SubjectStore(Path(sys.argv[1])).studies(), flush=True)
    sys.stdin.read()
"""


@needs_rights
@pytest.mark.parametrize("locked_before", [True, False])
def test_a_store_of_another_user_can_be_read(tmp_path: Path, scans: Path, locked_before: bool) -> None:
    root = run(tmp_path / "stage", scans).root
    if not locked_before:  # copied without its hidden folder
        shutil.rmtree(root / ".runs")
    for path in (root, *root.rglob("*")):
        path.chmod(0o500 if path.is_dir() else 0o400)
    words = [*_AS_A_USER, sys.executable, "-c", textwrap.dedent(READS), str(root)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    reader = subprocess.Popen(words, text=True, **pipes)  # type: ignore[call-overload]
    try:
        said = reader.stdout.readline() or reader.communicate()[1]
        assert said == "a b c d e f\n"
        if locked_before:
            with pytest.raises(InputError, match="another run is at work in stage"):
                StoreLock(root).own()
    finally:
        _, warned = reader.communicate()
    assert ("no lock (Permission denied)" in warned) == (not locked_before)


# --- files that change between runs -----------------------------------------------------------------------------------


def test_a_file_that_vanished_costs_its_study_alone(tmp_path: Path, scans: Path) -> None:
    root = run(tmp_path / "stage", scans).root
    kept = (scans / "c.nii.gz").rename(tmp_path / "elsewhere")
    with pytest.raises(StageError, match=r"1 of 6 studies failed:\n  c: file .*c.nii.gz: the file is missing"):
        run(root, scans)
    assert SubjectStore(root).studies() == [*"abdef"]
    kept.rename(scans / "c.nii.gz")
    before = written(root)
    assert run(root, scans).complete()
    assert written(root) == before  # what was there is as good as it was


def test_a_subject_removed_between_runs_is_left_out(tmp_path: Path, scans: Path) -> None:
    root = run(tmp_path / "stage", scans).root
    before = written(root)
    store = run(root, scans, "abdef")
    assert store.complete() and store.studies() == [*"abdef"]
    assert "c" not in written(root)
    assert {study: time for study, time in before.items() if study != "c"} == written(root)


def test_a_change_is_seen_that_keeps_size_and_time(tmp_path: Path, scans: Path) -> None:
    root = run(tmp_path / "stage", scans).root
    before, path = written(root), scans / "c.nii"
    # Uncompressed, so that another value changes no size.
    for study in STUDIES:
        write_volume(read_volume(scans / f"{study}.nii.gz"), scans / f"{study}.nii")
    table = cohort(scans).assign(path=[str(scans / f"{study}.nii") for study in STUDIES])
    jobs = dict(zip(table["study"], table["path"], strict=True))

    def again() -> None:
        run_stage(root, jobs, copy, fingerprints=study_fingerprints(table), code="1")

    again()
    before, status, volume = written(root), path.stat(), read_volume(path)
    time.sleep(0.05)  # a file system's clock ticks every few milliseconds
    write_volume(volume.like(volume.data[::-1]), path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    again()  # in the same process, which has read the file before
    assert [study for study in STUDIES if written(root)[study] != before[study]] == ["c"]
    np.testing.assert_array_equal(SubjectStore(root).volume("c", "T1w").data, volume.data[::-1])


def test_times_decide_nothing(tmp_path: Path, scans: Path) -> None:
    """As after a clock was set back, or a backup put in place: all times lie ahead, or all are one."""
    root = run(tmp_path / "stage", scans).root
    for ahead in (4e9, 0.0):
        for path in [*root.rglob("*"), *scans.iterdir()]:
            os.utime(path, (ahead, ahead))
        before = written(root)
        assert run(root, scans).complete()
        assert written(root) == before
    write_volume(Volume(np.eye(16, dtype=np.float32)[None].repeat(16, 0), np.eye(4)), scans / "c.nii.gz")
    os.utime(scans / "c.nii.gz", (0, 0))
    run(root, scans)
    assert [study for study in STUDIES if written(root)[study] != before[study]] == ["c"]


def test_a_damaged_volume_in_the_store_is_told_with_its_cure(tmp_path: Path, scans: Path) -> None:
    store = run(tmp_path / "stage", scans)
    path = store.root / "c" / "T1w.nii.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"subject c, file .*damaged.*Cure: delete the folder .*/c and run the stage"):
        store.volume("c", "T1w")
    shutil.rmtree(path.parent)
    assert run(store.root, scans).volume("c", "T1w").shape == (16, 16, 16)


def test_the_engine_is_no_part_of_the_key(tmp_path: Path, scans: Path) -> None:
    root = run(tmp_path / "stage", scans).root
    before = written(root)
    run(root, scans, engine=Engine(4, None, 1.0))
    assert written(root) == before
