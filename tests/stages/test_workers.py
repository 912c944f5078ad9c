"""What worker processes keep from one call to the next; their results are tested with the stages."""

from __future__ import annotations

import os
import time

import numpy as np

from lesionlab.stages.engine import Engine
from lesionlab.stages.workers import run_parallel

_kept: list[np.ndarray] = []


def grow(megabytes: int) -> int:
    """Hold memory for good, as a library does that is loaded; returns the worker's process."""
    _kept.append(np.ones(megabytes << 17))
    time.sleep(1.1)  # joblib looks at a worker's memory once a second
    return os.getpid()


def test_workers_live_through_a_run_though_libraries_make_them_larger():
    # Each stage is a call of its own; a worker that has grown by 0.3 GB is replaced by joblib's own rule.
    found = {str(call): dict(run_parallel(grow, {"a": 400, "b": 400}, Engine(2))) for call in range(3)}
    assert set(found["2"].values()) <= set(found["0"].values()) | set(found["1"].values())
    assert len({process for call in found.values() for process in call.values()}) <= 2
