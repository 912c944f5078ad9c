"""What a run leaves in MLflow, and that it does not pass over studies in silence."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import node, pipeline
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from pydantic import BaseModel

import lesionlab
from lesionlab.config import ExperimentConfigLoader
from lesionlab.errors import InputError
from lesionlab.hooks import (
    EndingHooks,
    QuarantineError,
    QuarantineHooks,
    RequirementHooks,
    TrackingHooks,
    commit,
    flatten,
)
from lesionlab.metrics.statistics import TABLE_COLUMNS
from lesionlab.parameters import RunOptions, merged
from lesionlab.pipelines.tracking import make_tracker, mlflow_name, tracking_variables
from lesionlab.settings import CONFIG_LOADER_ARGS
from lesionlab.training.stop import Interrupted

CONF = Path(__file__).parents[1] / "conf"

#: What quality control found: one study to look at, one held back.
FLAGS = pd.DataFrame(
    [
        ("a", "brain", "mirror_overlap", 0.8, "at least 0.8", "warn", "overlap", "the mask"),
        ("b", "brain", "brain_ml", 90.0, "500 to 2500", "quarantine", "volume", "the mask"),
    ],
    columns=["study", "stage", "measure", "value", "allowed", "action", "why", "look"],
)

STORE = {"tracking_uri": "sqlite:///runs.db", "artifacts": "artifacts", "experiment": "trial"}


class Options(BaseModel):
    width: int = 3
    shape: tuple[int, int] = (2, 4)


# --- flatten ----------------------------------------------------------------------------------------------------------


def test_flatten_names_every_leaf_by_its_path():
    values = {"a": {"b": 1, "c": {"d": [1, 2]}}, "e": None, "f": {}, "options": Options(), 4: "key of another type"}
    assert flatten(values) == {
        "a.b": 1,
        "a.c.d": [1, 2],
        "e": None,
        "f": {},
        "options.width": 3,
        "options.shape": (2, 4),
        "4": "key of another type",
    }


def test_flatten_of_nothing():
    assert flatten({}) == {} and flatten(3) == {}


# --- commit -----------------------------------------------------------------------------------------------------------


def git(folder: Path, *words: str) -> str:
    known = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", "-C", folder, *known, *words], capture_output=True, text=True, check=True).stdout


def test_commit_and_whether_the_tree_differs(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-q", "-m", "first")
    expected = git(tmp_path, "rev-parse", "HEAD").strip()
    assert len(expected) == 40
    assert commit(tmp_path) == {"commit": expected, "modified": "False"}
    (tmp_path / "file").write_text("two")
    assert commit(tmp_path) == {"commit": expected, "modified": "True"}


def test_commit_outside_a_checkout(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit(tmp_path) == {}


# --- MLflow -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A project's folder, whose store is made once: that takes MLflow seconds."""
    return tmp_path_factory.mktemp("project")


@pytest.fixture
def hooks(project, monkeypatch) -> Iterator[TrackingHooks]:
    """Hooks in a project of their own; MLflow's settings and the run are put back afterwards."""
    before = mlflow.get_tracking_uri()
    parameters = {"seed": 7, "cgsamr": {"width": 2}, "long": "x" * 900, "real+25%": 0.5}
    made = TrackingHooks()
    made.after_context_created(
        SimpleNamespace(config_loader={"mlflow": STORE}, project_path=project, params=parameters)
    )
    yield made
    if mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(before)


def last_run(project: Path) -> Run:
    client = MlflowClient(f"sqlite:///{project / 'runs.db'}")
    experiment = client.get_experiment_by_name("trial")
    return client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])[0]


def artifacts(project: Path) -> set[str]:
    root = project / "artifacts" / last_run(project).info.run_id / "artifacts"
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_the_store_lies_in_the_project(hooks, project):
    assert mlflow.get_tracking_uri() == f"sqlite:///{project / 'runs.db'}"
    assert (project / "runs.db").is_file()


def test_a_run_knows_its_parameters_and_what_was_run(hooks, project):
    hooks.before_pipeline_run({"pipeline_names": ["cohort", "slices"], "env": "small"})
    hooks.after_pipeline_run()
    run = last_run(project)
    assert run.info.run_name == "cohort+slices (small)" and run.info.status == "FINISHED"
    # MLflow forbids + and % in names; a value of 900 characters is cut at 500.
    assert run.data.params == {"seed": "7", "cgsamr.width": "2", "long": "x" * 500, "real_25_": "0.5"}
    assert run.data.tags["env"] == "small" and run.data.tags["version"] == lesionlab.__version__


