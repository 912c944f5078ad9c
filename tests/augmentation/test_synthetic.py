"""The plan of synthetic slices leaks nothing, repeats itself with its seed, and grows by its end."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesionlab.augmentation.manipulation import Donor, ManipulationOptions, manipulate
from lesionlab.augmentation.synthetic import synthetic_plan, synthetic_slices
from lesionlab.errors import InputError
from lesionlab.imaging.volume import Volume
from lesionlab.slices.cutting import study_slices
from lesionlab.slices.rules import SliceRules
from lesionlab.slices.store import SliceStore

CLASSES = ["edema", "tumor"]
OPTIONS = ManipulationOptions()


def one_study(name, split, column):
    """Six planes of 24 x 24; planes 2 to 4 have a lesion at a column of the study's own."""
    brain = np.zeros((24, 24, 6), np.uint8)
    brain[2:22, 2:22] = 1
    lesion = np.zeros_like(brain)
    lesion[column : column + 6, 8:14, 2:5] = 2
    lesion[column + 1 : column + 5, 9:13, 2:5] = 3
    image = brain.astype(np.float32) * 0.5
    volumes = {"T1w": Volume(image, np.eye(4))}
    return study_slices(
        volumes,
        Volume(lesion, np.eye(4)),
        Volume(brain, np.eye(4)),
        volumes,
        None,
        SliceRules(planes="all"),
        ["T1w"],
        CLASSES,
        subject=name,
        study=name,
        split=split,
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    studies = [one_study("test", "test", 12), one_study("a", "train", 4), one_study("b", "train", 13)]
    return SliceStore.write(tmp_path_factory.mktemp("store") / "slices", studies, ["T1w"], CLASSES)


def training(store):
    return store.table[store.table["split"] == "train"]


def plan_of(store, ratio=1.0, seed=0, options=OPTIONS):
    return synthetic_plan(training(store), store.labels(), CLASSES, options, ratio, seed)


def test_counts_follow_the_papers_ratios(store):
    # 12 training slices: 25 % are 6 synthetic ones, 50 % are 12.
    assert [len(plan_of(store, ratio)) for ratio in (0.0, 0.5, 1.0)] == [0, 6, 12]


def test_a_smaller_plan_begins_a_larger_one(store):
    for one, other in zip(plan_of(store, 0.5), plan_of(store, 1.0), strict=False):
        assert one.target == other.target
        assert one.record == other.record
        np.testing.assert_array_equal(one.labels, other.labels)


def test_every_target_comes_once_before_any_comes_again(store):
    sick = set(training(store).query("domain == 'pathological'")["index"])
    targets = [planned.target for planned in plan_of(store)]
    assert set(targets[:6]) == set(targets[6:]) == sick


def test_donors_are_other_training_subjects(store):
    swaps = plan_of(store, options=ManipulationOptions(kinds={"swap": 1.0}))
    pairs = {(p.record["target"]["subject"], p.record["donor"]["subject"]) for p in swaps}
    assert pairs == {("a", "b"), ("b", "a")}
    assert all(p.record["donor"]["plane"] in (2, 3, 4) for p in swaps)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_each_slice_can_be_made_again_from_its_record(store, seed):
    options = ManipulationOptions(kinds={"mirror": 1.0, "enlarge": 1.0, "shrink": 1.0, "swap": 1.0, "mixture": 1.0})
    labels, table = store.labels(), training(store)
    sick = table[table["domain"] == "pathological"]
    for planned in plan_of(store, seed=seed, options=options):
        record = json.loads(json.dumps(planned.record))
        target = record["target"]
        row = table.set_index("index").loc[target["index"]]
        assert planned.target == target["index"]
        assert [row[name] for name in ("subject", "study", "plane")] == [
            target[name] for name in ("subject", "study", "plane")
        ]  # fmt: skip
        if record["donor"]:
            assert record["donor"]["subject"] != target["subject"]
            assert len(sick.query("study == @record['donor']['study'] and plane == @record['donor']['plane']")) == 1
        others = sick[sick["subject"] != target["subject"]]
        donors = [Donor(labels[r.index_], r.subject, r.study, r.plane) for r in _rows(others)]
        rng = np.random.default_rng([record["seed"], record["number"]])
        again, _ = manipulate(labels[target["index"]], donors, rng, CLASSES, options)
        np.testing.assert_array_equal(again, planned.labels)
        for code, name in enumerate(CLASSES, start=2):
            assert record["area_after"][name] == np.count_nonzero(planned.labels == code)


def _rows(table):
    return table.rename(columns={"index": "index_"}).itertuples()


def test_the_seed_fixes_the_plan(store):
    def records(seed):
        return [planned.record for planned in plan_of(store, seed=seed)]

    assert records(1) == records(1)
    assert [r["target"] for r in records(1)] != [r["target"] for r in records(2)]


def test_other_splits_are_refused(store):
    for split in ("test", "validation"):
        table = training(store).copy()
        table.loc[table.index[0], "split"] = split
        with pytest.raises(ValueError, match=split):
            synthetic_plan(table, store.labels(), CLASSES, OPTIONS, 0.5, 0)


def test_synthetic_slices_are_no_source(store):
    with pytest.raises(ValueError, match="real ones only"):
        synthetic_plan(training(store).assign(source="synthetic"), store.labels(), CLASSES, OPTIONS, 0.5, 0)


def test_no_lesion_in_training_is_an_input_error(store):
    healthy = training(store).query("domain == 'healthy'")
    with pytest.raises(InputError, match="no training slice is pathological"):
        synthetic_plan(healthy, store.labels(), CLASSES, OPTIONS, 0.5, 0)


def test_synthetic_slices_enter_a_store_beside_real_ones(store, tmp_path):
    plan = plan_of(store, 0.5)
    targets = [planned.target for planned in plan]
    real = store.batch(targets)
    images = np.full_like(real.images, 0.3)
    slices = synthetic_slices(store.table, plan, images, real.atlas, real.tissues, CLASSES)
    written = SliceStore.write(tmp_path / "synthetic", [slices], ["T1w"], CLASSES)
    table = written.table
    assert set(table["source"]) == {"synthetic"}
    assert set(table["split"]) == {"train"}
    assert table["plane"].tolist() == store.table["plane"].iloc[targets].tolist()
    assert table["manipulation"].tolist() == [planned.record["kind"] for planned in plan]
    assert json.loads(table["record"][0]) == plan[0].record
    labels = written.labels(lazy=False)
    assert table["pixels_tumor"].tolist() == (labels == 3).sum(axis=(1, 2)).tolist()
    # Synthetic images are kept inside the brain and set to the background's value outside it.
    inside = labels > 0
    assert np.allclose(written.images()[:, 0][inside], 0.3)
    assert (written.images()[:, 0][~inside] == -1).all()
