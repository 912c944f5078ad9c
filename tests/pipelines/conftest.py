"""A project of four coarse phantom heads, run by the command line as a user does, once for all tests here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from lesionlab.methods.registry import find
from lesionlab.slices.cutting import StudySlices
from lesionlab.slices.store import SliceStore
from lesionlab.training.options import TrainingOptions
from lesionlab.trials.options import Arm, TrialOptions
from lesionlab.trials.plan import Recipe, TrialPlan, plan_trial

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


# --- plans ------------------------------------------------------------------------------------------------------------

ARMS = {
    "real": Arm(),
    "real+25%": Arm(synthetic=0.5),
    "real+50%": Arm(synthetic=1.0),
    "synthetic": Arm(real=False, synthetic=1.0),
    "conventional": Arm(conventional=True),
    "longer": Arm(synthetic=1.0, equal="epochs"),
    "real longer": Arm(length=2.5),
}


def recipe(method: str, **training: Any) -> Recipe:
    """A method as small as it runs, for two steps."""
    kind = find(method)
    given = {name: value for name, value in TINY[method].items() if name != "training"}
    options = kind.Options.model_validate(given).model_dump(mode="json")
    steps = {"constant": 2, "decay": 0, "unit": "steps", "batch_size": 3, "device": "cpu", "log_every": 1}
    return Recipe(
        method=method,
        title=kind.title,
        options=options,
        training=TrainingOptions(**steps | training),
        prior=kind.prior,
        claims=kind.claims,
    )


@pytest.fixture(scope="session")
def new_recipe() -> Callable[..., Recipe]:
    """Makes a small synthesizer's recipe."""
    return recipe


@pytest.fixture(scope="session")
def new_plan() -> Callable[..., TrialPlan]:
    """Plans a trial over slices: its name, arms, synthesizers, sizes and seeds."""

    def make(
        slices: SliceStore,
        name: str = "mine",
        *,
        synthesizers: tuple[str, ...] = ("cgsamr",),
        arms: tuple[str, ...] = ("real", "real+25%", "real+50%"),
        sizes: tuple = ("all",),
        seeds: tuple[int, ...] = (0,),
        recipes: dict[str, Recipe] | None = None,
        seed: int = 0,
    ) -> TrialPlan:
        options = TrialOptions(synthesizers=synthesizers, arms=arms, training_subjects=sizes, seeds=seeds)
        known = {method: recipe(method) for method in ("samr", "cgsamr")} | (recipes or {})
        return plan_trial(name, options, ARMS, known, {"unet": recipe("unet")}, slices.table, seed)

    return make


# --- slices for the nodes that read them ------------------------------------------------------------------------------

SIDE, SEQUENCES, CLASSES = 16, ["T1w", "FLAIR"], ["edema", "tumor"]


def study_slices(subject: str, study: str, split: str, planes: int) -> StudySlices:
    """A brain of 10 x 10 pixels, in each slice a lesion of 4 x 4 with a tumor of 2 x 2 in its middle."""
    labels = np.zeros((planes, SIDE, SIDE), np.uint8)
    labels[:, 3:13, 3:13], labels[:, 5:9, 5:9], labels[:, 6:8, 6:8] = 1, 2, 3
    rng = np.random.default_rng(list(study.encode()))
    images, atlas = (rng.uniform(-1, 1, (planes, n, SIDE, SIDE)).astype(np.float32) for n in (2, 6))
    for pictures in (images, atlas):
        pictures[np.broadcast_to(labels[:, None] == 0, pictures.shape)] = -1
    about = {"subject": subject, "study": study, "split": split, "domain": "pathological", "fill": 100 / SIDE**2}
    about |= {"spacing_x": 2.0, "spacing_y": 2.0, "spacing_z": 5.0, "pixels_edema": 12, "pixels_tumor": 4, "clipped": 0}
    about |= {"source": "real", "manipulation": "none", "donor": "", "record": "{}"}
    table = pd.DataFrame({"plane": np.arange(planes), **about})
    return StudySlices(images, labels, atlas, np.zeros((planes, 0, SIDE, SIDE), np.float32), table)


@pytest.fixture(scope="session")
def write_slices() -> Callable[..., SliceStore]:
    """Writes slices into a folder: training subjects a and b, c for validation, d with two visits for testing.

    ``change`` may alter the studies, by name, before they are written.
    """

    def write(
        folder: Path,
        name: str = "slices",
        change: Callable[[dict[str, StudySlices]], object] = bool,
        planes: int = 3,
    ) -> SliceStore:
        people = [("a", "a", "train"), ("b", "b", "train"), ("c", "c", "validation"), ("d", "d_1", "test")]
        people.append(("d", "d_2", "test"))
        studies = {study: study_slices(subject, study, split, planes) for subject, study, split in people}
        change(studies)
        return SliceStore.write(folder / name, studies.values(), SEQUENCES, CLASSES, fingerprint=name)

    return write


@pytest.fixture
def new_slices(tmp_path, write_slices) -> Callable[..., SliceStore]:
    """Writes slices into the test's own folder."""
    return partial(write_slices, tmp_path)
