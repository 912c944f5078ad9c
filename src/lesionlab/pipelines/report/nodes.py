"""The report as a node: everything the run knows, put into one page."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import mlflow
import pandas as pd

from lesionlab.data.fingerprints import cohort_fingerprint
from lesionlab.data.slice_store import SliceStore
from lesionlab.data.synthetic import REAL
from lesionlab.parameters import Parameters
from lesionlab.pipelines.evaluation.nodes import FLOOR
from lesionlab.pipelines.report import pictures, words
from lesionlab.reporting.content import ReportContent
from lesionlab.reporting.differences import differences
from lesionlab.reporting.qc_page import QCSummary
from lesionlab.reporting.report import render_report
from lesionlab.training.runs import TrainingRun, TrainingRuns

_LIBRARIES = ("torch", "lightning", "antspyx", "SimpleITK", "deepbet", "nibabel", "pandas", "kedro", "mlflow")


def make_report(
    cohort: pd.DataFrame,
    quarantine: pd.DataFrame,
    split_record: pd.DataFrame,
    qc_summary: dict[str, Any],
    truth: pd.DataFrame,
    slices: SliceStore,
    synthetic: SliceStore,
    cgsamr: TrainingRun,
    unets: TrainingRuns,
    segmentation_scores: pd.DataFrame,
    synthesis_table: pd.DataFrame,
    segmentation_table: pd.DataFrame,
    augmentation_table: pd.DataFrame,
    parameters: dict[str, Any],
) -> str:
    """The page as HTML."""
    options = Parameters.model_validate(parameters)
    counts = protocol_counts(slices, options)
    trained = segmentation_scores[segmentation_scores["protocol"] != FLOOR]
    chosen = options.statistics
    change = differences(
        trained, augmentation_table, baseline=chosen.reference, seed=options.seed, resamples=chosen.resamples
    )
    facts = words.Facts(options, cohort, split_record, slices, synthetic, counts)
    content = ReportContent(
        title=f"CG-SAMR on {options.cohort.name}: what synthetic lesions did to segmentation",
        cohort=options.cohort.name,
        method="CG-SAMR",
        summary=words.summary(facts),
        augmentation=augmentation_table,
        synthesis=synthesis_table,
        segmentation=segmentation_table,
        lesion_classes=options.lesion_classes,
        protocol_counts=counts,
        facts=words.figures(facts),
        steps=words.steps(facts),
        split=words.split_table(facts),
        differences=change,
        cohort_pictures=pictures.of_cohort(slices),
        result_pictures=pictures.of_results(
            trained, segmentation_table, change, counts, options.lesion_classes, chosen.reference
        )
        + pictures.of_segmentations(slices, unets),
        synthesis_pictures=pictures.of_synthesis(slices, synthetic, cgsamr, synthesis_table),
        training_pictures=pictures.of_training(cgsamr, unets),
        moments=pictures.of_moments(slices, cgsamr),
        floors=words.floors(options.lesion_classes),
        truth=truth,
        truth_notes=words.TRUTH_NOTES,
        qc=QCSummary(qc_summary["studies"], tuple(qc_summary["outliers"]), qc_summary["failed"]),
        quarantined=quarantine[["study", "reason"]] if len(quarantine) else None,
        parameters=options.model_dump(mode="json", by_alias=True, exclude={"layouts", "published"}),
        provenance=provenance(cohort, options),
        durations=durations(),
        references=words.REFERENCES,
    )
    return render_report(content)


def protocol_counts(slices: SliceStore, options: Parameters) -> dict[str, tuple[int, int]]:
    """Protocol -> real and synthetic training slices."""
    real = len(slices.select(split="train"))
    counts = options.augmentation.counts(real)
    return {REAL: (real, 0), **{protocol: (real, made) for protocol, made in counts.items()}}


def provenance(cohort: pd.DataFrame, options: Parameters) -> dict[str, str]:
    """What the figures were made from."""
    run = mlflow.active_run()
    tags = run.data.tags if run else {}
    found = {
        "commit": tags.get("commit", "not in a git checkout"),
        "working tree": "modified" if tags.get("modified") == "True" else "as committed",
        "cohort fingerprint": cohort_fingerprint(cohort),
        "seed": str(options.seed),
        "MLflow run": run.info.run_id if run else "none",
        "Python": platform.python_version(),
    }
    return found | {name: version(name) for name in _LIBRARIES}


def durations() -> Mapping[str, float]:
    """Seconds of each node of this run so far; nodes that found their work done are short."""
    run = mlflow.active_run()
    if run is None:
        return {}
    metrics = mlflow.get_run(run.info.run_id).data.metrics
    prefix = "seconds/"
    return {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}
