"""The report's pictures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from lesionlab.data.slice_store import SliceStore
from lesionlab.data.slices import FIRST_LESION
from lesionlab.methods.samr import SAMR
from lesionlab.pipelines.evaluation.nodes import FLOOR, test_subjects
from lesionlab.pipelines.training.nodes import preview_of, preview_split, segment
from lesionlab.reporting import charts, curves, panels
from lesionlab.reporting.content import Picture
from lesionlab.training.runs import TrainingRun, TrainingRuns

_SUBJECTS, _SLICES, _MADE = 6, 4, 6  # rows shown of the cohort, of test slices, of synthetic slices


def of_cohort(slices: SliceStore) -> list[Picture]:
    """Six subjects' slices with most lesion, all sequences."""
    table = slices.table
    subjects = list(dict.fromkeys(table["subject"]))
    chosen = [subjects[at] for at in np.linspace(0, len(subjects) - 1, min(_SUBJECTS, len(subjects))).astype(int)]
    places = [_most_lesion(slices, table.loc[table["subject"] == subject, "index"].to_numpy()) for subject in chosen]
    real = slices.batch(places)
    data = panels.montage(
        real.images, chosen, slices.sequences, labels=real.labels, lesion_classes=slices.classes, label_column=True
    )
    return [Picture(data, "Subjects after preprocessing", "One slice per subject, where its lesion is largest.")]


def of_results(
    scores: pd.DataFrame,
    segmentation_table: pd.DataFrame,
    differences: pd.DataFrame,
    counts: Mapping[str, tuple[int, int]],
    classes: list[str],
    baseline: str,
) -> list[Picture]:
    """Every test subject's Dice by protocol, and the differences to the baseline protocol."""
    floors = segmentation_table[(segmentation_table["protocol"] == FLOOR) & (segmentation_table["metric"] == "dice")]
    lines = {str(name): dict(zip(rows["class"], rows["mean"], strict=True)) for name, rows in floors.groupby("method")}
    protocols = [protocol for protocol in counts if protocol in set(scores["protocol"])]
    drawn = charts.scores_by_protocol(scores, classes=classes, protocols=protocols, counts=counts, floors=lines)
    found = [Picture(drawn, "Dice of every test subject", "A line joins one subject's scores; dashed: floors.")]
    if (differences["metric"] == "dice").any():
        change = charts.differences_plot(differences[differences["class"].isin(classes)], baseline=baseline)
        found.append(Picture(change, f"Difference to “{baseline}”", "Mean over test subjects, 95 % interval."))
    return found


def of_segmentations(slices: SliceStore, unets: TrainingRuns) -> list[Picture]:
    """Test slices with the true label map and each protocol's, outlined."""
    places = _shown_test_slices(slices)
    real = slices.batch(places)
    images = torch.from_numpy(real.images)
    found = {"truth": real.labels}
    for protocol in unets:
        found[protocol] = segment(unets[protocol].method(), images).numpy().astype(np.uint8)
    rows = [(name, at) for at in range(len(places)) for name in found]
    data = panels.montage(
        np.stack([real.images[at] for _, at in rows]),
        [f"{_title(slices, places[at])}, {name}" for name, at in rows],
        slices.sequences,
        labels=np.stack([found[name][at] for name, at in rows]),
        lesion_classes=slices.classes,
        label_column=True,
    )
    return [Picture(data, "What the segmenters found", "Test slices: the true lesion, then each protocol's U-Net.")]


def of_synthesis(slices: SliceStore, synthetic: SliceStore, cgsamr: TrainingRun, table: pd.DataFrame) -> list[Picture]:
    """Test slices real, synthetic and with their confidence; new slices; accuracy against the floors."""
    panel = panels.synthesis_panel(_panel_rows(slices, cgsamr), slices.sequences, slices.classes)
    places = np.linspace(0, len(synthetic) - 1, min(_MADE, len(synthetic))).astype(int)
    made = synthetic.batch(places)
    kinds = [f"{row.manipulation}, {row.subject}" for row in synthetic.table.iloc[places].itertuples()]
    new = panels.montage(
        made.images, kinds, synthetic.sequences, labels=made.labels, lesion_classes=synthetic.classes, label_column=True
    )
    methods = list(dict.fromkeys(table["method"]))
    bars = charts.accuracy_bars(table, methods=methods, sequences=slices.sequences, classes=slices.classes)
    return [
        Picture(
            panel, "Test slices: label map, real, synthetic, doubt", "Doubt is 1 − confidence: bright where unsure."
        ),
        Picture(bars, "Pixel accuracy against the floors", "Within 16 of 255 grey levels; mean over test subjects."),
        Picture(new, "New slices for manipulated lesions", "What the segmenters were given beside the real slices."),
    ]


def _panel_rows(slices: SliceStore, cgsamr: TrainingRun) -> list[panels.PanelRow]:
    method = cgsamr.method()
    assert isinstance(method, SAMR)
    places = _shown_test_slices(slices)
    real = slices.batch(places)
    made = method.synthesize_with_confidence(torch.from_numpy(real.labels).long(), torch.from_numpy(real.atlas))
    images, confidence = made.images.cpu().numpy(), None if made.confidence is None else made.confidence.cpu().numpy()
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


def of_training(cgsamr: TrainingRun, unets: TrainingRuns) -> list[Picture]:
    """Curves of every training."""
    found = [Picture(curves.training_curves(cgsamr.history()), "CG-SAMR's training", "Each loss by step.")]
    for protocol in unets:
        drawn = curves.training_curves(unets[protocol].history())
        told = "Losses by step, and Dice of the validation slices where there are any."
        found.append(Picture(drawn, f"U-Net's training, {protocol}", told))
    return found


def of_moments(slices: SliceStore, cgsamr: TrainingRun) -> Picture:
    """What CG-SAMR drew early, midway and at its end, for slices it was not trained on where there are such."""
    moments, preview = cgsamr.moments(), preview_of(slices)
    shown = {"validation": "Validation slices", "train": "Training slices (there is no validation subject)"}
    data = panels.moments_panel(
        {f"step {step}": pictures["synthetic"].astype(np.float32) for step, pictures in moments.items()},
        preview.images.numpy(),
        preview.labels.numpy().astype(np.uint8),
        [f"slice {at + 1}" for at in range(len(preview.labels))],
        slices.sequences,
        slices.classes,
    )
    told = f"{shown[preview_split(slices)]}, early, midway and at the end of training."
    return Picture(data, "CG-SAMR at three moments", told)


def _shown_test_slices(slices: SliceStore) -> list[int]:
    """The slice with most lesion of the first test subjects."""
    return [_most_lesion(slices, places) for _, places in list(test_subjects(slices))[:_SLICES]]


def _most_lesion(slices: SliceStore, places: np.ndarray) -> int:
    labels = slices.labels()
    sizes = [int(np.count_nonzero(labels[place] >= FIRST_LESION)) for place in places]
    return int(places[int(np.argmax(sizes))])


def _title(slices: SliceStore, place: int) -> str:
    row = slices.table.iloc[place]
    return f"{row['study']}, plane {row['plane']}"
