"""A signal to ``kedro run`` in the middle of a training, as a cluster sends it: the same command goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from lesionlab.training.checkpoint import load

CASE = "06_models/synthesizers/cgsamr/2-subjects/seed-0"
TRY_AGAIN = 75  # EX_TEMPFAIL
WORDS = (
    "--pipelines=cgsamr_augment_eval",
    "--from-nodes=cgsamr.make_plan",
    "--to-nodes=cgsamr.train_synthesizers",
    "--params=cgsamr.training.constant=400,cgsamr.training.checkpoint_every=400,cgsamr.training.log_every=5",
)


def weights(project) -> dict[str, torch.Tensor]:
    return load(project.data / CASE / "method.pt")["weights"]


@pytest.fixture
def copied(project, tmp_path):
    """The finished main job somewhere else; the synthesizer is then trained for longer."""
    return lambda name: type(project)(shutil.copytree(project.root, tmp_path / name), project.env)


def stop(project) -> subprocess.CompletedProcess[str]:
    """Run, and send SIGTERM as soon as the training has told of a step."""
    command = [sys.executable, "-m", "kedro", "run", f"--env={project.env}", *WORDS]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "1000"}
    said = project.root / "said.txt"
    with said.open("w") as out:
        running = subprocess.Popen(command, cwd=project.root, env=environment, stdout=out, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 300
        while "cgsamr: step " not in said.read_text() and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        running.send_signal(signal.SIGTERM)
        running.wait(300)
    return subprocess.CompletedProcess(command, running.returncode, said.read_text())


def test_a_run_that_is_stopped_goes_on_to_the_same_weights(copied):
    straight, stopped = copied("straight"), copied("stopped")
    straight.run(*WORDS)
    ended = stop(stopped)
    assert ended.returncode == TRY_AGAIN, ended.stdout[-3000:]
    assert "stopped after step" in ended.stdout and "as SIGTERM asked" in ended.stdout
    assert not (stopped.data / CASE / "method.pt").exists() and not (stopped.data / CASE / "receipt.json").exists()
    assert 0 < load(stopped.data / CASE / "last.pt")["training"]["step"] < 402
    stopped.run(*WORDS)
    expected = weights(straight)
    assert all(torch.equal(values, expected[name]) for name, values in weights(stopped).items())
