"""Scans -> cohort table and page -> split."""

from kedro.pipeline import Pipeline, node, pipeline

from lesionlab.pipelines.cohort import nodes


def create_pipeline(**_: object) -> Pipeline:
    """The phantom's scans where the cohort is the phantom's, then the checked cohort, its page and its split."""
    return pipeline(
        [
            node(
                nodes.provide_scans,
                ["folders", "params:cohort", "params:phantom", "params:run", "params:seed"],
                "scans",
                name="provide_scans",
            ),
            node(
                nodes.find_studies,
                ["scans", "params:cohort", "params:layouts", "params:sequences", "params:lesion_classes", "params:run"],
                ["studies", "lesions", "quarantine", "cohort_scans", "cohort_presence"],
                name="find_studies",
            ),
            node(
                nodes.describe_cohort,
                ["cohort_scans", "cohort_presence", "quarantine", "params:cohort", "params:layouts"],
                ["cohort_oddities", "cohort_page"],
                name="describe_cohort",
            ),
            node(nodes.split, ["studies", "lesions", "params:splits"], ["cohort", "split_record"], name="split"),
        ],
        tags=["cohort"],
    )
