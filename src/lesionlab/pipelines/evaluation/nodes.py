"""Scores of the test subjects and the tables over them, as nodes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

from lesionlab.errors import InputError
from lesionlab.methods.applying import draw, segment
from lesionlab.methods.base import Method
from lesionlab.metrics import calibration, segmentation, statistics, synthesis
from lesionlab.metrics.distances import chunks
from lesionlab.names import listed
from lesionlab.parameters import CohortOptions, PublishedScore, StatisticsOptions
from lesionlab.pipelines.evaluation.reliability import error_of
from lesionlab.slices.cutting import IMAGE_BACKGROUND, NORMAL_BRAIN
from lesionlab.slices.store import SliceArrays, SliceStore
from lesionlab.training.runs import TrainingRun
from lesionlab.trials.claims import claims_of, hold_against
from lesionlab.trials.plan import NO_SYNTHESIZER, SegmenterCase, SynthesizerCase, TrialPlan
from lesionlab.trials.published import own_paper_first, with_equal_epochs

PAIRED, FLOOR, ALL = "paired", "floor", "all"
MEAN_IMAGE, ATLAS = "mean image", "atlas"
NORMAL_FLOOR = "all normal"

_log = logging.getLogger(__name__)

# Scores of one study: its slices, their rows of the table, and what every score is told to belong to.
_Score = Callable[[SliceArrays, pd.DataFrame, Mapping[str, object]], Iterator[pd.DataFrame]]


def score_synthesis(
    plan: TrialPlan, slices: SliceStore, synthesizers: Mapping[str, TrainingRun], cohort: CohortOptions
) -> pd.DataFrame:
    """Synthesis of each test subject's own label maps against its real images, beside two floors."""

    def scorers() -> Iterator[_Score]:
        floors: set[str] = set()
        for case in plan.synthesizers:
            own_set = case.key.partition("/")[2]  # floors are the same whatever the synthesizer
            mean = None if own_set in floors else _mean_image(slices, case.subjects)
            floors.add(own_set)
            method = synthesizers[case.key].method()
            yield partial(_synthesis_scores, case=case, method=method, mean=mean, slices=slices)
            del method

    return _by_subject(slices, scorers(), {"cohort": cohort.name})


def _synthesis_scores(
    real: SliceArrays,
    _: pd.DataFrame,
    keys: Mapping[str, object],
    *,
    case: SynthesizerCase,
    method: Method,
    mean: np.ndarray | None,
    slices: SliceStore,
) -> Iterator[pd.DataFrame]:
    """One synthesizer's scores of one study; those of the floors too where a mean image is given."""
    own = {"synthesizer": NO_SYNTHESIZER, "training_subjects": len(case.subjects), "seed": case.seed, **keys}
    drawn = draw(method, real.labels, real.atlas)
    if (trust := error_of(drawn, real)) is not None:
        about = {"method": case.name, "protocol": PAIRED, **own}
        yield calibration.patient_scores(*trust, slices.sequences, keys=about)
    made = {(case.name, PAIRED): drawn.images.numpy()} | ({} if mean is None else _synthesis_floors(real, mean))
    for (name, protocol), images in made.items():
        yield synthesis.patient_scores(
            images,
            real.images,
            real.labels,
            slices.sequences,
            slices.classes,
            keys={"method": name, "protocol": protocol, **own},
        )


def _mean_image(slices: SliceStore, subjects: Sequence[str]) -> np.ndarray:
    """The mean training slice ``(C, H, W)`` float32, read some slices at a time."""
    images = slices.rows("images", slices.select("train", subject=subjects))
    total = sum(images[rows].sum(axis=0, dtype=np.float64) for rows in chunks(len(images)))
    return np.asarray(total / len(images), np.float32)


def score_segmentation(
    plan: TrialPlan, slices: SliceStore, segmenters: Mapping[str, TrainingRun], cohort: CohortOptions
) -> pd.DataFrame:
    """Each test subject segmented by every segmenter of the trial, beside two floors.

    A class that no test subject has in the slices is left out: its Dice would say who found nothing where nothing is.
    """

    def scorers() -> Iterator[_Score]:
        for case in plan.segmenters:
            yield _segmentation_scorer(_found_by(case, segmenters[case.key].method()), slices.classes)
        yield _segmentation_scorer(lambda real: _segmentation_floors(real.labels, slices.classes, plan), slices.classes)

    scores = _by_subject(slices, scorers(), {"cohort": cohort.name})
    absent = _absent_classes(slices)
    if absent:
        _log.warning("no test subject has %s in the slices: left out of the segmentation scores", listed(absent))
    return scores[~scores["class"].isin(absent)].reset_index(drop=True)


def _absent_classes(slices: SliceStore) -> list[str]:
    """The classes that no test subject has, where there is a lesion of another class at all."""
    labels = slices.rows("labels", slices.select("test"))
    codes = {int(code) for part in chunks(len(labels)) for code in np.unique(labels[part])}
    has = {name: code in codes for code, name in enumerate(slices.classes, start=segmentation.FIRST_LESION)}
    return [name for name in has if not has[name]] if any(has.values()) else []


_Found = list[tuple[dict[str, object], np.ndarray]]  # whose it is, and the label maps


def _found_by(case: SegmenterCase, method: Method) -> Callable[[SliceArrays], _Found]:
    return lambda real: [(_keys_of(case), segment(method, real.images).numpy())]


def _segmentation_scorer(find: Callable[[SliceArrays], _Found], classes: list[str]) -> _Score:
    def score(real: SliceArrays, rows: pd.DataFrame, keys: Mapping[str, object]) -> Iterator[pd.DataFrame]:
        first, planes = rows.iloc[0], rows["plane"].tolist()
        spacing = (first["spacing_z"], first["spacing_y"], first["spacing_x"])
        for own, predicted in find(real):
            yield segmentation.patient_scores(
                predicted, real.labels, spacing, classes, planes=planes, keys={**own, "sequence": ALL, **keys}
            )

    return score


def _keys_of(case: SegmenterCase) -> dict[str, object]:
    return {
        "method": "unet",
        "protocol": case.arm_name,
        "synthesizer": case.synthesizer_name,
        "training_subjects": len(case.subjects),
        "seed": case.seed,
    }


def _by_subject(slices: SliceStore, scorers: Iterable[_Score], keys: Mapping[str, object]) -> pd.DataFrame:
    """Scores of every test subject: of its one study, or the mean over its visits.

    One scorer goes through all subjects before the next is made, so that one network is in memory at a time.
    """
    of_studies: list[list[pd.DataFrame]] = [[] for _ in _test_studies(slices)]
    for score in scorers:
        for (subject, rows), found in zip(_test_studies(slices), of_studies, strict=True):
            found.extend(score(slices.batch(rows["index"].to_numpy()), rows, {**keys, "subject": subject}))
        del score  # and its network, before the next one's is loaded
    parts = [table for found in of_studies for table in found]
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


def _test_studies(slices: SliceStore) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each study of the test subjects: the subject, and the rows of its slices."""
    for subject, places in test_subjects(slices):
        for _, rows in slices.table.iloc[places].groupby("study", sort=True):
            yield subject, rows


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
    return with_equal_epochs(own_paper_first(figures.rename(columns={"value": "published"}), plan.methods()))


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
