"""Result tables over scores, with figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lesionlab.evaluation.tables import tabulate
from lesionlab.metrics.statistics import StatisticsOptions
from lesionlab.training.options import TrainingOptions
from lesionlab.trials.options import TrialOptions
from lesionlab.trials.plan import Recipe, SynthesizerCase, TrialPlan

PUBLISHED = [
    {"method": "unet", "protocol": "real", "sequence": "all", "class": "edema", "metric": "dice", "value": 0.647}
]


def row(method: str, protocol: str, subject: str, value: float, **others: str) -> dict:
    cell = {"method": method, "cohort": "trial", "protocol": protocol, "sequence": "all", "class": "edema"}
    cell |= {"synthesizer": "none", "training_subjects": 8}
    return {**cell, "metric": "dice", "subject": subject, "value": value, "seed": 0, **others}


def plan_of(trial: TrialOptions) -> TrialPlan:
    """A plan of these synthesizers, each a method, on nobody."""
    cases = [
        SynthesizerCase(
            name=name,
            recipe=Recipe(method=name, title=name, options={}, training=TrainingOptions()),
            subjects=(),
            seed=0,
        )
        for name in trial.synthesizers
    ]
    return TrialPlan(name="trial", options=trial, synthesizers=tuple(cases), segmenters=())


@pytest.fixture
def tables():
    segmentation = [row("unet", "real", s, v) for s, v in zip("wxyz", (0.5, 0.6, 0.2, 0.3), strict=True)]
    segmentation += [row("unet", "real+25%", s, v) for s, v in zip("wxyz", (0.6, 0.7, 0.4, 0.5), strict=True)]
    segmentation = [one | {"synthesizer": "cgsamr"} if one["protocol"] != "real" else one for one in segmentation]
    segmentation += [row("all tumor", "floor", s, 0.1) for s in "wxyz"]
    synthesis = [row("cgsamr", "paired", s, 0.9, metric="ssim") for s in "wxyz"]
    synthesis += [row("atlas", "floor", s, 0.8, metric="ssim") for s in "wxyz"]
    synthesis += [row("mean image", "floor", s, 0.8, metric="ssim") for s in "wxyz"]
    published = list(PUBLISHED)
    options = StatisticsOptions(resamples=100)
    published.append({**published[0], "protocol": "real+25%", "synthesizer": "samr", "value": 0.75})
    plan = plan_of(TrialOptions(synthesizers=("cgsamr",), arms=("real", "real+25%")))
    made = tabulate(pd.DataFrame(synthesis), pd.DataFrame(segmentation), plan, published, options, seed=0)
    return dict(zip(("synthesis", "segmentation", "augmentation"), made, strict=True))


def test_which_lines_stand_in_which_table(tables):
    named = {
        name: list(table[["method", "protocol"]].itertuples(index=False, name=None)) for name, table in tables.items()
    }
    assert named == {
        "synthesis": [("cgsamr", "paired"), ("atlas", "floor"), ("mean image", "floor")],
        "segmentation": [("unet", "real"), ("all tumor", "floor")],
        "augmentation": [("unet", "real"), ("unet", "real+25%")],
    }


def test_means_published_figures_and_the_comparison_with_real_slices_alone(tables):
    lines = tables["augmentation"].set_index("protocol")
    assert lines["mean"].to_dict() == pytest.approx({"real": 0.4, "real+25%": 0.55})
    assert lines["n"].tolist() == [4, 4]
    # SAMR's figure is none of CG-SAMR's.
    assert lines.loc["real", "published"] == 0.647 and np.isnan(lines.loc["real+25%", "published"])
    # All four subjects gain: of 2^4 sign patterns two are as extreme.
    assert lines.loc["real+25%", "p_value"] == pytest.approx(2 / 16)
    assert np.isnan(lines.loc["real", "p_value"])
    assert tables["segmentation"]["p_value"].isna().all()


def test_synthesis_is_compared_with_the_atlas(tables):
    lines = tables["synthesis"].set_index("method")["p_value"]
    assert np.isnan(lines["atlas"])
    # 2 of 16 sign patterns for CG-SAMR; a floor against a floor is no question anyone has.
    assert lines["cgsamr"] == pytest.approx(2 / 16) and np.isnan(lines["mean image"])


def test_the_baseline_is_the_trials_first_arm():
    segmentation = [row("unet", arm, s, v) for arm, v in (("real", 0.2), ("plain", 0.1)) for s in "wxyz"]
    options, plan = (
        StatisticsOptions(resamples=100),
        plan_of(TrialOptions(synthesizers=("samr",), arms=("plain", "real"))),
    )
    synthesis = pd.DataFrame([row("samr", "paired", s, 0.9, metric="ssim") for s in "wxyz"])
    _, alone, augmentation = tabulate(synthesis, pd.DataFrame(segmentation), plan, PUBLISHED, options, seed=0)
    assert alone["protocol"].tolist() == ["plain"]
    p_values = augmentation.set_index("protocol")["p_value"]
    assert np.isnan(p_values["plain"]) and p_values["real"] == pytest.approx(2 / 16)


def test_of_two_papers_figures_the_methods_own_stands_in_the_tables():
    lines = [("real", "none"), ("real+50%", "samr"), ("real+50%", "cgsamr")]
    segmentation = [row("unet", arm, s, 0.5, synthesizer=name) for arm, name in lines for s in "wx"]
    synthesis = pd.DataFrame([row("samr", "paired", s, 0.9, metric="ssim") for s in "wx"])
    figure, options = PUBLISHED[0], StatisticsOptions(resamples=100)
    published = [
        {**figure, "protocol": arm, "synthesizer": name, "value": value, "source": source}
        for source, values in (
            ("CG-SAMR 2020, Table II", (0.647, 0.789, 0.807)),
            ("SAMR 2020, Table 2", (0.646, 0.794, None)),
        )
        for (arm, name), value in zip(lines, values, strict=True)
        if value
    ]

    def shown(*synthesizers: str) -> list[float]:
        plan = plan_of(TrialOptions(synthesizers=synthesizers, arms=("real", "real+50%")))
        *_, augmentation = tabulate(synthesis, pd.DataFrame(segmentation), plan, published, options, seed=0)
        return augmentation["published"].tolist()

    # Real slices alone are everybody's: the newest method's paper, of those that the trial has.
    assert shown("samr", "cgsamr") == [0.647, 0.794, 0.807]
    assert shown("samr")[:2] == [0.646, 0.794]
