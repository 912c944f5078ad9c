"""Memorisation: whether synthetic slices repeat training slices, and whether discriminators know these again."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lesionlab.evaluation.pictures import title_of
from lesionlab.evaluation.samples import ABOUT, about, drawing, made_for, of_case, parts_of, pictures_of, spaced
from lesionlab.evaluation.sections import Picture, Section, Table
from lesionlab.figures import sample_charts
from lesionlab.figures.panels import LabelledSlice, labelled_montage
from lesionlab.methods.applying import judge
from lesionlab.methods.base import Method
from lesionlab.metrics import memorisation
from lesionlab.metrics.statistics import StatisticsOptions
from lesionlab.slices.batches import Slices
from lesionlab.slices.store import SliceStore
from lesionlab.training.runs import TrainingRun
from lesionlab.trials.plan import SynthesizerCase, TrialPlan

REGIONS: tuple[memorisation.Region, ...] = ("image", "lesion")
_JUDGED = [*ABOUT, "subject", "study", "plane", "trained_on", "score"]
_PAIRS = 4  # of synthetic and training slices that lie near to each other
_LEAD = (
    "The nearest training slice of each synthetic one, beside the nearest training slices of test subjects: slices "
    "much nearer than these are copies. A synthetic slice has its target's brain by construction, so the target and "
    "its subject are kept apart from other subjects; each test slice leaves out one training subject in turn, so that"
    " it has as many subjects to be near to."
)
_MEMBERSHIP = (
    "Whether the discriminators' mean score of a real slice tells if it was trained on: area under the curve, 0.5 is "
    "chance."
)


def look_for_copies(plan: TrialPlan, slices: SliceStore, synthetic: Mapping[str, SliceStore]) -> pd.DataFrame:
    """How near each synthesizer's slices lie to its training slices, beside how near real people's lie to each other.

    Returns:
        ``synthesizer, training_subjects, seed, region`` and the columns of
        :func:`lesionlab.metrics.memorisation.compare_nearest`.
    """
    parts = []
    for case in drawing(plan, synthetic):
        for region in REGIONS:
            made, natural = nearest_of(case, slices, made_for(plan, case, slices, synthetic[case.key]), region)
            if natural["other_subjects_distance"].notna().any():
                parts.append(memorisation.compare_nearest(made, natural).assign(region=region, **about(case)))
    columns = [*ABOUT, "region"]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    return table[[*columns, *(name for name in table if name not in columns)]]


def nearest_of(
    case: SynthesizerCase, slices: SliceStore, made: memorisation.Pictures, region: memorisation.Region
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of each of a synthesizer's slices, and of each test slice, the nearest training slice.

    A synthetic slice has a subject's brain, and one other subject less to be near to. Each test slice therefore leaves
    out a training subject too, one after the other: it is looked at as a slice of that subject's.
    """
    training = training_pictures(case, slices)
    tested = pictures_of(slices, slices.select("test", "pathological"))
    if len(case.subjects) > 1:
        tested = tested._replace(table=tested.table.assign(subject=np.resize(case.subjects, len(tested.table))))
    return memorisation.nearest(made, training, region), memorisation.nearest(tested, training, region)


def training_pictures(case: SynthesizerCase, slices: SliceStore) -> memorisation.Pictures:
    """The real slices a synthesizer was trained on."""
    return pictures_of(slices, slices.select("train", subject=case.subjects))


def judge_slices(plan: TrialPlan, slices: SliceStore, synthesizers: Mapping[str, TrainingRun]) -> pd.DataFrame:
    """What synthesizers' discriminators think of the real slices they were trained on, and of the test slices.

    Of the synthesizers that can ``judge``.

    Returns:
        ``synthesizer, training_subjects, seed, subject, study, plane, trained_on, score``; a row per slice, the score
        being the discriminators' mean logit.
    """
    parts = []
    for case in plan.synthesizers:
        method = synthesizers[case.key].method()
        if not hasattr(method, "judge"):
            continue
        for trained_on, places in (
            (True, slices.select("train", subject=case.subjects)),
            (False, slices.select("test")),
        ):
            rows = slices.table.iloc[places][["subject", "study", "plane"]].reset_index(drop=True)
            rows = rows.assign(trained_on=trained_on, score=_judged(method, slices, places))
            parts.append(pd.DataFrame([about(case)] * len(rows)).join(rows))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=_JUDGED)


