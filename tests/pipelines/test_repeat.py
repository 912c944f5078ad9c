"""The same run twice: nothing is done again in its place, and the same comes out in another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

NAMES = ("augmentation", "synthesis", "segmentation")
TABLES = [f"08_reporting/cgsamr/tables/{name}.{end}" for name in NAMES for end in ("csv", "md", "tex")]
ARRAYS = ("images", "labels", "atlas")
STORES = ("slices", "synthetic/cgsamr/2-subjects/seed-0")
SLICES, SYNTHETIC = ([f"04_feature/{store}/{name}.npy" for name in ARRAYS] for store in STORES)
CELL = ["method", "protocol", "synthesizer", "sequence", "class", "metric"]
KEPT = ("01_raw/phantom", "03_primary", "04_feature", "06_models")


def times(data: Path) -> dict[str, int]:
    """When each file was written; manifests, which tell of the last run, apart."""
    files = [path for folder in KEPT for path in (data / folder).rglob("*") if path.is_file()]
    return {str(path.relative_to(data)): path.stat().st_mtime_ns for path in files if path.name != "manifest.json"}


def manifests(data: Path) -> dict[str, dict]:
    found = {str(path.relative_to(data)): json.loads(path.read_text()) for path in data.rglob("manifest.json")}
    return {name: {key: value for key, value in content.items() if key != "created"} for name, content in found.items()}


def planned(data: Path) -> pd.DataFrame:
    return pd.read_csv(data / "02_intermediate" / "plan.csv")


def content(data: Path, names: list[str]) -> dict[str, bytes]:
    return {name: (data / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def again(project, new_project, tiny) -> Path:
    """The same experiment in a fresh folder, two processes at work instead of one."""
    values = {**tiny, "run": {"workers": 2}}
    other = new_project("tiny", values, project.root / "mlflow.db")
    other.run("--pipelines=cgsamr_augment_eval")
    return other.data


def test_done_again_nothing_is_computed_again(project):
    before, described, tables = times(project.data), manifests(project.data), content(project.data, TABLES)
    assert len(before) > 100 and set(planned(project.data)["cause"]) == {"new"}
    project.run("--pipelines=cgsamr_augment_eval", below="conf/base")  # from a folder within the project as well
    assert set(planned(project.data)["cause"]) == {"unchanged"}  # the plan foresees the stages' own fingerprints
    assert times(project.data) == before
    assert manifests(project.data) == described
    assert content(project.data, TABLES) == tables
    assert not (project.root / "conf" / "base" / "data").exists()


def test_the_same_seed_gives_the_same_tables_whatever_the_number_of_processes(project, again):
    assert content(again, TABLES) == content(project.data, TABLES)


def test_the_same_seed_gives_the_same_slices(project, again):
    assert content(again, SLICES + SYNTHETIC) == content(project.data, SLICES + SYNTHETIC)


def test_another_seed_gives_other_tables(project, tmp_path):
    copied = type(project)(shutil.copytree(project.root, tmp_path / "other"), project.env)
    # Only what learns and draws is done again here: the scans, too, depend on the seed.
    copied.run("--pipelines=cgsamr_augment_eval", "--from-nodes=cgsamr.make_plan", "--params=seed=1")
    for name in ("augmentation", "synthesis"):
        file = f"08_reporting/cgsamr/tables/{name}.csv"
        ours, theirs = (pd.read_csv(each.data / file).set_index(CELL) for each in (project, copied))
        assert set(theirs["seed"]) == {1}
        learnt = ours.index.get_level_values("protocol") != "floor"
        assert not ours.loc[learnt, "mean"].equals(theirs.loc[learnt, "mean"])
        pd.testing.assert_series_equal(ours.loc[~learnt, "mean"], theirs.loc[~learnt, "mean"])
    for name in SYNTHETIC[:2]:
        assert (copied.data / name.replace("seed-0", "seed-1")).read_bytes() != (project.data / name).read_bytes()
    # The other seed's trainings and slices lie beside the first one's.
    assert content(copied.data, SYNTHETIC) == content(project.data, SYNTHETIC)


def test_the_plan_names_the_stages_that_a_parameter_concerns(project, tmp_path):
    copied = type(project)(shutil.copytree(project.root, tmp_path / "other"), project.env)
    copied.run(
        "--pipelines=preprocess", "--to-nodes=log_plan", "--params=bias.tissue_fit.rounds=3,tissues.iterations=2"
    )
    causes = planned(copied.data).groupby("stage")["cause"].agg(set)
    assert causes["coregister"] == causes["brain"] == {"unchanged"}
    assert causes["bias"] == {"parameters"} and causes["tissues"] == {"inputs and parameters"}
    assert causes["landmarks"] == causes["standardize"] == causes["atlas"] == {"inputs"}
