"""From raw scans to standardized volumes, atlas and tissue maps, with their quality control."""

from lesionlab.pipelines.preprocess.pipeline import create_pipeline

__all__ = ["create_pipeline"]
