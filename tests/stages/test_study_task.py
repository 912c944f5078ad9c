"""One study in its worker: what the machine does to it is told plainly, and a run that is over changes nothing."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Any

import pytest

from lesionlab.errors import InputError
from lesionlab.stages.plan import Sources
from lesionlab.stages.study_task import StudyTask, begin_run, process_study
from lesionlab.stages.subject_store import StudyResult

SOURCES = Sources("inputs", "parameters", "code")


def result(_: object) -> StudyResult:
    return StudyResult(qc={"n": 1.0})


def test_a_worker_that_outlives_its_run_puts_nothing_in_its_place(tmp_path: Path, content: Any) -> None:
    old = StudyTask(tmp_path, "a", None, SOURCES, begin_run(tmp_path), None)
    assert process_study(result, old).reason is None
    before = content(tmp_path)
    assert "a/qc.json" in before

    def slow(_: object) -> StudyResult:  # while it computes, the next run begins
        begin_run(tmp_path)
        return StudyResult(qc={"n": 2.0})

    assert "another run has taken over" in str(process_study(slow, old).reason)
    assert "another run has taken over" in str(process_study(result, old).reason)  # not even begun
    assert content(tmp_path) == before  # no half-written folder, no log


def test_a_worker_that_does_not_see_the_store(tmp_path: Path) -> None:
    task = StudyTask(tmp_path / "elsewhere", "a", None, SOURCES, "", None)
    assert "the worker does not see the stage's folder" in str(process_study(result, task).reason)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), r"the disk is full. Given: \d+\.\d\d GB free"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "x.nii"), "file x.nii: permission denied"),
        (OSError(errno.EROFS, "Read-only file system"), "permission denied. Given: Read-only file system"),
        (MemoryError("Unable to allocate 8 TiB"), "the memory did not suffice. Given: Unable to allocate 8 TiB"),
        (InputError("bad", given=1, allowed=2, cure="mend"), r"bad. Given: 1. Allowed: 2. Cure: mend"),
        (KeyError("T1w"), r"KeyError: 'T1w' \(test_study_task.py, line \d+\)"),
    ],
)
def test_reasons_in_one_line(tmp_path: Path, error: Exception, text: str) -> None:
    def fail(_: object) -> StudyResult:
        raise error

    done = process_study(fail, StudyTask(tmp_path, "a", None, SOURCES, begin_run(tmp_path), None))
    assert re.search(text, str(done.reason)) and "\n" not in str(done.reason)
    logged = (tmp_path / "_logs" / "a.log").is_file()
    assert logged != ("disk is full" in text)  # there the last room is left to the manifest
