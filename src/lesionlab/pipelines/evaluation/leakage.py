"""Who was seen by what: read from what the stages and trainings have written down, not from what was planned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pandas as pd

from lesionlab.imaging.intensity.landmarks import read_landmark_set
from lesionlab.pipelines.preprocess.jobs import LANDMARKS, STANDARD, TEMPLATE
from lesionlab.slices.store import SliceStore
from lesionlab.stages.subject_store import SubjectStore
from lesionlab.training.runs import TrainingRun
from lesionlab.trials import leakage
from lesionlab.trials.plan import TrialPlan


def check_leakage(
    plan: TrialPlan,
    cohort: pd.DataFrame,
    landmarks: SubjectStore,
    template: SubjectStore,
    slices: SliceStore,
    synthesizers: Mapping[str, TrainingRun],
    synthetic: Mapping[str, SliceStore],
    segmenters: Mapping[str, TrainingRun],
) -> tuple[pd.DataFrame, TrialPlan]:
    """Everything that learnt and everything that chose, each with its subjects; and the plan, cleared for scoring.

    Raises:
        InputError: any of them has seen a test subject, has learnt from one that is for validation, or from one that
            is not in its own training set; the slices have a subject in another split than the cohort.
    """
    splits, people = leakage.splits_of(cohort, "the cohort"), leakage.people_of(cohort)
    leakage.require_same(leakage.splits_of(slices.table, "the slices"), splits)
    learnt: dict[str, Iterable[str]] = {
        "intensity landmarks": _people(_studies_of_landmarks(landmarks), people),
        _atlas(template): _people(_studies_of_template(template), people),
    }
    learnt |= {f"synthesizer {key}": run.subjects() for key, run in synthesizers.items()}
    learnt |= {f"synthetic slices {key}": leakage.subjects_of(store.table, people) for key, store in synthetic.items()}
    learnt |= {f"segmenter {key}": run.subjects() for key, run in segmenters.items()}
    chose = {f"checkpoint of synthesizer {key}": run.validated_on() for key, run in synthesizers.items()}
    chose |= {f"checkpoint of segmenter {key}": run.validated_on() for key, run in segmenters.items()}
    table = leakage.audit(learnt, chose, splits)
    for place, planned in _planned(plan):
        leakage.require_within(learnt[place], planned, place)
    return table, plan


def _planned(plan: TrialPlan) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Everything that a trial trains or draws, with the subjects it is planned for."""
    for case in plan.synthesizers:
        yield f"synthesizer {case.key}", case.subjects
        yield f"synthetic slices {case.key}", case.subjects
    for one in plan.segmenters:
        yield f"segmenter {one.key}", one.subjects


def _people(studies: Iterable[str], people: Mapping[str, str]) -> set[str]:
    """The subjects of studies. Studies of another cohort, whose landmarks or atlas were given, are nobody's here."""
    return {people[study] for study in studies if study in people}


def _studies_of_landmarks(landmarks: SubjectStore) -> Iterable[str]:
    path = landmarks.root / STANDARD / LANDMARKS
    return read_landmark_set(path).studies if path.is_file() else ()


def _atlas(template: SubjectStore) -> str:
    """What the atlas is called in the table: one that was given without a record may be of anybody."""
    untold = template.names(TEMPLATE) and "studies" not in template.record(TEMPLATE)
    return "atlas, given, whose people nobody has written down" if untold else "atlas"


def _studies_of_template(template: SubjectStore) -> Iterable[str]:
    studies: Iterable[str] = template.record(TEMPLATE).get("studies", ())
    return studies
