"""A training that is killed at random moments ends as an unbroken one, bit for bit; the short form of the benchmark."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "training_faults.py"


@pytest.fixture
def benchmark(monkeypatch):
    """The benchmark as a module; its runs as processes use its own file."""
    spec = importlib.util.spec_from_file_location("training_faults", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "training_faults", module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_three_kills_and_a_stop_change_nothing(benchmark, tmp_path):
    kills, verdicts = benchmark.attempt("cgsamr", 3, tmp_path, steps=24)
    assert verdicts == {
        f"{kind}: same {what}": True for kind in ("killed", "stopped") for what in ("weights", "losses")
    }
    *killed, stopped = kills
    assert [kill.status for kill in killed] == [-9] * 3
    assert stopped.status == 75 and stopped.checkpoint_step >= stopped.after_step
    for kill in killed:  # every third step is saved, that of the last step told perhaps not yet
        saved = kill.checkpoint_step or 0
        assert saved % 3 == 0 and saved >= kill.after_step - 3
