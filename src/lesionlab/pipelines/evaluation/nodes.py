"""Scores of the test subjects and the tables over them, as nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from lesionlab.data.slice_store import SliceArrays, SliceStore
from lesionlab.data.slices import IMAGE_BACKGROUND, NORMAL_BRAIN
from lesionlab.errors import InputError
from lesionlab.methods.base import Synthesizer
from lesionlab.metrics import calibration, segmentation, statistics, synthesis
from lesionlab.parameters import CohortOptions, PublishedScore, StatisticsOptions
from lesionlab.pipelines.evaluation import samples
from lesionlab.training.runs import TrainingRun
from lesionlab.training.validation import segment
from lesionlab.trials.claims import claims_of, hold_against
from lesionlab.trials.plan import NO_SYNTHESIZER, SegmenterCase, TrialPlan
from lesionlab.trials.published import own_paper_first

PAIRED, FLOOR, ALL = "paired", "floor", "all"
MEAN_IMAGE, ATLAS = "mean image", "atlas"
NORMAL_FLOOR = "all normal"


def score_synthesis(
    plan: TrialPlan, slices: SliceStore, synthesizers: Mapping[str, TrainingRun], cohort: CohortOptions
) -> pd.DataFrame:
    """Synthesis of each test subject's own label maps against its real images, beside two floors."""
    methods = {case.key: synthesizer_of(synthesizers[case.key]) for case in plan.synthesizers}
    means = {case.key: _mean_image(slices, case.subjects) for case in plan.synthesizers}

    def score(real: SliceArrays, _: pd.DataFrame, keys: Mapping[str, object]) -> Iterator[pd.DataFrame]:
        floors: set[str] = set()
        for case in plan.synthesizers:
            own = {"synthesizer": NO_SYNTHESIZER, "training_subjects": len(case.subjects), "seed": case.seed, **keys}
            drawn = samples.drawn(methods[case.key], real)
            made = {(case.name, PAIRED): drawn.images.cpu().numpy()}
            if (set_key := case.key.partition("/")[2]) not in floors:  # the same whatever the synthesizer
                made |= _synthesis_floors(real, means[case.key])
                floors.add(set_key)
            if (trust := samples.error_of(drawn, real)) is not None:
                about = {"method": case.name, "protocol": PAIRED, **own}
                yield calibration.patient_scores(*trust, slices.sequences, keys=about)
            for (name, protocol), images in made.items():
                yield synthesis.patient_scores(
                    images,
                    real.images,
                    real.labels,
                    slices.sequences,
                    slices.classes,
                    keys={"method": name, "protocol": protocol, **own},
                )

    return _by_subject(slices, score, {"cohort": cohort.name})


def _mean_image(slices: SliceStore, subjects: Sequence[str]) -> np.ndarray:
    mean: np.ndarray = slices.images()[slices.select("train", subject=subjects)].mean(axis=0)
    return mean


def synthesizer_of(run: TrainingRun) -> Synthesizer:
    """The method a synthesizer's training has left; raises ``TypeError`` for one that makes no images."""
    method = run.method()
    if not isinstance(method, Synthesizer):
        raise TypeError(f"{method.name} synthesizes no images")
    return method


def score_segmentation(
    plan: TrialPlan, slices: SliceStore, segmenters: Mapping[str, TrainingRun], cohort: CohortOptions
) -> pd.DataFrame:
    """Each test subject segmented by every segmenter of the trial, beside two floors."""
    methods = {case.key: segmenters[case.key].method() for case in plan.segmenters}

    def score(real: SliceArrays, rows: pd.DataFrame, keys: Mapping[str, object]) -> Iterator[pd.DataFrame]:
        images, first = torch.from_numpy(real.images), rows.iloc[0]
        spacing = (first["spacing_z"], first["spacing_y"], first["spacing_x"])
        planes = rows["plane"].tolist()
        found = [(_keys_of(case), segment(methods[case.key], images).numpy()) for case in plan.segmenters]
        found += _segmentation_floors(real.labels, slices.classes, plan)
        for own, predicted in found:
            yield segmentation.patient_scores(
                predicted, real.labels, spacing, slices.classes, planes=planes, keys={**own, "sequence": ALL, **keys}
            )

    return _by_subject(slices, score, {"cohort": cohort.name})


def _keys_of(case: SegmenterCase) -> dict[str, object]:
    return {
        "method": "unet",
        "protocol": case.arm_name,
        "synthesizer": case.synthesizer_name,
        "training_subjects": len(case.subjects),
        "seed": case.seed,
    }