def infer_membership(judged: pd.DataFrame, options: StatisticsOptions, seed: int) -> pd.DataFrame:
    """Whether the discriminators' score of a real slice tells if it was trained on.

    Args:
        judged: as :func:`judge_slices` returns it.
        options, seed: of the bootstrap.

    Returns:
        ``synthesizer, training_subjects, seed, auc, ci_low, ci_high``; 0.5 is chance.
    """
    rows = []
    for _, own in judged.groupby(ABOUT, sort=False):
        whose = {name: own[name].iloc[0] for name in ABOUT}
        member = own["trained_on"].to_numpy(bool)
        scores, subjects = own["score"].to_numpy(), own["subject"].to_numpy()
        found = memorisation.membership_inference(
            scores[member],
            subjects[member],
            scores[~member],
            subjects[~member],
            seed=seed,
            resamples=options.resamples,
        )
        rows.append({**whose, **found._asdict()})
    return pd.DataFrame(rows, columns=[*ABOUT, *memorisation.Membership._fields])


def _judged(method: Method, slices: SliceStore, places: np.ndarray) -> np.ndarray:
    parts = (Slices.from_arrays(*slices.batch(part)).all() for part in parts_of(places))
    return np.concatenate([judge(method, part).numpy() for part in parts])


def section(
    plan: TrialPlan,
    slices: SliceStore,
    synthetic: Mapping[str, SliceStore],
    copies: pd.DataFrame,
    judged: pd.DataFrame,
    membership: pd.DataFrame,
) -> Section:
    """Nearest training slices, and membership; pictures of the synthesizers shown."""
    shown = plan.shown()
    return Section(
        "copies",
        "Memorisation",
        _LEAD,
        pictures=[*_of_copies(shown, slices, synthetic), *_of_membership(shown, judged)],
        tables=[Table(spaced(copies), "Copies"), Table(spaced(membership), "Membership", _MEMBERSHIP)],
    )


def _of_copies(plan: TrialPlan, slices: SliceStore, synthetic: Mapping[str, SliceStore]) -> list[Picture]:
    """How near each synthesizer's slices lie to training slices, and the nearest pairs."""
    cases = drawing(plan, synthetic)
    return [picture for case in cases for picture in _copies_of(plan, case, slices, synthetic[case.key])]


def _copies_of(plan: TrialPlan, case: SynthesizerCase, slices: SliceStore, synthetic: SliceStore) -> list[Picture]:
    made = made_for(plan, case, slices, synthetic)
    found = {region: nearest_of(case, slices, made, region) for region in REGIONS}
    curves_of = {
        "whole picture" if region == "image" else region: {
            "test slices (other subjects)": natural["other_subjects_distance"].to_numpy(),
            "synthetic, other subjects": made["other_subjects_distance"].to_numpy(),
            "synthetic, its own target": made["target_distance"].to_numpy(),
        }
        for region, (made, natural) in found.items()
    }
    if not any(np.isfinite(values).any() for sets in curves_of.values() for values in sets.values()):
        return []
    drawn = sample_charts.nearest_curves(curves_of)
    caption = (
        "Share of slices whose nearest training slice is at most so far. Left of the test slices' line: suspicious."
    )
    title = f"How near {case.recipe.title}'s slices lie to the training slices"
    return [Picture(drawn, title, caption), _closest(case, slices, synthetic, found["image"][0])]


def _closest(case: SynthesizerCase, slices: SliceStore, synthetic: SliceStore, made: pd.DataFrame) -> Picture:
    """The synthetic slices that are nearest to a training slice of another subject, beside it."""
    order = made["other_subjects_distance"].dropna().sort_values().index[:_PAIRS]
    theirs = slices.select("train", subject=case.subjects)[made.loc[order, "other_subjects_place"].to_numpy(int)]
    ours, real = synthetic.batch(order.to_numpy()), slices.batch(theirs)
    rows = []
    for at, place in enumerate(order):
        rows += [
            LabelledSlice(f"synthetic, {title_of(synthetic, place)}", ours.labels[at], ours.images[at]),
            LabelledSlice(f"real, {title_of(slices, theirs[at])}", real.labels[at], real.images[at]),
        ]
    data = labelled_montage(rows, slices.sequences, slices.classes)
    caption = "Synthetic slices that come nearest to a training slice of another subject, and that slice."
    return Picture(data, f"{case.recipe.title}, closest pairs", caption)


def _of_membership(plan: TrialPlan, judged: pd.DataFrame) -> list[Picture]:
    """Whether the discriminators score the slices they were trained on higher than held-out ones."""
    scores = {}
    for case in plan.synthesizers:
        own = of_case(case, judged)
        if own.empty:  # a method that cannot judge
            continue
        known = own["trained_on"].to_numpy(bool)
        scores[case.recipe.title] = (own.loc[known, "score"].to_numpy(), own.loc[~known, "score"].to_numpy())
    if not scores:
        return []
    caption = "Real slices by the discriminators' mean score. Two lines far apart: training slices are known again."
    return [Picture(sample_charts.membership_curves(scores), "Are training slices known again?", caption)]
