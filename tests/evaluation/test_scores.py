"""Scores and floors, with figures worked out by hand."""

from __future__ import annotations

import weakref

import numpy as np
import pandas as pd
import pytest
import torch

from lesionlab.evaluation import segmentation, synthesis
from lesionlab.methods.base import Task
from lesionlab.metrics.statistics import SCORE_COLUMNS
from lesionlab.slices.store import SliceStore

COHORT = "trial"
TASK = Task(sequences=("T1w", "FLAIR"), lesion_classes=("edema", "tumor"))


class Fixed:
    """A trained method that answers what it is told to; it stands for its own training run."""

    name = "cgsamr"
    prior = "atlas"
    task = TASK

    def __init__(self, segment=None, synthesize=None):
        self._segment, self._synthesize = segment, synthesize

    def method(self):
        return self

    def parameters(self):
        return iter([torch.zeros(1)])

    def segment(self, images):
        return torch.nn.functional.one_hot(self._segment(images).long(), TASK.classes).movedim(-1, 1).float()

    def synthesize(self, batch):
        return self._synthesize(batch.labels, batch.atlas)


@pytest.fixture
def score_segmenters(new_plan):
    """Scores segmenters by arm, the same one for every synthesizer, size and seed."""

    def score(slices, segmenters: dict[str, Fixed], **plan) -> pd.DataFrame:
        made = new_plan(slices, arms=tuple(segmenters), **plan)
        return segmentation.score(
            made, slices, {case.key: segmenters[case.arm_name] for case in made.segmenters}, COHORT
        )

    return score


@pytest.fixture
def score_drawings(new_plan):
    """Scores synthesizers by name, the same one for every size and seed."""

    def score(slices, synthesizers: dict[str, Fixed], **plan) -> pd.DataFrame:
        made = new_plan(slices, synthesizers=tuple(synthesizers), **plan)
        return synthesis.score(made, slices, {case.key: synthesizers[case.name] for case in made.synthesizers}, COHORT)

    return score


def values(scores: pd.DataFrame, **wanted: str) -> list[float]:
    for column, value in wanted.items():
        scores = scores[scores[column.rstrip("_")] == value]
    return scores["value"].tolist()


class Counted:
    """A training run that counts how many of its kind have their network in memory."""

    alive, most = 0, 0

    def __init__(self, made):
        self.made = made

    def method(self):
        Counted.alive += 1
        Counted.most = max(Counted.most, Counted.alive)
        network = Fixed(self.made, self.made)
        weakref.finalize(network, Counted.gone)
        return network

    @staticmethod
    def gone():
        Counted.alive -= 1


def test_one_network_is_in_memory_at_a_time(new_slices, truth, score_segmenters, score_drawings, monkeypatch):
    monkeypatch.setattr(Counted, "most", 0)
    # Two sizes of the training set and two arms: without care four networks, each of gigabytes in full size.
    score_segmenters(new_slices(), {name: Counted(truth) for name in ("real", "conventional")}, sizes=(1, 2))
    assert Counted.most == 1
    score_drawings(new_slices(), {"samr": Counted(lambda labels, prior: torch.zeros(len(labels), 2, 16, 16))})
    assert Counted.most == 1


# --- segmentation -----------------------------------------------------------------------------------------------------


@pytest.fixture
def truth(new_slices):
    """What a perfect segmenter answers."""
    labels = new_slices("truth").labels(lazy=False)[0]
    return lambda images: torch.from_numpy(labels).expand(len(images), -1, -1)


def test_floors_of_segmentation(new_slices, truth, score_segmenters):
    scores = score_segmenters(new_slices(), {"real": Fixed(truth)}, seed=5)
    assert list(scores) == SCORE_COLUMNS
    # Brain 100 pixels a slice, of which edema 12 and tumor 4. All brain called tumor: 2 x 4 / (100 + 4), and for the
    # whole lesion 2 x 16 / (100 + 16); edema is missed.
    floor = {"method": "all tumor", "protocol": "floor", "metric": "dice"}
    assert values(scores, **floor, class_="tumor") == [pytest.approx(8 / 104)]
    assert values(scores, **floor, class_="lesion") == [pytest.approx(32 / 116)]
    assert values(scores, **floor, class_="edema") == [0]
    floor = {"method": "all normal", "protocol": "floor"}
    assert values(scores, **floor, metric="missed") == [1, 1, 1]
    assert values(scores, **floor, metric="dice") == [0, 0, 0]
    # Nothing found: HD95 is the diagonal of 3 x 16 x 16 voxels of 5 x 2 x 2 mm.
    assert values(scores, **floor, metric="hd95", class_="tumor") == [pytest.approx(np.sqrt(15**2 + 2 * 32**2))]


