"""The phantom cohort: raw head MR scans with gliomas, made from a public template, with their truth."""

from __future__ import annotations

from lesionlab.imaging.phantom.options import SEQUENCES, PhantomOptions
from lesionlab.imaging.phantom.subject import PhantomSubject, make_subject, subject_files, subject_name, transforms_json

__all__ = [
    "SEQUENCES",
    "PhantomOptions",
    "PhantomSubject",
    "make_subject",
    "subject_files",
    "subject_name",
    "transforms_json",
]
