"""The sets of synthetic slices as nodes: how they lie among real ones, and whether they repeat training slices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch

from lesionlab.data.batches import Slices
from lesionlab.data.slice_store import Rows, SliceArrays, SliceStore
from lesionlab.data.synthetic import synthetic_count
from lesionlab.losses.confidence import shrink
from lesionlab.methods.applying import draw, judge, segment
from lesionlab.methods.base import Method
from lesionlab.methods.samr import SAMR
from lesionlab.methods.unet import UNetSegmenter
from lesionlab.metrics import calibration, memorisation, sample_quality
from lesionlab.metrics.segmentation import FIRST_LESION, dice
from lesionlab.networks.decoder import Synthesis
from lesionlab.parameters import StatisticsOptions
from lesionlab.training.runs import TrainingRun
from lesionlab.trials.plan import SynthesizerCase, TrialPlan

_BATCH = 32
_ABOUT = ["synthesizer", "training_subjects", "seed"]
_JUDGED = [*_ABOUT, "subject", "study", "plane", "trained_on", "score"]
REGIONS: tuple[memorisation.Region, ...] = ("image", "lesion")


def measure_samples(
    plan: TrialPlan, slices: SliceStore, synthetic: Mapping[str, SliceStore], segmenters: Mapping[str, TrainingRun]
) -> pd.DataFrame:
    """Each synthesizer's slices, and real test slices for comparison, against real training slices.

    All by the U-Net that was trained on the same subjects' real slices alone. Sets are of equal size, since the
    measures depend on it.

    Returns:
        ``synthesizer, training_subjects, seed, compared`` (synthetic, test), ``n``, ``frechet``, ``kernel``,
        ``precision``, ``recall``, ``diversity``, and ``dice_<class>``: what that U-Net finds of the label map.
    """
    rows = []
    for case in plan.synthesizers:
        unet = _baseline(plan, case, segmenters)
        real = _pictures(slices, slices.select("train", "pathological", case.subjects))
        sets = {
            "synthetic": made_for(plan, case, slices, synthetic[case.key]),
            "test": _pictures(slices, slices.select("test", "pathological")),
        }
        size = min(len(real.images), *(len(one.images) for one in sets.values()))
        rng = np.random.default_rng(case.seed)
        base = _features(unet, real.images.take(rng.permutation(len(real.images))[:size]))
        for name, one in sets.items():
            chosen = rng.permutation(len(one.images))[:size]
            found = _compared(base, _features(unet, one.images.take(chosen)))
            rows.append({**_about(case), "compared": name, "n": size, **found, **_found(unet, one)})
    return pd.DataFrame(rows)


def measure_diversity(
    plan: TrialPlan, slices: SliceStore, synthetic: Mapping[str, SliceStore], segmenters: Mapping[str, TrainingRun]
) -> pd.DataFrame:
    """Spread of each synthesizer's slices over that of the real training slices, by kind of manipulation.

    Features are those of :func:`measure_samples`.

    Returns:
        ``synthesizer, training_subjects, seed`` and the columns of
        :func:`lesionlab.metrics.sample_quality.diversity`.
    """
    parts = []
    for case in plan.synthesizers:
        unet, made = _baseline(plan, case, segmenters), made_for(plan, case, slices, synthetic[case.key])
        real = _pictures(slices, slices.select("train", "pathological", case.subjects))
        one, two = sample_quality.standardised(_features(unet, real.images), _features(unet, made.images))
        table = sample_quality.diversity(one, two, made.table["manipulation"].tolist())
        parts.append(pd.DataFrame([_about(case)] * len(table)).join(table))
    columns = [*_ABOUT, "kind", "n", "distance", "ratio"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _about(case: SynthesizerCase) -> dict[str, Any]:
    return dict(zip(_ABOUT, (case.name, len(case.subjects), case.seed), strict=True))


def of_case(case: SynthesizerCase, table: pd.DataFrame) -> pd.DataFrame:
    """A synthesizer's own rows of a table of all."""
    if table.empty:
        return table
    return table[(table[_ABOUT] == _about(case)).all(axis=1)]


