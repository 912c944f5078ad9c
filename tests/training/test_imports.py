"""Training must run on a machine that has neither imaging libraries nor the workflow's."""

from __future__ import annotations

import subprocess
import sys

FORBIDDEN = ("ants", "SimpleITK", "nibabel", "kedro", "mlflow")
ROOMS = ("methods.registry", "training.loop", "training.worker", "training.runs", "networks.unet", "losses.confidence")


def test_methods_and_training_load_nothing_heavy():
    program = "import importlib, sys\n"
    program += "".join(f"importlib.import_module('lesionlab.{room}')\n" for room in ROOMS)
    program += f"print([name for name in {FORBIDDEN!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
