"""What came of a trial, as every page of it tells: that of one run, and that of the folds of an experiment."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version

import mlflow
import pandas as pd
from mlflow.entities import Run

from lesionlab.parameters import Parameters
from lesionlab.pipelines.report import pictures, words
from lesionlab.pipelines.report.paper_tables import rebuilt
from lesionlab.pipelines.report.results import Results
from lesionlab.reporting.content import ReportContent
from lesionlab.stages.fingerprints import cohort_fingerprint
from lesionlab.trials.claims import parts_taken_away
from lesionlab.trials.claims import summary as claim_summary

_LIBRARIES = ("torch", "lightning", "antspyx", "SimpleITK", "deepbet", "nibabel", "pandas", "kedro", "mlflow")

_TREES = {"True": "modified", "False": "as committed"}  # what the run's tag says of the working tree


def findings(
    facts: words.Facts,
    results: Results,
    counts: Mapping[str, tuple[int, int]],
    synthesis: pd.DataFrame,
    claims: pd.DataFrame,
    leakage: pd.DataFrame,
) -> ReportContent:
    """A page with the trial's figures, claims, tables and the plots of them; whoever makes it adds its own pictures.

    Args:
        facts: what the sentences are made of.
        results: the segmenters' scores and tables.
        counts: real and synthetic training slices of every segmenter, by key.
        synthesis: the table of synthesis.
        claims: the papers' claims held against the scores.
        leakage: what each thing that learnt has seen.
    """
    options, plan = facts.options, facts.plan
    change = results.differences(options.seed, options.statistics.resamples)
    return ReportContent(
        title=words.title(facts),
        cohort=options.cohort.name,
        method=words.methods(facts),
        summary=words.summary(facts),
        augmentation=results.augmentation,
        synthesis=synthesis,
        segmentation=results.segmentation,
        lesion_classes=options.lesion_classes,
        lines=results.lines(counts),
        compared=results.table(),
        paper_tables=rebuilt(plan, options, synthesis, results.augmentation),
        steps=words.steps(facts),
        differences=change,
        leakage=leakage.drop(columns="names"),
        claims=claims,
        claim_counts=claim_summary(claims),
        ablations=parts_taken_away(claims, plan.variants(), plan.betters()),
        result_pictures=pictures.of_results(results, change, counts, options.lesion_classes),
        floors=words.floors(options.lesion_classes),
        parameters=options.model_dump(mode="json", by_alias=True, exclude={"layouts", "published"}),
        provenance=provenance(facts.cohort, options),
        durations=durations(),
        references=words.REFERENCES,
    )


def provenance(cohort: pd.DataFrame, options: Parameters) -> dict[str, str]:
    """What the figures were made from."""
    run = _tracked()
    tags = run.data.tags if run else {}
    found = {
        "commit": tags.get("commit", "not in a git checkout"),
        "working tree": _TREES.get(tags.get("modified", ""), "unknown"),
        "cohort fingerprint": cohort_fingerprint(cohort),
        "seed": str(options.seed),
        "MLflow run": run.info.run_id if run else "none",
        "Python": platform.python_version(),
    }
    return found | {name: version(name) for name in _LIBRARIES}


def durations() -> Mapping[str, float]:
    """Seconds of each node of this run so far; nodes that found their work done are short."""
    run = _tracked()
    if run is None:
        return {}
    prefix = "seconds/"
    return {name.removeprefix(prefix): value for name, value in run.data.metrics.items() if name.startswith(prefix)}


def _tracked() -> Run | None:
    """The run under way with all that was logged so far: the active one only knows what it began with."""
    run = mlflow.active_run()
    return mlflow.get_run(run.info.run_id) if run else None
