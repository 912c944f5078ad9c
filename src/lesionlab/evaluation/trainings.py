"""How trainings went: their curves, and what synthesizers drew early, midway and at the end."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lesionlab.evaluation.sections import Picture, Section
from lesionlab.figures import curves
from lesionlab.figures.panels import moments_panel
from lesionlab.slices.store import SliceStore
from lesionlab.training.runs import TrainingRun
from lesionlab.trials.plan import SynthesizerCase, TrialPlan


def section(
    plan: TrialPlan,
    slices: SliceStore,
    synthesizers: Mapping[str, TrainingRun],
    segmenters: Mapping[str, TrainingRun],
    preview: np.ndarray,
    titles: Mapping[str, str],
) -> Section:
    """Curves of every training that is shown, and moments of the synthesizers'.

    Args:
        plan: of the trial.
        slices: of which ``preview`` are the places of those that were drawn while training.
        synthesizers, segmenters: by key.
        preview: places.
        titles: methods' names to titles.
    """
    shown = plan.shown()
    found = []
    for one in shown.synthesizers:
        if moments := synthesizers[one.key].moments():
            found.append(_moments(one, slices, moments, preview))
    for one in shown.synthesizers:
        drawn = curves.training_curves(synthesizers[one.key].history())
        found.append(Picture(drawn, f"{one.recipe.title}'s training", "Each loss by step."))
    for case in shown.segmenters:
        drawn = curves.training_curves(segmenters[case.key].history())
        title = f"{titles.get(case.method, case.method)}'s training, {plan.label(case)}"
        caption = "Losses by step, and Dice of the validation slices where there are any."
        found.append(Picture(drawn, title, caption))
    return Section("training", "Training", pictures=found)


def _moments(
    case: SynthesizerCase, slices: SliceStore, moments: Mapping[int, Mapping[str, np.ndarray]], preview: np.ndarray
) -> Picture:
    """What a synthesizer drew early, midway and at its end, for slices it was not trained on where there are such."""
    real = slices.batch(preview)
    data = moments_panel(
        {f"step {step}": pictures["synthetic"].astype(np.float32) for step, pictures in moments.items()},
        real.images,
        real.labels,
        [f"slice {at + 1}" for at in range(len(real.labels))],
        slices.sequences,
        slices.classes,
    )
    splits = " and ".join(sorted(set(slices.table.iloc[preview]["split"])))
    caption = f"Slices of {splits} subjects, early, midway and at the end of training."
    return Picture(data, f"{case.recipe.title} at three moments", caption)
