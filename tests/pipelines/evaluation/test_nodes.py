"""Scores and floors, with figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from lesionlab.data.slice_store import SliceStore
from lesionlab.methods.base import Task
from lesionlab.metrics.statistics import SCORE_COLUMNS
from lesionlab.parameters import CohortOptions, StatisticsOptions
from lesionlab.pipelines.evaluation.nodes import score_segmentation, score_synthesis, tabulate

COHORT = CohortOptions(name="trial", layout="trial")
TASK = Task(sequences=("T1w", "FLAIR"), lesion_classes=("edema", "tumor"))


class Fixed:
    """A trained method that answers what it is told to; it stands for its own training run."""

    name = "cgsamr"
    task = TASK

    def __init__(self, segment=None, synthesize=None):
        self._segment, self._synthesize = segment, synthesize

    def method(self):
        return self

    def segment(self, images):
        return torch.nn.functional.one_hot(self._segment(images).long(), TASK.classes).movedim(-1, 1).float()

    def synthesize(self, labels, prior):
        return self._synthesize(labels, prior)


def values(scores: pd.DataFrame, **wanted: str) -> list[float]:
    for column, value in wanted.items():
        scores = scores[scores[column.rstrip("_")] == value]
    return scores["value"].tolist()


# --- segmentation -----------------------------------------------------------------------------------------------------


@pytest.fixture
def truth(new_slices):
    """What a perfect segmenter answers."""
    labels = new_slices("truth").labels(lazy=False)[0]
    return lambda images: torch.from_numpy(labels).expand(len(images), -1, -1)


def test_floors_of_segmentation(new_slices, truth):
    scores = score_segmentation(new_slices(), {"real": Fixed(truth)}, COHORT, seed=5)
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


def test_a_perfect_segmenter(new_slices, truth):
    scores = score_segmentation(new_slices(), {"real": Fixed(truth)}, COHORT, seed=5)
    own = scores[scores["protocol"] == "real"]
    assert set(own["method"]) == {"unet"} and set(own["subject"]) == {"d"} and set(own["sequence"]) == {"all"}
    assert set(own["seed"]) == {5} and set(own["cohort"]) == {"trial"}
    best = {"dice": 1, "sensitivity": 1, "specificity": 1, "precision": 1, "hd95": 0, "missed": 0, "invented": 0}
    for metric, value in best.items():
        assert values(own, metric=metric) == [value] * 3


def test_a_subject_with_two_visits_has_their_mean(new_slices, truth):
    def one_visit_free_of_lesion(studies):
        studies["d_2"].labels[studies["d_2"].labels > 1] = 1

    slices = new_slices(change=one_visit_free_of_lesion)
    scores = score_segmentation(slices, {"real": Fixed(truth)}, COHORT, seed=0)
    # Found as it is in the first visit (Dice 1), invented in the second (Dice 0).
    assert values(scores, protocol="real", metric="dice", class_="tumor") == [0.5]
    assert values(scores, protocol="real", metric="invented", class_="tumor") == [0.5]


def test_every_protocol_is_scored_by_its_own_segmenter(new_slices, truth):
    nothing = Fixed(lambda images: torch.ones(len(images), 16, 16))
    scores = score_segmentation(new_slices(), {"real": nothing, "real+50%": Fixed(truth)}, COHORT, seed=0)
    dice = {protocol: values(scores, protocol=protocol, metric="dice") for protocol in ("real", "real+50%")}
    assert dice == {"real": [0, 0, 0], "real+50%": [1, 1, 1]}


def test_the_highest_class_is_named_in_its_floor(new_slices, truth):
    slices = new_slices()
    (slices.root / "store.json").write_text('{"sequences": ["T1w", "FLAIR"], "classes": ["core", "rim"]}')
    (slices.root / "receipt.json").write_text('{"fingerprint": "", "files": {}}')
    scores = score_segmentation(SliceStore(slices.root), {"real": Fixed(truth)}, COHORT, seed=0)
    assert set(scores["method"]) == {"unet", "all rim", "all normal"}


# --- synthesis --------------------------------------------------------------------------------------------------------


def test_floors_of_synthesis(new_slices):
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

    scores = score_synthesis(new_slices(change=flat), Fixed(synthesize=draws), COHORT, seed=3)
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


def test_the_synthesizer_is_given_each_test_slices_own_map_and_atlas(new_slices):
    given = []

    def draws(labels, prior):
        given.append((labels.numpy(), prior.numpy()))
        return torch.zeros(len(labels), 2, 16, 16)

    slices = new_slices()
    score_synthesis(slices, Fixed(synthesize=draws), COHORT, seed=0)
    real = slices.batch(slices.select(split="test"))
    np.testing.assert_array_equal(np.concatenate([labels for labels, _ in given]), real.labels)
    np.testing.assert_array_equal(np.concatenate([prior for _, prior in given]), real.atlas)


def test_without_an_atlas_there_is_no_such_floor(new_slices):
    def bare(studies):
        for name, study in studies.items():
            studies[name] = type(study)(study.images, study.labels, study.atlas[:, :0], study.tissues, study.table)

    slices = new_slices(change=bare)
    scores = score_synthesis(slices, Fixed(synthesize=lambda m, _: torch.zeros(len(m), 2, 16, 16)), COHORT, seed=0)
    assert set(scores["method"]) == {"cgsamr", "mean image"}


def test_a_method_that_draws_nothing_is_refused(new_slices):
    class Segmenter:
        name = "unet"

        def method(self):
            return self

    with pytest.raises(TypeError, match="unet synthesizes no images"):
        score_synthesis(new_slices(), Segmenter(), COHORT, seed=0)


# --- tables -----------------------------------------------------------------------------------------------------------


def row(method: str, protocol: str, subject: str, value: float, **others: str) -> dict:
    cell = {"method": method, "cohort": "trial", "protocol": protocol, "sequence": "all", "class": "edema"}
    return {**cell, "metric": "dice", "subject": subject, "value": value, "seed": 0, **others}


@pytest.fixture
def tables():
    segmentation = [row("unet", "real", s, v) for s, v in zip("wxyz", (0.5, 0.6, 0.2, 0.3), strict=True)]
    segmentation += [row("unet", "real+25%", s, v) for s, v in zip("wxyz", (0.6, 0.7, 0.4, 0.5), strict=True)]
    segmentation += [row("all tumor", "floor", s, 0.1) for s in "wxyz"]
    synthesis = [row("cgsamr", "paired", s, 0.9, metric="ssim") for s in "wxyz"]
    synthesis += [row("atlas", "floor", s, 0.8, metric="ssim") for s in "wxyz"]
    synthesis += [row("mean image", "floor", s, 0.8, metric="ssim") for s in "wxyz"]
    published = [
        {"method": "unet", "protocol": "real", "sequence": "all", "class": "edema", "metric": "dice", "value": 0.647}
    ]
    options = StatisticsOptions(resamples=100)
    made = tabulate(pd.DataFrame(synthesis), pd.DataFrame(segmentation), published, options, seed=0)
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
