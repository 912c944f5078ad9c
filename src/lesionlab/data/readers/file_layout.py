"""Cohorts whose files are named by templates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lesionlab.data.layout import Layout
from lesionlab.data.studies import FoundStudy, find_masks, lesion_sequence, take, template_studies

LEAVE_OUT = "take it off `sequences`, or leave the study out"


def find(root: Path, layout: Layout, sequences: tuple[str, ...]) -> Iterator[FoundStudy]:
    """Yield the studies whose files fit the layout's templates; see :func:`lesionlab.data.cohort.discover`."""
    lesion_on = lesion_sequence(layout, sequences)
    for study in template_studies(root, layout):
        found = FoundStudy(study)
        for name in sequences:
            found.scans[name] = take(root, layout.sequences[name], found, f"sequence {name}", LEAVE_OUT)
        find_masks(root, layout, found, lesion_on)
        yield found
