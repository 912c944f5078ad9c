"""The sets of synthetic slices as nodes: how they lie among real ones, and whether they repeat training slices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from lesionlab.augmentation.synthetic import synthetic_count
from lesionlab.methods.applying import judge, segment
from lesionlab.methods.samr import SAMR
from lesionlab.methods.unet import UNetSegmenter
from lesionlab.metrics import memorisation, sample_quality
from lesionlab.metrics.segmentation import FIRST_LESION, dice
from lesionlab.parameters import StatisticsOptions
from lesionlab.slices.batches import Slices
from lesionlab.slices.store import Rows, SliceStore
from lesionlab.training.runs import TrainingRun
from lesionlab.trials.plan import SynthesizerCase, TrialPlan

_BATCH = 32
ABOUT = ["synthesizer", "training_subjects", "seed"]
_JUDGED = [*ABOUT, "subject", "study", "plane", "trained_on", "score"]
REGIONS: tuple[memorisation.Region, ...] = ("image", "lesion")


def measure_samples(
    plan: TrialPlan, slices: SliceStore, synthetic: Mapping[str, SliceStore], segmenters: Mapping[str, TrainingRun]
) -> pd.DataFrame:
    """Each synthesizer's slices, and real test slices for comparison, against real training slices.

    All by the U-Net that was trained on the same subjects' real slices alone. Sets are of equal size, drawn by chance,
    since the measures depend on it.

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
            images, labels = one.images.take(chosen), one.labels.take(chosen)
            found = _compared(base, _features(unet, images))
            rows.append({**about(case), "compared": name, "n": size, **found, **_found(unet, images, labels)})
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
        parts.append(pd.DataFrame([about(case)] * len(table)).join(table))
    columns = [*ABOUT, "kind", "n", "distance", "ratio"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def about(case: SynthesizerCase) -> dict[str, Any]:
    """The columns that say whose rows they are."""
    return dict(zip(ABOUT, (case.name, len(case.subjects), case.seed), strict=True))


def of_case(case: SynthesizerCase, table: pd.DataFrame) -> pd.DataFrame:
    """A synthesizer's own rows of a table of all."""
    if table.empty:
        return table
    return table[(table[ABOUT] == about(case)).all(axis=1)]


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


def _found(unet: UNetSegmenter, images: Rows, labels: Rows) -> dict[str, float]:
    """Dice of what the segmenter finds, over all pixels of these slices."""
    predicted, true = segment(unet, images).numpy(), labels[:]
    codes = enumerate(unet.task.lesion_classes, start=FIRST_LESION)
    return {f"dice_{name}": dice(predicted == code, true == code) for code, name in codes}


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
    tested = _pictures(slices, slices.select("test", "pathological"))
    if len(case.subjects) > 1:
        tested = tested._replace(table=tested.table.assign(subject=np.resize(case.subjects, len(tested.table))))
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


def _judged(method: SAMR, slices: SliceStore, places: np.ndarray) -> np.ndarray:
    parts = (Slices.from_arrays(*slices.batch(part)) for part in parts_of(places))
    return np.concatenate([judge(method, part.take(range(len(part)))).numpy() for part in parts])


def parts_of(places: np.ndarray) -> list[np.ndarray]:
    """Places of slices in parts, each few enough for a network at once."""
    return np.array_split(places, max(1, -(-len(places) // _BATCH)))
