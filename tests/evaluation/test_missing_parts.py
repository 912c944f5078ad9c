"""Trials that lack a part: without a synthesizer, without arms, or with several segmenters."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from lesionlab.evaluation import (
    augmentation,
    claims,
    memorisation,
    paper_tables,
    pictures,
    reliability,
    samples,
    segmentation,
    synthesis,
    trainings,
)
from lesionlab.evaluation.sections import Section
from lesionlab.evaluation.tables import tabulate
from lesionlab.methods.registry import titles
from lesionlab.metrics.statistics import SCORE_COLUMNS, StatisticsOptions
from lesionlab.reporting.report import Page, render_report
from lesionlab.reporting.tables import to_csv
from lesionlab.training.runs import TrainingRun
from lesionlab.trials.plan import TrialPlan

OPTIONS = StatisticsOptions(resamples=100)
UNET = {"network": {"width": 2, "depth": 2}}


@pytest.fixture
def segmenters(run):
    def make(plan: TrialPlan) -> dict[str, TrainingRun]:
        return {case.key: run(f"found/{case.key}", "unet", UNET) for case in plan.segmenters}

    return make


def sections_of(plan: TrialPlan, slices, synthesizers, segmenters) -> dict[str, Section]:
    """Everything that a run makes of a trial, as its nodes do, by the sections' keys."""
    drawn = stored(synthesis.score(plan, slices, synthesizers, "c"))
    found = stored(segmentation.score(plan, slices, segmenters, "c"))
    synthesized, alone, augmented = map(read_back, tabulate(drawn, found, plan, [], OPTIONS, 0))
    held = claims.held(plan, drawn, found, [], OPTIONS, 0)
    judged = memorisation.judge_slices(plan, slices, synthesizers)
    trust = reliability.measure_reliability(plan, slices, synthesizers, OPTIONS, 0)
    known = paper_tables.Known(plan, [], slices.sequences, slices.classes, {}, titles())
    copies, membership = (
        memorisation.look_for_copies(plan, slices, {}),
        memorisation.infer_membership(judged, OPTIONS, 0),
    )
    results = augmentation.Results(plan, found, augmented, alone)
    counts = augmentation.slice_counts(plan, slices)
    shown, places = plan.shown(), pictures.shown_test_slices(slices)
    seen = pictures.segmented(shown, slices, places, segmenters) if shown.segmenters else []
    outlined = [pictures.of_segmentations(seen, slices)] if seen else []
    drawings = pictures.of_synthesis(shown, slices, synthesizers, {}) + reliability.pictures(shown, slices, trust)
    made = [
        augmentation.section(results, counts, slices.classes, OPTIONS, 0),
        claims.section(plan, held),
        paper_tables.section(known, synthesized, augmented),
        segmentation.section(alone, slices.classes, titles(), outlined),
        synthesis.section(synthesized, slices, plan.titles(), drawings),
        samples.section(
            samples.measure_samples(plan, slices, {}, segmenters),
            samples.measure_diversity(plan, slices, {}, segmenters),
        ),
        memorisation.section(plan, slices, {}, copies, judged, membership),
        trainings.section(plan, slices, synthesizers, segmenters, slices.select("validation"), titles()),
    ]
    assert "<h1>t</h1>" in render_report(Page("t", "a", "s", sections=made))
    return {one.key: one for one in made if one}


def stored(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores after a way through their file."""
    assert list(scores) == SCORE_COLUMNS
    return pd.read_parquet(io.BytesIO(scores.to_parquet()))


def read_back(table: pd.DataFrame) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(to_csv(table)), keep_default_na=False, na_values=[""])


def test_without_a_synthesizer_there_is_segmentation_alone(plan, slices, segmenters):
    alone = tuple(case for case in plan.segmenters if case.synthesizer is None)
    bare = plan.model_copy(update={"synthesizers": (), "segmenters": alone})
    found = sections_of(bare, slices, {}, segmenters(bare))
    assert set(found) == {"segmentation", "training"}
    assert found["segmentation"].headline.startswith("Dice on real slices alone, mean over lesion classes: U-Net ")


def test_without_arms_there_is_synthesis_alone(plan, slices, synthesizers):
    options = plan.options.model_copy(update={"arms": ()})
    bare = plan.model_copy(update={"segmenters": (), "options": options})
    found = sections_of(bare, slices, synthesizers, {})
    assert set(found) == {"claims", "synthesis", "copies", "training"}
    assert found["synthesis"].headline.startswith("Pixel accuracy, mean over lesion classes: samr ")
    assert found["synthesis"].pictures[1].title == "All synthesizers on the same label maps"
    # CG-SAMR's claim against SAMR needs no segmenter; membership needs nothing but discriminators.
    assert [one for one, _ in found["claims"].points] == ["samr synthesizes less well than cgsamr (pixel accuracy)"]
    assert [table.title for table in found["copies"].filled()] == ["Membership"]


def test_several_segmenters_are_each_compared_with_their_own_baseline(plan, slices, synthesizers, segmenters):
    unet = plan.segmenters[0].recipe
    named = [unet.model_copy(update={"method": name, "title": name}) for name in ("unet", "other")]
    cases = tuple(case.model_copy(update={"recipe": recipe}) for recipe in named for case in plan.segmenters)
    both = plan.model_copy(update={"segmenters": cases})
    found = segmentation.score(both, slices, segmenters(both), "c")
    assert set(found["method"]) == {"unet", "other", "all tumor", "all normal"}
    drawn = synthesis.score(both, slices, synthesizers, "c")
    _, alone, augmented = tabulate(drawn, found, both, [], OPTIONS, 0)
    results = augmentation.Results(both, found, augmented, alone)
    assert results.arms[:2] == ["real, unet", "real+50%, samr, unet"] and len(results.arms) == 6
    change = results.differences(0, 100)
    own = change[change["metric"].eq("dice") & change["class"].eq("tumor")]
    assert dict(zip(own["protocol"], own["reference"], strict=True)) == {
        f"real+50%, {name}, {method}": f"{method}, real, none"
        for name in ("samr", "cgsamr")
        for method in ("unet", "other")
    }
    held = claims.held(both, drawn, found, [], OPTIONS, 0)
    raised = held[held["claim"].str.startswith("samr's slices raise Dice")]
    assert set(raised["where"]) == {f"{name}, {m}" for name in ("edema", "tumor", "lesion") for m in ("unet", "other")}
    section = augmentation.section(results, augmentation.slice_counts(both, slices), slices.classes, OPTIONS, 0)
    assert section.headline and section.pictures


def test_without_a_segmenter_of_real_slices_samples_are_not_compared(plan, slices):
    none = plan.model_copy(update={"segmenters": tuple(case for case in plan.segmenters if case.synthesizer)})
    stores = {case.key: slices for case in plan.synthesizers}
    assert samples.measure_samples(none, slices, stores, {}).empty
    assert samples.measure_diversity(none, slices, stores, {}).empty
