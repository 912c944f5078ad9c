"""Cohorts whose files are named by templates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lesionlab.cohort.layout import Layout
from lesionlab.cohort.studies import FoundStudy, find_masks, find_sequence, lesion_sequences, template_studies

LEAVE_OUT = "take it off `sequences`, name it in `cohort.may_lack` where studies may lack it, or leave the study out"


def find(root: Path, layout: Layout, sequences: tuple[str, ...]) -> Iterator[FoundStudy]:
    """Yield the studies whose files fit the layout's templates; see :func:`lesionlab.cohort.table.discover`."""
    drawn_on = lesion_sequences(layout, sequences)
    for study in template_studies(root, layout):
        found = FoundStudy(study)
        for name in sequences:
            find_sequence(root, layout.sequences[name], found, name, LEAVE_OUT)
        find_masks(root, layout, found, drawn_on)
        yield found
