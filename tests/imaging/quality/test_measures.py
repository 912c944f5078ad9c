from __future__ import annotations

import pytest

from lesionlab.imaging.quality.measures import KNOWN, UNKNOWN, known, with_ratios


def test_a_family_is_found_by_its_pattern_and_by_its_stage():
    assert known("coregister", "FLAIR_edge_offset_mm").bad == "high"
    assert known("atlas", "edge_offset_mm").meaning.startswith("distance of the atlas")
    assert known("coregister", "something_new") is UNKNOWN
    assert known("brain", "FLAIR_edge_offset_mm") is UNKNOWN


def test_the_longer_pattern_wins():
    # ``lesion_mirror_margin`` fits ``*_mirror_margin`` too.
    assert "lesion" in known("coregister", "lesion_mirror_margin").meaning


def test_every_known_measure_says_what_it_is_and_where_to_look():
    assert all(one.meaning and one.look and one.grain > 0 for one in KNOWN)
    assert len({(one.stage, one.measure) for one in KNOWN}) == len(KNOWN)


def test_quotients_by_hand():
    found = with_ratios({"T2w_mi_before": 0.5, "T2w_mi_after": 0.6, "APTw_cv_before": 0.2, "APTw_cv_after": 0.1})
    assert found["T2w_mi_gain"] == pytest.approx(1.2) and found["APTw_cv_gain"] == pytest.approx(0.5)


def test_a_quotient_by_nothing_or_one_that_is_reported_is_left_alone():
    assert with_ratios({"T2w_mi_before": 0.0, "T2w_mi_after": 0.6}) == {"T2w_mi_before": 0.0, "T2w_mi_after": 0.6}
    assert with_ratios({"T2w_mi_after": 0.6}) == {"T2w_mi_after": 0.6}
    own = {"T2w_mi_before": 0.5, "T2w_mi_after": 0.6, "T2w_mi_gain": 7.0}
    assert with_ratios(own) == own
