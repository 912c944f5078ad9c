"""Scans found, checked and split by subject."""

from lesionlab.pipelines.cohort.pipeline import create_pipeline

__all__ = ["create_pipeline"]