def test_a_perfect_segmenter(new_slices, truth, score_segmenters):
    scores = score_segmenters(new_slices(), {"real": Fixed(truth)}, seed=5)
    own = scores[scores["protocol"] == "real"]
    assert set(own["method"]) == {"unet"} and set(own["subject"]) == {"d"} and set(own["sequence"]) == {"all"}
    assert set(own["seed"]) == {5} and set(own["cohort"]) == {"trial"}
    best = {"dice": 1, "sensitivity": 1, "specificity": 1, "precision": 1, "hd95": 0, "missed": 0, "invented": 0}
    for metric, value in best.items():
        assert values(own, metric=metric) == [value] * 3


def test_a_subject_with_two_visits_has_their_mean(new_slices, truth, score_segmenters):
    def one_visit_free_of_lesion(studies):
        studies["d_2"].labels[studies["d_2"].labels > 1] = 1

    slices = new_slices(change=one_visit_free_of_lesion)
    scores = score_segmenters(slices, {"real": Fixed(truth)})
    # Found as it is in the first visit (Dice 1), invented in the second (Dice 0).
    assert values(scores, protocol="real", metric="dice", class_="tumor") == [0.5]
    assert values(scores, protocol="real", metric="invented", class_="tumor") == [0.5]


def test_every_protocol_is_scored_by_its_own_segmenter(new_slices, truth, score_segmenters):
    nothing = Fixed(lambda images: torch.ones(len(images), 16, 16))
    scores = score_segmenters(new_slices(), {"real": nothing, "real+50%": Fixed(truth)})
    dice = {protocol: values(scores, protocol=protocol, metric="dice") for protocol in ("real", "real+50%")}
    assert dice == {"real": [0, 0, 0], "real+50%": [1, 1, 1]}


def test_the_highest_class_is_named_in_its_floor(new_slices, truth, score_segmenters):
    slices = new_slices()
    (slices.root / "store.json").write_text('{"sequences": ["T1w", "FLAIR"], "classes": ["core", "rim"]}')
    (slices.root / "receipt.json").write_text('{"fingerprint": "", "files": {}}')
    scores = score_segmenters(SliceStore(slices.root), {"real": Fixed(truth)})
    assert set(scores["method"]) == {"unet", "all rim", "all normal"}


def test_a_class_that_no_test_subject_has_is_not_scored(new_slices, truth, score_segmenters, caplog):
    slices = new_slices()
    there = set(score_segmenters(slices, {"real": Fixed(truth)})["class"])
    (slices.root / "store.json").write_text('{"sequences": ["T1w", "FLAIR"], "classes": ["edema", "tumor", "cavity"]}')
    (slices.root / "receipt.json").write_text('{"fingerprint": "", "files": {}}')
    assert there == {"edema", "tumor", "lesion"} and not caplog.messages
    scores = score_segmenters(SliceStore(slices.root), {"real": Fixed(truth)})
    assert set(scores["class"]) == there
    assert "no test subject has cavity in the slices: left out of the segmentation scores" in caplog.messages


def test_every_line_knows_its_synthesizer_its_size_and_its_seed(new_slices, truth, score_segmenters):
    segmenters = {"real": Fixed(truth), "real+50%": Fixed(truth)}
    scores = score_segmenters(
        new_slices(), segmenters, synthesizers=("samr", "cgsamr"), sizes=(1, "all"), seeds=(0, 4), seed=10
    )
    found = set(scores[["protocol", "synthesizer", "training_subjects", "seed"]].itertuples(index=False, name=None))
    trained = {("real", "none"), ("real+50%", "samr"), ("real+50%", "cgsamr")}
    floors = {("floor", "none", size, 10) for size in (1, 2)}  # which no seed changes: once
    assert found == {(*arm, size, seed) for arm in trained for size in (1, 2) for seed in (10, 14)} | floors
    assert not scores.duplicated([name for name in SCORE_COLUMNS if name != "value"]).any()


# --- synthesis --------------------------------------------------------------------------------------------------------


