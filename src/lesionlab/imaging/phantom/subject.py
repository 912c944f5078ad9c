"""One subject of the phantom cohort: scans, lesion, truth."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from lesionlab.errors import InputError
from lesionlab.imaging.phantom.anatomy import healthy_head
from lesionlab.imaging.phantom.lesions import with_lesions
from lesionlab.imaging.phantom.options import NORMAL_CODE, SEQUENCES, PhantomOptions, SequenceName
from lesionlab.imaging.phantom.scanner import Scanner, acquire, expose, plan_scan, subject_pose
from lesionlab.imaging.phantom.signal import render, tissue_values
from lesionlab.imaging.phantom.template import load_template
from lesionlab.imaging.phantom.truth import bias_truth, truth_maps
from lesionlab.imaging.volume import Volume

ANATOMY, LESION, SCAN = 0, 1, 2  # streams of random numbers


@dataclass(frozen=True)
class PhantomSubject:
    """A subject with its truth.

    Attributes:
        name: ``phantom-01`` and on.
        scans: each sequence's raw head scan on its own grid, float32, nonnegative.
        lesion: uint8 on the reference scan's grid: 0 none, 2 edema, 3 cavity, 4 tumor.
        truth: on the reference scan's grid: ``brain`` (uint8), ``label`` (uint8: 0 outside the brain, 1 brain, 2.. as
            the lesion), ``CSF``, ``GM``, ``WM`` (float32 fractions, all 0 within the lesion and outside the brain),
            ``bias_<sequence>`` (float32, multiplicative); on each sequence's own grid: ``healthy_<sequence>``
            (float32), the same head, scanner and noise without the lesion and its mass effect.
        transforms: ``(4, 4)`` float64 per sequence: RAS mm in the reference scan to RAS mm in that scan.
    """

    name: str
    scans: dict[str, Volume]
    lesion: Volume
    truth: dict[str, Volume]
    transforms: dict[str, np.ndarray]


def subject_name(index: int) -> str:
    """``phantom-01`` for index 0."""
    return f"phantom-{index + 1:02d}"


def make_subject(index: int, options: PhantomOptions, seed: int) -> PhantomSubject:
    """One subject; the same index, options and seed give the same subject.

    Args:
        index: 0 to ``options.subjects - 1``.
        options: the cohort.
        seed: the cohort's seed, nonnegative.

    Raises:
        InputError: the index lies outside the cohort.
    """
    if not 0 <= index < options.subjects:
        raise InputError(
            "no such phantom subject", given=index, allowed=f"0 to {options.subjects - 1}", cure="raise `subjects`"
        )
    healthy = healthy_head(load_template(), options, _stream(seed, index, ANATOMY))
    ill, _ = with_lesions(healthy, options, _stream(seed, index, LESION))
    lying = subject_pose(_stream(seed, index, SCAN))
    plans: dict[SequenceName, Scanner] = {}
    scans: dict[str, Volume] = {}
    truth: dict[str, Volume] = {}
    for sequence in options.sequences:
        rng = _stream(seed, index, SCAN, 1 + SEQUENCES.index(sequence))
        plan = plans[sequence] = plan_scan(sequence, options, lying, rng)
        values = tissue_values(sequence, rng)
        signals = [acquire(render(head, sequence, values), head.frame, plan) for head in (ill, healthy)]
        scan, twin = expose(signals, plan)
        scans[sequence], truth[f"healthy_{sequence}"] = Volume(scan, plan.affine), Volume(twin, plan.affine)
    reference = plans[options.reference]
    transforms: dict[str, np.ndarray] = {s: plan.pose @ np.linalg.inv(reference.pose) for s, plan in plans.items()}
    maps = truth_maps(ill, reference)
    truth |= maps | bias_truth(plans, transforms, reference)
    label = maps["label"]
    found = Volume(np.where(label.data > NORMAL_CODE, label.data, 0).astype(np.uint8), reference.affine)
    return PhantomSubject(subject_name(index), scans, found, truth, transforms)


def _stream(seed: int, index: int, *purpose: int) -> np.random.Generator:
    # One stream per purpose and sequence: leaving a sequence out changes nothing in the others.
    return np.random.default_rng([seed, index, *purpose])


def subject_files(subject: PhantomSubject) -> dict[str, Volume]:
    """What to write, by file name within the subject's folder; ``transforms_json`` makes ``truth/transforms.json``."""
    files = {f"{name}.nii.gz": scan for name, scan in subject.scans.items()}
    files["lesion.nii.gz"] = subject.lesion
    return files | {f"truth/{name}.nii.gz": volume for name, volume in subject.truth.items()}


def transforms_json(subject: PhantomSubject) -> str:
    """The true transforms as JSON: sequence to a 4 x 4 list of rows, RAS mm of the reference to RAS mm of the scan."""
    return json.dumps({name: matrix.tolist() for name, matrix in subject.transforms.items()}, indent=2)
