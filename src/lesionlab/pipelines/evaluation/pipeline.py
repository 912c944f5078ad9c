"""Trained methods -> scores per subject -> tables; and the proof that no test subject was seen before."""

from kedro.pipeline import Pipeline, node, pipeline

from lesionlab.evaluation import claims, memorisation, reliability, samples, tables
from lesionlab.pipelines.evaluation import nodes

TABLES = ["synthesis_table", "segmentation_table", "augmentation_table"]
_STATISTICS = ["params:statistics", "params:seed"]
_ABOUT = ["params:published", *_STATISTICS]


def create_pipeline(**_: object) -> Pipeline:
    """Score the test subjects, beside the floors a method must beat, and summarise.

    Nothing is scored before leakage is out: the cleared plan is kept nowhere, so that each run has to clear its own.
    """
    read = ["plan", "cohort", "landmarks", "template", "slices", "synthesizers", "synthetic", "segmenters"]
    of = ["cleared_plan", "slices"]
    drawn = [*of, "synthetic", "segmenters"]
    scores = ["synthesis_scores", "segmentation_scores"]
    return pipeline(
        [
            node(nodes.check_leakage, read, ["leakage", "cleared_plan"], name="check_leakage"),
            node(nodes.score_synthesis, [*of, "synthesizers", "params:cohort"], scores[0], name="score_synthesis"),
            node(nodes.score_segmentation, [*of, "segmenters", "params:cohort"], scores[1], name="score_segmentation"),
            node(samples.measure_samples, drawn, "sample_quality", name="measure_samples"),
            node(samples.measure_diversity, drawn, "diversity", name="measure_diversity"),
            node(memorisation.look_for_copies, [*of, "synthetic"], "copies", name="look_for_copies"),
            node(memorisation.judge_slices, [*of, "synthesizers"], "discriminator_scores", name="judge_slices"),
            node(
                memorisation.infer_membership,
                ["discriminator_scores", *_STATISTICS],
                "membership",
                name="infer_membership",
            ),
            node(
                reliability.measure_reliability,
                [*of, "synthesizers", *_STATISTICS],
                "reliability",
                name="measure_reliability",
            ),
            node(claims.held, ["cleared_plan", *scores, *_ABOUT], "claims", name="hold_against_claims"),
            node(nodes.note_settings, ["parameters"], "settings", name="note_settings"),
            node(tables.tabulate, [*scores, "cleared_plan", *_ABOUT], TABLES, name="tabulate"),
        ],
        tags=["evaluation"],
    )
