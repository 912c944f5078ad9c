"""Who was seen by what: read from what the stages and trainings have written down, not from what was planned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pandas as pd

from lesionlab.evaluation.sections import Section, Table
from lesionlab.slices.store import SliceStore
from lesionlab.training.runs import TrainingRun
from lesionlab.trials import leakage
from lesionlab.trials.plan import TrialPlan

_LEAD = (
    "Everything that learnt, with the number of subjects it has seen and how many of these are test subjects: read "
    "from what each has written down itself. Had one seen a test subject, this run would have stopped."
)


def audit(
    plan: TrialPlan,
    cohort: pd.DataFrame,
    slices: SliceStore,
    prepared: Mapping[str, Iterable[str]],
    synthesizers: Mapping[str, TrainingRun],
    synthetic: Mapping[str, SliceStore],
    segmenters: Mapping[str, TrainingRun],
) -> pd.DataFrame:
    """Everything that learnt and everything that chose, each with its subjects.

    Args:
        plan: of the trial.
        cohort: with ``study, subject, split``.
        slices: of the cohort.
        prepared: what learnt before any training, to the studies it learnt from; studies of another cohort do not
            count.
        synthesizers, synthetic, segmenters: by key.

    Raises:
        InputError: any of them has seen a test subject, has learnt from one that is for validation, or from one that
            is not in its own training set; the slices have a subject in another split than the cohort.
    """
    splits, people = leakage.splits_of(cohort, "the cohort"), leakage.people_of(cohort)
    leakage.require_same(leakage.splits_of(slices.table, "the slices"), splits)
    learnt: dict[str, Iterable[str]] = {
        place: {people[study] for study in studies if study in people} for place, studies in prepared.items()
    }
    learnt |= {f"synthesizer {key}": run.subjects() for key, run in synthesizers.items()}
    learnt |= {f"synthetic slices {key}": leakage.subjects_of(store.table, people) for key, store in synthetic.items()}
    learnt |= {f"segmenter {key}": run.subjects() for key, run in segmenters.items()}
    chose = {f"checkpoint of synthesizer {key}": run.validated_on() for key, run in synthesizers.items()}
    chose |= {f"checkpoint of segmenter {key}": run.validated_on() for key, run in segmenters.items()}
    table = leakage.audit(learnt, chose, splits)
    for place, planned in _planned(plan):
        leakage.require_within(learnt[place], planned, place)
    return table


def _planned(plan: TrialPlan) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Everything that a trial trains or draws, with the subjects it is planned for."""
    for case in plan.synthesizers:
        yield f"synthesizer {case.key}", case.subjects
        if plan.segmenters:
            yield f"synthetic slices {case.key}", case.subjects
    for one in plan.segmenters:
        yield f"segmenter {one.key}", one.subjects


def section(table: pd.DataFrame) -> Section:
    """The audit, with numbers of subjects instead of their names."""
    shown = Table(table.drop(columns="names"), numeric=("subjects", "test"))
    return Section("leakage", "No leakage", _LEAD, tables=[shown])