def _baseline(plan: TrialPlan, case: SynthesizerCase, segmenters: Mapping[str, TrainingRun]) -> UNetSegmenter:
    """The segmenter that saw the same subjects' real slices alone."""
    key = next(
        one.key
        for one in plan.segmenters
        if one.arm_name == plan.options.baseline and one.subjects == case.subjects and one.seed == case.seed
    )
    method = segmenters[key].method()
    assert isinstance(method, UNetSegmenter)
    return method


def _features(unet: UNetSegmenter, images: Rows) -> np.ndarray:
    return sample_quality.pooled_features(unet.U, sample_quality.UNET_BOTTLENECK, images)


def _compared(real: np.ndarray, other: np.ndarray) -> dict[str, float]:
    one, two = sample_quality.standardised(real, other)
    enough = len(one) > sample_quality.NEIGHBOURS
    covered = sample_quality.precision_recall(one, two) if enough else (float("nan"), float("nan"))
    spread = sample_quality.mean_pairwise_distance(one)
    return {
        "frechet": sample_quality.frechet_distance(one, two),
        "kernel": sample_quality.kernel_distance(one, two),
        "precision": covered[0],
        "recall": covered[1],
        "diversity": sample_quality.mean_pairwise_distance(two) / spread if spread else float("nan"),
    }


def _found(unet: UNetSegmenter, pictures: memorisation.Pictures) -> dict[str, float]:
    """Dice of what the segmenter finds, over all pixels of the set."""
    predicted, labels = segment(unet, pictures.images).numpy(), pictures.labels[:]
    codes = enumerate(unet.task.lesion_classes, start=FIRST_LESION)
    return {f"dice_{name}": dice(predicted == code, labels == code) for code, name in codes}


def look_for_copies(plan: TrialPlan, slices: SliceStore, synthetic: Mapping[str, SliceStore]) -> pd.DataFrame:
    """How near each synthesizer's slices lie to its training slices, beside how near real people's lie to each other.

    Returns:
        ``synthesizer, training_subjects, seed, region`` and the columns of
        :func:`lesionlab.metrics.memorisation.compare_nearest`.
    """
    parts = []
    for case in plan.synthesizers:
        for region in REGIONS:
            made, natural = nearest_of(case, slices, made_for(plan, case, slices, synthetic[case.key]), region)
            if natural["other_subjects_distance"].notna().any():
                parts.append(memorisation.compare_nearest(made, natural).assign(region=region, **_about(case)))
    columns = [*_ABOUT, "region"]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    return table[[*columns, *(name for name in table if name not in columns)]]


