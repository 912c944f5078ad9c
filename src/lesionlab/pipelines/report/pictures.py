"""The report's pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lesionlab.figures import charts, curves, panels, sample_charts
from lesionlab.figures.panels import LabelledSlice
from lesionlab.methods.applying import draw, segment
from lesionlab.pipelines.evaluation import samples
from lesionlab.pipelines.evaluation.nodes import test_subjects
from lesionlab.pipelines.report.results import Results
from lesionlab.pipelines.training.nodes import preview_places, preview_split
from lesionlab.reporting.content import Picture
from lesionlab.slices.cutting import FIRST_LESION
from lesionlab.slices.store import SliceStore
from lesionlab.training.runs import TrainingRun
from lesionlab.trials.plan import SynthesizerCase, TrialPlan

_SUBJECTS, _SLICES, _MADE = 6, 4, 6  # rows shown of the cohort, of test slices, of synthetic slices
_ROWS = 20  # of slices with what became of each
FOUND = "What the segmenters found"
_PAIRS = 4  # of synthetic and training slices that lie near to each other


def of_cohort(slices: SliceStore) -> list[Picture]:
    """Six subjects' slices with most lesion, all sequences."""
    table = slices.table
    subjects = list(dict.fromkeys(table["subject"]))
    chosen = [subjects[at] for at in np.linspace(0, len(subjects) - 1, min(_SUBJECTS, len(subjects))).astype(int)]
    places = [_most_lesion(slices, table.loc[table["subject"] == subject, "index"].to_numpy()) for subject in chosen]
    real = slices.batch(places)
    rows = map(LabelledSlice, chosen, real.labels, real.images)
    data = panels.labelled_montage(rows, slices.sequences, slices.classes)
    return [Picture(data, "Subjects after preprocessing", "One slice per subject, where its lesion is largest.")]


def of_results(
    results: Results, differences: pd.DataFrame, counts: Mapping[str, tuple[int, int]], classes: list[str]
) -> list[Picture]:
    """Dice by training subjects, every test subject's Dice by arm, and the differences to the baseline."""
    found, largest = [], results.sizes[-1]
    if len(results.sizes) > 1:
        curve = charts.low_data_curve(results.table(), classes=classes, rows=results.by_synthesizer())
        found.append(Picture(curve, "Dice by training subjects", "Mean over test subjects, 95 % interval."))
    by_name = {results.plan.label(case): counts[case.key] for case in results.plan.shown().segmenters}
    drawn = charts.scores_by_protocol(
        results.of_size(largest), classes=classes, protocols=results.arms, counts=by_name, floors=results.floors()
    )
    told = f"Trained on {largest} subjects. A line joins one subject's scores; dashed: floors."
    found.append(Picture(drawn, "Dice of every test subject", told))
    baseline = results.plan.options.baseline
    for size, rows in differences[differences["class"].isin(classes)].groupby("training_subjects"):
        if (rows["metric"] == "dice").any():
            change = charts.differences_plot(rows, baseline=baseline)
            told = f"Trained on {size} subjects. Mean over test subjects, 95 % interval."
            found.append(Picture(change, f"Difference to “{baseline}”", told))
    return found


def of_segmentations(plan: TrialPlan, slices: SliceStore, segmenters: Mapping[str, TrainingRun]) -> list[Picture]:
    """Test slices with the true label map and what each segmenter found, outlined."""
    rows = segmented(plan, slices, shown_test_slices(slices)[: at_a_time(len(plan.segmenters))], segmenters)
    data = panels.labelled_montage(rows, slices.sequences, slices.classes)
    return [Picture(data, FOUND, "Test slices: the true lesion, then each segmenter's.")]