def _by_subject(
    slices: SliceStore,
    score: Callable[[SliceArrays, pd.DataFrame, Mapping[str, object]], Iterator[pd.DataFrame]],
    keys: Mapping[str, object],
) -> pd.DataFrame:
    """Scores of every test subject: of its one study, or the mean over its visits."""
    parts: list[pd.DataFrame] = []
    for subject, places in test_subjects(slices):
        for _, rows in slices.table.iloc[places].groupby("study", sort=True):
            parts.extend(score(slices.batch(rows["index"].to_numpy()), rows, {**keys, "subject": subject}))
    if not parts:
        raise InputError(
            "there is no test slice to score",
            given=f"slices of {', '.join(sorted(slices.table['split'].unique()))} subjects",
            allowed="slices of at least one test subject",
            cure="change the split, or look at why the test subjects failed",
        )
    scores: pd.DataFrame = pd.concat(parts, ignore_index=True)
    columns = [column for column in statistics.SCORE_COLUMNS if column != "value"]
    return scores.groupby(columns, sort=False)["value"].mean().reset_index()[statistics.SCORE_COLUMNS]


def test_subjects(slices: SliceStore) -> Iterator[tuple[str, np.ndarray]]:
    """Each test subject with the places of its slices."""
    table = slices.table.iloc[slices.select(split="test")]
    for subject, rows in table.groupby("subject", sort=True):
        yield str(subject), rows["index"].to_numpy()


def _synthesis_floors(real: SliceArrays, mean: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """What knows nothing of the lesion: the mean training slice, and the atlas where there is one.

    Outside the brain both are black, as synthesized slices are.
    """
    channels = real.images.shape[1]
    floors = {(MEAN_IMAGE, FLOOR): np.broadcast_to(mean, real.images.shape)}
    if real.atlas.shape[1]:  # of its adjacent planes the one at the slice itself
        floors[ATLAS, FLOOR] = real.atlas[:, channels : 2 * channels]
    outside = real.labels[:, None] < NORMAL_BRAIN
    return {name: np.where(outside, IMAGE_BACKGROUND, images) for name, images in floors.items()}


def _segmentation_floors(
    labels: np.ndarray, classes: list[str], plan: TrialPlan
) -> list[tuple[dict[str, object], np.ndarray]]:
    """What needs no training, once for each size of the training set: the brain as the last class, and no lesion."""
    brain = labels >= NORMAL_BRAIN
    last = segmentation.FIRST_LESION + len(classes) - 1
    floors = {
        lesion_floor(classes): np.where(brain, last, 0).astype(labels.dtype),
        NORMAL_FLOOR: brain.astype(labels.dtype),
    }
    seed = min(case.seed for case in plan.segmenters)
    return [
        (
            {"method": name, "protocol": FLOOR, "synthesizer": NO_SYNTHESIZER, "training_subjects": size, "seed": seed},
            found,
        )
        for size in sorted({len(case.subjects) for case in plan.segmenters})
        for name, found in floors.items()
    ]


def lesion_floor(classes: list[str]) -> str:
    """Name of the floor that calls the whole brain the last class."""
    return f"all {classes[-1]}"


def claims(
    plan: TrialPlan,
    synthesis_scores: pd.DataFrame,
    segmentation_scores: pd.DataFrame,
    published: list[dict[str, object]],
    options: StatisticsOptions,
    seed: int,
) -> pd.DataFrame:
    """What the papers claim of the trial's synthesizers, held against the trial's scores."""
    scores = pd.concat([synthesis_scores, segmentation_scores], ignore_index=True)
    classes = [*dict.fromkeys(segmentation_scores["class"])]
    arms, variants = plan.options.arms, plan.variants()
    claimed = claims_of(plan.titles(), plan.betters(), arms, classes, variants, plan.unpublished())
    return hold_against(claimed, scores, _figures(published, plan), seed=seed, resamples=options.resamples)


def _figures(published: list[dict[str, object]], plan: TrialPlan) -> pd.DataFrame:
    """The papers' figures; of two for one line, that of the method's own paper first."""
    figures = pd.DataFrame([PublishedScore.model_validate(one).model_dump(by_alias=True) for one in published])
    return own_paper_first(figures.rename(columns={"value": "published"}), plan.methods())


def tabulate(
    synthesis_scores: pd.DataFrame,
    segmentation_scores: pd.DataFrame,
    plan: TrialPlan,
    published: list[dict[str, object]],
    options: StatisticsOptions,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The three tables: synthesis, segmentation on real slices alone, and augmentation.

    Where two papers have a figure for one line, `published` is that of the method's own paper.
    """
    figures = _figures(published, plan)
    figures = figures.drop_duplicates([key for key in statistics.CELL if key in figures])
    real_alone = segmentation_scores["protocol"].isin([plan.options.baseline, FLOOR])
    trained = segmentation_scores["protocol"] != FLOOR

    def table(scores: pd.DataFrame, reference: dict[str, str] | None = None) -> pd.DataFrame:
        return statistics.summarise(
            scores,
            reference=reference,
            published=figures,
            seed=seed,
            resamples=options.resamples,
        )

    return (
        table(synthesis_scores, {"method": ATLAS, "protocol": FLOOR}),
        table(segmentation_scores[real_alone]),
        table(segmentation_scores[trained], {"protocol": plan.options.baseline}),
    )
