"""Two studies at once do not both count the same free memory."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lesionlab.stages.memory import FACTOR, free_bytes
from lesionlab.stages.memory_share import memory_claimed, outstanding


class Job:
    """A study whose header promises half of what is free, and the libraries come on top."""

    def __init__(self, folder: Path) -> None:
        header = nib.Nifti1Header()
        side = round((0.5 * free_bytes() / (4 * FACTOR)) ** (1 / 3))
        header.set_data_shape((side, side, side))
        header.set_data_dtype(np.int16)
        header["vox_offset"], header["magic"] = 352, b"n+1"
        self.path = folder / "scan.nii"
        self.path.write_bytes(header.binaryblock + bytes(4))

    def files(self) -> list[Path]:
        return [self.path]


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()


def test_a_study_waits_until_what_another_has_claimed_is_free(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    began = threading.Event()

    def study() -> None:
        with memory_claimed(tmp_path, Job(tmp_path), None):
            began.set()

    with memory_claimed(tmp_path, Job(tmp_path), None):
        claim = next((tmp_path / ".runs" / "memory").glob("*/*"))
        text = claim.read_text()
    assert not claim.exists()
    (claim.parent / str(other.pid)).write_text(text)  # another worker is at work with as much
    assert 0 < outstanding(claim.parent)[0] <= int(text)
    waiter = threading.Thread(target=study)
    waiter.start()
    time.sleep(0.5)
    assert not began.is_set()
    other.kill()  # it dies without taking back its claim
    other.wait()
    waiter.join(timeout=60)
    assert began.is_set() and not list(claim.parent.iterdir())


def test_a_claim_older_than_the_process_of_its_number_is_a_dead_ones(
    tmp_path: Path, other: subprocess.Popen[bytes]
) -> None:
    claim = tmp_path / str(other.pid)
    claim.write_text("1000000000000")
    assert len(outstanding(tmp_path)) == 1
    os.utime(claim, (0, 0))
    assert outstanding(tmp_path) == [] and not claim.exists()
