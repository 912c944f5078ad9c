"""Pictures of slices: the cohort, test slices as they were drawn and segmented, new slices for manipulated lesions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from lesionlab.evaluation.samples import drawing
from lesionlab.evaluation.scoring import drawn_as, test_subjects
from lesionlab.evaluation.sections import Picture
from lesionlab.figures.panels import (
    ComparedSlice,
    LabelledSlice,
    PanelRow,
    comparison_panel,
    labelled_montage,
    synthesis_panel,
)
from lesionlab.methods.applying import segment
from lesionlab.slices.cutting import FIRST_LESION
from lesionlab.slices.store import SliceStore
from lesionlab.training.runs import TrainingRun
from lesionlab.trials.plan import SynthesizerCase, TrialPlan

_SUBJECTS, _SLICES, _MADE = 6, 4, 6  # rows shown of the cohort, of test slices, of synthetic slices
_ROWS = 20  # of slices with what became of each


def of_cohort(slices: SliceStore) -> Picture:
    """Six subjects' slices with most lesion, all sequences."""
    table = slices.table
    subjects = list(dict.fromkeys(table["subject"]))
    chosen = [subjects[at] for at in np.linspace(0, len(subjects) - 1, min(_SUBJECTS, len(subjects))).astype(int)]
    places = [_most_lesion(slices, table.loc[table["subject"] == subject, "index"].to_numpy()) for subject in chosen]
    real = slices.batch(places)
    data = _montage(map(LabelledSlice, chosen, real.labels, real.images), slices)
    return Picture(data, "Subjects after preprocessing", "One slice per subject, where its lesion is largest.")


# --- segmentation -----------------------------------------------------------------------------------------------------


def of_segmentations(rows: Iterable[LabelledSlice], slices: SliceStore) -> Picture:
    """Test slices as :func:`segmented` gives them."""
    caption = "Test slices: the true lesion, then each segmenter's."
    return Picture(_montage(rows, slices), "What the segmenters found", caption)


def segmented(
    plan: TrialPlan, slices: SliceStore, places: Sequence[int], segmenters: Mapping[str, TrainingRun]
) -> list[LabelledSlice]:
    """Each slice with its true label map, then with what each segmenter of the plan found."""
    real = slices.batch(places)
    found = {"truth": real.labels}
    for case in plan.segmenters:
        found[plan.label(case)] = segment(segmenters[case.key].method(), real.images).numpy()
    return [
        LabelledSlice(f"{title_of(slices, place)}\n{name}", labels[at], real.images[at])
        for at, place in enumerate(places)
        for name, labels in found.items()
    ]


def at_a_time(others: int) -> int:
    """How many slices there is room for in a picture that shows each with this many others below it."""
    return max(1, _ROWS // (others + 1))


# --- synthesis --------------------------------------------------------------------------------------------------------


def of_comparison(rows: Sequence[ComparedSlice], slices: SliceStore) -> Picture:
    """All synthesizers on the same label maps, as :func:`compared` gives them."""
    return Picture(
        comparison_panel(rows, slices.sequences, slices.classes),
        "All synthesizers on the same label maps",
        "Test slices: real, then as each synthesizer draws their label map. Of each sequence the slice, its lesion "
        "enlarged, and the absolute difference to the real slice there, white from a quarter of the scale on.",
    )


def compared(
    plan: TrialPlan, slices: SliceStore, places: Sequence[int], synthesizers: Mapping[str, TrainingRun]
) -> list[ComparedSlice]:
    """Each slice as it is, then as each synthesizer of the plan draws its label map."""
    real = slices.batch(places)
    shown = {"real": real.images}
    for case in plan.synthesizers:
        shown[case.recipe.title] = drawn_as(synthesizers[case.key].method(), real).images.numpy()
    return [
        ComparedSlice(title_of(slices, place), real.labels[at], {name: images[at] for name, images in shown.items()})
        for at, place in enumerate(places)
    ]


def of_synthesis(
    plan: TrialPlan,
    slices: SliceStore,
    synthesizers: Mapping[str, TrainingRun],
    synthetic: Mapping[str, SliceStore],
) -> list[Picture]:
    """All synthesizers on the same label maps; each one's test slices and new slices; how lesions were manipulated."""
    if not plan.synthesizers:
        return []
    places = shown_test_slices(slices)
    found = [of_comparison(compared(plan, slices, places[: at_a_time(len(plan.synthesizers))], synthesizers), slices)]
    drawn = {case.key for case in drawing(plan, synthetic)}
    for case in plan.synthesizers:
        found.append(_of_test_slices(case.recipe.title, slices, places, synthesizers[case.key]))
        if case.key in drawn:
            found.append(_of_new_slices(case, synthetic[case.key]))
    if drawn:  # all draw the same label maps
        found.append(_of_manipulations(slices, synthetic[plan.synthesizers[0].key]))
    return found


def _of_test_slices(title: str, slices: SliceStore, places: Sequence[int], run: TrainingRun) -> Picture:
    """Test slices real, synthetic and with the doubt in them where there is confidence."""
    real = slices.batch(places)
    made = drawn_as(run.method(), real)
    images, confidence = made.images.numpy(), None if made.confidence is None else made.confidence.numpy()
    rows = [
        PanelRow(
            title_of(slices, place),
            real.labels[at],
            real.images[at],
            images[at],
            None if confidence is None else confidence[at],
        )
        for at, place in enumerate(places)
    ]
    doubt = confidence is not None
    return Picture(
        synthesis_panel(rows, slices.sequences, slices.classes),
        f"{title}, test slices: label map, real, synthetic{', doubt' if doubt else ''}",
        "Doubt is 1 − confidence, bright where unsure." if doubt else "",
    )


def _of_new_slices(case: SynthesizerCase, synthetic: SliceStore) -> Picture:
    places = np.linspace(0, len(synthetic) - 1, min(_MADE, len(synthetic))).astype(int)
    made = synthetic.batch(places)
    kinds = [f"{row.manipulation}, {row.subject}" for row in synthetic.table.iloc[places].itertuples()]
    data = _montage(map(LabelledSlice, kinds, made.labels, made.images), synthetic)
    title = f"{case.recipe.title}, new slices for manipulated lesions"
    return Picture(data, title, "What segmenters were given beside real slices.")


def _of_manipulations(slices: SliceStore, synthetic: SliceStore) -> Picture:
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
    caption = "A real training slice, then the new lesion in its brain."
    return Picture(_montage(rows, slices), "How lesions were manipulated", caption)


# --- which slices -----------------------------------------------------------------------------------------------------


def shown_test_slices(slices: SliceStore) -> list[int]:
    """The slice with most lesion of the first test subjects."""
    return [_most_lesion(slices, places) for _, places in list(test_subjects(slices))[:_SLICES]]


def _most_lesion(slices: SliceStore, places: np.ndarray) -> int:
    labels = slices.labels()
    sizes = [int(np.count_nonzero(labels[place] >= FIRST_LESION)) for place in places]
    return int(places[int(np.argmax(sizes))])


def title_of(slices: SliceStore, place: int) -> str:
    """Study and plane of a slice."""
    row = slices.table.iloc[place]
    return f"{row['study']}, plane {row['plane']}"


def _montage(rows: Iterable[LabelledSlice], slices: SliceStore) -> bytes:
    return labelled_montage(rows, slices.sequences, slices.classes)
