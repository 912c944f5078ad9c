"""Trained methods -> scores per subject -> tables."""

from kedro.pipeline import Pipeline, node, pipeline

from lesionlab.pipelines.evaluation import nodes, settings

TABLES = ["synthesis_table", "segmentation_table", "augmentation_table"]


def create_pipeline(**_: object) -> Pipeline:
    """Score the test subjects, beside the floors a method must beat, and summarise."""
    return pipeline(
        [
            node(
                nodes.score_synthesis,
                ["slices", "cgsamr", "params:cohort", "params:seed"],
                "synthesis_scores",
                name="score_synthesis",
            ),
            node(
                nodes.score_segmentation,
                ["slices", "unets", "params:cohort", "params:seed"],
                "segmentation_scores",
                name="score_segmentation",
            ),
            node(settings.of_run, ["parameters"], "settings", name="note_settings"),
            node(
                nodes.tabulate,
                ["synthesis_scores", "segmentation_scores", "params:published", "params:statistics", "params:seed"],
                TABLES,
                name="tabulate",
            ),
        ],
        tags=["evaluation"],
    )
