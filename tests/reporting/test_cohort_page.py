"""The cohort page: its figures by hand, and names that are markup."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pandas as pd
import pytest

from lesionlab.cohort.facts import ScanSchema, scans_table
from lesionlab.cohort.oddities import find_oddities
from lesionlab.reporting.cohort_page import code_summary, render_cohort, sequence_summary

EVIL = "<script>alert('x')</script>&\"quote\".nii.gz"


def scan(study: str, sequence: str = "T1w", **changes: Any) -> dict[str, Any]:
    numbers = {"oblique_deg": 0.0, "shortest_mm": 150.0, "largest_voxel_mm": 1.0, "minimum": 0.0, "maximum": 900.0}
    texts = {name: "" for name in ScanSchema.columns if name not in numbers}
    names = {"study": study, "subject": study, "sequence": sequence, "file": f"{study}/{sequence}.nii.gz"}
    form = {"grid": "9 x 9 x 9", "spacing_mm": "1 x 1 x 1", "orientation": "LPS", "dtype": "int16"}
    return {**texts, **numbers, **names, **form, "checksum": f"{study}{sequence}", **changes}


SCANS = scans_table(
    [
        scan("a"),
        scan("a", "lesion mask", codes="1:2 4:6", file=EVIL),
        scan("b", grid="8 x 8 x 8", orientation="RAS", maximum=700.0),
        scan("b", "lesion mask", codes="1:4"),
        scan("c"),
        scan("c", "lesion mask", oddities="<img src=x onerror=alert(1)>"),
    ]
)
PRESENCE = pd.DataFrame(
    {
        "study": ["a", "b", "c", "<i>d</i>"],
        "subject": ["a", "b", "c", "<i>d</i>"],
        "visit": "",
        "T1w": [True, True, True, False],
        "lesion mask": True,
    }
)
QUARANTINE = pd.DataFrame(
    {
        "study": ["<i>d</i>"],
        "subject": ["<i>d</i>"],
        "file": [EVIL],
        "reason": [f"file {EVIL}: the sequence is missing"],
    }
)


def page(**changes: Any) -> str:
    given = {"scans": SCANS, "presence": PRESENCE, "quarantine": QUARANTINE, "oddities": find_oddities(SCANS)}
    return render_cohort(
        *{**given, **changes}.values(), cohort="mine <&>", classes={1: "cavity", 2: "edema", 4: "tumor"}
    )


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_forms_with_their_counts() -> None:
    table = sequence_summary(SCANS, PRESENCE, ["T1w", "lesion mask"]).set_index("sequence")
    assert table.loc["T1w", "present"] == "3 of 4"
    assert table.loc["T1w", "grids"] == "9 x 9 x 9 (2), 8 x 8 x 8 (1)"
    assert table.loc["T1w", "orientations"] == "LPS (2), RAS (1)"
    assert table.loc["T1w", "intensities"] == "0.00 to 900 (medians)"
    assert table.loc["lesion mask", "intensities"] == ""


def test_codes_with_their_volumes() -> None:
    table = code_summary(SCANS, {1: "cavity", 2: "edema", 4: "tumor"}).set_index("code")
    assert list(table["masks"]) == ["2 of 3", "0 of 3", "1 of 3"]
    assert table.loc["1", "median, ml"] == pytest.approx(3.0)
    assert (table.loc["1", "least, ml"], table.loc["1", "most, ml"]) == (2.0, 4.0)
    assert pd.isna(table.loc["2", "median, ml"])


def test_the_page_says_what_is_missing_quarantined_and_odd() -> None:
    words = " ".join(Tags(page()).words)
    for part in (
        "4",
        "studies",
        "the sequence is missing",
        "8 x 8 x 8 (1)",
        "mine <&>",
        "<img src=x onerror=alert(1)>",
    ):
        assert part in words


def test_names_that_are_markup_stay_text() -> None:
    parsed = Tags(page())
    assert parsed.tags.count("script") == 1  # the page's own
    assert "i" not in parsed.tags and "img" not in parsed.tags
    assert EVIL in " ".join(parsed.words) and "<i>d</i>" in " ".join(parsed.words)


def test_a_cohort_without_fault_mask_or_oddity() -> None:
    plain = scans_table([scan("a")])
    text = page(
        scans=plain,
        presence=PRESENCE.iloc[:1].drop(columns="lesion mask"),
        quarantine=QUARANTINE.iloc[:0],
        oddities=find_oddities(plain),
    )
    words = " ".join(Tags(text).words)
    assert "Nothing." in words and "Label codes" not in words and "Quarantined:" not in words
