"""Coregister -> brain -> bias -> standardize -> grid -> atlas, tissues; then quality control and truth."""

from kedro.pipeline import Pipeline, node, pipeline
from kedro.pipeline.node import Node

from lesionlab.pipelines.preprocess import nodes, planning, quality, quality_stages, truth

JUDGED = ("quality", "strips")  # stores of quality control
STORES = ("coregistered", "brains", "unbiased", "standardized", "gridded", "atlases", "tissues")


def create_pipeline(**_: object) -> Pipeline:
    """The stages, then what judges them."""
    return pipeline([*_stages(), *_checks()], tags=["preprocess"])


def _stages() -> list[Node]:
    """Each stage reads the one before it and leaves a store of volumes and QC rows."""
    how = ["params:quality", "params:run"]
    scans = {
        "cohort": "cohort",
        "folders": "folders",
        "cohort_options": "params:cohort",
        "layouts": "params:layouts",
        "reference": "params:reference",
        "lesion_classes": "params:lesion_classes",
        "quality": "params:quality",
        "run_options": "params:run",
    }
    return [
        node(
            planning.log_plan,
            {
                "coregister": "params:coregister",
                "brain": "params:brain",
                "bias": "params:bias",
                "standardize": "params:standardize",
                "grid": "params:grid",
                "space": "params:common_space",
                "atlas": "params:atlas",
                "tissues": "params:tissues",
                "sequences": "params:sequences",
                **{name: scans[name] for name in scans if name not in ("quality", "run_options")},
            },
            "plan",
            name="log_plan",
        ),
        node(
            nodes.coregister,
            {"plan": "plan", "options": "params:coregister", **scans},
            "coregistered",
            name="coregister",
        ),
        node(nodes.extract_brain, ["coregistered", "folders", "params:brain", *how], "brains", name="brain"),
        node(nodes.correct_bias, ["brains", "folders", "params:bias", *how], "unbiased", name="bias"),
        node(
            nodes.learn_landmarks,
            ["unbiased", "cohort", "folders", "params:standardize", "params:run"],
            "landmarks",
            name="landmarks",
        ),
        node(
            nodes.standardize,
            ["unbiased", "landmarks", "folders", "params:standardize", *how],
            "standardized",
            name="standardize",
        ),
        node(
            nodes.to_grid,
            {
                **{name: name for name in ("coregistered", "unbiased", "standardized")},
                "options": "params:grid",
                "space": "params:common_space",
                "coregister_options": "params:coregister",
                **scans,
            },
            "gridded",
            name="grid",
        ),
        node(
            nodes.build_atlas,
            ["gridded", "cohort", "folders", "params:sequences", "params:atlas", "params:run"],
            "template",
            name="build_atlas",
        ),
        node(
            nodes.align_atlas,
            ["template", "gridded", "folders", "params:atlas", *how],
            "atlases",
            name="align_atlas",
        ),
        node(nodes.segment_tissues, ["gridded", "folders", "params:tissues", *how], "tissues", name="tissues"),
    ]


def _checks() -> list[Node]:
    """Truth and quality control look at what all stages left."""
    stores = {name: name for name in STORES}
    return [
        node(
            truth.score_truth,
            {
                "scans": "scans",
                "cohort": "cohort",
                "folders": "folders",
                **stores,
                "reference": "params:reference",
                "run_options": "params:run",
            },
            "truth",
            name="score_truth",
        ),
        node(
            quality_stages.measure_quality,
            {
                "cohort": "cohort",
                "folders": "folders",
                **stores,
                "run_options": "params:run",
            },
            "quality",
            name="measure_quality",
        ),
        node(
            quality_stages.draw_strips,
            {
                "cohort": "cohort",
                "folders": "folders",
                **stores,
                "sequences": "params:sequences",
                "lesion_classes": "params:lesion_classes",
                "run_options": "params:run",
            },
            "strips",
            name="draw_strips",
        ),
        node(
            quality.qc_page,
            {
                "cohort": "cohort",
                "quarantine": "quarantine",
                **stores,
                "quality": "quality",
                "strips": "strips",
                "cohort_options": "params:cohort",
                "lesion_classes": "params:lesion_classes",
                "options": "params:quality",
            },
            ["qc_measures", "qc_flags", "qc_page", "qc_summary", "qc_strips"],
            name="qc_page",
        ),
    ]
