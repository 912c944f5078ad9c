from __future__ import annotations

import io
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lesionlab.reporting.qc_page import StudyQC, measures, render_qc, robust_z, summarise, worst_first


def picture():
    stream = io.BytesIO()
    Image.new("RGB", (8, 4), (200, 10, 10)).save(stream, format="WEBP")
    return stream.getvalue()


def study(name, values, **given):
    rows = [(stage, measure, value) for (stage, measure), value in values.items()]
    return StudyQC(
        name, name, given.pop("split", "train"), pd.DataFrame(rows, columns=["stage", "measure", "value"]), **given
    )


def test_robust_z_by_hand():
    # Median 3; distances 2, 1, 0, 1, 97: their median 1; so z = distance / 1.4826.
    expected = np.array([2, 1, 0, 1, 97]) / 1.4826
    np.testing.assert_allclose(robust_z([1, 2, 3, 4, 100]), expected)


def test_most_values_equal_falls_back_to_the_mean_deviation():
    # Median 5, distances 0, 0, 0, 0, 4: MAD 0, mean 0.8; so the last is 4 / (0.8 * 1.2533) away.
    np.testing.assert_allclose(robust_z([5, 5, 5, 5, 9]), [0, 0, 0, 0, 4 / (0.8 * 1.2533)])


def test_few_values_have_no_outliers_but_a_missing_one():
    # Three scans whose registration moved by 2.0, 2.1 and 9 mm: the 2.1 alone would make the 9 a 47-fold outlier.
    assert robust_z([2.0, 2.1, 9.0]).tolist() == [0, 0, 0]
    assert robust_z([2.0, 2.1, math.nan]).tolist() == [0, 0, math.inf]


def test_equal_values_are_no_distance_apart_and_nan_is_infinitely_far():
    assert robust_z([2, 2, 2]).tolist() == [0, 0, 0]
    assert robust_z([2, 2, math.nan]).tolist() == [0, 0, math.inf]


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=5, max_size=20),
    st.floats(0.1, 10),
    st.floats(-100, 100),
)
def test_robust_z_knows_no_unit(values, scale, shift):
    spread = np.ptp(values)
    if spread < 1e-3:  # rounding would decide
        return
    moved = robust_z(np.asarray(values) * scale + shift)
    # Compared as distances over the largest: a MAD of nearly nothing makes both huge.
    original = robust_z(values)
    if np.median(np.abs(np.asarray(values) - np.median(values))) < 1e-6 * spread:
        return
    np.testing.assert_allclose(moved, original, rtol=1e-4, atol=1e-4)


@pytest.fixture
def studies():
    volumes = {"a": 1400, "b": 1410, "c": 1390, "d": 900, "e": 1405}
    errors = {"a": 0.10, "b": 0.11, "c": 0.20, "d": 0.09, "e": 0.10}
    good = [
        study(name, {("brain", "volume_ml"): volumes[name], ("coregister", "error_mm"): errors[name]}, strip=picture())
        for name in volumes
    ]
    return [*good, study("f", {}, status="failed", reasons=("brain: no brain found",), split="test")]


def test_failed_first_then_the_worst_measure_decides(studies):
    order = worst_first(studies)
    # volume: median 1400, MAD 10: d (500 / 14.826 = 33.7). error: median 0.10, MAD 0.01: c (0.10 / 0.014826 = 6.7).
    assert order["study"].tolist()[:3] == ["f", "d", "c"]
    assert order["measure"].tolist()[:3] == ["", "volume_ml", "error_mm"]
    assert order["z"].tolist()[1:3] == [pytest.approx(500 / 14.826), pytest.approx(0.10 / 0.014826)]


def test_the_order_does_not_hang_on_the_order_given(studies):
    assert worst_first(studies)["study"].tolist() == worst_first(studies[::-1])["study"].tolist()


def test_the_summary_counts_outliers_and_failures(studies):
    summary = summarise(studies)
    assert (summary.studies, summary.outliers, dict(summary.failed)) == (
        6,
        ("d", "c"),
        {"f": ("brain: no brain found",)},
    )


def test_medians_leave_out_missing_values():
    table = measures([study("a", {("s", "m"): 1.0}), study("b", {("s", "m"): 3.0}), study("c", {("s", "m"): math.nan})])
    assert table["median"].tolist() == [2.0, 2.0, 2.0]


def test_the_page_shows_all_studies_in_order_and_why(studies, page):
    html = render_qc(studies, cohort="phantom", lesion_classes=["tumor"])
    seen = page(html)
    assert [article["data-name"].split()[0] for article in seen.articles[:3]] == ["f", "d", "c"]
    assert [article["data-kind"] for article in seen.articles[:4]] == ["failed", "outlier", "outlier", "ok"]
    assert "brain: no brain found" in html
    assert "furthest out: brain, volume ml <b>900</b> (median 1400; distance <b>33.7</b>)" in html


def test_the_page_needs_no_other_file(studies, page):
    seen = page(render_qc(studies))
    assert seen.tags.count("img") == 5
    assert all(address.startswith(("data:image/webp;base64,", "#")) for address in seen.addresses)
    assert not {"link", "iframe", "object", "embed"} & set(seen.tags)
    assert {address[1:] for address in seen.addresses if address.startswith("#")} <= set(seen.ids)


def test_names_from_files_are_escaped(page):
    html = render_qc([study("<script>alert(1)</script>", {("s", "m"): 1.0})])
    assert "<script>alert" not in html
    assert page(html).tags.count("script") == 1


def test_a_study_that_comes_twice_is_refused(studies):
    with pytest.raises(ValueError, match="twice"):
        render_qc([studies[0], studies[0]])


def test_a_single_study_and_none_at_all_have_a_page(page):
    assert len(page(render_qc([study("a", {("s", "m"): 1.0})])).articles) == 1
    assert "0 studies" in render_qc([])


def test_the_page_is_the_same_twice(studies):
    assert render_qc(studies) == render_qc(studies)