def test_the_default_run_has_a_name(hooks, project):
    hooks.before_pipeline_run({"pipeline_names": None, "env": None})
    hooks.after_pipeline_run()
    assert last_run(project).info.run_name == "__default__ (base)"


def test_more_parameters_than_mlflow_takes_at_once(hooks, project):
    hooks._context.params = {f"p{number}": number for number in range(250)}
    hooks.before_pipeline_run({"env": "small"})
    hooks.after_pipeline_run()
    assert len(last_run(project).data.params) == 250


def test_tables_pages_curves_and_times_are_kept(hooks, project):
    hooks.before_pipeline_run({"env": "small"})
    step = SimpleNamespace(name="train")
    hooks.before_node_run(step)
    cell = {"method": "unet", "protocol": "real+25%", "sequence": "all", "class": "edema", "metric": "dice"}
    cell |= {"synthesizer": "samr", "training_subjects": 8}
    table = pd.DataFrame([dict.fromkeys(TABLE_COLUMNS, 0) | cell | {"mean": 0.25}])
    hooks.after_dataset_saved("mine.augmentation_table", table)
    hooks.after_dataset_saved("mine.report", "<p>page</p>")
    hooks.after_dataset_saved("other.report", "<p>other page</p>")  # of another trial, in the same run
    hooks.after_dataset_saved("slices", object())  # neither table nor page: nothing is logged
    tracker = make_tracker("unet/real+25%")
    tracker.metrics({"loss": 3.0}, 1)
    tracker.metrics({"loss": 2.0}, 5)
    tracker.images(np.zeros((4, 6), np.uint8), "montage", 5)
    hooks.after_node_run(step)
    hooks.after_pipeline_run()
    metrics = last_run(project).data.metrics
    assert metrics["unet/real_25_/samr/8/all/edema/dice"] == 0.25
    assert metrics["unet/real_25_/loss"] == 2.0
    assert metrics["seconds/train"] >= 0
    assert artifacts(project) == {
        "mine/tables/augmentation_table.csv",
        "mine/report.html",
        "other/report.html",
        "images/unet/real_25_/montage-000005.png",
    }
    root = project / "artifacts" / last_run(project).info.run_id / "artifacts"
    pd.testing.assert_frame_equal(pd.read_csv(root / "mine" / "tables" / "augmentation_table.csv"), table)
    assert (root / "mine" / "report.html").read_text(encoding="utf-8") == "<p>page</p>"
    history = MlflowClient().get_metric_history(last_run(project).info.run_id, "unet/real_25_/loss")
    assert [(entry.step, entry.value) for entry in history] == [(1, 3.0), (5, 2.0)]


def test_quality_control_is_tracked(hooks, project, tmp_path):
    measures = pd.DataFrame(
        [("a", "brain", "brain_ml", 1300.0), ("b", "brain", "brain_ml", 1500.0), ("a", "bias", "new", float("nan"))],
        columns=["study", "stage", "measure", "value"],
    )
    picture = tmp_path / "strip.webp"
    picture.write_bytes(b"RIFF")
    hooks.before_pipeline_run({"env": "small"})
    hooks.after_dataset_saved("qc_measures", measures)
    hooks.after_dataset_saved("qc_flags", FLAGS)
    hooks.after_dataset_saved("qc_page", "<p>qc</p>")
    hooks.after_dataset_saved("qc_strips", {f"s{at:02d}.webp": picture for at in range(60)})
    hooks.after_pipeline_run()
    metrics = last_run(project).data.metrics
    assert {name: value for name, value in metrics.items() if name.startswith("qc/")} == {
        "qc/brain/brain_ml": 1400.0,  # the median; a measure without any value has none
        "qc/flagged": 2.0,
        "qc/held_back": 1.0,
    }
    kept = artifacts(project)
    assert {"qc/index.html", "qc/measures.csv", "qc/flags.csv"} <= kept
    assert "qc/strips/s49.webp" in kept and "qc/strips/s50.webp" not in kept  # the first fifty, the worst


