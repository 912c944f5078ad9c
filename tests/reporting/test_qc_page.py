from __future__ import annotations

import math

import pandas as pd
import pytest

from lesionlab.imaging.quality.limits import MEASURE_COLUMNS, Limit, QCOptions, flags, judged_measures
from lesionlab.reporting.pages import file_name
from lesionlab.reporting.qc_page import StudyQC, ranking, render_qc, summarise

VOLUME, OFFSET = ("brain", "brain_ml"), ("coregister", "T2w_edge_offset_mm")
BAD = "<img src=x onerror=alert(1)>"


def tables(values: dict[str, dict[tuple[str, str], float]], **options):
    """Judged measures, their flags and the options."""
    given = QCOptions(**options)
    rows = [(name, name, *key, value) for name, own in values.items() for key, value in own.items()]
    judged = judged_measures(pd.DataFrame(rows, columns=MEASURE_COLUMNS), given)
    return judged, flags(judged, given), given


@pytest.fixture
def values():
    """Six studies: c's T2w is 4 mm off (at most 3 allowed), d's brain has 2000 ml, 600 more than the others'."""
    volumes = {"a": 1400, "b": 1410, "c": 1390, "d": 2000, "e": 1405, "g": 1400}
    return {name: {VOLUME: volume, OFFSET: 4.0 if name == "c" else 0.5} for name, volume in volumes.items()}


@pytest.fixture
def studies(values):
    through = [StudyQC(name, name, "train", f"strips/{name}.webp") for name in values]
    return [*through, StudyQC("f", "f", "test", "", "failed", ("brain: no brain found",))]


def test_failed_first_then_broken_limits_then_outliers_then_the_rest(studies, values):
    judged, found, _ = tables(values)
    order = ranking(studies, judged, found)
    assert order["study"].tolist()[:3] == ["f", "c", "d"]
    assert order["verdict"].tolist() == ["failed", "look", "look", "ok", "ok", "ok", "ok"]
    # The grain of brain volumes is 90 ml; the median of six is 1402.5.
    assert order.set_index("study").loc["d", "z"] == pytest.approx((2000 - 1402.5) / 90)


def test_the_order_does_not_hang_on_the_order_given(studies, values):
    judged, found, _ = tables(values)
    assert ranking(studies, judged, found)["study"].tolist() == ranking(studies[::-1], judged, found)["study"].tolist()


def test_the_summary_counts_flagged_and_failed_and_names_five(studies, values):
    summary = summarise(studies, *tables(values)[:2])
    assert (summary.studies, summary.outliers, dict(summary.failed)) == (
        7,
        ("c", "d"),
        {"f": ("brain: no brain found",)},
    )
    assert summary.first[:2] == ("c", "d") and len(summary.first) == 5 and "f" not in summary.first


def test_a_limit_that_quarantines_holds_back(studies, values):
    judged, found, _ = tables(values, limits={"brain": {"brain_ml": Limit(max=1900, action="quarantine")}})
    order = ranking(studies, judged, found).set_index("study")
    assert order.loc["d", "verdict"] == "held back" and order.index.tolist()[:3] == ["f", "d", "c"]


def test_the_page_shows_all_studies_in_order_and_why(studies, values, page):
    judged, found, options = tables(values)
    html = render_qc(studies, judged, found, options, cohort="phantom", lesion_classes=["tumor"])
    seen = page(html)
    assert [article["data-name"].split()[0] for article in seen.articles[:3]] == ["f", "c", "d"]
    assert [article["data-verdict"] for article in seen.articles[:4]] == ["failed", "look", "look", "ok"]
    assert "brain: no brain found" in html
    assert "T2w edge offset mm <b>4</b>, allowed at most 3." in html
    assert "the reference&#39;s edges over the sequence" in html  # where to look


def test_every_measure_is_a_column_to_sort_by(studies, values, page):
    judged, found, options = tables(values)
    html = render_qc(studies, judged, found, options)
    for number, name in enumerate(("brain: brain ml", "coregister: T2w edge offset mm")):
        assert f'data-column="{number}"' in html and name in html
    assert html.count('data-value="') == 12  # two measures of six studies
    assert '<td class="broken" data-value="4"' in html and '<td class="odd" data-value="2000"' in html


def test_pictures_lie_beside_the_page_and_come_when_they_are_looked_at(studies, values, page):
    html = render_qc(studies, *tables(values))
    seen = page(html)
    pictures = [address for address in seen.addresses if not address.startswith("#")]
    assert sorted(pictures) == sorted(f"strips/{name}.webp" for name in values)
    assert html.count('loading="lazy"') == 6
    assert not {"link", "iframe", "object", "embed"} & set(seen.tags)
    assert {address[1:] for address in seen.addresses if address.startswith("#")} <= set(seen.ids)


def test_three_hundred_studies_make_a_page_of_a_few_megabytes(page):
    many = {f"s{at:03d}": {("brain", f"measure_{number}"): float(at % 7) for number in range(80)} for at in range(300)}
    html = render_qc([StudyQC(name, name, "train", f"strips/{name}.webp") for name in many], *tables(many))
    assert len(html) < 4e6
    assert len(page(html).articles) == 300


@pytest.mark.parametrize("name", [BAD, '"><script>alert(1)</script>', "a b%20#?&'\"", "ä/…"])
def test_names_from_files_are_escaped(name, page):
    address = f"strips/{file_name(name)}.webp"
    study = StudyQC(name, name, "train", address, "failed", (f"the file {name} is truncated",))
    judged, found, options = tables({name: {VOLUME: 1.0}})
    seen = page(render_qc([study], judged, found, options, cohort=name))
    assert seen.tags.count("script") == 1 and seen.tags.count("img") == 1
    assert [each for each in seen.addresses if not each.startswith("#")] == [address]
    assert name in seen.cells  # shown as it is, as text


def test_file_names_are_safe_and_never_shared():
    assert file_name("sub-01_ses.2") == "sub-01_ses.2"
    odd = ["a b", "a_b", "a/b", "a?b", "ä"]
    made = [file_name(name) for name in odd]
    assert len(set(made)) == len(odd)
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.") for name in made)


def test_a_study_that_comes_twice_is_refused(studies, values):
    with pytest.raises(ValueError, match="twice"):
        render_qc([studies[0], studies[0]], *tables(values))


def test_a_single_study_and_none_at_all_have_a_page(page):
    assert len(page(render_qc([StudyQC("a", "a", "")], *tables({"a": {VOLUME: math.nan}}))).articles) == 1
    assert "<b>0</b> studies" in render_qc([], *tables({}))


def test_the_page_is_the_same_twice(studies, values):
    assert render_qc(studies, *tables(values)) == render_qc(studies, *tables(values))
