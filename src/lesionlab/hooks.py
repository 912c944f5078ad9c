"""Kedro hooks: every run is an MLflow run that knows its parameters and commit; no study is left out in silence."""

from __future__ import annotations

import itertools
import logging
import math
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from pydantic import BaseModel

import lesionlab
from lesionlab.errors import InputError
from lesionlab.imaging.quality.limits import held_back
from lesionlab.methods.base import require_sides
from lesionlab.methods.registry import find
from lesionlab.names import listed
from lesionlab.parameters import Parameters
from lesionlab.pipelines.preprocess.pipeline import JUDGED, STORES
from lesionlab.pipelines.preprocess.quality import stage_failures
from lesionlab.pipelines.tracking import mlflow_name
from lesionlab.training.stop import Interrupted

_PARAMETER_LIMIT = 500  # characters MLflow shows of one value
_CELL = ("method", "protocol", "synthesizer", "training_subjects", "sequence", "class", "metric")  # names a line
_PAGES = {"report": "report.html", "pooled_report": "report.html", "qc_page": "qc/index.html"}
_PICTURES = 50  # of the QC page that go with it, the worst studies' first; a large cohort's would be copied every run
_BATCH = 100  # parameters MLflow takes at once

_log = logging.getLogger(__name__)


def qc_medians(measures: pd.DataFrame) -> dict[str, float]:
    """The median of every quality measure over the studies, those that have one."""
    medians = measures.groupby(["stage", "measure"], sort=False)["value"].median()
    rows = medians.reset_index().to_dict("records")
    named = {f"qc/{row['stage']}/{row['measure']}": float(row["value"]) for row in rows}
    return {name: value for name, value in named.items() if math.isfinite(value)}


def qc_counts(flags: pd.DataFrame) -> dict[str, float]:
    """How many studies are flagged, and how many of these are held back."""
    return {"qc/flagged": float(flags["study"].nunique()), "qc/held_back": float(len(held_back(flags)))}


_QC_TABLES = {"qc_measures": qc_medians, "qc_flags": qc_counts}


class TrackingHooks:
    """Opens an MLflow run for each Kedro run, and logs what describes it."""

    def __init__(self) -> None:
        self._context: KedroContext | None = None
        self._started: dict[str, float] = {}

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Point MLflow at the project's local store."""
        self._context = context
        store = context.config_loader["mlflow"]
        mlflow.set_tracking_uri(_absolute(store["tracking_uri"], context.project_path))
        name = store["experiment"]
        if mlflow.get_experiment_by_name(name) is None:
            folder = (Path(context.project_path) / store["artifacts"]).resolve()
            mlflow.create_experiment(name, artifact_location=folder.as_uri())
        mlflow.set_experiment(name)

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Start the run: commit, version, command, and every parameter flattened."""
        if self._context is None:
            return
        names = run_params.get("pipeline_names") or [run_params.get("pipeline_name") or "__default__"]
        env = run_params.get("env") or "base"
        mlflow.start_run(run_name=f"{'+'.join(name for name in names if name) or '__default__'} ({env})")
        mlflow.set_tags({"version": lesionlab.__version__, "env": env, **commit(Path(self._context.project_path))})
        flat = flatten(self._context.params)
        items = [(mlflow_name(key), str(value)[:_PARAMETER_LIMIT]) for key, value in flat.items()]
        for start in range(0, len(items), _BATCH):
            mlflow.log_params(dict(items[start : start + _BATCH]))

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Remember when the node began."""
        self._started[node.name] = time.perf_counter()

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Log how long the node took, s."""
        if mlflow.active_run():
            mlflow.log_metric(f"seconds/{node.name}", time.perf_counter() - self._started.pop(node.name))

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Log result tables, their means as metrics, and pages."""
        if not mlflow.active_run():
            return
        trial, _, dataset_name = dataset_name.rpartition(".")  # a trial's carry its name before their own
        place = f"{trial}/" if trial else ""  # as below 08_reporting, so that links hold and trials stay apart
        if dataset_name.endswith("_table"):
            mlflow.log_text(data.to_csv(index=False), f"{place}tables/{dataset_name}.csv")
            means = {"/".join(str(row[name]) for name in _CELL): row["mean"] for row in data.to_dict("records")}
            mlflow.log_metrics({mlflow_name(name): mean for name, mean in means.items()})
        elif dataset_name in _PAGES:
            mlflow.log_text(data, f"{place}{_PAGES[dataset_name]}")
        elif dataset_name in _QC_TABLES:
            mlflow.log_text(data.to_csv(index=False), f"qc/{dataset_name.removeprefix('qc_')}.csv")
            mlflow.log_metrics({mlflow_name(name): value for name, value in _QC_TABLES[dataset_name](data).items()})
        elif dataset_name == "qc_strips":
            for name in itertools.islice(data, _PICTURES):
                _log_file(Path(data[name]), name, "qc/strips")

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """Close the run, unless another hook has closed it as failed."""
        mlflow.end_run()

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Close the run as failed, with the reason."""
        close_as_failed(error)


class EndingHooks:
    """Ends the program as schedulers expect it."""

    @hook_impl(trylast=True)
    def on_pipeline_error(self, error: Exception) -> None:
        """A run that was asked to stop ends by the status that means "try again", without a trace."""
        if isinstance(error, Interrupted):
            _log.warning("%s", error)
            raise SystemExit(error.exit_status)


class RequirementHooks:
    """Refuses, before anything is computed, a run whose nodes need what the configuration leaves out."""

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Look at the nodes that are to run.

        Raises:
            InputError: a synthesizer is to be trained without the prior that it requires or on slices whose sides its
                networks cannot halve, the best segmenter to be chosen without a validation subject, or there is to be
                no test subject to score.
        """
        names = {node.name for node in pipeline.nodes}
        options = Parameters.model_validate(catalog.load("parameters"))
        trials = {name.partition(".")[0] for name in names if name.endswith(".train_synthesizers")}
        for trial in trials:
            _require_trainable(options, trial)
        splits = options.splits if any(name.endswith(".tabulate") for name in names) else None
        if splits is not None and splits.protocol == "holdout" and splits.test == 0:
            raise InputError(
                "there is no test subject to score",
                given="splits.test: 0",
                allowed="at least one test subject, for pipelines that evaluate",
                cure="set splits.test, or run --pipelines=preprocess alone",
            )