def test_a_failed_run_says_so_and_why(hooks, project):
    hooks.before_pipeline_run({"env": "small"})
    hooks.on_pipeline_error(ValueError("no lesion anywhere"))
    run = last_run(project)
    assert run.info.status == "FAILED" and run.data.tags["error"] == "no lesion anywhere"
    assert mlflow.active_run() is None


def test_without_a_run_nothing_is_tracked(hooks, project):
    assert mlflow.active_run() is None
    hooks.after_dataset_saved("report", "<p>page</p>")
    make_tracker("cgsamr").metrics({"loss": 1.0}, 1)
    make_tracker("cgsamr").images(np.zeros((2, 2), np.uint8), "montage", 1)
    hooks.on_pipeline_error(ValueError())
    assert mlflow.active_run() is None


def test_names_that_mlflow_takes():
    assert mlflow_name("unet/real+25%: a-b_c.d e") == "unet/real_25_: a-b_c.d e"


# --- quarantine -------------------------------------------------------------------------------------------------------


def finished(quarantine: pd.DataFrame, allow: bool = False) -> tuple:
    """A pipeline that quarantines, and its catalog after the run."""
    made = pipeline([node(lambda run: None, "params:run", ["studies", "quarantine"], name="find_studies")])
    data = {"quarantine": quarantine, "params:run": RunOptions(allow_failures=allow)}
    return made, DataCatalog({name: MemoryDataset(value) for name, value in data.items()})


ROWS = pd.DataFrame(
    [
        {"study": "a_1", "subject": "a", "file": "a/FLAIR.nii", "reason": "the file is truncated. Cure: copy it again"},
        {"study": "a_1", "subject": "a", "file": "a/T1w.nii", "reason": "the file is missing. Cure: put it there"},
        {"study": "b", "subject": "b", "file": "b/T1w.nii", "reason": "the scan is constant. Cure: export it again"},
    ]
)


def test_quarantined_studies_fail_the_run_and_are_told(caplog):
    with pytest.raises(QuarantineError) as error:
        QuarantineHooks().after_pipeline_run(*finished(ROWS))
    text = str(error.value)
    assert "2 studies were left out" in text  # three faults in two studies
    for row in ROWS.itertuples():
        assert f"\n  {row.study}: {row.reason}" in text
        assert f"left out: {row.study}: {row.reason}" in caplog.text
    assert "run.allow_failures=true" in text


def test_studies_that_quality_control_holds_back_fail_the_run():
    made = pipeline([node(lambda run: None, "params:run", ["page", "qc_flags"], name="qc_page")])
    data = {"qc_flags": FLAGS, "params:run": RunOptions()}
    with pytest.raises(QuarantineError, match="1 study was left out") as error:
        QuarantineHooks().after_pipeline_run(made, DataCatalog({k: MemoryDataset(v) for k, v in data.items()}))
    assert "b: brain: brain_ml is 90, allowed 500 to 2500 (volume; look at the mask)" in str(error.value)


def test_studies_that_are_only_to_be_looked_at_do_not():
    made = pipeline([node(lambda run: None, "params:run", ["page", "qc_flags"], name="qc_page")])
    data = {"qc_flags": FLAGS[FLAGS["action"] == "warn"], "params:run": RunOptions()}
    QuarantineHooks().after_pipeline_run(made, DataCatalog({k: MemoryDataset(v) for k, v in data.items()}))


def test_the_run_of_quarantined_studies_is_closed_as_failed(hooks, project):
    hooks.before_pipeline_run({"env": "small"})
    with pytest.raises(QuarantineError):
        QuarantineHooks().after_pipeline_run(*finished(ROWS))
    hooks.after_pipeline_run()  # comes last, and finds it closed
    run = last_run(project)
    assert run.info.status == "FAILED" and "2 studies were left out" in run.data.tags["error"]


def test_quarantined_studies_are_told_where_they_are_allowed(caplog):
    QuarantineHooks().after_pipeline_run(*finished(ROWS, allow=True))
    assert caplog.text.count("left out: ") == 3


def test_nothing_is_said_where_nothing_is_left_out(caplog):
    QuarantineHooks().after_pipeline_run(*finished(ROWS.iloc[:0]))
    assert "left out" not in caplog.text


def test_a_run_that_did_not_look_at_the_scans_says_nothing():
    other = pipeline([node(lambda studies: None, "studies", "slices", name="make_slices")])
    QuarantineHooks().after_pipeline_run(other, DataCatalog({}))


