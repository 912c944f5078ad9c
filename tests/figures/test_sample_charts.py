"""Plots of sets of synthetic slices, read back as pixels where it matters."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lesionlab.figures.sample_charts import membership_curves, nearest_curves, reliability_plot


def test_curves_of_two_regions(decoded):
    rng = np.random.default_rng(0)
    sets = {"real": rng.uniform(0.1, 0.2, 50), "synthetic": np.r_[rng.uniform(0.05, 0.1, 50), np.nan]}
    both = decoded(nearest_curves({"whole picture": sets, "lesion": sets}))
    one = decoded(nearest_curves({"whole picture": sets}))
    assert both.shape[1] > 1.5 * one.shape[1]
    # Synthetic slices lie nearer: where they are drawn the picture differs from that without them.
    without = decoded(nearest_curves({"whole picture": {"real": sets["real"]}}))
    assert without.shape != one.shape or (without != one).any()


def test_membership_has_a_plot_per_synthesizer(decoded):
    rng = np.random.default_rng(0)
    chance, known = (rng.normal(0, 1, 40), rng.normal(0, 1, 30)), (rng.normal(3, 1, 40), rng.normal(0, 1, 30))
    one, other = decoded(membership_curves({"SAMR": chance})), decoded(membership_curves({"SAMR": known}))
    assert one.shape != other.shape or (one != other).any()
    assert decoded(membership_curves({"SAMR": chance, "CG-SAMR": known})).shape[1] > 1.5 * one.shape[1]
    # Three side by side; a fourth begins a new row, and no plot gets narrower.
    three, four = (decoded(membership_curves(dict.fromkeys("abcd"[:n], chance))) for n in (3, 4))
    assert four.shape[1] == three.shape[1] and four.shape[0] > 1.7 * three.shape[0]
    with pytest.raises(ValueError, match="no synthesizer"):
        membership_curves({})


def test_no_distance_is_refused():
    with pytest.raises(ValueError, match="no distance"):
        nearest_curves({"lesion": {"real": np.array([np.nan]), "synthetic": np.array([])}})


def test_reliability_has_a_plot_per_sequence(decoded):
    row = {"confidence": 0.5, "error": 0.2, "ci_low": 0.1, "ci_high": 0.3, "expected_confidence": 0.5, "pixels": 10}
    table = pd.DataFrame([{"sequence": name, **row} for name in ("T1w", "FLAIR")])
    assert (
        decoded(reliability_plot(table, sequences=["T1w", "FLAIR"])).shape[1]
        > decoded(reliability_plot(table, sequences=["T1w"])).shape[1]
    )
    with pytest.raises(ValueError, match="no reliability"):
        reliability_plot(table, sequences=["APTw"])
