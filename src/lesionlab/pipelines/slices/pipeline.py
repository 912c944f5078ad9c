"""Preprocessed volumes -> labelled slices."""

from kedro.pipeline import Pipeline, node, pipeline

from lesionlab.pipelines.slices import nodes


def create_pipeline(**_: object) -> Pipeline:
    """The slice table and its arrays."""
    return pipeline(
        [
            node(
                nodes.make_slices,
                {
                    "cohort": "cohort",
                    "gridded": "gridded",
                    "atlases": "atlases",
                    "tissues": "tissues",
                    "qc_flags": "qc_flags",
                    "folders": "folders",
                    "rules": "params:slices",
                    "sequences": "params:sequences",
                    "lesion_classes": "params:lesion_classes",
                    "run_options": "params:run",
                },
                "slices",
                name="make_slices",
            ),
        ],
        tags=["slices"],
    )