# --- requirements -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parameters() -> dict:
    """The default experiment's."""
    return ExperimentConfigLoader(str(CONF), "base", **CONFIG_LOADER_ARGS)["parameters"]


def one_node(name: str, values: dict, **changed) -> tuple:
    """A pipeline of one node, and a catalog with the parameters."""
    made = pipeline([node(lambda slices: None, "slices", "made", name=name)])
    return made, DataCatalog({"parameters": MemoryDataset(values | changed)})


@pytest.mark.parametrize(
    ("trial", "needy"),
    [
        ("cgsamr", "CG-SAMR requires"),
        ("comparison", "CG-SAMR, SAMR require"),
        ("ablation", "CG-SAMR, w/o confidence, "),
    ],
)
def test_synthesizers_without_the_atlas_they_take_are_refused_before_anything_runs(parameters, trial, needy):
    with pytest.raises(InputError, match=f"{needy}.*the atlas.*atlas.enabled: false") as error:
        RequirementHooks().before_pipeline_run(
            *one_node(f"{trial}.train_synthesizers", parameters, atlas={"enabled": False})
        )
    assert "w/o atlas" not in str(error.value)


def test_a_trial_of_synthesizers_that_do_without_an_atlas_is_let_through(parameters):
    ablation = parameters["trials"]["ablation"] | {"synthesizers": ["without_atlas"]}
    trials = parameters["trials"] | {"ablation": ablation}
    given = one_node("ablation.train_synthesizers", parameters, atlas={"enabled": False}, trials=trials)
    RequirementHooks().before_pipeline_run(*given)


@pytest.mark.parametrize(
    ("name", "enabled"),
    [
        ("cgsamr.train_synthesizers", True),
        ("cgsamr.train_segmenters", False),  # the segmenters alone, on slices that another run has drawn
        ("make_slices", False),
    ],
)
def test_runs_that_have_what_they_need_are_let_through(parameters, name, enabled):
    RequirementHooks().before_pipeline_run(*one_node(name, parameters, atlas={"enabled": enabled}))


def test_a_trial_without_a_test_subject_is_refused_before_anything_runs(parameters):
    none = parameters["splits"] | {"test": 0}
    with pytest.raises(InputError, match="no test subject to score.*splits.test: 0"):
        RequirementHooks().before_pipeline_run(*one_node("samr.tabulate", parameters, splits=none))
    RequirementHooks().before_pipeline_run(*one_node("make_slices", parameters, splits=none))
    folds = {"protocol": "leave_one_out", "test": 0}
    RequirementHooks().before_pipeline_run(*one_node("samr.tabulate", parameters, splits=folds))


def test_the_best_segmenter_is_not_chosen_without_a_validation_subject(parameters):
    none = parameters["splits"] | {"validation": 0}
    given = one_node("samr.train_synthesizers", parameters, splits=none)
    with pytest.raises(InputError, match="no validation subject.*splits.validation: 0.*unet.training.best to null"):
        RequirementHooks().before_pipeline_run(*given)
    last = merged(parameters["unet"], {"training": {"best": None, "trained": "last"}})
    RequirementHooks().before_pipeline_run(*one_node("samr.train_synthesizers", parameters, splits=none, unet=last))


TRACKING_CHILD = """
from lesionlab.pipelines.tracking import make_tracker
from lesionlab.parameters import merged
make_tracker("unet").metrics({"loss": 2.0}, 1)
"""


def test_a_process_that_tracks_into_the_run_leaves_it_open(hooks, project):
    hooks.before_pipeline_run({"env": "small"})
    subprocess.run([sys.executable, "-c", TRACKING_CHILD], env={**os.environ, **tracking_variables()}, check=True)
    run = mlflow.MlflowClient().get_run(mlflow.active_run().info.run_id)
    assert run.data.metrics["unet/loss"] == 2.0 and run.info.status == "RUNNING"


def test_a_run_that_was_asked_to_stop_ends_by_the_status_that_means_try_again(caplog):
    with pytest.raises(SystemExit) as ended:
        EndingHooks().on_pipeline_error(Interrupted("unet", "as SIGTERM asked", 3, 9, "last.pt"))
    assert ended.value.code == 75 and "stopped after step 3 of 9, as SIGTERM asked" in caplog.text  # EX_TEMPFAIL
    EndingHooks().on_pipeline_error(ValueError("another"))  # Kedro raises it itself
