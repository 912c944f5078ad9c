"""Sets of synthetic slices, with copies planted and networks whose answers are known."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from lesionlab.evaluation.memorisation import (
    infer_membership,
    judge_slices,
    look_for_copies,
    nearest_of,
    training_pictures,
)
from lesionlab.evaluation.samples import made_for, measure_diversity, measure_samples
from lesionlab.metrics.statistics import StatisticsOptions
from lesionlab.slices.cutting import StudySlices
from lesionlab.slices.store import SliceStore
from lesionlab.trials.options import Arm

KEYS = ("samr/2-subjects/seed-0", "cgsamr/2-subjects/seed-0")


@pytest.fixture
def segmenters(plan, run):
    return {
        case.key: run(f"unet/{case.key}", "unet", {"network": {"width": 2, "depth": 2}}) for case in plan.segmenters
    }


def synthetic(slices: SliceStore, root, images: np.ndarray) -> SliceStore:
    """Slices of subject a with these images."""
    own = slices.select(subject="a")
    real = slices.batch(own)
    table = slices.table.iloc[own].drop(columns="index").reset_index(drop=True)
    targets = [{"target": {"subject": "a", "study": "a", "plane": n, "index": int(i)}} for n, i in enumerate(own)]
    table = table.assign(source="synthetic", manipulation="mirror", record=[json.dumps(one) for one in targets])
    study = StudySlices(images.astype(np.float32), real.labels, real.atlas, real.tissues, table)
    return SliceStore.write(root, [study], slices.sequences, slices.classes, fingerprint=root.name)


@pytest.fixture
def drawn(slices, tmp_path):
    """One synthesizer repeats the slices of subject b, the other draws noise."""
    real = slices.batch(slices.select(subject="b"))
    theirs = real.images
    noise = np.where(real.labels[:, None] > 0, np.random.default_rng(9).uniform(-1, 1, theirs.shape), -1)
    return {
        KEYS[0]: synthetic(slices, tmp_path / "copies", theirs),
        KEYS[1]: synthetic(slices, tmp_path / "noise", noise),
    }


def test_copies_of_another_subject_are_found(plan, slices, drawn):
    table = look_for_copies(plan, slices, drawn).set_index(["synthesizer", "region", "scope"])
    for region in ("image", "lesion"):
        copied = table.loc["samr", region, "other_subjects"]
        assert copied["median"] == pytest.approx(0, abs=1e-6) and copied["share_below"] == 1
        # Noise lies from the training slices as the test slices, which are noise as well, do.
        assert 0.5 < table.loc["cgsamr", region, "other_subjects"]["ratio"] < 2
    assert set(table["seed"]) == {0} and set(table["training_subjects"]) == {2}


def test_test_slices_have_as_many_subjects_to_be_near_to_as_synthetic_ones(plan, slices, drawn):
    case = plan.synthesizers[0]
    made, natural = nearest_of(case, slices, made_for(plan, case, slices, drawn[case.key]), "image")
    owners = training_pictures(case, slices).table["subject"].to_numpy()
    # A synthetic slice of subject a may only be near to b's; test slices leave out a and b in turn.
    assert set(owners[made["other_subjects_place"]]) == {"b"}
    assert owners[natural["other_subjects_place"]].tolist() == ["b", "a"] * 3


def test_diversity_is_told_by_kind_of_manipulation(plan, slices, drawn, segmenters):
    table = measure_diversity(plan, slices, drawn, segmenters)
    assert list(table) == ["synthesizer", "training_subjects", "seed", "kind", "n", "distance", "ratio"]
    # Of each synthesizer three slices, all of one kind; so that kind is as diverse as all of them.
    assert table["kind"].tolist() == ["all", "mirror"] * 2 and set(table["n"]) == {3}
    own = table.set_index(["synthesizer", "kind"])["distance"]
    assert own["samr", "all"] == own["samr", "mirror"] > 0
    # The ratio is to the real training slices' own spread, which is the same for both.
    scale = table["distance"] / table["ratio"]
    assert scale.tolist() == pytest.approx([scale[0]] * 4)


def test_a_set_of_copies_lies_nearer_to_the_training_slices_than_test_slices_do(plan, slices, drawn, segmenters):
    table = measure_samples(plan, slices, drawn, segmenters).set_index(["synthesizer", "compared"])
    assert list(table.index) == [(name, what) for name in ("samr", "cgsamr") for what in ("synthetic", "test")]
    assert set(table["n"]) == {3}  # no more than the smallest set has
    assert np.isfinite(table["frechet"]).all() and (table["frechet"] >= 0).all()
    # The test slices are the same for both synthesizers, and so is what the U-Net finds in them.
    assert table.loc[("samr", "test"), "dice_edema"] == table.loc[("cgsamr", "test"), "dice_edema"]


def test_slices_that_another_trial_asked_for_have_no_part(plan, slices, drawn, segmenters):
    """Half as many slices as real ones are asked for: of six copies the first three, and the table is that of three."""
    half = {"arm": Arm(synthetic=0.5)}
    fewer = tuple(case.model_copy(update=half) if case.synthesizer else case for case in plan.segmenters)
    asked = plan.model_copy(update={"segmenters": fewer})
    table = look_for_copies(asked, slices, drawn)
    longer = {key: _twice(store) for key, store in drawn.items()}
    pd.testing.assert_frame_equal(look_for_copies(asked, slices, longer), table)
    pd.testing.assert_frame_equal(
        measure_diversity(asked, slices, longer, segmenters), measure_diversity(asked, slices, drawn, segmenters)
    )


def _twice(store: SliceStore) -> SliceStore:
    arrays = store.batch([*range(len(store))] * 2)
    table = pd.concat([store.table] * 2, ignore_index=True).drop(columns="index")
    study = StudySlices(*arrays, table)
    root = store.root.with_name(f"{store.root.name}-twice")
    return SliceStore.write(root, [study], store.sequences, store.classes, fingerprint=root.name)


def test_membership_without_training_is_chance_of_a_few_slices(plan, slices, synthesizers):
    judged = judge_slices(plan, slices, synthesizers)
    # Two synthesizers, each with the slices of its two training subjects and with the test slices.
    members = slices.select("train", subject=plan.synthesizers[0].subjects)
    counts = judged.groupby(["synthesizer", "trained_on"]).size()
    assert counts["samr", True] == counts["cgsamr", True] == len(members)
    assert counts["samr", False] == counts["cgsamr", False] == len(slices.select("test"))
    table = infer_membership(judged, StatisticsOptions(resamples=200), 0)
    assert table["synthesizer"].tolist() == ["samr", "cgsamr"]
    assert table["auc"].between(0, 1).all()