def nearest_of(
    case: SynthesizerCase, slices: SliceStore, made: memorisation.Pictures, region: memorisation.Region
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of each of a synthesizer's slices, and of each test slice, the nearest training slice."""
    training = training_pictures(case, slices)
    tested = _pictures(slices, slices.select("test", "pathological"))
    return memorisation.nearest(made, training, region), memorisation.nearest(tested, training, region)


def made_for(
    plan: TrialPlan, case: SynthesizerCase, slices: SliceStore, synthetic: SliceStore
) -> memorisation.Pictures:
    """The first of a synthesizer's slices, as many as the trial has use for: another trial may have drawn more."""
    own = slices.table.iloc[slices.select("train", subject=case.subjects)]
    return _pictures(synthetic, synthetic.select()[: synthetic_count(own, plan.ratio(case.key))])


def training_pictures(case: SynthesizerCase, slices: SliceStore) -> memorisation.Pictures:
    """The real slices a synthesizer was trained on."""
    return _pictures(slices, slices.select("train", subject=case.subjects))


def _pictures(slices: SliceStore, places: np.ndarray) -> memorisation.Pictures:
    """Slices that stay on disk: a cohort may be larger than memory."""
    images, labels = (slices.rows(name, places) for name in ("images", "labels"))
    return memorisation.Pictures(images, labels, slices.table.iloc[places].reset_index(drop=True))


def judge_slices(plan: TrialPlan, slices: SliceStore, synthesizers: Mapping[str, TrainingRun]) -> pd.DataFrame:
    """What each synthesizer's discriminators think of the real slices it was trained on, and of the test slices.

    Returns:
        ``synthesizer, training_subjects, seed, subject, study, plane, trained_on, score``; a row per slice, the score
        being the discriminators' mean logit.
    """
    parts = []
    for case in plan.synthesizers:
        method = synthesizers[case.key].method()
        assert isinstance(method, SAMR)
        for trained_on, places in (
            (True, slices.select("train", subject=case.subjects)),
            (False, slices.select("test")),
        ):
            rows = slices.table.iloc[places][["subject", "study", "plane"]].reset_index(drop=True)
            rows = rows.assign(trained_on=trained_on, score=_judged(method, slices, places))
            parts.append(pd.DataFrame([_about(case)] * len(rows)).join(rows))
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
    for _, own in judged.groupby(_ABOUT, sort=False):
        about = {name: own[name].iloc[0] for name in _ABOUT}
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
        rows.append({**about, **found._asdict()})
    return pd.DataFrame(rows, columns=[*_ABOUT, *memorisation.Membership._fields])


def _judged(method: SAMR, slices: SliceStore, places: np.ndarray) -> np.ndarray:
    parts = (Slices.from_arrays(*slices.batch(part)) for part in _parts(places))
    return np.concatenate([judge(method, part.take(range(len(part)))).numpy() for part in parts])


def measure_reliability(
    plan: TrialPlan,
    slices: SliceStore,
    synthesizers: Mapping[str, TrainingRun],
    options: StatisticsOptions,
    seed: int,
) -> pd.DataFrame:
    """Mean error by confidence on the test slices, of every synthesizer that has confidence maps.

    Returns:
        ``synthesizer, training_subjects, seed`` and the columns of
        :func:`lesionlab.metrics.calibration.reliability`; empty where none has.
    """
    places = slices.select("test")
    parts = []
    for case in plan.synthesizers:
        run = synthesizers[case.key]
        trust = coarse_error(run.method(), slices, places)
        if trust is None:
            continue
        confidence, error, labels = trust
        table = calibration.reliability(
            confidence,
            error,
            slices.table.iloc[places]["subject"].tolist(),
            slices.sequences,
            _last_lambda(run.history()),
            mask=labels > 0,
            seed=seed,
            resamples=options.resamples,
        )
        parts.append(table.assign(**_about(case)))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["synthesizer", "sequence"])


def _last_lambda(history: pd.DataFrame) -> float:
    """lambda_cm at the end of a training, which decides the confidence that Eq. 1 asks for."""
    return float(history.loc[history["name"] == "lambda_cm", "value"].iloc[-1])


def coarse_error(
    method: Method, slices: SliceStore, places: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Confidence and error ``(N, C, h, w)`` of the coarse images, and label maps ``(N, h, w)`` of that size.

    None for a synthesizer without confidence maps.
    """
    parts = []
    for part in _parts(places):
        real = slices.batch(part)
        found = error_of(draw(method, real.labels, real.atlas), real)
        if found is None:
            return None
        parts.append(found)
    confidence, error, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return confidence, error, labels


def error_of(made: Synthesis, real: SliceArrays) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """:func:`coarse_error` of these slices."""
    if made.coarse is None or made.confidence is None:
        return None
    error = (made.coarse - shrink(torch.from_numpy(real.images), made.coarse)).abs()
    step = real.labels.shape[-1] // made.coarse.shape[-1]
    return made.confidence.numpy(), error.numpy(), real.labels[:, ::step, ::step]


def _parts(places: np.ndarray) -> list[np.ndarray]:
    return np.array_split(places, max(1, -(-len(places) // _BATCH)))
