"""The report as a node: everything the run knows, put into one page."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import mlflow
import pandas as pd
from mlflow.entities import Run

from lesionlab.data.fingerprints import cohort_fingerprint
from lesionlab.data.slice_store import SliceStore
from lesionlab.parameters import Parameters
from lesionlab.pipelines.report import pictures, words
from lesionlab.pipelines.report.paper_tables import rebuilt
from lesionlab.pipelines.report.results import Results
from lesionlab.reporting.content import Picture, ReportContent
from lesionlab.reporting.qc_page import QCSummary
from lesionlab.reporting.report import render_report
from lesionlab.training.runs import TrainingRun
from lesionlab.trials.claims import parts_taken_away
from lesionlab.trials.claims import summary as claim_summary
from lesionlab.trials.plan import TrialPlan

_LIBRARIES = ("torch", "lightning", "antspyx", "SimpleITK", "deepbet", "nibabel", "pandas", "kedro", "mlflow")


def make_report(
    cohort: pd.DataFrame,
    quarantine: pd.DataFrame,
    split_record: pd.DataFrame,
    qc_summary: dict[str, Any],
    truth: pd.DataFrame,
    plan: TrialPlan,
    slices: SliceStore,
    synthesizers: Mapping[str, TrainingRun],
    synthetic: Mapping[str, SliceStore],
    segmenters: Mapping[str, TrainingRun],
    leakage: pd.DataFrame,
    sample_quality: pd.DataFrame,
    diversity: pd.DataFrame,
    copies: pd.DataFrame,
    discriminator_scores: pd.DataFrame,
    membership: pd.DataFrame,
    reliability: pd.DataFrame,
    claims: pd.DataFrame,
    segmentation_scores: pd.DataFrame,
    synthesis_table: pd.DataFrame,
    segmentation_table: pd.DataFrame,
    augmentation_table: pd.DataFrame,
    parameters: dict[str, Any],
) -> str:
    """The page as HTML."""
    options = Parameters.model_validate(parameters)
    facts = words.Facts(options, plan, cohort, split_record, slices, synthetic)
    results = Results(plan, segmentation_scores, augmentation_table, segmentation_table)
    change = results.differences(options.seed, options.statistics.resamples)
    shown = plan.shown()
    content = ReportContent(
        title=words.title(facts),
        cohort=options.cohort.name,
        method=words.methods(facts),
        summary=words.summary(facts),
        augmentation=augmentation_table,
        synthesis=synthesis_table,
        segmentation=segmentation_table,
        lesion_classes=options.lesion_classes,
        lines=results.lines(facts.counts),
        compared=results.table(),
        paper_tables=rebuilt(plan, options, synthesis_table, augmentation_table),
        facts=words.figures(facts),
        steps=words.steps(facts),
        split=words.split_table(facts),
        differences=change,
        leakage=leakage.drop(columns="names"),
        claims=claims,
        claim_counts=claim_summary(claims),
        ablations=parts_taken_away(claims, plan.variants(), plan.betters()),
        sample_quality=sample_quality,
        diversity=diversity,
        copies=copies,
        membership=membership,
        cohort_pictures=pictures.of_cohort(slices),
        result_pictures=pictures.of_results(results, change, facts.counts, options.lesion_classes)
        + pictures.of_segmentations(shown, slices, segmenters),
        synthesis_pictures=_of_synthesis(shown, slices, synthesizers, synthetic, synthesis_table)
        + pictures.of_confidence(shown, slices, reliability),
        copy_pictures=pictures.of_copies(shown, slices, synthetic),
        membership_pictures=pictures.of_membership(shown, discriminator_scores),
        training_pictures=pictures.of_training(shown, synthesizers, segmenters),
        moments=[pictures.of_moments(case, slices, synthesizers[case.key]) for case in shown.synthesizers],
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


def _of_synthesis(
    shown: TrialPlan,
    slices: SliceStore,
    synthesizers: Mapping[str, TrainingRun],
    synthetic: Mapping[str, SliceStore],
    table: pd.DataFrame,
) -> list[Picture]:
    found = pictures.of_accuracy(slices, table) if len(table) else []
    for case in shown.synthesizers:
        found += pictures.of_synthesis(case, slices, synthetic[case.key], synthesizers[case.key])
    for case in shown.synthesizers[:1]:  # all draw the same label maps
        found += pictures.of_manipulations(slices, synthetic[case.key])
    return found


def provenance(cohort: pd.DataFrame, options: Parameters) -> dict[str, str]:
    """What the figures were made from."""
    run = _tracked()
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
    run = _tracked()
    if run is None:
        return {}
    prefix = "seconds/"
    return {name.removeprefix(prefix): value for name, value in run.data.metrics.items() if name.startswith(prefix)}


def _tracked() -> Run | None:
    """The run under way with all that was logged so far: the active one only knows what it began with."""
    run = mlflow.active_run()
    return mlflow.get_run(run.info.run_id) if run else None
