"""Processes that train end with the one that waits for them, however that ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lesionlab.training.processes import Processes

CHILD = """
import os, sys, time
from lesionlab.stages.parent import end_with_stdin
end_with_stdin()
open(sys.argv[1] + ".part", "w").write(str(os.getpid()))
os.rename(sys.argv[1] + ".part", sys.argv[1])
time.sleep(60)
"""
PARENT = """
import os, sys
from lesionlab.training.processes import Processes
Processes().run([sys.executable, "-c", sys.argv[2], sys.argv[1]], os.environ)
"""


def wait_until(true, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return true()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc, which is Linux's")
def test_a_child_ends_when_its_parent_is_killed(tmp_path):
    told = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(told), CHILD])
    assert wait_until(told.exists)
    child = int(told.read_text())
    assert is_alive(child)
    parent.kill()
    parent.wait()
    assert wait_until(lambda: not is_alive(child))


def test_what_a_process_writes_is_shown_with_its_name_and_its_status_comes_back(capfd):
    words = [sys.executable, "-c", "import sys; print('one\\ntwo', file=sys.stderr); sys.exit(3)"]
    assert Processes().run(words, os.environ, "mine") == (3, ["one\n", "two\n"])
    assert capfd.readouterr().err == "mine: one\nmine: two\n"


def test_who_was_asked_to_stop_starts_nothing_that_lasts():
    processes = Processes()
    processes.terminate()
    began = time.monotonic()
    status, _ = processes.run([sys.executable, "-c", "import time; time.sleep(60)"], os.environ)
    assert status < 0 and time.monotonic() - began < 50