def _require_trainable(options: Parameters, trial: str) -> None:
    """Raise ``InputError`` where a trial's methods cannot be trained on the slices that this configuration makes."""
    recipes, segmenters = options.recipes(), options.segmenters(trial)
    synthesizers = [recipes[name] for name in options.trial(trial).synthesizers]
    for prior, there in (("atlas", options.atlas.enabled), ("tissues", options.tissues.enabled)):
        needy = sorted(recipe.title for recipe in synthesizers if recipe.prior == prior)
        if needy and not there:
            raise InputError(
                f"{listed(needy)} {'requires' if len(needy) == 1 else 'require'} the {prior} beside each slice",
                given=f"{prior}.enabled: false",
                allowed=f"{prior}.enabled: true, for pipelines that train such a method",
                cure="set it, or run --pipelines=preprocess alone",
            )
    width, height = options.grid.size
    for recipe in [*synthesizers, *segmenters.values()]:
        method = find(recipe.method)
        multiple = method.side_multiple(method.Options.model_validate(recipe.options))
        require_sides(recipe.title, multiple, height, width)
    for name, recipe in segmenters.items():
        if recipe.training.best and not options.splits.validation:
            raise InputError(
                "there is no validation subject to choose the best segmenter by",
                given=f"splits.validation: 0 and {name}.training.best",
                allowed="at least one validation subject, or the last segmenter",
                cure=f"set splits.validation, or {name}.training.best to null and {name}.training.trained to last",
            )


class QuarantineHooks:
    """Says at the end of a run what was left out, and fails the run unless the configuration allows it."""

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Read what this run quarantined.

        Raises:
            QuarantineError: studies were left out and ``run.allow_failures`` is off.
        """
        made = {name for node in pipeline.nodes for name in node.outputs}
        parts = [catalog.load("quarantine")] if "quarantine" in made else []
        parts += [stage_failures(name, catalog.load(name)) for name in (*STORES, *JUDGED) if name in made]
        parts += [_held_back(catalog.load("qc_flags"))] if "qc_flags" in made else []
        if not parts:
            return
        quarantine = pd.concat(parts, ignore_index=True).drop_duplicates(["study", "reason"])
        for row in quarantine.to_dict("records"):
            _log.warning("left out: %s: %s", row["study"], row["reason"])
        if len(quarantine) and not catalog.load("params:run").allow_failures:
            error = QuarantineError(quarantine)
            close_as_failed(error)
            raise error


def _held_back(flags: pd.DataFrame) -> pd.DataFrame:
    """The studies that quality control leaves out, with the reason: columns ``study, reason``."""
    rows = flags[flags["action"] == "quarantine"]
    reasons = [
        f"{row['stage']}: {row['measure']} is {row['value']:.4g}, allowed {row['allowed']} ({row['why']}; look at "
        f"{row['look']})"
        for row in rows.to_dict("records")
    ]
    return pd.DataFrame({"study": rows["study"].astype(str), "reason": reasons})


class QuarantineError(RuntimeError):
    """The run went to its end, but without some of the studies."""

    def __init__(self, quarantine: pd.DataFrame) -> None:
        reasons = "".join(f"\n  {row['study']}: {row['reason']}" for row in quarantine.to_dict("records"))
        count = quarantine["study"].nunique()
        super().__init__(
            f"all else is done, but {count} {'study was' if count == 1 else 'studies were'} left out:{reasons}\n"
            "Cure: mend what each reason says and run again, or accept it with --params=run.allow_failures=true"
        )


def _log_file(path: Path, name: str, folder: str) -> None:
    """Log a file under another name: MLflow keeps the file's own."""
    with tempfile.TemporaryDirectory() as aside:
        mlflow.log_artifact(str(shutil.copyfile(path, Path(aside) / name)), folder)


def close_as_failed(error: Exception) -> None:
    """Close the MLflow run, if there is one, as failed, with the reason."""
    if mlflow.active_run():
        mlflow.set_tag("error", str(error)[:_PARAMETER_LIMIT])
    mlflow.end_run(status="FAILED")


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings and models as one mapping with dotted names; lists stay values."""
    if isinstance(values, BaseModel):
        values = values.model_dump()
    if not isinstance(values, dict) or not values:
        return {prefix: values} if prefix else {}
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat.update(flatten(value, f"{prefix}.{key}" if prefix else str(key)))
    return flat


def commit(project: Path) -> dict[str, str]:
    """The code's commit and whether the working tree differed from it; empty outside a git checkout."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(project), *words], capture_output=True, text=True, check=True).stdout

    try:
        return {"commit": git("rev-parse", "HEAD").strip(), "modified": str(bool(git("status", "--porcelain").strip()))}
    except (OSError, subprocess.CalledProcessError):
        return {}


def _absolute(uri: str, project: Path | str) -> str:
    """A ``sqlite:///file`` address with its file relative to the project."""
    scheme = "sqlite:///"
    return f"{scheme}{Path(project) / uri.removeprefix(scheme)}" if uri.startswith(scheme) else uri
