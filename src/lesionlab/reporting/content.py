"""What the report holds: plain data, filled by whoever ran the experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from lesionlab.reporting.qc_page import QCSummary


@dataclass(frozen=True)
class Step:
    """One step of the experiment in plain words.

    Attributes:
        name: "Co-registration".
        text: what was done and why, with its numbers.
        figure: one number to stand out, e.g. "24 subjects"; "" for none.
    """

    name: str
    text: str
    figure: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture with its words.

    Attributes:
        data: PNG, JPEG or WebP bytes.
        title: one line.
        caption: how to read it.
    """

    data: bytes
    title: str
    caption: str = ""


class Line(NamedTuple):
    """A line of the small table: one way to train the segmenter.

    Attributes:
        subjects: training subjects.
        protocol: what the segmenter saw, as ``augmentation`` and ``differences`` call it.
        real, synthetic: training slices.
        adds: whether it differs from the baseline by synthetic slices alone.
    """

    subjects: int
    protocol: str
    real: int
    synthetic: int
    adds: bool = False


class PaperCell(NamedTuple):
    """A figure of ours and the paper's, as text; "" where there is none."""

    ours: str
    published: str


class PaperSection(NamedTuple):
    """Lines of a paper's table that stand under one heading: a name and its cells each."""

    heading: str
    lines: Sequence[tuple[str, Sequence[PaperCell]]]


class PaperTable(NamedTuple):
    """A table of a paper, rebuilt.

    Attributes:
        title: the paper and its table.
        note: what the figures are.
        groups: headings over several columns, and over how many.
        columns: headings.
        sections: its lines, a cell per column.
    """

    title: str
    note: str
    groups: Sequence[tuple[str, int]]
    columns: Sequence[str]
    sections: Sequence[PaperSection]


@dataclass(frozen=True)
class ReportContent:
    """Everything the report shows; empty parts are left out.

    Attributes:
        title: the page's title.
        cohort: the cohort's name.
        method: the synthesizer's name.
        summary: one paragraph: the question and how it was answered.
        facts: short label -> value, shown as figures at the top.
        steps: what was done, in order.
        folds: a fold's name -> its own page's address relative to this one.
        split: a row per split (subjects, slices, ...).
        lesion_classes: in the order of their codes.
        lines: the segmenters compared, the baseline first.
        compared: the augmentation table, ``protocol`` being what ``lines`` call a segmenter.
        augmentation, synthesis, segmentation: tables with the fixed columns.
        differences: as ``differences.differences`` makes them, each protocol against the baseline, and
            ``training_subjects``.
        leakage: a row per thing that learnt: what it is, and of how many subjects, none of them a test subject.
        claims: a row per comparison that a claim of the papers makes, with its verdict.
        claim_counts: a row per claim and size: in how many comparisons it holds, fails, cannot be told.
        ablations: those of ``claims`` that set a variant against its method, and ``part``, the variant's title.
        paper_tables: the papers' tables, ours beside theirs.
        sample_quality, diversity, copies, membership: measures of the sets of synthetic slices.
        copy_pictures: how near synthetic slices lie to training slices.
        membership_pictures: how discriminators score the slices they were trained on, and others.
        cohort_pictures, result_pictures, synthesis_pictures, training_pictures, moments: pictures by section.
        floors: floor's method name -> what it is.
        truth: columns ``stage, subject, measure, value``; empty or None where there is no truth.
        truth_notes: measure -> what it means.
        qc: figures of the quality-control page, and its address relative to the report.
        quarantined: columns ``study, reason``.
        parameters: nested mapping, shown as YAML.
        provenance: commit, fingerprint, seed, versions.
        durations: step -> seconds.
        limits: sentences on what the figures cannot tell.
        references: citations, plain text.
    """

    title: str
    cohort: str
    method: str
    summary: str
    augmentation: pd.DataFrame
    synthesis: pd.DataFrame
    segmentation: pd.DataFrame
    lesion_classes: Sequence[str]
    lines: Sequence[Line]
    compared: pd.DataFrame
    facts: Mapping[str, str] = field(default_factory=dict)
    steps: Sequence[Step] = ()
    folds: Mapping[str, str] = field(default_factory=dict)
    split: pd.DataFrame | None = None
    differences: pd.DataFrame | None = None
    leakage: pd.DataFrame | None = None
    claims: pd.DataFrame | None = None
    claim_counts: pd.DataFrame | None = None
    ablations: pd.DataFrame | None = None
    paper_tables: Sequence[PaperTable] = ()
    sample_quality: pd.DataFrame | None = None
    diversity: pd.DataFrame | None = None
    copies: pd.DataFrame | None = None
    membership: pd.DataFrame | None = None
    copy_pictures: Sequence[Picture] = ()
    membership_pictures: Sequence[Picture] = ()
    cohort_pictures: Sequence[Picture] = ()
    result_pictures: Sequence[Picture] = ()
    synthesis_pictures: Sequence[Picture] = ()
    training_pictures: Sequence[Picture] = ()
    moments: Sequence[Picture] = ()
    floors: Mapping[str, str] = field(default_factory=dict)
    truth: pd.DataFrame | None = None
    truth_notes: Mapping[str, str] = field(default_factory=dict)
    qc: QCSummary | None = None
    qc_href: str = "../qc/index.html"
    quarantined: pd.DataFrame | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    durations: Mapping[str, float] = field(default_factory=dict)
    limits: Sequence[str] = ()
    references: Sequence[str] = ()
