"""Two runs at once, each a process of its own: one after the other, or a clear word; never a mixture."""

from __future__ import annotations

import errno
import fcntl
import logging
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from lesionlab.errors import InputError
from lesionlab.stages.lock import StoreLock, keep_locks, reading_lock, release_locks
from lesionlab.stages.stage import run_stage
from lesionlab.stages.subject_store import StudyResult, SubjectStore

RUN = """
    import os, sys, time
    from pathlib import Path
    import numpy as np
    from lesionlab.stages.engine import Engine
    from lesionlab.stages.stage import run_stage
    from lesionlab.stages.subject_store import StudyResult
    from lesionlab.imaging.volume import Volume

    folder, value, minutes, workers = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])

    def work(study):
        (folder / f"begun-{value:g}-{study}").write_text(str(os.getpid()))
        while value == 1 and not (folder / "go").exists():  # the first run works until it is let go
            time.sleep(0.02)
        return StudyResult({"T1w": Volume(np.full((2, 2, 2), value, np.float32), np.eye(4))})

    studies = {study: study for study in "abc"}
    keys = {study: str(value) for study in studies}
    engine = Engine(workers)
    run_stage(folder / "brain", studies, work, fingerprints=keys, code="1", engine=engine, wait_minutes=minutes)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Starts a run of one stage whose volumes all hold one value."""
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(RUN))
    runs = []

    def run(value: float, minutes: float = 0, workers: int = 1) -> subprocess.Popen[str]:
        words = [sys.executable, str(script), str(tmp_path), str(value), str(minutes), str(workers)]
        runs.append(subprocess.Popen(words, stderr=subprocess.PIPE, text=True))
        return runs[-1]

    yield run
    (tmp_path / "go").touch()
    for each in runs:
        each.kill()
        each.wait()
        each.stderr.close()


def until(path: Path) -> None:
    while not path.exists() or not path.read_text():
        time.sleep(0.02)


def values(folder: Path) -> set[float]:
    store = SubjectStore(folder / "brain")
    assert store.complete()
    return {float(store.volume(study, "T1w").data.max()) for study in store.studies()}


def test_the_second_run_stops_and_says_who_is_at_work(start: Any, tmp_path: Path) -> None:
    first = start(1)
    until(tmp_path / "begun-1-a")
    _, said = start(2).communicate()
    assert "another run is at work in brain" in said and "run.wait_minutes" in said
    assert f"process {first.pid} on {socket.gethostname()}, which writes since 20" in said
    (tmp_path / "go").touch()
    assert first.wait() == 0
    assert values(tmp_path) == {1.0}
    assert not (tmp_path / "begun-2-a").exists()


def test_the_second_run_waits_where_it_may_and_then_does_all_itself(start: Any, tmp_path: Path) -> None:
    first = start(1)
    until(tmp_path / "begun-1-a")
    second = start(2, minutes=5)
    while "waiting for it" not in (line := second.stderr.readline()):
        assert line, "the second run ended without a word"
    (tmp_path / "go").touch()
    second.communicate()
    assert (first.wait(), second.returncode) == (0, 0)
    assert values(tmp_path) == {2.0}


def test_a_killed_run_lets_go_and_its_workers_end(start: Any, tmp_path: Path) -> None:
    first = start(1, workers=2)
    until(tmp_path / "begun-1-a")
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = start(2)
    _, said = second.communicate()
    assert second.returncode == 0, said
    until_gone([int(path.read_text()) for path in tmp_path.glob("begun-1-*")])  # they were never let go
    assert values(tmp_path) == {2.0}


def until_gone(pids: list[int]) -> None:
    """Wait until processes, none of them our children, have ended; whether anyone has buried them does not count."""
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            while process.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.05)


def test_readers_share_and_a_writer_waits_for_them(tmp_path: Path) -> None:
    one, two = StoreLock(tmp_path), StoreLock(tmp_path)
    one.share()
    two.share()
    with pytest.raises(InputError, match="another run is at work"):
        two.own()
    one.release()
    two.own()
    with pytest.raises(InputError, match="another run is at work"):
        one.share()
    two.share()  # has written, goes on reading
    one.share()


def test_what_failed_before_is_tried_again_only_where_nobody_reads(tmp_path: Path) -> None:
    def work(study: str) -> StudyResult:
        tried.append(study)
        if study == "b":
            raise InputError("the scan is bad", given="bad", allowed="good", cure="mend it")
        return StudyResult(qc={"n": 1.0})

    def run(fingerprint: str = "1", studies: str = "ab") -> list[str]:
        tried.clear()
        jobs, keys = {study: study for study in studies}, dict.fromkeys(studies, fingerprint)
        return run_stage(root, jobs, work, fingerprints=keys, code="1", allow_failures=True).studies()

    root, tried = tmp_path / "brain", list[str]()
    run()
    other = StoreLock(root)
    other.share()
    assert run() == ["a"] and not tried
    for change in ({"fingerprint": "2"}, {"studies": "abc"}, {"studies": "a"}):
        with pytest.raises(InputError, match="another run is at work"):
            run(**change)
    other.release()
    assert run() == ["a"] and tried == ["b"]


def test_locks_are_kept_to_the_end_of_a_run_that_says_so(tmp_path: Path) -> None:
    other = StoreLock(tmp_path / "brain")
    with reading_lock(tmp_path / "brain"):
        pass
    other.own()
    other.release()
    keep_locks()
    try:
        with reading_lock(tmp_path / "brain") as lock:
            lock.own()
        with reading_lock(tmp_path / "brain"):  # the same run, again
            pass
        other.share()
        with pytest.raises(InputError, match="another run is at work in brain"):
            StoreLock(tmp_path / "brain").own()
    finally:
        release_locks()
    other.own()
    other.release()


def test_the_note_of_a_process_that_is_gone_is_not_believed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    cards = tmp_path / ".runs" / "holders"
    cards.mkdir(parents=True)
    (cards / f"{socket.gethostname()}-{ended.pid}").write_text("the one that is gone")
    (cards / "elsewhere-1").write_text("process 1 on elsewhere")
    one = StoreLock(tmp_path, notes=False)
    one.own()
    with pytest.raises(InputError) as caught:
        StoreLock(tmp_path).share()
    assert caught.value.given == "process 1 on elsewhere"


def test_a_file_system_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with caplog.at_level(logging.WARNING):
        StoreLock(tmp_path).own()
    assert "no lock (No locks available): see to it that no other run writes there" in caplog.text
