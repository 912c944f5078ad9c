"""Whether confidence tells error, with networks whose answers are known."""

from __future__ import annotations

import numpy as np

from lesionlab.evaluation.reliability import coarse_error, measure_reliability
from lesionlab.metrics.statistics import StatisticsOptions
from lesionlab.slices.batches import Slices

SAMR, CGSAMR = "samr/2-subjects/seed-0", "cgsamr/2-subjects/seed-0"
UNTAUGHT = {
    "generator": {"width": 2, "downs": 2, "encoder_blocks": 1},
    "discriminator": {"width": 2},
    "unet": {"width": 2, "depth": 2},
    "weights": {"confidence": 0},
}


def test_only_methods_with_confidence_maps_are_calibrated(plan, slices, synthesizers):
    table = measure_reliability(plan, slices, synthesizers, StatisticsOptions(resamples=200), 0)
    assert set(table["synthesizer"]) == {"cgsamr"} and set(table["sequence"]) == {"T1w", "FLAIR"}
    # lambda_cm over the last two of four steps, by their rates: (0.6 x 0.1 + 0.2 x 0.03) / 0.8 = 0.0825.
    expected = np.minimum(1, 0.0825 / table["error"])
    np.testing.assert_allclose(table["expected_confidence"], expected)


def test_equation_1_asks_nothing_of_maps_that_it_did_not_teach(plan, slices, synthesizers, run):
    untaught = run("untaught", "cgsamr", UNTAUGHT)
    trained = {SAMR: synthesizers[SAMR], CGSAMR: untaught}
    table = measure_reliability(plan, slices, trained, StatisticsOptions(resamples=200), 0)
    assert len(table) and table["expected_confidence"].isna().all() and table["error"].notna().all()


def test_the_coarse_error_is_that_of_the_halved_picture(slices, synthesizers):
    method = synthesizers[CGSAMR].method()
    places = slices.select(split="test")
    confidence, error, labels = coarse_error(method, slices, places)
    assert confidence.shape == error.shape == (6, 2, 8, 8) and labels.shape == (6, 8, 8)
    real = slices.batch(places)
    made = method.confidence(Slices.from_arrays(*real).all())
    halved = real.images.reshape(6, 2, 8, 2, 8, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(error, np.abs(made.coarse.numpy() - halved), atol=1e-6)
