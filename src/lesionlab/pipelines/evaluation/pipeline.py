"""Trained methods -> scores per subject -> tables; and the proof that no test subject was seen before."""

from kedro.pipeline import Pipeline, node, pipeline

from lesionlab.pipelines.evaluation import nodes, reliability, samples, settings
from lesionlab.pipelines.evaluation.leakage import check_leakage

TABLES = ["synthesis_table", "segmentation_table", "augmentation_table"]


def create_pipeline(**_: object) -> Pipeline:
    """Score the test subjects, beside the floors a method must beat, and summarise.

    Nothing is scored before leakage is out: the cleared plan is kept nowhere, so that each run has to clear its own.
    """
    return pipeline(
        [
            node(
                check_leakage,
                ["plan", "cohort", "landmarks", "template", "slices", "synthesizers", "synthetic", "segmenters"],
                ["leakage", "cleared_plan"],
                name="check_leakage",
            ),
            node(
                nodes.score_synthesis,
                ["cleared_plan", "slices", "synthesizers", "params:cohort"],
                "synthesis_scores",
                name="score_synthesis",
            ),
            node(
                nodes.score_segmentation,
                ["cleared_plan", "slices", "segmenters", "params:cohort"],
                "segmentation_scores",
                name="score_segmentation",
            ),
            node(
                samples.measure_samples,
                ["cleared_plan", "slices", "synthetic", "segmenters"],
                "sample_quality",
                name="measure_samples",
            ),
            node(
                samples.measure_diversity,
                ["cleared_plan", "slices", "synthetic", "segmenters"],
                "diversity",
                name="measure_diversity",
            ),
            node(samples.look_for_copies, ["cleared_plan", "slices", "synthetic"], "copies", name="look_for_copies"),
            node(
                samples.judge_slices,
                ["cleared_plan", "slices", "synthesizers"],
                "discriminator_scores",
                name="judge_slices",
            ),
            node(
                samples.infer_membership,
                ["discriminator_scores", "params:statistics", "params:seed"],
                "membership",
                name="infer_membership",
            ),
            node(
                reliability.measure_reliability,
                ["cleared_plan", "slices", "synthesizers", "params:statistics", "params:seed"],
                "reliability",
                name="measure_reliability",
            ),
            node(
                nodes.claims,
                [
                    "cleared_plan",
                    "synthesis_scores",
                    "segmentation_scores",
                    "params:published",
                    "params:statistics",
                    "params:seed",
                ],
                "claims",
                name="hold_against_claims",
            ),
            node(settings.of_run, ["parameters"], "settings", name="note_settings"),
            node(
                nodes.tabulate,
                [
                    "synthesis_scores",
                    "segmentation_scores",
                    "cleared_plan",
                    "params:published",
                    "params:statistics",
                    "params:seed",
                ],
                TABLES,
                name="tabulate",
            ),
        ],
        tags=["evaluation"],
    )
