"""A project of four coarse phantom heads, run by the command line as a user does, once for all tests here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
NETWORK = {"width": 2, "depth": 2}
SYNTHESIZER = {"discriminator": {"width": 2}, "unet": NETWORK}
STEPS = {"constant": 2, "decay": 2, "batch_size": 4, "log_every": 1, "checkpoint_every": 2, "device": "cpu"}

#: Heads of two sequences, the true brain given, everything as small as it runs.
TINY: dict[str, Any] = {
    "sequences": ["T1w", "FLAIR"],
    "cohort": {"name": "tiny", "source": "phantom", "layout": "tiny"},
    "layouts": {
        "tiny": {
            "study": "{subject}",
            "sequences": {"T1w": "{subject}/T1w.nii.gz", "FLAIR": "{subject}/FLAIR.nii.gz"},
            "lesion": {
                "file": "{subject}/lesion.nii.gz",
                "drawn_on": "T1w",
                "codes": {2: "edema", 3: "cavity", 4: "tumor"},
            },
            "brain_mask": "{subject}/truth/brain.nii.gz",
        }
    },
    "splits": {"test": 1, "validation": 1, "strata": 1},
    "phantom": {
        "subjects": 4,
        "sequences": ["T1w", "FLAIR"],
        "work_mm": 4.0,
        "in_plane_mm": 5.0,
        "slice_mm": 8.0,
        "small_share": 0.0,
    },
    "run": {"workers": 1},
    "coregister": {"iterations": [20, 10], "shrink": [2, 1], "smoothing_mm": [2.0, 1.0]},
    "brain": {"backend": "given"},
    "bias": {"tissue_fit": {"rounds": 5}},
    "grid": {"in_plane_mm": 6.0, "size": [32, 40]},
    "atlas": {"iterations": 1, "affine_iterations": [10], "syn_iterations": [3]},
    "tissues": {"enabled": False},
    "slices": {"count": 6, "pathological_min_lesion_pixels": 1},
    "cgsamr": {
        **SYNTHESIZER,
        "generator": {"width": 2, "downs": 2, "encoder_blocks": 1, "decoder_blocks": 1},
        "training": STEPS,
    },
    "samr": {**SYNTHESIZER, "generator": {"width": 2, "downs": 2, "encoder_blocks": 1}, "training": STEPS},
    "unet": {"network": NETWORK, "training": {**STEPS, "validate_every": 2}},
    "statistics": {"resamples": 100},
    # Two training subjects are there: sizes 1 and 2.
    "trials": {
        "comparison": {
            "synthesizers": ["samr", "cgsamr"],
            "arms": ["real", "real+50%", "synthetic", "conventional", "real+50% longer"],
            "training_subjects": [1, "all"],
            "seeds": [0, 1],
        },
        "ablation": {"seeds": [0]},
    },
}


@dataclass(frozen=True)
class Project:
    """A folder with a configuration, in which ``kedro run`` runs."""

    root: Path
    env: str

    @property
    def data(self) -> Path:
        """What the experiment's runs leave."""
        return self.root / "data" / "experiments" / self.env

    def run(self, *arguments: str, below: str = ".", code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a pipeline from a folder below the root; its exit code is as expected."""
        command = [sys.executable, "-m", "kedro", "run", f"--env={self.env}", *arguments]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "1000"}
        done = subprocess.run(
            command, cwd=self.root / below, env=environment, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
        return done


def make_project(root: Path, env: str, values: dict[str, Any], store: Path | None = None) -> Project:
    """A project with the repository's base and one experiment; ``store``: an MLflow store that is there already."""
    shutil.copytree(REPOSITORY / "conf" / "base", root / "conf" / "base")
    shutil.copy(REPOSITORY / "pyproject.toml", root)
    (root / "src").mkdir()
    experiment = root / "conf" / env
    experiment.mkdir()
    (experiment / "parameters.yml").write_text(yaml.safe_dump(values), encoding="utf-8")
    if store:
        (experiment / "mlflow.yml").write_text(f"tracking_uri: sqlite:///{store}\n", encoding="utf-8")
    return Project(root, env)


@pytest.fixture(scope="session")
def tiny() -> dict[str, Any]:
    """The experiment's parameters."""
    return TINY


@pytest.fixture(scope="session")
def new_project(tmp_path_factory):
    """Makes another project."""
    return lambda env, values, store=None: make_project(tmp_path_factory.mktemp(env), env, values, store)


@pytest.fixture(scope="session")
def project(new_project) -> Project:
    """The whole main job, done."""
    made = new_project("tiny", TINY)
    made.run("--pipelines=cgsamr_augment_eval")
    return made
