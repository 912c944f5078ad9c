"""The report page."""

from lesionlab.pipelines.report.pipeline import create_pipeline

__all__ = ["create_pipeline"]
