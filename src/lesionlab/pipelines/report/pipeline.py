"""Everything -> the report page."""

from kedro.pipeline import Pipeline, node, pipeline

from lesionlab.pipelines.report import nodes


def create_pipeline(**_: object) -> Pipeline:
    """One self-contained page."""
    inputs = [
        "cohort",
        "quarantine",
        "split_record",
        "qc_summary",
        "truth",
        "plan",
        "slices",
        "synthesizers",
        "synthetic",
        "segmenters",
        "leakage",
        "sample_quality",
        "diversity",
        "copies",
        "discriminator_scores",
        "membership",
        "reliability",
        "claims",
        "segmentation_scores",
        "synthesis_table",
        "segmentation_table",
        "augmentation_table",
        "parameters",
    ]
    return pipeline([node(nodes.make_report, inputs, "report", name="make_report")], tags=["report"])
