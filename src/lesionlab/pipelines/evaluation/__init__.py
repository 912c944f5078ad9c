"""Scores per subject of synthesis and segmentation, and the tables over them."""

from lesionlab.pipelines.evaluation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
