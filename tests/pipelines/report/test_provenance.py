"""What the report tells of the run that made it."""

from __future__ import annotations

import mlflow
import pandas as pd
import pytest

from lesionlab.parameters import Parameters
from lesionlab.pipelines.report.provenance import durations, provenance

FILES = {"path": "", "lesion_path": "", "lesion_on": "", "brain_path": ""}
COHORT = pd.DataFrame([{"subject": "a", "study": "a", "visit": "", "sequence": "T1w", **FILES}])


@pytest.fixture
def run(tmp_path):
    """An MLflow run under way."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    try:
        with mlflow.start_run(experiment_id="0") as made:
            yield made
    finally:
        mlflow.set_tracking_uri(before)


def test_commit_and_durations_are_those_logged_while_the_run_is_under_way(run):
    mlflow.set_tags({"commit": "1234abcd", "modified": "True"})
    mlflow.log_metric("seconds/make_atlas", 2.5)
    options = Parameters.model_construct(seed=7)
    found = provenance(COHORT, options)
    assert (found["commit"], found["working tree"], found["seed"]) == ("1234abcd", "modified", "7")
    assert found["MLflow run"] == run.info.run_id
    assert durations() == {"make_atlas": 2.5}


def test_without_a_run_the_page_says_so():
    found = provenance(COHORT, Parameters.model_construct(seed=7))
    assert (found["commit"], found["MLflow run"]) == ("not in a git checkout", "none")
    assert durations() == {}