def test_floors_of_synthesis(new_slices, score_drawings):
    def flat(studies):
        # Training images 0 and 0.5 in the brain: their mean is 0.25. The test images are 0.3, the atlas 0.1 at the
        # slice itself and 0.9 in the planes beside it.
        for name, level in {"a": 0.0, "b": 0.5, "c": -0.9, "d_1": 0.3, "d_2": 0.3}.items():
            inside = studies[name].labels[:, None] > 0
            studies[name].images[:] = np.where(inside, level, -1)
            studies[name].atlas[:] = np.where(inside, 0.9, -1)
            studies[name].atlas[:, 2:4] = np.where(inside, 0.1, -1)

    def draws(labels, prior):
        return torch.where(labels[:, None] > 0, 0.28, -1.0).expand(-1, 2, -1, -1)

    scores = score_drawings(new_slices(change=flat), {"cgsamr": Fixed(synthesize=draws)}, seed=3)
    assert list(scores) == SCORE_COLUMNS and set(scores["subject"]) == {"d"}
    # Within 16 of 255 grey levels is within 0.125 on the scale of [-1, 1]: 0.02 and 0.05 are, 0.2 is not.
    expected = {("cgsamr", "paired"): 1.0, ("mean image", "floor"): 1.0, ("atlas", "floor"): 0.0}
    for (method, protocol), accuracy in expected.items():
        own = {"method": method, "protocol": protocol}
        for region in ("edema", "tumor", "lesion", "brain"):
            assert values(scores, **own, class_=region, metric="pixel_accuracy") == [accuracy] * 2  # two sequences
    # PSNR in the brain: 10 log10(2^2 / 0.05^2) and 10 log10(2^2 / 0.2^2) = 20.
    mean = values(scores, method="mean image", class_="brain", metric="psnr")
    assert mean == [pytest.approx(10 * np.log10(1600), abs=1e-4)] * 2
    assert values(scores, method="atlas", class_="brain", metric="psnr") == [pytest.approx(20, abs=1e-4)] * 2


def test_the_synthesizer_is_given_each_test_slices_own_map_and_atlas(new_slices, score_drawings):
    given = []

    def draws(labels, prior):
        given.append((labels.numpy(), prior.numpy()))
        return torch.zeros(len(labels), 2, 16, 16)

    slices = new_slices()
    score_drawings(slices, {"cgsamr": Fixed(synthesize=draws)})
    real = slices.batch(slices.select(split="test"))
    np.testing.assert_array_equal(np.concatenate([labels for labels, _ in given]), real.labels)
    np.testing.assert_array_equal(np.concatenate([prior for _, prior in given]), real.atlas)


def test_without_an_atlas_there_is_no_such_floor(new_slices, score_drawings):
    def bare(studies):
        for name, study in studies.items():
            studies[name] = type(study)(study.images, study.labels, study.atlas[:, :0], study.tissues, study.table)

    slices = new_slices(change=bare)
    scores = score_drawings(slices, {"cgsamr": Fixed(synthesize=lambda m, _: torch.zeros(len(m), 2, 16, 16))})
    assert set(scores["method"]) == {"cgsamr", "mean image"}


def test_floors_stand_once_beside_all_synthesizers_of_the_same_subjects(new_slices, score_drawings):
    def levels(studies):  # the mean of one training subject is another than that of both
        for name, level in {"a": 0.0, "b": 0.5, "d_1": 0.5, "d_2": 0.5}.items():
            studies[name].images[:] = np.where(studies[name].labels[:, None] > 0, level, -1)

    drawn = Fixed(synthesize=lambda m, _: torch.full((len(m), 2, 16, 16), 0.5))
    scores = score_drawings(new_slices(change=levels), {"samr": drawn, "cgsamr": drawn}, sizes=(1, "all"), seeds=(0, 1))
    assert not scores.duplicated([name for name in SCORE_COLUMNS if name != "value"]).any()
    lines = scores[["method", "training_subjects", "seed"]].drop_duplicates()
    assert lines["method"].value_counts().to_dict() == dict.fromkeys(["samr", "cgsamr", "mean image", "atlas"], 4)
    means = scores[(scores["method"] == "mean image") & (scores["class"] == "brain") & (scores["metric"] == "psnr")]
    # Of both subjects: 10 log10(2^2 / 0.25^2); of one alone: 10 log10(2^2 / 0.5^2), or none at all, the images' own.
    both = means.loc[means["training_subjects"] == 2, "value"].tolist()
    assert both == [pytest.approx(10 * np.log10(64), abs=1e-4)] * 4
    alone = means.loc[means["training_subjects"] == 1, "value"]
    assert all(value > 50 or value == pytest.approx(10 * np.log10(16), abs=1e-4) for value in alone)


def test_a_method_that_draws_nothing_is_refused(new_slices, score_drawings):
    class Segmenter:
        name = "unet"

        def method(self):
            return self

    with pytest.raises(TypeError, match="unet synthesizes no images"):
        score_drawings(new_slices(), {"cgsamr": Segmenter()})