def at_a_time(others: int) -> int:
    """How many slices there is room for in a picture that shows each with this many others below it."""
    return max(1, _ROWS // (others + 1))


def segmented(
    plan: TrialPlan, slices: SliceStore, places: Sequence[int], segmenters: Mapping[str, TrainingRun]
) -> list[LabelledSlice]:
    """Each slice with its true label map, then with what each segmenter of the plan found."""
    real = slices.batch(places)
    found = {"truth": (real.labels, real.images)}
    for case in plan.segmenters:
        labels = segment(segmenters[case.key].method(), real.images).numpy()
        found[plan.label(case)] = labels, real.images
    return _below_each(slices, places, found)


def drawn(
    plan: TrialPlan, slices: SliceStore, places: Sequence[int], synthesizers: Mapping[str, TrainingRun]
) -> list[LabelledSlice]:
    """Each slice as it is, then as each synthesizer of the plan draws its label map."""
    real = slices.batch(places)
    shown = {"real": (real.labels, real.images)}
    for case in plan.synthesizers:
        made = draw(synthesizers[case.key].method(), real.labels, real.atlas)
        shown[case.recipe.title] = real.labels, made.images.numpy()
    return _below_each(slices, places, shown)


def _below_each(
    slices: SliceStore, places: Sequence[int], shown: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> list[LabelledSlice]:
    """Slice by slice, every label map and image that there is of it, by name."""
    return [
        LabelledSlice(f"{_title(slices, place)}\n{name}", labels[at], images[at])
        for at, place in enumerate(places)
        for name, (labels, images) in shown.items()
    ]


def of_accuracy(slices: SliceStore, table: pd.DataFrame) -> list[Picture]:
    """Pixel accuracy of every synthesizer and of the floors, at the largest set of training subjects."""
    rows = table[table["training_subjects"] == table["training_subjects"].max()]
    methods = list(dict.fromkeys(rows["method"]))
    bars = charts.accuracy_bars(rows, methods=methods, sequences=slices.sequences, classes=slices.classes)
    told = "Within 16 of 255 grey levels; mean over test subjects."
    return [Picture(bars, "Pixel accuracy against the floors", told)]


def of_synthesis(case: SynthesizerCase, slices: SliceStore, synthetic: SliceStore, run: TrainingRun) -> list[Picture]:
    """Test slices real, synthetic and with their confidence; new slices for manipulated lesions."""
    places = np.linspace(0, len(synthetic) - 1, min(_MADE, len(synthetic))).astype(int)
    made = synthetic.batch(places)
    kinds = [f"{row.manipulation}, {row.subject}" for row in synthetic.table.iloc[places].itertuples()]
    rows = map(LabelledSlice, kinds, made.labels, made.images)
    new = panels.labelled_montage(rows, synthetic.sequences, synthetic.classes)
    told = "What segmenters were given beside real slices."
    return [
        _of_test_slices(case.recipe.title, slices, run),
        Picture(new, f"{case.recipe.title}, new slices for manipulated lesions", told),
    ]


def _of_test_slices(title: str, slices: SliceStore, run: TrainingRun) -> Picture:
    rows = _panel_rows(slices, run)
    doubts = any(row.confidence is not None for row in rows)
    return Picture(
        panels.synthesis_panel(rows, slices.sequences, slices.classes),
        f"{title}, test slices: label map, real, synthetic{', doubt' if doubts else ''}",
        "Doubt is 1 − confidence, bright where unsure." if doubts else "",
    )


def of_manipulations(slices: SliceStore, synthetic: SliceStore) -> list[Picture]:
    """For each kind of manipulation the real slice, and the new one with its lesion mirrored, enlarged, ..."""
    first = synthetic.table.drop_duplicates("manipulation")
    targets = [int(json.loads(record)["target"]["index"]) for record in first["record"]]
    real, made = slices.batch(targets), synthetic.batch(first["index"].to_numpy())
    rows = []
    for at, row in enumerate(first.itertuples()):
        rows += [
            LabelledSlice(f"{row.study}, plane {row.plane}, real", real.labels[at], real.images[at]),
            LabelledSlice(f"{row.manipulation}, synthetic", made.labels[at], made.images[at]),
        ]
    data = panels.labelled_montage(rows, slices.sequences, slices.classes)
    return [Picture(data, "How lesions were manipulated", "A real training slice, then the new lesion in its brain.")]


def of_copies(plan: TrialPlan, slices: SliceStore, synthetic: Mapping[str, SliceStore]) -> list[Picture]:
    """How near each synthesizer's slices lie to training slices, and the nearest pairs."""
    return [picture for case in plan.synthesizers for picture in _copies_of(plan, case, slices, synthetic[case.key])]


def _copies_of(plan: TrialPlan, case: SynthesizerCase, slices: SliceStore, synthetic: SliceStore) -> list[Picture]:
    made = samples.made_for(plan, case, slices, synthetic)
    found = {region: samples.nearest_of(case, slices, made, region) for region in samples.REGIONS}
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
    told = "Share of slices whose nearest training slice is at most so far. Left of the test slices' line: suspicious."
    title = f"How near {case.recipe.title}'s slices lie to the training slices"
    return [Picture(drawn, title, told), _closest(case, slices, synthetic, found["image"][0])]


def _closest(case: SynthesizerCase, slices: SliceStore, synthetic: SliceStore, made: pd.DataFrame) -> Picture:
    """The synthetic slices that are nearest to a training slice of another subject, beside it."""
    order = made["other_subjects_distance"].dropna().sort_values().index[:_PAIRS]
    theirs = slices.select("train", subject=case.subjects)[made.loc[order, "other_subjects_place"].to_numpy(int)]
    ours, real = synthetic.batch(order.to_numpy()), slices.batch(theirs)
    rows = []
    for at, place in enumerate(order):
        rows += [
            LabelledSlice(f"synthetic, {_title(synthetic, place)}", ours.labels[at], ours.images[at]),
            LabelledSlice(f"real, {_title(slices, theirs[at])}", real.labels[at], real.images[at]),
        ]
    data = panels.labelled_montage(rows, slices.sequences, slices.classes)
    told = "Synthetic slices that come nearest to a training slice of another subject, and that slice."
    return Picture(data, f"{case.recipe.title}, closest pairs", told)


def of_membership(plan: TrialPlan, judged: pd.DataFrame) -> list[Picture]:
    """Whether the discriminators score the slices they were trained on higher than held-out ones."""
    scores = {}
    for case in plan.synthesizers:
        own = samples.of_case(case, judged)
        known = own["trained_on"].to_numpy(bool)
        scores[case.recipe.title] = (own.loc[known, "score"].to_numpy(), own.loc[~known, "score"].to_numpy())
    if not scores:
        return []
    told = "Real slices by the discriminators' mean score. Two lines far apart: training slices are known again."
    return [Picture(sample_charts.membership_curves(scores), "Are training slices known again?", told)]


def of_confidence(plan: TrialPlan, slices: SliceStore, reliability: pd.DataFrame) -> list[Picture]:
    """Mean error by confidence of each synthesizer that has confidence maps."""
    found = []
    for case in plan.synthesizers:
        rows = samples.of_case(case, reliability)
        if len(rows):
            drawn = sample_charts.reliability_plot(rows, sequences=slices.sequences)
            told = "Mean error of the coarse image by confidence, over the test subjects' brains; bars: 95 % intervals."
            found.append(Picture(drawn, f"Does {case.recipe.title}'s confidence foretell its error?", told))
    return found


def _panel_rows(slices: SliceStore, run: TrainingRun) -> list[panels.PanelRow]:
    places = shown_test_slices(slices)
    real = slices.batch(places)
    made = draw(run.method(), real.labels, real.atlas)
    images, confidence = made.images.numpy(), None if made.confidence is None else made.confidence.numpy()
    return [
        panels.PanelRow(
            _title(slices, place),
            real.labels[at],
            real.images[at],
            images[at],
            None if confidence is None else confidence[at],
        )
        for at, place in enumerate(places)
    ]


def of_training(
    plan: TrialPlan, synthesizers: Mapping[str, TrainingRun], segmenters: Mapping[str, TrainingRun]
) -> list[Picture]:
    """Curves of every training."""
    found = []
    for one in plan.synthesizers:
        drawn = curves.training_curves(synthesizers[one.key].history())
        found.append(Picture(drawn, f"{one.recipe.title}'s training", "Each loss by step."))
    for case in plan.segmenters:
        drawn = curves.training_curves(segmenters[case.key].history())
        told = "Losses by step, and Dice of the validation slices where there are any."
        found.append(Picture(drawn, f"U-Net's training, {plan.label(case)}", told))
    return found


def of_moments(case: SynthesizerCase, slices: SliceStore, run: TrainingRun) -> Picture:
    """What a synthesizer drew early, midway and at its end, for slices it was not trained on where there are such."""
    moments, preview = run.moments(), slices.batch(preview_places(slices))
    shown = {"validation": "Validation slices", "train": "Training slices (there is no validation subject)"}
    data = panels.moments_panel(
        {f"step {step}": pictures["synthetic"].astype(np.float32) for step, pictures in moments.items()},
        preview.images,
        preview.labels,
        [f"slice {at + 1}" for at in range(len(preview.labels))],
        slices.sequences,
        slices.classes,
    )
    told = f"{shown[preview_split(slices)]}, early, midway and at the end of training."
    return Picture(data, f"{case.recipe.title} at three moments", told)


def shown_test_slices(slices: SliceStore) -> list[int]:
    """The slice with most lesion of the first test subjects."""
    return [_most_lesion(slices, places) for _, places in list(test_subjects(slices))[:_SLICES]]


def _most_lesion(slices: SliceStore, places: np.ndarray) -> int:
    labels = slices.labels()
    sizes = [int(np.count_nonzero(labels[place] >= FIRST_LESION)) for place in places]
    return int(places[int(np.argmax(sizes))])


def _title(slices: SliceStore, place: int) -> str:
    row = slices.table.iloc[place]
    return f"{row['study']}, plane {row['plane']}"
