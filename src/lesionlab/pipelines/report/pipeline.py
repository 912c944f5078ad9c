"""Scores and trainings -> sections -> the report page."""

from kedro.pipeline import Pipeline, node, pipeline

from lesionlab.evaluation import claims, memorisation, samples
from lesionlab.pipelines.report import nodes


def create_pipeline(**_: object) -> Pipeline:
    """A section of each subject, and one self-contained page of them.

    Sections are kept nowhere: they are made from what the evaluation has left.
    """
    of = ["plan", "slices"]
    results = ["segmentation_scores", "augmentation_table", "segmentation_table"]
    near = ["synthetic", "copies", "discriminator_scores", "membership"]
    drawn = ["synthesizers", "synthetic", "synthesis_table", "reliability"]
    run = ["cohort", "quarantine", "split_record", "qc_summary", "truth", "leakage", *of, "synthetic", "parameters"]
    sections = [
        node(
            nodes.augmentation_section,
            [*of, *results, "params:statistics", "params:seed"],
            "augmentation_section",
            name="augmentation_section",
        ),
        node(claims.section, ["plan", "claims"], "claims_section", name="claims_section"),
        node(
            nodes.paper_section,
            ["plan", "synthesis_table", "augmentation_table", "parameters"],
            "paper_section",
            name="paper_section",
        ),
        node(
            nodes.segmentation_section,
            [*of, "segmenters", "segmentation_table"],
            "segmentation_section",
            name="segmentation_section",
        ),
        node(nodes.synthesis_section, [*of, *drawn], "synthesis_section", name="synthesis_section"),
        node(samples.section, ["sample_quality", "diversity"], "samples_section", name="samples_section"),
        node(memorisation.section, [*of, *near], "memorisation_section", name="memorisation_section"),
        node(nodes.training_section, [*of, "synthesizers", "segmenters"], "training_section", name="training_section"),
    ]
    made = [one.outputs[0] for one in sections]
    return pipeline([*sections, node(nodes.make_report, [*run, *made], "report", name="make_report")], tags=["report"])
